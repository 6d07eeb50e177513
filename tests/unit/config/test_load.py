"""The configuration is found where the documentation says, and every mistake names file, line and key."""

from __future__ import annotations

from datetime import time, timedelta
from pathlib import Path

import pytest

from borg_ovirt.config.load import InvalidConfig, find, load, parse
from borg_ovirt.config.schema import Config
from borg_ovirt.errors import ConfigError


def problems(text: str) -> list[str]:
    with pytest.raises(InvalidConfig) as caught:
        parse(text, "c.yaml")
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "engines:\n  main:\n    url: https://e\n    username: me\n    cafile: /ca\n",
            "c.yaml:5: engines.main.cafile: there is no such key; did you mean ca_file?",
        ),
        ("engines:\n  main:\n    url: https://e\n", "c.yaml:2: engines.main.username: is missing"),
        ("policy:\n\n  mode: imge\n", "c.yaml:3: policy.mode: 'imge' is not one of 'image' or 'chain'"),
        (
            "policy: {readers: 9}",
            "c.yaml:1: policy.readers: input should be less than or equal to 8",
        ),
        ("policy:\n  readers: many", "valid integer"),
        ("policy: image", "c.yaml:1: policy: should hold keys of its own"),
        ("- policy", "c.yaml:1: should hold keys of its own"),
        ("vms:\n  include:\n    tags: backup", "c.yaml:3: vms.include.tags: should be a list"),
        ("vms:\n  include:\n    tags:\n    - a\n    - [b]", "c.yaml:5: vms.include.tags[2]: "),
        ("limits:\n  until: 6 o'clock", 'c.yaml:2: limits.until: "6 o\'clock" is not a time of day'),
        ("limits:\n  until: 25:00", "c.yaml:2: limits.until: '25:00' is not a time of day"),
        (
            "limits:\n  min_free: lots",
            "c.yaml:2: limits.min_free: 'lots' is not a size such as 20GiB",
        ),
        ("policy:\n  sample: 5", "c.yaml:2: policy.sample: '5' is not a share"),
        ("policy:\n  full_every: often", "c.yaml:2: policy.full_every: 'often' is not a duration"),
        (
            "retention:\n  gone_vms: drop",
            "c.yaml:2: retention.gone_vms: 'drop' is not keep, prune, or a duration",
        ),
        ("retention:\n  daily: -1", "c.yaml:2: retention.daily: "),
        (
            "repositories:\n  r:\n    location: /r\n    chunk_size: 5MiB",
            "c.yaml:4: repositories.r.chunk_size: must be a power of two from 64KiB to 16MiB",
        ),
        (
            "repositories:\n  'a/b':\n    location: /r",
            "c.yaml:2: repositories.a/b: string should match",
        ),
        (
            "engines:\n  m:\n    url: e\n    username: u\n    password_fd: 3\n    password_file: /p",
            "c.yaml:2: engines.m: give one of password_file, password_command, password_fd, "
            "password_credential, not password_file and password_fd",
        ),
        (
            "engines:\n  m:\n    url: e\n    username: u\n    ca_pem: /etc/ca.pem",
            "c.yaml:5: engines.m.ca_pem: is not PEM text; for a path use ca_file",
        ),
        ("default_engine: x", "c.yaml:1: default_engine: no engine is named x"),
        ("overrides:\n- vms: {}", "c.yaml:2: overrides[1]: vms names no VM"),
        (
            "overrides:\n- vms: {names: [a]}\n- vms: {names: [b]}\n  policy: {freze: never}",
            "c.yaml:4: overrides[2].policy.freze: there is no such key; did you mean freeze?",
        ),
        ("hooks:\n- when: sometimes\n  command: x", "c.yaml:2: hooks[1].when: 'sometimes' is not one of"),
        ("policy:\n  mode: image\n  mode: chain", "c.yaml:3: policy.mode: given twice (first on line 2)"),
        ("policy: [", "c.yaml:1: "),
        ("a: b: c", "c.yaml:1: mapping values are not allowed here"),
        ("\tpolicy: {}", "c.yaml:1: "),
        ("a: &a [*a]", "c.yaml:1: nested too deep, or an alias refers to itself"),
        ("hooks: !!python/object/apply:os.system ['true']", "c.yaml:1: hooks"),
    ],
)
def test_a_mistake_is_told_with_file_line_and_key(text: str, problem: str) -> None:
    (told,) = problems(text)
    assert problem in told
    assert told.startswith("c.yaml:")


def test_all_mistakes_are_told_and_the_message_counts_them() -> None:
    with pytest.raises(InvalidConfig) as caught:
        parse("polcy: {}\nlimits: {util: 1}\n", "c.yaml")
    assert len(caught.value.problems) == 2
    assert caught.value.message == f"{caught.value.problems[0]} (and 1 more)"
    assert "config validate" in (caught.value.hint or "")


def test_scalars_are_what_was_typed_not_what_yaml_makes_of_them() -> None:
    config = parse(
        "vms: {include: {names: [no, 1.10, 0123, 1_000]}}\nlimits: {until: 16:30, rate_limit: 1G}\n"
        "policy: {strict: yes, readers: 8, sample: all, full_every: 90d}",
        "c.yaml",
    )
    assert config.vms.include.names == ["no", "1.10", "0123", "1_000"]
    assert config.limits.until == time(16, 30)
    assert config.limits.rate_limit == 1 << 30
    assert config.policy.strict is True
    assert config.policy.readers == 8
    assert config.policy.sample == 1.0
    assert config.policy.full_every == timedelta(days=90)


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "engines:\npolicy:\n  # mode: chain\nvms:\n  include:\n"]
)
def test_what_is_empty_or_commented_out_is_the_default(text: str) -> None:
    assert parse(text, "c.yaml") == Config()


def test_null_turns_the_guard_off() -> None:
    assert parse("limits: {min_free: null}", "c.yaml").limits.min_free is None
    room = Config().limits.min_free
    assert room is not None
    assert room.bytes_of(1000) == 100
    fixed = parse("limits: {min_free: 20GiB}", "c.yaml").limits.min_free
    assert fixed is not None
    assert fixed.bytes_of(1000) == 20 << 30


def test_the_first_file_that_exists_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = tmp_path / "etc.yaml"
    monkeypatch.setattr("borg_ovirt.config.load.SYSTEM_FILE", system)
    home = {"XDG_CONFIG_HOME": str(tmp_path / "home")}
    assert find(None, home) is None
    system.write_text("")
    assert find(None, home) == system
    user = tmp_path / "home" / "borg-ovirt" / "config.yaml"
    user.parent.mkdir(parents=True)
    user.write_text("")
    assert find(None, home) == user
    named = tmp_path / "named.yaml"
    named.write_text("")
    assert find(None, {**home, "BORG_OVIRT_CONFIG": str(named)}) == named
    given = tmp_path / "given.yaml"
    given.write_text("")
    assert find(str(given), {**home, "BORG_OVIRT_CONFIG": str(named)}) == given


def test_a_file_that_was_named_has_to_exist_and_be_readable(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load(str(tmp_path / "none.yaml"))
    (tmp_path / "bad.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(str(tmp_path / "bad.yaml"))
    (tmp_path / "bell.yaml").write_bytes(b"a: \x07")
    with pytest.raises(ConfigError, match=r"bell\.yaml"):
        load(str(tmp_path / "bell.yaml"))


def test_loading_tells_which_file_it_was(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("policy: {freeze: never}")
    loaded = load(str(path))
    assert loaded.path == path
    assert loaded.config.policy.freeze == "never"


def test_any_key_can_be_set_from_the_command_line() -> None:
    settings = [
        "policy.full_every=7d",
        "vms.exclude.tags=[scratch, test]",
        "engines.main.url=https://engine.example.org",
        "engines.main.username=backup@internal",
        "policy.strict=no",
        "policy.freeze=never",
    ]
    config = parse("policy: {full_every: 30d, strict: yes}\nvms:\n", "f.yaml", settings)
    assert config.policy.full_every == timedelta(days=7)
    assert config.vms.exclude.tags == ["scratch", "test"]
    assert config.engines["main"].username == "backup@internal"
    assert (config.policy.strict, config.policy.freeze) == (False, "never")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("policy.full_every", "write KEY=VALUE"),
        ("policy..x=1", "write KEY=VALUE"),
        ("policy.full_evry=7d", "--set policy.full_evry: there is no such key; did you mean full_every?"),
        ("policy.freeze=often", "--set policy.freeze: 'often' is not one of"),
        ("policy.freeze.x=1", "--set policy.freeze.x=1: there is no such key"),
        ("policy={", "--set policy:1: expected the node content"),
        ("x=&x [*x]", "an alias refers to itself"),
        ("policy={? [a, b] : c}", "--set policy:1: a key: a key must be a word"),
        ('policy.freeze="\\UFFFFFFFF"', "--set policy.freeze"),
        ("policy.sample=" + "[" * 5000, "--set policy.sample: nested too deep"),
    ],
)
def test_a_setting_that_is_wrong_is_named(setting: str, words: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        parse("policy: {freeze: auto}\n", "f.yaml", [setting])
    assert words in caught.value.problems[0]


def test_a_setting_of_a_section_goes_before_the_files_keys() -> None:
    config = parse("policy: {full_every: 30d, strict: yes}\n", "f.yaml", ["policy={full_every: 7d}"])
    assert (config.policy.full_every, config.policy.strict) == (timedelta(days=7), False)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("? [a, b]\n: c", "c.yaml:1: a key: a key must be a word"),
        ("policy:\n  ? {a: b}\n  : c", "c.yaml:2: policy: a key must be a word"),
        ("policy: {full_every: " + "9" * 400 + "y}", "is longer than a thousand years"),
        ("policy: {full_every: 2000y}", "is longer than a thousand years"),
        ("limits: {rate_limit: " + "9" * 400 + "}", "is more than any disk holds"),
        ("limits: {min_free: 9999999PiB}", "is not a size such as 20GiB"),
        ('policy: {freeze: "\\UFFFFFFFF"}', "c.yaml: "),
        ('policy: {freeze: "a\\0"}', "c.yaml:1: policy.freeze: holds a NUL character"),
        ("[" * 100_000, "nested too deep"),
        ("policy: {freeze: " + "x" * 100_000 + "}", "xxx... is not one of"),
        ("x" * 1000 + ": 1", "there is no such key"),
        ("e[]ngines: 1", "c.yaml:1: e[]ngines: there is no such key; did you mean engines?"),
        ("str: 1", "c.yaml:1: str: there is no such key"),
        ("'': 1", "there is no such key"),
    ],
    ids=lambda text: text[:20],
)
def test_hostile_text_is_a_mistake_like_any_other(text: str, problem: str) -> None:
    (told,) = problems(text)
    assert problem in told
    assert len(told) < 1500


@pytest.mark.parametrize(
    "text", ["{" + "a," * 200_000 + "}", "- [" + "{}," * 150_000 + "]", "- a\n" * 100_000]
)
def test_a_file_of_endless_values_is_read_so_far_and_no_further(text: str) -> None:
    (told,) = problems(text)
    assert "more than 40000 keys and values" in told


@pytest.mark.parametrize("text", ["a: 1\n" * 15_000, "? [a]\n" * 5_000, '- "\\0"\n' * 15_000, "a{}: 1\n"])
def test_no_more_mistakes_are_told_than_anybody_reads(text: str) -> None:
    if "{}" in text:
        text = "".join(text.format(number) for number in range(10_000))
    assert len(problems(text)) == 50


def test_a_billion_laughs_end_at_once() -> None:
    """Ten levels of ten aliases each: all in all ten thousand million values, of which none is made."""
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 11)]
    (told,) = problems("\n".join(lines))
    assert "more than 40000 values" in told


def test_a_file_without_end_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"#" * (513 << 10))
    with pytest.raises(ConfigError, match="more than 512 KiB"):
        load(str(path))


def test_many_mistakes_are_told_in_time() -> None:
    """Words are found for the first ones only."""
    assert len(problems("".join(f"key{n}: 1\n" for n in range(2000)))) == 50


@pytest.mark.parametrize("size", ["32KiB", "32MiB", "3MiB"])
def test_chunks_are_of_a_size_that_borg_stores_well(size: str) -> None:
    (problem,) = problems(f"repositories: {{r: {{location: /srv/r, chunk_size: {size}}}}}")
    assert "power of two from 64KiB to 16MiB" in problem


def test_the_default_engine_is_one_that_is_there() -> None:
    (problem,) = problems("engines: {a: {url: https://e.example, username: u}}\ndefault_engine: b\n")
    assert problem == "c.yaml:1: default_engine: no engine is named b"


def test_room_is_bytes_or_a_share() -> None:
    share = parse("limits: {min_free: 10%}", "c.yaml").limits.min_free
    assert share is not None
    assert share.bytes_of(1000) == 100
