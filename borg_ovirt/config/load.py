"""Reads the configuration: finds the file, parses the YAML, tells file, line and key of each mistake."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from borg_ovirt.config.restore import RestoreMap
from borg_ovirt.config.schema import Config
from borg_ovirt.errors import ConfigError

SYSTEM_FILE = Path("/etc/borg-ovirt/config.yaml")
VARIABLE = "BORG_OVIRT_CONFIG"
SETTING = "--set"
"""The option that sets a key of the configuration from the command line."""

Key = tuple[str | int, ...]
_LARGEST = 512 << 10
"""Bytes of a configuration: two thousand VMs with rules of their own take less, and a second to read."""
_DEEPEST = 20
_MOST = 40_000
"""Keys and values as written, and values as often as aliases repeat them: some seconds to read, no more."""
_TOLD = 50
"""Mistakes that are told: finding words for each takes time, and reading them more."""
_LONGEST = 100
"""Characters of a wrong value that are shown."""


class InvalidConfig(ConfigError):
    """All that is wrong with a file; the message is the first mistake and counts the others."""

    def __init__(self, problems: list[str]) -> None:
        more = len(problems) - 1
        super().__init__(
            problems[0] + (f" (and {more} more)" if more else ""),
            "`borg-ovirt config validate` lists every mistake." if more else None,
        )
        self.problems = problems


@dataclass(frozen=True)
class Loaded:
    """A configuration and the file it came from; None when there is no file and the defaults hold."""

    config: Config
    path: Path | None


def find(given: str | None = None, environment: Mapping[str, str] | None = None) -> Path | None:
    """The file to read: as given, as the variable says, the user's, the system's; None when there is none.

    A file that was named has to exist.
    """
    environment = os.environ if environment is None else environment
    named = given or environment.get(VARIABLE)
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise ConfigError(f"The configuration file {path} does not exist.")
        return path
    home = environment.get("XDG_CONFIG_HOME") or "~/.config"
    user_file = Path(home).expanduser() / "borg-ovirt" / "config.yaml"
    return next((path for path in (user_file, SYSTEM_FILE) if path.is_file()), None)


def load(given: str | None = None, settings: Sequence[str] = ()) -> Loaded:
    """Find and read the configuration; all defaults when there is no file.

    `settings` are words such as `policy.full_every=7d`; each goes before the file's key.
    """
    path = find(given)
    if path is None:
        return Loaded(parse("", SETTING, settings), None)
    return Loaded(parse(_text_of(path, "configuration"), str(path), settings), path)


def parse(text: str, file: str, settings: Sequence[str] = ()) -> Config:
    """The configuration that `text` and `settings` hold; `file` is its name in messages.

    Raises `InvalidConfig`.
    """
    tree = _Tree(file)
    data = tree.read(text)
    data = {} if data is None else data
    for setting in settings:
        tree.set(data, setting)
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        problems = tree.problems + [tree.explain(mistake) for mistake in error.errors()[:_TOLD]]
        raise InvalidConfig(problems) from None


class _TooMany(Exception):
    """More keys and values than anybody configures."""


class _Bounded(yaml.SafeLoader):
    """Reads so many keys and values and no more: the time it takes is bounded."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._left = _MOST

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise _TooMany
        return super().compose_node(parent, index)


def load_map(name: str) -> RestoreMap:
    """The mapping file of that name, with the same care. Raises `ConfigError`."""
    path = Path(name).expanduser()
    tree = _Tree(str(path), RestoreMap)
    data = tree.read(_text_of(path, "mapping"))
    try:
        return RestoreMap.model_validate({} if data is None else data)
    except ValidationError as error:
        raise InvalidConfig([tree.explain(mistake) for mistake in error.errors()[:_TOLD]]) from None


def _text_of(path: Path, what: str) -> str:
    try:
        with path.open("rb") as stream:
            data = stream.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise ConfigError(f"{path}: a {what} of more than {_LARGEST >> 10} KiB is not read.")
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: the file is not UTF-8 text.") from None
    except OSError as error:
        raise ConfigError(f"The {what} file {path} cannot be read: {error.strerror}.") from None


class _Tree:
    """YAML as plain values, and the line of every key.

    Scalars stay the text that was typed (`16:30`, `1.10` and `no` are not numbers or booleans here, whatever
    YAML 1.1 thinks); the schema knows what each should be.
    """

    def __init__(self, file: str, model: type[BaseModel] = Config) -> None:
        self._file = file
        self._model = model
        self._lines: dict[Key, int] = {}
        self._set: dict[Key, str] = {}
        self._left = _MOST
        self.problems: list[str] = []

    def read(self, text: str) -> Any:
        """Parse; what PyYAML cannot take, or takes for ever, and a key given twice are mistakes."""
        try:
            root = yaml.compose(text, Loader=_Bounded)
            data = None if root is None else self._value(root, ())
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 1
            raise InvalidConfig([f"{self._file}:{line}: {error.problem or error.context}"]) from None
        except _TooMany:
            raise InvalidConfig([f"{self._file}: more than {_MOST} keys and values"]) from None
        except RecursionError:
            raise InvalidConfig([f"{self._file}: nested too deep"]) from None
        except yaml.YAMLError as error:
            raise InvalidConfig([f"{self._file}: {' '.join(str(error).split())}"]) from None
        except (ValueError, OverflowError) as error:  # an escape of a character that there is not
            raise InvalidConfig([f"{self._file}: {error}"]) from None
        if self.problems:
            raise InvalidConfig(self.problems)
        return data

    def _mistake(self, line: int, key: Key | str, what: str) -> None:
        self.problems.append(f"{self._file}:{line}: {key if isinstance(key, str) else _dotted(key)}: {what}")
        if len(self.problems) == _TOLD:
            raise InvalidConfig(self.problems)

    def set(self, data: Any, setting: str) -> None:
        """Put the value of `a.b.c=value` in its place; the value is written as in the file."""
        name, equals, text = setting.partition("=")
        key: Key = tuple(name.split("."))
        if not equals or not all(key):
            raise InvalidConfig([f"{SETTING} {setting}: write KEY=VALUE, such as policy.full_every=7d"])
        value = _Tree(f"{SETTING} {name}").read(text)
        section = data
        for part in key[:-1]:
            if isinstance(section, dict):
                section[part] = section.get(part) or {}
                section = section[part]
        if not isinstance(section, dict):
            raise InvalidConfig([f"{SETTING} {setting}: there is no such key"])
        section[key[-1]] = value
        self._set[key] = name

    def _value(self, node: yaml.Node, key: Key) -> Any:
        line = node.start_mark.line + 1
        self._lines.setdefault(key, line)
        self._left -= 1
        if len(key) > _DEEPEST:
            raise InvalidConfig([f"{self._file}:{line}: nested too deep, or an alias refers to itself"])
        if self._left < 0:
            raise InvalidConfig([f"{self._file}:{line}: more than {_MOST} values, with what aliases repeat"])
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, key)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(child, (*key, index)) for index, child in enumerate(node.value)]
        if node.tag == "tag:yaml.org,2002:null":
            return None
        if "\0" in node.value:
            self._mistake(line, key, "holds a NUL character")
        return node.value

    def _mapping(self, node: yaml.MappingNode, key: Key) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name_node, value_node in node.value:
            line = name_node.start_mark.line + 1
            if not isinstance(name_node, yaml.ScalarNode):
                self._mistake(line, key or "a key", "a key must be a word")
                continue
            name = str(name_node.value)
            below = (*key, name)
            if below in self._lines:
                self._mistake(line, below, f"given twice (first on line {self._lines[below]})")
                continue
            self._lines[below] = line
            if _is_empty(value_node):
                continue  # a section whose keys are all commented out, as in the generated sample
            values[name] = self._value(value_node, below)
        return values

    def explain(self, mistake: Any) -> str:
        """One mistake of the schema in words: `file:line: key: what is wrong`."""
        *above, last = mistake["loc"] or ("",)
        key: Key = tuple(part for part in above if not _is_branch(part))
        if mistake["type"] == "extra_forbidden" or not _is_branch(last):  # an unknown key may look like one
            key += (last,) if last != "" else ()
        for end in range(len(key), 0, -1):
            if key[:end] in self._set:
                return f"{SETTING} {_dotted(key)}: {_words(mistake, key, self._model)}"
        where = key
        while where and where not in self._lines:
            where = where[:-1]
        line = self._lines.get(where, 1)
        prefix = f"{self._file}:{line}: {_dotted(key)}: " if key else f"{self._file}:{line}: "
        return prefix + _words(mistake, key, self._model)


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.value == "" and node.style is None


def _is_branch(part: str | int) -> bool:
    """Whether pydantic means a branch of a union or the key of a dict, not a key of ours."""
    return isinstance(part, str) and (part == "[key]" or "[" in part or part in ("str", "literal"))


def _dotted(key: Key) -> str:
    text = ""
    for part in key:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _words(mistake: Any, key: Key, model: type[BaseModel]) -> str:
    kind, given = mistake["type"], mistake["input"]
    if kind == "extra_forbidden":
        return "there is no such key" + _did_you_mean(key, model)
    if kind == "missing":
        return "is missing"
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return "should hold keys of its own" + ("" if given is not None else ", but is empty")
    if kind == "list_type":
        return "should be a list (`- ...` lines, or [a, b])"
    if kind == "literal_error":
        return f"{_shown(given)} is not one of {mistake['ctx']['expected']}"
    if kind == "value_error":
        return str(mistake["ctx"]["error"])
    message: str = mistake["msg"]
    return f"{message[0].lower()}{message[1:]}" + (
        "" if isinstance(given, dict | list) else f", not {_shown(given)}"
    )


def _shown(given: Any) -> str:
    text = repr(given)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _did_you_mean(key: Key, model: type[BaseModel]) -> str:
    if not key:  # the whole document is meant
        return ""
    close = difflib.get_close_matches(str(key[-1])[:_LONGEST], _known_keys(key[:-1], model), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _known_keys(section: Key, root: type[BaseModel]) -> list[str]:
    """The keys of the section at `section`, found by walking down the models."""
    model: type[BaseModel] | None = root
    for part in section:
        field = model.model_fields.get(str(part)) if model else None
        if field is None:
            continue  # a name of the user's choice, or an index: the model stays
        model = section_of(field.annotation)
    return list(model.model_fields) if model else []


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section's model in a field's type: directly, or as value of a list, dict or optional."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        if found := section_of(inner):
            return found
    return None
