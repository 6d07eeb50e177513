"""Texts made from the schema: the commented sample, the JSON Schema, the reference of the documentation."""

from __future__ import annotations

import json
import textwrap
from datetime import time, timedelta
from typing import Any, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from borg_ovirt.blocks import KiB
from borg_ovirt.config.connections import EngineSection, RepositorySection
from borg_ovirt.config.load import section_of
from borg_ovirt.config.schema import Config, Retention
from borg_ovirt.config.types import Room
from borg_ovirt.units import format_size

HEADER = """\
# Configuration of borg-ovirt. `# key: value` shows a default, which holds as it is; where nothing is set by
# default an example is shown, and called so. `borg-ovirt config validate` checks the file.
"""

_WIDTH = 100

# What the sample sets, so that a few edits make it work; every other value is commented out.
_SET: dict[tuple[type[BaseModel], str], Any] = {
    (EngineSection, "url"): "https://engine.example.org/ovirt-engine/api",
    (EngineSection, "username"): "backup@internal",
    (EngineSection, "password_file"): "/etc/borg-ovirt/password",
    (EngineSection, "ca_file"): "/etc/borg-ovirt/engine-ca.pem",
    (RepositorySection, "location"): "/srv/borg/vms",
    (RepositorySection, "passphrase_file"): "/etc/borg-ovirt/passphrase",
    (Retention, "daily"): 14,
    (Retention, "weekly"): 8,
    (Retention, "monthly"): 12,
}
_NAMES = {"engines": "main", "repositories": "local"}


def sample() -> str:
    """A configuration with every key in it and its description above."""
    return HEADER + "\n".join(_section(Config, _WIDTH)) + "\n"


def json_schema() -> str:
    """The JSON Schema that editors use to check and complete the file."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
    return json.dumps(schema, indent=2) + "\n"


def reference() -> str:
    """The reference in Markdown: a table for each section."""
    parts = [_REFERENCE_HEAD]
    for path, model in _sections():
        parts.append(f"## {path}\n" if path else "## The whole file\n")
        if model is not Config:
            parts.append(_paragraph(model) + "\n")
        parts.append("| key | what | default |\n|---|---|---|")
        parts.extend(_row(name, field) for name, field in model.model_fields.items())
        parts.append("")
    return "\n".join(parts)


_REFERENCE_HEAD = """\
# Configuration

<!-- Made by `borg-ovirt config reference` from the schema. Edit the schema, not this page. -->

One YAML file, checked against one schema. The first of these that exists is read:

1. `--config FILE`
2. `$BORG_OVIRT_CONFIG`
3. `~/.config/borg-ovirt/config.yaml`
4. `/etc/borg-ovirt/config.yaml`

The command line goes before the environment (`BORG_OVIRT_URL`, `BORG_OVIRT_USERNAME`,
`BORG_OVIRT_PASSWORD_FILE`, `BORG_OVIRT_PASSWORD_COMMAND`, `BORG_OVIRT_PASSWORD`, `BORG_OVIRT_CA_FILE`, and
Borg's own variables), the environment before the file, the file before the defaults. Only an engine named by
`--engine` goes before the environment. An address that is not that of the configured engine takes nothing
from the file: the password of one engine is not for another.

```console
$ borg-ovirt config generate > /etc/borg-ovirt/config.yaml    # a commented sample with every key
$ borg-ovirt config validate                                  # every mistake with file, line and key
$ borg-ovirt config schema > borg-ovirt.schema.json           # JSON Schema for editors
```

Sizes are written `4MiB`, `20 GiB`, `1T` (powers of 1024) or `20MB` (powers of 1000); durations `90s`, `15m`,
`12h`, `7d`, `4w`, `1y`. Unknown keys are mistakes.
"""


def _section(model: type[BaseModel], width: int) -> list[str]:
    """The keys of a section as lines of YAML, at no indent."""
    lines: list[str] = []
    for name, field in model.model_fields.items():
        if model is Config:
            lines.append("")
        lines += [f"# {line}" for line in textwrap.wrap(field.description or "", width - 2)]
        lines += _key(model, name, field, width)
    return lines


def _key(model: type[BaseModel], name: str, field: FieldInfo, width: int) -> list[str]:
    below = section_of(field.annotation)
    if below is None or _is_list(field):
        if (model, name) in _SET:
            return _yaml(name, _SET[model, name])
        lines = [f"# {line}" for line in _yaml(name, _example(field))]
        if _is_default(field):
            return lines
        return [f"{lines[0]}  # example", *lines[1:]]
    if _is_map(field):
        inner = [f"{_NAMES[name]}:", *_indented(_section(below, width - 4))]
    else:
        inner = _section(below, width - 2)
    return [f"{name}:", *_indented(inner)]


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _yaml(name: str, value: Any) -> list[str]:
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return yaml.safe_dump({name: value}, default_flow_style=False, sort_keys=False).splitlines()
    return [f"{name}: {_inline(value)}"]


def _inline(value: Any) -> str:
    """A value on one line of YAML; the mark that ends a bare scalar goes."""
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()


def _is_default(field: FieldInfo) -> bool:
    """Whether what the sample shows holds without being written."""
    return not field.is_required() and (_default(field) not in (None, [], {}) or not field.examples)


def _example(field: FieldInfo) -> Any:
    default = _default(field)
    if _is_default(field):
        return default
    if field.examples:
        return field.examples[0]
    return default


def _default(field: FieldInfo) -> Any:
    if field.is_required():
        return None
    value = field.get_default(call_default_factory=True)
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    if isinstance(value, time):
        return value.strftime("%H:%M")
    if isinstance(value, Room):
        return str(value)
    if isinstance(value, float):
        return f"{value * 100:g}%"
    if isinstance(value, int) and not isinstance(value, bool) and value >= KiB:
        return format_size(value).replace(" ", "")
    return value


def _is_map(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is dict


def _is_list(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is list


def _paragraph(model: type[BaseModel]) -> str:
    return "\n\n".join(" ".join(part.split()) for part in (model.__doc__ or "").split("\n\n"))


def _row(name: str, field: FieldInfo) -> str:
    below = section_of(field.annotation)
    text = " ".join((field.description or "").split()).replace("|", "\\|")
    default = "required" if field.is_required() else "" if below else _shown_default(field)
    if field.examples and not below and not default:
        text += f" Such as `{_inline(field.examples[0])}`."
    return f"| `{name}` | {text} | {default} |"


def _shown_default(field: FieldInfo) -> str:
    default = _default(field)
    if default in (None, []):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _sections() -> list[tuple[str, type[BaseModel]]]:
    """Every section with its dotted path, in the order of the file."""
    found: list[tuple[str, type[BaseModel]]] = [("", Config)]

    def walk(model: type[BaseModel], path: str) -> None:
        for name, field in model.model_fields.items():
            below = section_of(field.annotation)
            if below is None:
                continue
            suffix = ".NAME" if _is_map(field) else "[]" if _is_list(field) else ""
            where = f"{path}.{name}{suffix}" if path else f"{name}{suffix}"
            if all(below is not model for _, model in found):
                found.append((where, below))
                walk(below, where)

    walk(Config, "")
    return found
