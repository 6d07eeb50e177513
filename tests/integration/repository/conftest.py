"""A home for Borg for each test, and repositories in it, on a path or behind `borg serve`."""

from __future__ import annotations

from pathlib import Path

import pytest
from stock_borg import MakeRepository, Stock, fresh_home, serve_locally


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fresh_home(monkeypatch, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def make_repository(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> MakeRepository:
    def make(encryption: str = "none", *options: str, way: str = "local") -> Stock:
        path = tmp_path / "repo"
        location = str(path)
        if way == "serve":
            serve_locally(monkeypatch, tmp_path)
            location = f"ssh://backup.example{path}"
        stock = Stock(location, path, home)
        stock.init(encryption, *options)
        return stock

    return make


@pytest.fixture(params=["local", "serve"])
def stock(request: pytest.FixtureRequest, make_repository: MakeRepository) -> Stock:
    """A repository that is reached both ways."""
    return make_repository("repokey", way=request.param)
