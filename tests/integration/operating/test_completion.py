"""The tabulator: repositories, VMs and archives are offered, and nobody waits, is asked, or hears a word."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import tiny
import zygote
from harness import PASSPHRASE

from borg_ovirt.repository.open import open_repository

WEB = "11111111-1111-4111-8111-111111111111"
EVIL = "33333333-3333-4333-8333-333333333333"
NIGHT = datetime(2026, 3, 1, 1, 30, tzinfo=timezone.utc)
ODD = "x-plain-reboot-2026-03-01T013000Z"  # the archive's name is tame, the VM's is not
NAMES = ["web01-2026-03-01T013000Z", "web01-2026-03-02T013000Z"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with two archives of web01, and a configuration that names it."""
    root = tmp_path_factory.mktemp("completion")
    with tiny.new_repository(root) as opened:
        made = [tiny.make(opened, WEB, "web01", NIGHT + timedelta(days=day)) for day in range(2)]
        tiny.make(opened, EVIL, "x\nplain,$(reboot)", NIGHT)
    assert made == NAMES
    repo = root / "repo"
    (root / "passphrase").write_text(PASSPHRASE)
    (root / "passphrase").chmod(0o600)
    (root / "config.yaml").write_text(
        "engines: {main: {url: 'https://engine.example/', username: a@internal, password_file: /x}}\n"
        "repositories:\n"
        f"  local: {{location: {repo}, passphrase_file: {root}/passphrase}}\n"
        f"  asking: {{location: {root}/asking}}\n"
        f"  loud: {{location: {root}/loud, passphrase_command: touch {root}/was-asked}}\n"
        "  offsite: {location: 'ssh://offsite.example/./repo'}\n"
    )
    for name in ("asking", "loud"):
        (root / name).symlink_to(repo)
    return root


def environment(place: Path, words: str, number: int | None = None, **more: str) -> dict[str, str]:
    """As the shell has it; there the word under the cursor is the last one, unless said otherwise."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BORG")}
    number = len(words.split(" ")) - 1 if number is None else number
    return {
        **kept,
        "BORG_OVIRT_CONFIG": str(place / "config.yaml"),
        "BORG_BASE_DIR": str(place / "nobody"),
        "_BORG_OVIRT_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(number),
        **more,
    }


def offered(place: Path, words: str, number: int | None = None, **more: str) -> list[str]:
    code, out, err = zygote.run("borg-ovirt", [], environment(place, words, number, **more))
    assert (code, err) == (0, "")
    return out.split()


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("borg-ovirt list ", ["local", "asking", "loud", "offsite"]),
        ("borg-ovirt vms of", ["offsite"]),
        ("borg-ovirt info lo", ["local::", "loud::"]),
        ("borg-ovirt vms --engine ", ["main"]),
        ("borg-ovirt extract local::", [f"local::{name}" for name in ("web01", *NAMES, ODD)]),
        ("borg-ovirt extract local::web01-2026-03-02", [f"local::{NAMES[1]}"]),
        ("borg-ovirt create local::", ["local::web01"]),
        ("borg-ovirt list local web01-", NAMES),
        ("borg-ovirt diff local::web01 web01-", NAMES),
        ("borg-ovirt hold local::web01 web01-", NAMES),
        ("borg-ovirt info local web01-", NAMES),
        # As bash parts words at colons:
        ("borg-ovirt extract local ::", ["web01", *NAMES, ODD]),
        ("borg-ovirt extract local :: web01-", NAMES),
    ],
)
def test_what_fits_is_offered(place: Path, words: str, what: list[str]) -> None:
    assert offered(place, words) == [f"plain,{word}" for word in what]


def test_a_path_and_borg_repo(place: Path) -> None:
    repo = str(place / "repo")
    known = {"BORG_PASSPHRASE": PASSPHRASE}
    assert offered(place, f"borg-ovirt info {repo}::web01-", **known) == [
        f"plain,{repo}::{name}" for name in NAMES
    ]
    line = "borg-ovirt info ::web01-"
    typed = {"COMP_LINE": line, "COMP_POINT": str(len(line)), "BORG_REPO": repo}
    assert offered(place, "borg-ovirt info :: web01-", **known, **typed) == [f"plain,{n}" for n in NAMES]
    assert offered(place, "borg-ovirt list /somewhere") == ["dir,/somewhere"]


@pytest.mark.parametrize("words", ["asking::", "loud::", "offsite::", "nowhere::", "local::web02"])
def test_where_somebody_would_be_asked_nothing_is_offered(place: Path, words: str) -> None:
    """On a terminal of its own, where Borg would ask; the passphrase command is not run."""
    leading, following = pty.openpty()
    script = "import os, fcntl, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0)"
    begun = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", f"{script}; from borg_ovirt.cli import main; main()"],
        env=environment(place, f"borg-ovirt extract {words}"),
        stdin=following,
        stdout=subprocess.PIPE,
        stderr=following,
    )
    os.close(following)
    assert process.communicate(timeout=60)[0].split() == []
    assert process.returncode == 0
    assert time.monotonic() - begun < 30
    os.set_blocking(leading, False)
    with pytest.raises(OSError, match=r"temporarily unavailable|Input/output"):
        assert os.read(leading, 4096) == b"", "the terminal was spoken to"
    os.close(leading)
    assert not (place / "was-asked").exists()


def test_a_repository_in_use_is_read_and_nothing_is_written(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BORG_BASE_DIR", str(place / "home"))
    monkeypatch.setenv("BORG_PASSPHRASE", PASSPHRASE)
    with open_repository(str(place / "repo"), write=True):
        before = sorted((place / "repo").rglob("*"))
        assert "plain,local::web01" in offered(place, "borg-ovirt extract local::")
        assert sorted((place / "repo").rglob("*")) == before
    assert not list((place / "nobody").rglob("location")), "Borg remembered where the repository is"


def test_it_is_over_after_a_moment(place: Path) -> None:
    """A commit that is not complete would be waited for: half a minute."""
    marks = sorted((place / "repo").glob("index.*"), key=lambda path: int(path.suffix[1:]))
    aside = marks[-1].rename(place / "aside")
    try:
        begun = time.monotonic()
        assert offered(place, "borg-ovirt extract local::") == []
        assert time.monotonic() - begun < 25
    finally:
        aside.rename(marks[-1])


def test_a_broken_configuration_is_no_noise(place: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("repositories: [\n")
    broken = {"BORG_OVIRT_CONFIG": str(tmp_path / "broken.yaml")}
    assert offered(place, "borg-ovirt extract lo", **broken) == ["dir,lo"]
    assert offered(place, "borg-ovirt extract local::", **broken) == []
