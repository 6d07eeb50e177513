"""What setup.cfg cannot say: what goes under share/, and a README whose links work on an index page."""

import re
import subprocess
import sys
from pathlib import Path

from setuptools import setup  # first: it brings distutils, which Python has no more
from setuptools.command.sdist import sdist

from distutils.command.install_data import install_data  # isort: skip

HERE = Path(__file__).parent
URL = re.search(r"^url = (.*)$", (HERE / "setup.cfg").read_text(), re.MULTILINE)[1]
PAGES = {"Documentation": "docs/README.md", "Changes": "CHANGELOG.md", "Security": "SECURITY.md"}


def readme():
    text = (HERE / "README.md").read_text(encoding="utf-8")
    return re.sub(r"\]\((?![a-z]+:|#)([^)]+)\)", rf"]({URL}/blob/main/\1)", text)


def files(folder, share):
    """Everything below a folder of ours -> its place below share/."""
    found = sorted(path for path in (HERE / folder).rglob("*") if path.is_file())
    return [
        (str(Path("share", share, path.relative_to(HERE / folder).parent)), [str(path.relative_to(HERE))])
        for path in found
        if "__pycache__" not in path.parts
    ]


def make(directory):
    """Manual pages and completion scripts, made from the command line itself."""
    subprocess.run([sys.executable, str(HERE / "tools" / "share"), str(directory)], check=True)


class InstallData(install_data):
    def run(self):
        make(HERE / "build" / "share")
        self.data_files = [*self.data_files, *files("build/share", ".")]
        super().run()


class Sdist(sdist):
    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        make(Path(base_dir, "share").resolve())


setup(
    long_description=readme(),
    project_urls={name: f"{URL}/blob/main/{page}" for name, page in PAGES.items()},
    data_files=[
        *files("hooks", "borg-ovirt/hooks"),
        *files("docs", "doc/borg-ovirt/docs"),  # beside each other as here, so that links lead on
        ("share/doc/borg-ovirt", ["README.md", "LIMITATIONS.md", "SECURITY.md", "CHANGELOG.md", "LICENSE"]),
    ],
    cmdclass={"install_data": InstallData, "sdist": Sdist},
)
