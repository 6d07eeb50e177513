"""The runner of mutants: it breaks a copy, mends it, and calls things by their names."""

from __future__ import annotations

import queue
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from mutants.__main__ import judge, sound, summary, try_mutant
from mutants.mutant import Mutant, Stale, break_text
from mutants.rooms import MUTANTS
from mutants.scratch import Ended, Scratch

ROOT = Path(__file__).parents[2]


def mutant(old: str, new: str, survives: str = "", tests: str = "unit/test_sum.py") -> Mutant:
    return Mutant("sums.py", tests, "a-name", "One and one are two.", old, new, survives)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scratch]:
    """A checkout of a product of one module and one test."""
    root = tmp_path_factory.mktemp("product")
    for name, text in {
        "borg_ovirt/__init__.py": "",
        "borg_ovirt/sums.py": "def one_and_one():\n    return 1 + 1\n\ndef unheard():\n    return 1\n",
        "tests/unit/test_sum.py": "from borg_ovirt.sums import one_and_one\n\n"
        "def test_sum():\n    assert one_and_one() == 2\n",
        "setup.cfg": "[tool:pytest]\naddopts = -q\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    quick = root / "tests" / "mutants" / "quick.py"
    quick.parent.mkdir()
    quick.write_text("")
    with Scratch(root) as made:
        yield made
    assert not made.path.exists()


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("1 + 1", "1 + 2", "killed"),
        ("    return 1\n", "    return 7\n", "SURVIVED"),
        ("1 + 1", "1 +", "BROKEN"),
        ("2 + 2", "5", "STALE"),
        ("return", "yield", "STALE"),
    ],
)
def test_what_becomes_of_a_mutant(
    scratch: Scratch, old: str, new: str, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    free: queue.Queue[Scratch] = queue.Queue()
    free.put(scratch)
    verdict = try_mutant(mutant(old, new), free)
    assert verdict.word == word
    assert capsys.readouterr().out.startswith(word)
    assert "1 + 1" in (scratch.path / "borg_ovirt" / "sums.py").read_text(), "it is mended"
    assert f"1 {word}" in summary([verdict], 1.0)


def test_after_all_that_the_copy_is_sound(scratch: Scratch) -> None:
    assert sound([mutant("1 + 1", "1 + 2")], [scratch])


def test_a_text_must_stand_there_once() -> None:
    assert break_text("a b", mutant("a", "c")) == "c b"
    for text in ("b", "a a"):
        with pytest.raises(Stale, match="not once"):
            break_text(text, mutant("a", "c"))


def test_only_a_failed_test_kills() -> None:
    made = mutant("a", "b")
    words = {code: judge(made, Ended(code, ""))[0] for code in range(6)}
    assert words == {0: "SURVIVED", 1: "killed", 2: "BROKEN", 3: "BROKEN", 4: "BROKEN", 5: "BROKEN"}
    explained = mutant("a", "b", "Nobody asks.")
    assert judge(explained, Ended(0, "")) == ("explained", "Nobody asks.")
    assert judge(explained, Ended(1, "FAILED tests/unit/test_sum.py::test_sum"))[0] == "OVEREXPLAINED"


def test_the_list_names_files_and_tests_that_are_there() -> None:
    """Whether the texts are still in the code is for `make mutants` to tell."""
    assert [name for name, count in Counter(m.full_name for m in MUTANTS).items() if count > 1] == []
    for made in MUTANTS:
        assert (ROOT / "borg_ovirt" / made.file).is_file(), made.full_name
        assert made.promise.endswith("."), made.full_name
        for word in made.tests.split():
            assert (ROOT / "tests" / word.split("::")[0]).is_file(), f"{made.full_name}: {word}"
