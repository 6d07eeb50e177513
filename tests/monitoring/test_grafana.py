"""The dashboard against Grafana's own schema, which it publishes as types: the TypeScript compiler judges."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

TREE = Path(__file__).parents[2]
BOARD = json.loads((TREE / "hooks/grafana/dashboard.json").read_text())
PACKAGES = ("@grafana/schema@12.3.0", "typescript@5.9.3")
RAW = "./node_modules/@grafana/schema/dist/types/raw"
KINDS = {"stat": "Stat", "table": "Table", "timeseries": "TimeSeries"}
"""Type of a panel -> what its schema is called."""

IMPORTS = [
    f'import type {{ Dashboard }} from "{RAW}/dashboard/x/dashboard_types.gen";',
    *(
        f'import type * as {kind} from "{RAW}/composable/{kind}/panelcfg/x/{name}PanelCfg_types.gen";'
        for kind, name in KINDS.items()
    ),
]
# The types as JSON has them: enumerations are their words. Of a panel any part may be left out.
TYPES = """
type Json<T> = T extends string ? `${T}` : T extends object ? { [K in keyof T]: Json<T[K]> } : T;
type Partly<T> = T extends string ? `${T}` : T extends object ? { [K in keyof T]?: Partly<T[K]> } : T;
type Chosen = { stat: stat.Options; table: table.Options; timeseries: timeseries.Options };
type Custom = { stat: {}; table: table.FieldConfig; timeseries: timeseries.FieldConfig };
function panel<K extends keyof Chosen>(kind: K, options: Partly<Chosen[K]>, custom: Partly<Custom[K]>) {}
"""


@pytest.fixture(scope="module")
def place() -> Path:
    """Where the compiler and the schema are, fetched once."""
    npm, place = shutil.which("npm"), TREE / "build/grafana"
    assert npm, "apt-get install npm"
    place.mkdir(parents=True, exist_ok=True)
    words = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(place), *PACKAGES]
    subprocess.run(words, check=True, capture_output=True)
    return place


def judged(place: Path, board: dict[str, Any]) -> str:
    """What is wrong with it; nothing if all is right."""
    lines = [*IMPORTS, TYPES, f"export const board: Json<Dashboard> = {json.dumps(board, indent=1)};"]
    for one in board["panels"]:
        custom = one["fieldConfig"]["defaults"].get("custom", {})
        lines.append(f"panel({json.dumps(one['type'])}, {json.dumps(one['options'])}, {json.dumps(custom)});")
    (place / "board.ts").write_text("\n".join(lines))
    words = ["--noEmit", "--strict", "--skipLibCheck", "--target", "es2022", "--module", "preserve"]
    compiler = place / "node_modules/.bin/tsc"
    done = subprocess.run(
        [compiler, *words, "board.ts"], cwd=place, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def test_the_dashboard_is_one(place: Path) -> None:
    assert judged(place, BOARD) == ""


@pytest.mark.parametrize("fault", ["misspelt", "no such colour", "another option", "another style"])
def test_what_is_none_is_told(place: Path, fault: str) -> None:
    board = json.loads(json.dumps(BOARD))
    panels = {one["type"]: one for one in board["panels"]}
    if fault == "misspelt":
        board["tmplating"] = board.pop("templating")
    elif fault == "no such colour":
        panels["stat"]["fieldConfig"]["defaults"]["color"]["mode"] = "treshold"
    elif fault == "another option":
        panels["stat"]["options"]["colourMode"] = "value"
    else:
        panels["timeseries"]["fieldConfig"]["defaults"]["custom"] = {"drawStyle": "lines"}
    assert "error TS" in judged(place, board)
