"""The command line before the environment before the configuration before the default."""

from __future__ import annotations

import pytest

from borg_ovirt.config.load import parse
from borg_ovirt.config.schema import Config
from borg_ovirt.config.secrets import SecretSource
from borg_ovirt.config.settings import EngineOverrides, engine_settings, repository_settings
from borg_ovirt.errors import ConfigError, UsageError

ONE = parse(
    """
engines:
  main:
    url: https://main.example.org
    username: backup@internal
    password_file: /main/password
    ca_file: /main/ca.pem
""",
    "c.yaml",
)
TWO = parse(
    """
engines:
  main: {url: https://main.example.org, username: backup@internal, password_file: /main/password}
  lab: {url: https://lab.example.org, username: lab@internal, password_command: lab-password}
""",
    "c.yaml",
)

ENVIRONMENT = {"BORG_OVIRT_URL": "https://env", "BORG_OVIRT_USERNAME": "env"}


def test_the_only_engine_of_the_configuration_is_meant() -> None:
    settings = engine_settings(ONE, EngineOverrides(), None, {})
    assert (settings.url, settings.username) == ("https://main.example.org", "backup@internal")
    assert settings.password is not None
    assert settings.password.file == "/main/password"
    assert settings.ca_file == "/main/ca.pem"


def test_the_environment_goes_before_the_configuration() -> None:
    environment = {"BORG_OVIRT_USERNAME": "admin@internal", "BORG_OVIRT_PASSWORD": "x"}
    settings = engine_settings(ONE, EngineOverrides(), None, environment)
    assert settings.url == "https://main.example.org"
    assert settings.username == "admin@internal"
    assert settings.password is not None
    assert settings.password.variable == "BORG_OVIRT_PASSWORD"


def test_the_command_line_goes_before_the_environment() -> None:
    environment = {
        "BORG_OVIRT_URL": "https://env",
        "BORG_OVIRT_USERNAME": "env",
        "BORG_OVIRT_PASSWORD_FILE": "/env",
    }
    given = EngineOverrides(username="cli", password=SecretSource("password", descriptor=3))
    settings = engine_settings(Config(), given, None, environment)
    assert (settings.url, settings.username) == ("https://env", "cli")
    assert settings.password is not None
    assert settings.password.descriptor == 3


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({"PASSWORD_FILE": "/f", "PASSWORD_COMMAND": "c", "PASSWORD": "p"}, "file"),
        ({"PASSWORD_COMMAND": "c", "PASSWORD": "p"}, "command"),
        ({"PASSWORD": "p"}, "variable"),
    ],
)
def test_of_several_passwords_of_the_environment_one_is_taken(
    environment: dict[str, str], place: str
) -> None:
    variables = {f"BORG_OVIRT_{name}": value for name, value in environment.items()}
    settings = engine_settings(ONE, EngineOverrides(), None, variables)
    assert settings.password is not None
    assert getattr(settings.password, place) is not None


def test_another_engine_never_gets_the_configured_password() -> None:
    for given, environment in [
        (EngineOverrides(url="https://other", username="u"), {}),
        (EngineOverrides(username="u"), {"BORG_OVIRT_URL": "https://other/ovirt-engine/api"}),
    ]:
        settings = engine_settings(ONE, given, None, environment)
        assert settings.password is None
        assert settings.ca_file is None


def test_the_same_engine_written_otherwise_keeps_its_settings() -> None:
    given = EngineOverrides(url="main.example.org")
    settings = engine_settings(ONE, given, None, {})
    assert settings.password is not None


def test_an_engine_named_on_the_command_line_goes_before_the_environment() -> None:
    environment = {
        "BORG_OVIRT_URL": "https://env",
        "BORG_OVIRT_USERNAME": "env",
        "BORG_OVIRT_CA_FILE": "/env/ca",
    }
    settings = engine_settings(TWO, EngineOverrides(), "lab", environment)
    assert (settings.url, settings.username) == ("https://lab.example.org", "lab@internal")
    assert settings.password is not None
    assert settings.password.command == "lab-password"
    assert settings.ca_file == "/env/ca"


def test_with_several_engines_one_must_be_chosen() -> None:
    with pytest.raises(ConfigError, match="Several engines are configured: main, lab"):
        engine_settings(TWO, EngineOverrides(), None, {})
    default = TWO.model_copy(update={"default_engine": "lab"})
    assert engine_settings(default, EngineOverrides(), None, {}).url == "https://lab.example.org"
    with pytest.raises(ConfigError, match="No engine is named prod"):
        engine_settings(TWO, EngineOverrides(), "prod", {})


def test_what_is_nowhere_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="No engine is given"):
        engine_settings(Config(), EngineOverrides(), None, {})
    with pytest.raises(UsageError, match="No user name"):
        engine_settings(Config(), EngineOverrides(url="https://e"), None, {})


REPOSITORIES = parse(
    """
repositories:
  offsite:
    location: ssh://borg@offsite/./vms
    compression: zstd,3
    passphrase_command: [pass, show, borg]
    lock_wait: 10m
    rate_limit: 10MiB
    checkpoint_interval: 10m
""",
    "c.yaml",
)


@pytest.mark.parametrize("repo", ["offsite", "ssh://borg@offsite/./vms"])
def test_a_repository_is_known_by_name_and_by_location(repo: str) -> None:
    settings = repository_settings(REPOSITORIES, repo)
    assert settings.location == "ssh://borg@offsite/./vms"
    assert settings.name == "offsite"
    assert settings.compression == "zstd,3"
    assert settings.lock_wait == 600
    assert settings.rate_limit == 10 << 20
    assert settings.checkpoint_interval == 600
    assert settings.passphrase is not None
    assert settings.passphrase.command == ("pass", "show", "borg")


def test_options_go_before_the_configured_repository() -> None:
    settings = repository_settings(REPOSITORIES, "offsite", compression="lz4", lock_wait=0.0, rsh="ssh -4")
    assert (settings.compression, settings.lock_wait, settings.rsh) == ("lz4", 0.0, "ssh -4")


def test_any_other_word_is_a_location() -> None:
    settings = repository_settings(REPOSITORIES, "./offsite", remote_path="borg1")
    assert settings.location == "./offsite"
    assert settings.passphrase is None
    assert settings.remote_path == "borg1"
