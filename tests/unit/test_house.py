"""Laws of the house that no linter knows: short modules, short functions, one idea told at the top."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import borg_ovirt

ROOT = Path(borg_ovirt.__file__).parent
LONGEST_MODULE = 400
LONGEST_FUNCTION = 70


def modules() -> Iterator[tuple[str, str, ast.Module]]:
    """Name, text and tree of every module."""
    for path in sorted(ROOT.rglob("*.py")):
        text = path.read_text()
        yield str(path.relative_to(ROOT.parent)), text, ast.parse(text)


def test_no_module_is_too_long() -> None:
    long = [
        f"{name}: {lines} lines, {LONGEST_MODULE} at most. It has two ideas: give the second a module."
        for name, text, _ in modules()
        if (lines := len(text.splitlines())) > LONGEST_MODULE
    ]
    assert not long, "\n".join(long)


def test_no_function_is_too_long() -> None:
    long = [
        f"{name}:{node.lineno}: {node.name} has {lines} lines, {LONGEST_FUNCTION} at most. "
        "Give a part of it a name, or its values a record."
        for name, _, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > LONGEST_FUNCTION
    ]
    assert not long, "\n".join(long)


def test_every_module_says_its_idea() -> None:
    silent = [
        f"{name}: say in the first line what its one idea is, as a docstring that ends with a full stop."
        for name, text, tree in modules()
        if text.strip() and not _idea(tree)
    ]
    assert not silent, "\n".join(silent)


def _idea(tree: ast.Module) -> bool:
    """Whether the first paragraph is there and is a sentence."""
    first = (ast.get_docstring(tree) or "").split("\n\n")[0].strip()
    return first.endswith((".", "?", "!", ":"))
