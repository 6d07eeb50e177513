"""Breakages of what makes a restored VM the one it was: settings, network cards, a whole site."""

from __future__ import annotations

from mutants.mutant import of

_PURE = "unit/jobs/restore/test_nics_and_settings.py"
_BACK = "integration/restores/test_comeback.py"

_again = of("jobs/restore/again.py", _PURE)
_nics = of("jobs/restore/nics.py", _PURE)
_fleet = of("jobs/restore/fleet.py", "unit/jobs/restore/test_fleet_plan.py")
_plan = of("jobs/restore/into_ovirt_plan.py", _PURE)
_told = of("jobs/restore/into_ovirt_plan.py", "unit/jobs/restore/test_restore_plan.py")
_back_in_place = of("jobs/backup/disks.py", "integration/restores/test_roll_back.py")
_odd = of("jobs/restore/placing.py", "integration/restores/test_odd_sizes.py")
_back = of("jobs/restore/into_ovirt.py", "integration/restores/test_starting_over.py")
_networks = of("ovirt/facts/networks.py", _BACK)
_health = of("jobs/health/vms.py", _BACK)

MUTANTS = (
    _told(
        "snapshots-lost-in-silence",
        "The snapshots that an archive of images does not bring back are told.",
        "    if steps or not manifest.snapshots:",
        "    if steps or manifest.snapshots:",
    ),
    _told(
        "disk-quota-lost-in-silence",
        "A disk's quota that the engine has no more is told.",
        "if disk.source.record.quota and not disk.quota]",
        "if disk.source.record.quota and disk.quota]",
    ),
    _back_in_place(
        "present-not-kept",
        "What a rollback writes over is kept before, even of disks that the rules leave out.",
        "    if disk.id in rules.always:\n",
        "    if disk.id in ():\n",
    ),
    _again(
        "lost-in-silence",
        "What the engine has no more is told.",
        '        self.lost += [\n            f"{kind} {name}',
        '        list.copy(self.lost)\n        _ = [\n            f"{kind} {name}',
    ),
    _again(
        "tags-in-spite-of-no-tags",
        "--no-tags leaves the tags.",
        "    tags = () if options.no_tags else manifest.vm.tags",
        "    tags = manifest.vm.tags",
    ),
    _nics(
        "taken-address-kept",
        "A MAC address that is taken is in the way.",
        "    holder = site.macs.get(mac.lower())",
        "    holder = site.macs.get(mac)",
    ),
    _nics(
        "network-lost-in-silence",
        "A card that comes back on no network is told beforehand.",
        "notes=() if asked else (note,))",
        "notes=())",
    ),
    _nics(
        "map-over-words",
        "The command line goes before the mapping file.",
        "    asked = options.networks.get(card.network) or options.mapping.networks.get(card.network)",
        "    asked = options.mapping.networks.get(card.network) or options.networks.get(card.network)",
    ),
    _fleet(
        "room-for-each-alone",
        "The room of all VMs together is counted.",
        "            needs[domain.id] = needs.get(domain.id, 0) + expected_size(disk)",
        "            needs[domain.id] = expected_size(disk)",
    ),
    _fleet(
        "order-ignored",
        "VMs that are named come back first.",
        "        return place, -sum(",
        "        return 0 * place, -sum(",
    ),
    _plan(
        "any-digit-in-a-name",
        "A name that the engine refuses is refused beforehand.",
        "c.isalpha() or c in",
        "c.isalnum() or c in",
    ),
    _odd(
        "odd-raw-disk",
        "A raw disk that file storage takes no upload to is made as qcow2.",
        '    if form == "raw" and record.size % FILE_BLOCK and',
        "    if form is None and record.size % FILE_BLOCK and",
    ),
    _back(
        "not-again",
        "An upload that was lost with its ticket is begun again.",
        "            if lost or self.options.keep:",
        "            if lost or self.options is not None:",
    ),
    _networks(
        "other-pools",
        "Addresses where the pool allows duplicates are in nobody's way.",
        "({} if pool and pool.allow_duplicates else taken,",
        "(taken,",
    ),
    _health(
        "unselected-is-fine",
        "A VM that lost its tag is a finding.",
        'return "unselected" if count and not vm.excluded else "-"',
        'return "-"',
    ),
)
