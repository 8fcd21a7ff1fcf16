"""`leads golive verify --reevaluate`: what differs when the sources are asked again."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from leads.cli.golive import verify
from leads.cli.golive.criterion import Criterion, Source
from leads.cli.golive.document import evaluation_document
from leads.cli.golive.gates import Evaluation
from leads.cli.golive.judgement import Judgement, Measurement, Outcome
from leads.cli.golive.load import load_criteria
from leads.cli.golive.report import criteria_bytes
from leads.cli.golive.statement import SignedReport
from tests.support.golive_sample import sample_evaluation

THEN = sample_evaluation()
MEASURED = {
    each.criterion.id for each in THEN.judgements if each.criterion.source in (Source.SQL, Source.PROMQL)
}
NAME = "success-rate"
SIGNED = SignedReport({}, THEN.subject, THEN.at, THEN.commit, THEN.is_open, 0)


def without_value(evaluation: Evaluation) -> Evaluation:
    """The same, with one criterion that has no value."""

    def emptied(each: Judgement) -> Judgement:
        is_it = each.criterion.id == NAME
        return replace(each, outcome=Outcome.INCONCLUSIVE, measurement=Measurement()) if is_it else each

    return replace(evaluation, judgements=tuple(map(emptied, evaluation.judgements)))


@pytest.fixture
def again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, str]]:
    """Compare a report with what the sources say now; return the problem of each criterion."""

    def compare(
        then: Evaluation = THEN, now: Evaluation = THEN, installed: tuple[Criterion, ...] = load_criteria()
    ) -> dict[str, str]:
        (tmp_path / "report.json").write_text(json.dumps(evaluation_document(then)))
        (tmp_path / "criteria.json").write_bytes(criteria_bytes(load_criteria()))
        monkeypatch.setattr(verify, "gate_at", lambda *_: now)
        monkeypatch.setattr(verify, "load_criteria", lambda: installed)
        checks = verify.compare_again(tmp_path / "records", SIGNED, tmp_path)
        return {check.name.removeprefix("again: "): check.problem for check in checks}

    return compare


def test_what_is_the_same_is_no_difference(again: Callable[..., dict[str, str]]) -> None:
    assert again() == dict.fromkeys(MEASURED, "")


def test_a_value_that_is_gone_and_one_that_was_not_there_differ(again: Callable[..., dict[str, str]]) -> None:
    emptied = without_value(THEN)
    for then, now, words in (
        (THEN, emptied, "it is inconclusive (None)"),
        (emptied, THEN, "was inconclusive (None)"),
    ):
        found = again(then, now)
        assert words in found[NAME]
        assert [name for name, problem in found.items() if problem] == [NAME]
    assert again(emptied, emptied) == dict.fromkeys(MEASURED, "")


def test_a_changed_and_a_removed_criterion_are_named_and_not_compared(
    again: Callable[..., dict[str, str]],
) -> None:
    changed = tuple(replace(each, target=0.9) if each.id == NAME else each for each in load_criteria())
    removed = tuple(each for each in load_criteria() if each.id != NAME)
    for installed in (changed, removed):
        found = again(now=without_value(THEN), installed=installed)
        assert found.pop(NAME) == "the installed criterion is not that of the report"
        assert set(found.values()) == {""}
