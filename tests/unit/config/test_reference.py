"""What is made from the schema is complete, valid, and what the documentation shows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from pydantic import BaseModel

from borg_ovirt.cli.boundary import run
from borg_ovirt.config.load import parse, section_of
from borg_ovirt.config.reference import json_schema, reference, sample
from borg_ovirt.config.schema import Config

DOCS = Path(__file__).parents[3] / "docs"


def sections(model: type[BaseModel] = Config) -> set[type[BaseModel]]:
    below = {section_of(field.annotation) for field in model.model_fields.values()}
    found = {model}
    for section in below - {None}:
        assert section is not None
        found |= sections(section)
    return found


KEYS = {name for model in sections() for name in model.model_fields} - {"overrides", "hooks"}


def test_the_sample_is_valid_as_it_is() -> None:
    config = parse(sample(), "sample.yaml")
    assert set(config.engines) == {"main"}
    assert set(config.repositories) == {"local"}
    assert config.policy == Config().policy
    assert not config.retention.keeps_everything


def test_every_line_of_the_sample_is_valid_when_uncommented() -> None:
    lines = sample().splitlines()
    switches = {
        number: match[1]
        for number, line in enumerate(lines)
        if (match := re.match(r" *# ([a-z_]+): ", line)) and match[1] in KEYS - {"default_engine", "ca_pem"}
    }
    assert len(switches) > 40
    for number, key in switches.items():
        # Of password_file, password_command ... one may stand at a time.
        rival = re.compile(rf" *{key.split('_')[0]}_") if key.startswith("pass") else re.compile("$.")
        tried = [line for line in lines[:number] if not rival.match(line)]
        tried += [lines[number].replace("# ", "", 1)]
        tried += [line for line in lines[number + 1 :] if not rival.match(line)]
        parse("\n".join(tried), f"line {number + 1}")


def test_the_sample_calls_examples_so_and_shows_every_other_default_as_it_is() -> None:
    """Every commented line without that word changes nothing when the mark goes."""
    lines = sample().splitlines()
    quiet = [n for n, line in enumerate(lines) if (m := re.match(r" *# ([a-z_]+): ", line)) and m[1] in KEYS]
    shown = [n for n in quiet if not lines[n].endswith("# example")]
    assert 10 < len(shown) < len(quiet) - 10
    for number in shown:
        changed = [*lines[:number], lines[number].replace("# ", "", 1), *lines[number + 1 :]]
        assert parse("\n".join(changed), "with").model_dump() == parse(sample(), "without").model_dump(), (
            lines[number]
        )
    assert [n for n in quiet if n not in shown and "full_every" in lines[n]]


def test_the_lists_of_the_sample_are_valid_when_uncommented() -> None:
    text = sample()
    start = text.index("# overrides:")
    block = re.sub(r"(?m)^# ([ -]|overrides:|hooks:|notify:)", r"\1", text[start:])
    config = parse(text[:start] + block, "sample.yaml")
    assert config.overrides[0].policy.freeze == "require"
    assert config.hooks[0].when == "after-run"
    assert len(config.notify) == 4


def test_every_key_is_in_sample_and_reference() -> None:
    text, page = sample(), reference()
    for model in sections():
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name} has no description"
            assert re.search(rf"\b{name}:", text), name
            assert f"| `{name}` |" in page


def test_the_documentation_is_in_sync_with_the_schema() -> None:
    assert (DOCS / "configuration.md").read_text() == reference(), (
        "docs/configuration.md is stale: borg-ovirt config reference > docs/configuration.md"
    )


def test_the_json_schema_accepts_the_sample_and_refuses_typing_errors() -> None:
    schema = json.loads(json_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    data = yaml.safe_load(sample())
    data = {key: value for key, value in data.items() if value is not None}
    data["vms"] = {"include": {"names": ["a"]}}
    data["policy"] = {"full_every": "90d", "sample": "5%"}
    data["limits"] = {"until": "06:00", "min_free": "10%"}
    jsonschema.validate(data, schema)
    data["policy"] = {"mod": "image"}
    with pytest.raises(jsonschema.ValidationError, match="mod"):
        jsonschema.validate(data, schema)


def test_the_commands_print_them(capsys: pytest.CaptureFixture[str]) -> None:
    for word, text in [("generate", sample()), ("schema", json_schema()), ("reference", reference())]:
        assert run(["config", word]) == 0
        assert capsys.readouterr().out == text


def test_validate_lists_every_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("polcy: {}\nlimits: {util: 1}\n")
    assert run(["config", "validate", "--config", str(path)]) == 3
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert run(["config", "validate", "--json", "--config", str(path)]) == 3
    told = json.loads(capsys.readouterr().out)
    assert told["valid"] is False
    assert len(told["problems"]) == 2


def test_validate_shows_what_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(sample())
    assert run(["config", "validate", "--config", str(path)]) == 0
    assert "valid. Engines: main; repositories: local." in capsys.readouterr().out
    assert run(["config", "validate", "--json", "--config", str(path)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["config"]["retention"]["daily"] == 14
    assert told["config"]["limits"]["min_free"] == "10%"
