"""The network cards in a plan: which network and vNIC profile, which MAC address, linked or not. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from borg_ovirt.jobs.restore.options import NONE, RestoreOptions
from borg_ovirt.jobs.restore.site import Site
from borg_ovirt.ovirt.facts.ovf import NicChange, OvfNic


@dataclass(frozen=True)
class NicPlan:
    """A network card as it comes back."""

    archived: OvfNic
    network: str
    """Empty: none."""
    profile: str
    linked: bool
    new_mac: bool = False
    notes: tuple[str, ...] = ()

    @property
    def change(self) -> NicChange:
        """What of it differs in the OVF."""
        moved = (self.network, self.profile) != (self.archived.network, self.archived.profile)
        return NicChange(
            network=self.network if moved else None,
            profile=self.profile if moved else None,
            new_mac=self.new_mac,
            linked=self.linked if self.linked != self.archived.linked else None,
        )

    def lines(self) -> list[str]:
        """The card in words."""
        old = self.archived
        mac = "a new MAC address" if self.new_mac or not old.mac else f"MAC address {old.mac}"
        place = (
            f"network {self.network} (vNIC profile {self.profile or 'none'})"
            if self.network
            else "no network"
        )
        if self.network != old.network:
            place += f" instead of {old.network or 'none'}"
        states = ("" if self.linked else ", not linked") + ("" if old.plugged else ", unplugged")
        return [f"network card {old.name}: {mac}, {place}{states}", *(f"  note: {n}" for n in self.notes)]


def plan_nics(
    cards: Sequence[OvfNic], site: Site, options: RestoreOptions, blockers: list[str]
) -> tuple[NicPlan, ...]:
    """Lay out every card; what the user asked for and cannot be had is in the way."""
    have = {card.network for card in cards}
    for old in options.networks:
        if old not in have:
            names = ", ".join(sorted(name or "none" for name in have)) or "no network card"
            blockers.append(f"no network card of the archive is on {old}: it has {names}")
    plans = tuple(_mac(_placed(card, site, options, blockers), site, options, blockers) for card in cards)
    return _from_pool(plans, site, blockers)


def _from_pool(plans: tuple[NicPlan, ...], site: Site, blockers: list[str]) -> tuple[NicPlan, ...]:
    """Whether the engine has so many new addresses: it would refuse the import, after everything was sent."""
    new = [plan for plan in plans if plan.new_mac]
    if not new:
        return plans
    if site.free_macs is None:
        note = "whether the cluster's MAC pool has an address left cannot be told: the user may not see it"
        return tuple(replace(p, notes=(*p.notes, note)) if p is new[0] else p for p in plans)
    if len(new) > site.free_macs:
        blockers.append(
            f"the cluster's MAC pool has {max(site.free_macs, 0)} addresses left, and {len(new)} new ones are"
            " needed: add a range to it (Administration, Configure, MAC Address Pools)"
        )
    return plans


def _placed(card: OvfNic, site: Site, options: RestoreOptions, blockers: list[str]) -> NicPlan:
    linked = card.linked and not options.nics_off
    asked = options.networks.get(card.network) or options.mapping.networks.get(card.network)
    if asked == NONE or not (asked or card.network):
        return NicPlan(card, "", "", linked)
    network, _, wanted = (asked or card.network).partition("/")
    profiles = [profile.name for profile in site.profiles if profile.network == network]
    if network not in site.networks or not profiles:
        why = f"the cluster has no network {network}"
        if asked:
            blockers.append(
                f"network card {card.name}: {why}; it has {', '.join(sorted(site.networks)) or 'none'}"
            )
        note = f"{why}: the card comes back on none; --network {card.network}=OTHER puts it on another"
        return NicPlan(card, card.network, card.profile, linked, notes=() if asked else (note,))
    if wanted and wanted not in profiles:
        blockers.append(f"network {network} has no vNIC profile {wanted}; it has {', '.join(profiles)}")
    likely = [name for name in (wanted or card.profile, network) if name in profiles]
    profile = likely[0] if likely else profiles[0]
    notes = () if profile == card.profile or asked else (f"there is no vNIC profile {card.profile} any more",)
    return NicPlan(card, network, profile, linked, notes=notes)


def _mac(plan: NicPlan, site: Site, options: RestoreOptions, blockers: list[str]) -> NicPlan:
    """The address that is kept, or that the engine's pool gives."""
    wanted = options.mac or options.mapping.mac or ("new" if options.fresh else "keep")
    mac = plan.archived.mac
    if mac is None or wanted == "new":
        return replace(plan, new_mac=True)
    holder = site.macs.get(mac.lower())
    if holder is None:
        return plan
    if wanted == "new-if-taken":
        return replace(plan, new_mac=True, notes=(*plan.notes, f"VM {holder} has the address {mac}"))
    blockers.append(
        f"network card {plan.archived.name} has the MAC address {mac}, which VM {holder} has: "
        "choose --mac new-if-taken, or --mac new for all"
    )
    return plan
