"""The table of the guards: each text is in its file once, each proof exists, docs/proofs.md shows all."""

import os
from pathlib import Path

import pytest

from sandbox.chaos.crashes.points import points_of, read_points
from sandbox.chaos.mutations import PROOFS, Mutation, read_table, run_proof

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "proofs.md"
BEGIN, END = "<!-- guards: begin -->\n", "<!-- guards: end -->\n"
WRITE = "WRITE_DOCS=1 scripts/test tests/sandbox/test_mutations.py"
TABLE = read_table()
POINTS = [str(point) for scenario, trips in read_points().items() for point in points_of(scenario, trips)]


@pytest.mark.parametrize("mutation", TABLE, ids=lambda mutation: mutation.guard)
def test_the_text_of_a_guard_is_in_its_file_once(mutation: Mutation) -> None:
    assert (ROOT / mutation.file).read_text().count(mutation.text) == 1
    assert mutation.text != mutation.replacement


@pytest.mark.parametrize("mutation", TABLE, ids=lambda mutation: mutation.guard)
def test_the_proof_of_a_guard_exists(mutation: Mutation) -> None:
    kind, _, rest = mutation.proof.partition(" ")
    assert kind in PROOFS
    if kind == "pytest":
        path, _, test = rest.partition("::")
        assert test in (ROOT / path).read_text()
    else:
        assert any(rest in point for point in POINTS)


def test_guards_have_different_names() -> None:
    assert len({mutation.guard for mutation in TABLE}) == len(TABLE)


def test_a_mutation_is_applied_once_or_refused(tmp_path: Path) -> None:
    mutation = Mutation("g", "file", "lock;", "", "pytest x")
    (tmp_path / "file").write_text("a; lock; b")
    mutation.apply(tmp_path)
    assert (tmp_path / "file").read_text() == "a;  b"
    with pytest.raises(LookupError, match="file holds the text of “g” 0 times"):
        mutation.apply(tmp_path)


def test_a_proof_ends_with_the_exit_code_of_its_command(tmp_path: Path) -> None:
    (tmp_path / "test_proof.py").write_text("def test_it() -> None:\n    assert False\n")
    code, output = run_proof("pytest", ["test_proof.py"], tmp_path)
    assert code == 1, output
    (tmp_path / "test_proof.py").write_text("def test_it() -> None: ...\n")
    assert run_proof("pytest", ["test_proof.py"], tmp_path)[0] == 0


def test_several_proofs_of_a_kind_are_one_command() -> None:
    assert PROOFS["pytest"](["a", "b"])[-2:] == ["a", "b"]
    assert PROOFS["crash_points"](["a b", "c"])[2:] == ["--point", "a b", "--point", "c"]


def test_the_page_shows_every_guard_and_its_proof() -> None:
    rows = [f"| {each.guard} | `{each.file}` | `{each.proof}` |\n" for each in TABLE]
    table = f"{BEGIN}| guard | in | proof that fails without it |\n|---|---|---|\n{''.join(rows)}{END}"
    page = PAGE.read_text()
    before, after = page.partition(BEGIN)[0], page.partition(END)[2]
    if os.environ.get("WRITE_DOCS"):
        PAGE.write_text(before + table + after)
    assert PAGE.read_text() == before + table + after, f"make it with: {WRITE}"
