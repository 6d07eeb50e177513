"""A home for Borg for each test, and repositories in it, on a path or behind `borg serve`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from stock_borg import MakeRepository, Stock, fresh_home, serve_locally


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fresh_home(monkeypatch, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture(scope="session")
def initialised(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """An empty repository and its key files, made once for each kind: `borg init` takes a while."""
    made: dict[tuple[str, ...], Path] = {}

    def make(*kind: str) -> Path:
        if kind not in made:
            folder = made[kind] = tmp_path_factory.mktemp("initialised")
            with pytest.MonkeyPatch.context() as patch:
                fresh_home(patch, folder / "home")
                Stock("", folder / "repo", folder / "home").init(*kind)
            keys = folder / "home/.config/borg/keys"
            keys.mkdir(parents=True, exist_ok=True)
        return made[kind]

    return make


@pytest.fixture
def make_repository(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, initialised: Callable[..., Path]
) -> MakeRepository:
    def make(encryption: str = "none", *options: str, way: str = "local") -> Stock:
        folder = initialised(encryption, *options)
        path = tmp_path / "repo"
        shutil.copytree(folder / "repo", path)
        shutil.copytree(folder / "home/.config/borg/keys", home / ".config/borg/keys")
        location = str(path)
        if way == "serve":
            serve_locally(monkeypatch, tmp_path)
            location = f"ssh://backup.example{path}"
        return Stock(location, path, home)

    return make


@pytest.fixture(params=["local", "serve"])
def stock(request: pytest.FixtureRequest, make_repository: MakeRepository) -> Stock:
    """A repository that is reached both ways."""
    return make_repository("repokey", way=request.param)
