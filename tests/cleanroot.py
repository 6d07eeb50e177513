"""`make packages`: from an empty root to a restore, with the lines of docs/installing.md and no others.

For each release: debootstrap makes an empty root, the package is built in one and installed into another,
which is then started with its own systemd. An oVirt in a box runs outside; the network is shared. Needs root,
debootstrap, and minutes.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from ovirtbox.box import MIB, Box, DiskSpec, sha_of

from borg_ovirt.ovirt.session.ca import fingerprint

TREE = Path(__file__).parents[1]
PAGE = TREE / "docs" / "installing.md"
ROOTS = TREE / "build" / "roots"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
QUIET = {
    "DEBIAN_FRONTEND": "noninteractive",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}


def run(*words: str | Path, **more: object) -> subprocess.CompletedProcess[str]:
    """It must succeed; what it says is shown where it does not."""
    done = subprocess.run(
        [str(w) for w in words], text=True, stdin=subprocess.DEVNULL, capture_output=True, **more
    )  # type: ignore[call-overload]
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-60:])
        sys.exit(f"{' '.join(map(str, words))}: {done.returncode}\n{said}")
    return done  # type: ignore[no-any-return]


def empty_root(release: str) -> Path:
    """A root that holds what debootstrap puts there and certificates; made once."""
    root = ROOTS / release
    if not (root / "made").exists():
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        print(f"{release}: debootstrap", flush=True)
        run("debootstrap", "--variant=minbase", "--include=ca-certificates", release, root)
        (root / "made").touch()
    return root


@contextmanager
def layer(release: str, name: str) -> Iterator[Path]:
    """A copy of the empty root that forgets what is done to it."""
    lower, place = empty_root(release), ROOTS / f"{release}-{name}"
    shutil.rmtree(place, ignore_errors=True)
    for part in ("upper", "work", "root"):
        (place / part).mkdir(parents=True)
    options = f"lowerdir={lower},upperdir={place}/upper,workdir={place}/work"
    run("mount", "-t", "overlay", "overlay", "-o", options, place / "root")
    try:
        root = place / "root"
        for name_ in ("resolv.conf", "hosts"):
            shutil.copy(f"/etc/{name_}", root / "etc" / name_)
        shutil.copy(CERTIFICATES, root / CERTIFICATES.relative_to("/"))
        yield root
    finally:
        run("umount", "--lazy", place / "root")
        shutil.rmtree(place, ignore_errors=True)


class Started:
    """The root, started with its own systemd in namespaces of its own, but our network."""

    def __init__(self, root: Path) -> None:
        self.root = root
        flags = ["unshare", "--mount", "--pid", "--fork", "--ipc", "--uts", "--cgroup", "--kill-child"]
        self._outer = subprocess.Popen([*flags, TREE / "tests" / "cleanroot-boot", root])
        self.pid = self._find()

    def _find(self) -> int:
        for _ in range(300):
            children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children").read_text().split()
            if children and os.readlink(f"/proc/{children[0]}/exe").endswith("/systemd"):
                pid = int(children[0])
                if self.shell("systemctl is-system-running --wait", pid=pid).stdout.strip() in (
                    "running",
                    "degraded",
                ):
                    return pid
            time.sleep(0.2)
        self.stop()
        sys.exit("systemd did not start")

    def shell(self, script: str, pid: int | None = None) -> subprocess.CompletedProcess[str]:
        """A root shell inside."""
        inside = [
            "nsenter",
            "--target",
            str(pid or self.pid),
            "--mount",
            "--pid",
            "--ipc",
            "--uts",
            "--cgroup",
        ]
        return subprocess.run(
            [*inside, "chroot", str(self.root), "/bin/bash", "-c", script],
            cwd="/", text=True, stdin=subprocess.DEVNULL, capture_output=True, env={**os.environ, **QUIET},
        )  # fmt: skip

    def stop(self) -> None:
        self._outer.send_signal(signal.SIGKILL)
        self._outer.wait()


def page_lines(block: str) -> list[str]:
    """The commands of a checked block of the page, each with the lines that belong to it."""
    found = re.search(rf"<!-- checked: {block} -->\n```console\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found, block
    return [part for part in re.split(r"^[#$] ", found[1], flags=re.MULTILINE) if part]


class Monitor(HTTPServer):
    """Takes the notifications."""

    def __init__(self) -> None:
        self.pings: list[str] = []
        pings = self.pings

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                pings.append(self.path)
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *words: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


def not_made(directory: str, names: list[str]) -> set[str]:
    """What is not of the source stands at the top; tools/dist is."""
    return {".git", ".venv", "build", "dist"} & set(names) if Path(directory) == TREE else set()


def build(release: str, target: Path) -> Path:
    """The package, built in an empty root."""
    with layer(release, "build") as root:
        source = root / "src"
        shutil.copytree(TREE, source, symlinks=True, ignore=not_made)
        run("mount", "-t", "proc", "proc", root / "proc")
        run("mount", "--bind", "/dev", root / "dev")
        try:
            print(f"{release}: make deb", flush=True)
            run(
                "chroot",
                root,
                "/bin/sh",
                "-c",
                "apt-get update -q; cd /src && tools/deb",
                env={**os.environ, **QUIET},
            )
        finally:
            run("umount", root / "dev")
            run("umount", root / "proc")
        (deb,) = (source / "dist").glob("*.deb")
        return Path(shutil.copy(deb, target))


def try_it(release: str, deb: Path) -> None:
    """The page, in a root that has nothing but systemd, which a machine has."""
    with ExitStack() as stack:
        root = stack.enter_context(layer(release, "run"))
        needed = "apt-get update -q && apt-get install -y -q --no-install-recommends systemd-sysv"
        run("chroot", root, "/bin/sh", "-c", needed, env={**os.environ, **QUIET})
        shutil.copy(deb, root / deb.name)
        box = stack.enter_context(Box.start(Path(tempfile.mkdtemp(prefix="cleanroot-"))))
        vm = box.make_vm("web01", [DiskSpec(64 * MIB)])
        box.fill(box.disks(vm)[0], MIB, 8 * MIB, seed=1)
        user = box.make_user("nightly")  # without any right: init gives it the documented role
        password = Path(user["BORG_OVIRT_PASSWORD_FILE"]).read_text().strip()
        monitor = Monitor()
        places = {
            "https://engine.example.org": box.url,
            "backup@internal": user["BORG_OVIRT_USERNAME"],
            "the password of " + user["BORG_OVIRT_USERNAME"]: password,
            "the password of admin@internal": box.password,
            "AB:CD:...": fingerprint(box.ca_file.read_text()),
            "borg-ovirt_0.1.0-1~debian13_amd64.deb": deb.name,
            "https://monitor.example.org/ID": f"http://127.0.0.1:{monitor.server_port}/ID",
        }
        machine = Started(root)
        stack.callback(machine.stop)
        # The ports of the box are its own, so that doctor at the end of init finds no host: 2.
        for block, may_fail in (("install", "borg-ovirt init"), ("notify", "-")):
            for line in page_lines(block):
                print(f"{release} # {line.splitlines()[0]}", flush=True)
                for theirs, ours in places.items():
                    line = line.replace(theirs, ours)
                done = machine.shell(line)
                if done.returncode and not line.startswith(may_fail):
                    told = machine.shell("journalctl -u 'borg-ovirt*' --no-pager -n 30").stdout
                    sys.exit(f"{done.returncode}\n{done.stdout}\n{done.stderr}\n{told}")
        assert not monitor.pings
        by_the_timer(machine)
        assert monitor.pings == ["/ID/start", "/ID"], monitor.pings
        for unit in ("borg-ovirt-prune", "borg-ovirt-verify", "borg-ovirt-check"):
            done = machine.shell(f"systemctl start {unit} || journalctl -u {unit} --no-pager")
            assert not done.stdout, done.stdout
        files = list((root / "var/lib/borg-ovirt/web01").glob("*.raw"))
        restored = box.disks(box.vm("web01-restored"))
        for same in (*files, *(box.content(disk) for disk in restored)):
            assert sha_of(same) == sha_of(box.content(box.disks(vm)[0])), same
        assert len(files) == len(restored) == 1
        # Units and root's shell work with one set of Borg's facts, one cache and one state.
        kept = machine.shell("find / -xdev -type d -path '*/borg/security'")
        assert kept.stdout.split() == ["/var/lib/borg-ovirt/.config/borg/security"], kept.stdout
        caches = machine.shell("find / -xdev -name chunks -path '*cache*'").stdout.split()
        assert [cache.startswith("/var/cache/borg-ovirt/") for cache in caches] == [True], caches
        owners = machine.shell("find /srv/borg /var/lib/borg-ovirt ! -user borg-ovirt").stdout
        assert not owners, owners
        assert not machine.shell("ls -A /run | grep as-borg").stdout
        man = machine.shell("zcat /usr/share/man/man1/borg-ovirt-create.1.gz").stdout
        assert ".SH NAME" in man
        assert not box.clean(), box.clean()
        print(
            f"{release}: {machine.shell('borg-ovirt --version').stdout.strip()}: all as the page says",
            flush=True,
        )


def by_the_timer(machine: Started) -> None:
    """The timer's hour is now."""
    before = machine.shell("as-borg-ovirt borg list --short").stdout.split()
    now = "/run/systemd/system/borg-ovirt.timer.d"
    soon = "[Timer]\\nOnCalendar=\\nOnActiveSec=1\\nRandomizedDelaySec=0\\nAccuracySec=1\\n"
    machine.shell(f"mkdir -p {now} && printf '{soon}' > {now}/now.conf && systemctl daemon-reload")
    machine.shell("systemctl restart borg-ovirt.timer")
    for _ in range(60):
        state = machine.shell("systemctl show -P ActiveState borg-ovirt.service").stdout.strip()
        after = machine.shell("as-borg-ovirt borg list --short --bypass-lock").stdout.split()
        if len(after) > len(before) and state == "inactive":
            return
        time.sleep(1)
    sys.exit(machine.shell("journalctl --no-pager -n 60; systemctl list-timers").stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("releases", nargs="*", default=["bookworm", "trixie"])
    parser.add_argument(
        "--debs", type=Path, help="packages that are built already: RELEASE.deb in this directory"
    )
    given = parser.parse_args()
    for release in given.releases:
        with tempfile.TemporaryDirectory() as made:
            deb = next(given.debs.glob(f"{release}/*.deb")) if given.debs else build(release, Path(made))
            try_it(release, deb)


if __name__ == "__main__":
    main()
