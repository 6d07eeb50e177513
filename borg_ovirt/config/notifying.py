"""The section that says who is told of a run, of which, and in which words."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from borg_ovirt.config.connections import only_one, words_of
from borg_ovirt.config.secrets import SecretSource
from borg_ovirt.config.section import Section, Words

Job = Literal["create", "prune", "verify", "report"]
Event = Literal["failure", "warning", "recovery", "always"]

PLACEHOLDERS = ("job", "status", "machine", "started", "took", "summary", "problems", "repositories")
TITLE = "borg-ovirt $job on $machine: $status"
BODY = "$summary\n\n$problems"
_PLACEHOLDER = re.compile(r"\$(?:\$|\{(\w+)\}|(\w+))?")


class Notification(Section):
    """Somebody to be told, through Apprise (the extra `notify`): mail, chat, push, web hook. One message a
    run."""

    url: SecretStr | None = Field(
        None,
        description="Apprise URL. One that holds a token or a password belongs into a file.",
        examples=["mailto://localhost:25?from=backup@example.org&to=admin@example.org"],
    )
    url_file: str | None = Field(
        None, description="File whose first line is the URL.", examples=["/etc/borg-ovirt/notify-url"]
    )
    url_command: Words | None = Field(
        None, description="Command that prints the URL.", examples=["pass show ntfy/url"]
    )
    url_credential: str | None = Field(
        None, description="Name of a systemd credential.", examples=["notify-url"]
    )
    when: list[Event] = Field(
        ["failure", "recovery"],
        min_length=1,
        description="failure, warning: how the run ended. recovery: the first that did not fail after one "
        "that did. always: every run.",
    )
    jobs: list[Job] = Field(
        ["create", "prune", "verify"],
        min_length=1,
        description="Of which runs over the configuration; report: gets what `report --mail` sends.",
    )
    title: str = Field(TITLE, description=f"The title; {', '.join('$' + name for name in PLACEHOLDERS)}.")
    body: str = Field(BODY, description="The text; the same words in it.")

    @field_validator("title", "body")
    @classmethod
    def _known_words(cls, value: str) -> str:
        for match in _PLACEHOLDER.finditer(value):
            name = match[1] or match[2]
            if match[0] != "$$" and name not in PLACEHOLDERS:
                known = ", ".join(f"${word}" for word in PLACEHOLDERS)
                raise ValueError(f"{match[0]} is none of {known} ($$ is a dollar sign)")
        return value

    @model_validator(mode="after")
    def _one_url(self) -> Notification:
        only_one(self, "url", "url_file", "url_command", "url_credential")
        if self.url is None and not self.source.given:
            raise ValueError("no URL: give url, url_file, url_command or url_credential")
        return self

    @property
    def source(self) -> SecretSource:
        """Where the URL is, if it is not written here."""
        command = words_of(self.url_command)
        return SecretSource("URL of a notification", self.url_file, command, credential=self.url_credential)

    def reveal(self) -> str:
        """The URL, a secret; `ConfigError` if it cannot be read."""
        return self.url.get_secret_value() if self.url is not None else self.source.reveal()
