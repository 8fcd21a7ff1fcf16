"""Guards and mutants: each place exists, each proof exists, and a fault is put in and taken out exactly."""

from pathlib import Path

import pytest

from sandbox.chaos.crashes.points import points_of, read_points
from sandbox.chaos.mutations import PROOFS, Mutation, read_table, run_proof
from sandbox.mutants.places import find_place
from sandbox.mutants.sample import CAUGHT, SURVIVED, Mutant, read_sample, shares, write_sample

ROOT = Path(__file__).parents[2]
TABLE = read_table()
MODULE = """\
LIMIT = 3


class Door:
    @property
    def is_open(self) -> bool:
        if LIMIT > 2:
            return True
        if LIMIT > 2:  # again
            return True
        return False
"""


def test_the_text_of_each_guard_is_at_its_place_once(subtests: pytest.Subtests) -> None:
    for mutation in TABLE:
        with subtests.test(mutation.guard):
            assert find_place(ROOT, mutation.place).text.count(mutation.text) == 1
            assert mutation.text != mutation.replacement


def test_the_proof_of_each_guard_exists(subtests: pytest.Subtests) -> None:
    points = [str(point) for scenario, trips in read_points().items() for point in points_of(scenario, trips)]
    for mutation in TABLE:
        kind, _, rest = mutation.proof.partition(" ")
        path, _, test = rest.partition("::")
        with subtests.test(mutation.guard):
            if kind == "pytest":
                assert not test or f"def {test.partition('[')[0]}(" in (ROOT / path).read_text()
            else:
                assert kind in PROOFS
                assert any(rest in point for point in points)


def test_guards_have_different_names() -> None:
    assert len({mutation.guard for mutation in TABLE}) == len(TABLE)


def test_a_guard_is_removed_once_or_refused(tmp_path: Path) -> None:
    mutation = Mutation("g", "module:LIMIT", "3", "4", "pytest x")
    (tmp_path / "module.py").write_text(MODULE)
    mutation.apply(tmp_path)
    assert (tmp_path / "module.py").read_text() == MODULE.replace("LIMIT = 3", "LIMIT = 4")
    with pytest.raises(LookupError, match="has '3' 0 times"):
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


@pytest.mark.parametrize(
    "name",
    ["no/statement", "no_function()", "no.module:f", "leads.domain.assign:no", "no.lua:f", "spool.lua:no"],
)
def test_a_place_that_is_gone_is_named(name: str) -> None:
    with pytest.raises(LookupError, match="no"):
        find_place(ROOT, name)


def test_a_mutant_changes_its_line_only_and_is_found_again_after_the_file_changed(tmp_path: Path) -> None:
    mutant = Mutant("module:Door.is_open", "AddNot", "if LIMIT > 2:  # again", "if not LIMIT > 2:  # again")
    (tmp_path / "module.py").write_text(MODULE)
    digest = mutant.digest_in(tmp_path)
    for text in (MODULE, "# a new first line\n" + MODULE):
        (tmp_path / "module.py").write_text(text)
        assert mutant.digest_in(tmp_path) == digest
        mutant.apply(tmp_path)
        assert (tmp_path / "module.py").read_text() == text.replace(mutant.line, mutant.becomes)
    second = Mutant("module:Door.is_open", "ReplaceTrueWithFalse", "return True", "return False", nth=1)
    (tmp_path / "module.py").write_text(MODULE)
    second.apply(tmp_path)
    assert (tmp_path / "module.py").read_text().count("return True") == 1
    with pytest.raises(LookupError, match="no line"):
        second.apply(tmp_path)


def test_the_sample_is_spread_over_the_product_and_its_verdicts_are_kept(tmp_path: Path) -> None:
    sample = read_sample()
    assert len(sample) >= 200
    assert len({mutant.key for mutant in sample}) == len(sample)
    sample[0].verdict, sample[1].verdict, sample[1].equivalent = CAUGHT, SURVIVED, "a cache"
    write_sample(sample, tmp_path / "sample.yaml")
    assert read_sample(tmp_path / "sample.yaml") == sample
    assert sum(shares(sample[:2])["app"].values()) == 2
    assert shares(sample[:2])["app"]["equivalent"] == 1
