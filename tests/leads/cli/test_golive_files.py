"""Each criterion that a file decides: with a file beyond its target it is red, and no other."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from leads.cli.golive.criterion import Criterion, Source
from leads.cli.golive.gates import Inputs, evaluate
from leads.cli.golive.judgement import Outcome
from leads.cli.golive.load import load_criteria
from leads.cli.golive.measuring import Places, Sources
from leads.cli.golive.records import Kind, Records, Statement
from tests.support.golive_evidence import bad_file, good_file
from tests.support.golive_pilot import COMMIT

DECIDED = [each for each in load_criteria() if each.source is Source.FILE]


def attest(folder: Path, criterion: Criterion, content: bytes) -> None:
    statement = Statement(Kind.ATTEST, criterion.id, criterion.owner, "lan", datetime.now(UTC))
    Records(folder).add(statement, [("evidence", content)])


def failing(folder: Path) -> set[str]:
    """Evaluate all of them; what does not fail has to pass."""
    records = Records(folder)
    with Sources(Places(), records) as sources:
        inputs = Inputs(sources, records.read(), COMMIT, {})
        found = evaluate("test", DECIDED, inputs, datetime.now(UTC)).judgements
    assert {each.outcome for each in found} <= {Outcome.PASS, Outcome.FAIL}
    return {each.criterion.id for each in found if each.outcome is Outcome.FAIL}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records in which each of them has a file that passes."""
    folder = tmp_path_factory.mktemp("records")
    for criterion in DECIDED:
        attest(folder, criterion, good_file(criterion))
    assert failing(folder) == set()
    return folder


@pytest.mark.parametrize("criterion", DECIDED, ids=lambda each: each.id)
def test_a_file_beyond_the_target_makes_its_criterion_red_and_no_other(
    good: Path, tmp_path: Path, criterion: Criterion
) -> None:
    folder = shutil.copytree(good, tmp_path / "records")
    attest(folder, criterion, bad_file(criterion))
    assert failing(folder) == {criterion.id}
