"""Tags: a tree of names, given to VMs."""

from __future__ import annotations

from ovirtbox.model import Tag, Vm, World


def with_children(world: World, name: str) -> set[str]:
    """The names of a tag and of all tags below it."""
    found = {tag.id for tag in world.tags.values() if tag.name == name}
    names = {world.tags[identifier].name for identifier in found}
    grown = True
    while grown:
        below = {t.id for t in world.tags.values() if t.parent in found} - found
        found |= below
        names |= {world.tags[identifier].name for identifier in below}
        grown = bool(below)
    return names


def searched_as(world: World, vm: Vm) -> list[str]:
    """Every tag name under which a VM is found: its tags, and all above them."""
    names = []
    for name in vm.tags:
        tag: Tag | None = next((t for t in world.tags.values() if t.name == name), None)
        while tag is not None:
            names.append(tag.name)
            tag = world.tags.get(tag.parent) if tag.parent else None
    return names
