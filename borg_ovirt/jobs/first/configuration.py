"""The first configuration: short, with defaults that are really on."""

from __future__ import annotations

import json
from collections.abc import Mapping

from borg_ovirt.jobs.first.place import Place

ENGINE, PASSWORD_CREDENTIAL, PASSPHRASE_CREDENTIAL = "main", "ovirt-password", "borg-passphrase"

_TEXT = """\
# Made by `borg-ovirt init`. What stands here is on. Every other key: `borg-ovirt config generate`.

engines:
  {engine}:
{engine_keys}
repositories:
  {repository}:
{repository_keys}
# Every VM that the user sees, and every disk. Narrow it: include, exclude, exclude_disks.
vms: {{}}
policy:
  # A VM whose last good archive is older is `old`, and you are told.
  max_age: 26h
  # A little of what counts as unchanged is read all the same, and everything once in a while.
  sample: 0.1%
  full_every: 90d
  # Each archive is read whole once in a while, by borg-ovirt-verify.timer.
  verify: {{level: data, every: 30d}}
verify:
  budget: 2h
limits:
  # A full storage domain pauses every VM on it.
  min_free: 10%
retention:
  daily: 14
  weekly: 8
  monthly: 12
"""


def first_configuration(
    place: Place,
    engine: Mapping[str, str],
    repository: str,
    location: str,
    *,
    encrypted: bool,
) -> str:
    """The text of the file; `engine` holds url, username, ca_file and where the password is."""
    keys: dict[str, str] = {"location": location}
    if encrypted and place.service:
        keys["passphrase_credential"] = PASSPHRASE_CREDENTIAL
    elif encrypted:
        keys["passphrase_file"] = str(place.passphrase)
    if encrypted:
        keys["key_backup"] = str(place.key)
    return _TEXT.format(
        engine=ENGINE,
        engine_keys=_lines(engine),
        repository=repository,
        repository_keys=_lines(keys),
    )


def repository_name(location: str) -> str:
    """What the repository is called: by what it is."""
    return "remote" if "://" in location or ":" in location.split("/")[0] else "local"


def _lines(keys: Mapping[str, str]) -> str:
    """As YAML: every JSON value is one."""
    return "".join(f"    {name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in keys.items())
