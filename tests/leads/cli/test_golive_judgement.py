"""How a measurement is judged: what is no number, too few, too old or of another commit is inconclusive."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import inf, nan
from pathlib import Path

import pytest

from leads.cli.golive.commit import commit_of_run
from leads.cli.golive.criterion import Criterion, Source
from leads.cli.golive.evidence import EvidenceError, read_evidence_file
from leads.cli.golive.judgement import Exemption, Measurement, Outcome, Why, judge
from leads.cli.golive.load import load_criteria
from leads.cli.golive.measuring import Places, Sources, measure
from leads.cli.golive.records import Kind, Records, Statement
from sandbox.chaos.proof import proof
from tests.support.golive_evidence import CASES, baseline, figures, good_file, junit
from tests.support.golive_pilot import COMMIT

CRITERIA = {each.id: each for each in load_criteria()}
SUCCESS = CRITERIA["success-rate"]
FIGURES = [each for each in CRITERIA.values() if each.query == "figures"]
DRILLS = [each for each in FIGURES if each.parameters["kind"] == "drill"]
HAND_IN = [each for each in CRITERIA.values() if each.source is Source.FILE]


def judged(measured: Measurement, criterion: Criterion = SUCCESS, commit: str = COMMIT) -> str:
    found = judge(criterion, measured, datetime.now(UTC), commit)
    return found.why or found.outcome


@pytest.mark.parametrize("criterion", CRITERIA.values(), ids=lambda each: each.id)
@pytest.mark.parametrize("value", [None, nan, inf, -inf], ids=str)
def test_what_is_no_number_is_inconclusive_for_every_criterion(
    criterion: Criterion, value: float | None
) -> None:
    assert judged(Measurement(value, total=10_000, commit=COMMIT), criterion) == Why.NO_DATA


@pytest.mark.parametrize("why", Why)
def test_a_source_that_said_nothing_is_inconclusive_whatever_the_value(why: Why) -> None:
    assert judged(Measurement(1.0, total=1000, why=why, problem="x")) == why


@pytest.mark.parametrize(
    ("good", "total", "outcome"),
    [(19, 19, Why.TOO_FEW), (20, 20, Outcome.PASS), (0, 0, Why.TOO_FEW), (994, 1000, Outcome.FAIL)],
)
def test_the_number_of_cases_counts(good: int, total: int, outcome: str) -> None:
    value = good / total if total else 0.0
    assert judged(Measurement(value, total, total - good)) == outcome


def test_without_a_number_of_cases_a_minimum_is_not_met() -> None:
    assert judged(Measurement(1.0)) == Why.TOO_FEW


@pytest.mark.parametrize(
    ("total", "bad", "is_shown", "needed"),
    [(597, 0, False, 598), (598, 0, True, None), (300, 1, False, 947), (2000, 1, True, None)],
)
def test_a_met_target_is_shown_or_not_yet(total: int, bad: int, is_shown: bool, needed: int | None) -> None:
    found = judge(SUCCESS, Measurement((total - bad) / total, total, bad), datetime.now(UTC), COMMIT)
    assert (found.outcome, found.is_shown, found.needed) == (Outcome.PASS, is_shown, needed)
    assert found.interval is not None
    assert found.interval[0] < (total - bad) / total <= found.interval[1]


def test_a_target_that_is_not_met_needs_no_number_to_be_shown() -> None:
    found = judge(SUCCESS, Measurement(0.9, 100, 10), datetime.now(UTC), COMMIT)
    assert (found.outcome, found.is_shown, found.needed) == (Outcome.FAIL, None, None)


def test_thirteen_of_fifteen_managers_are_a_count() -> None:
    managers = CRITERIA["managers-W4"]
    assert judged(Measurement(13, total=15), managers) == Outcome.PASS
    assert judged(Measurement(12, total=15), managers) == Outcome.FAIL
    assert judged(Measurement(13, total=14), managers) == Why.TOO_FEW


@pytest.mark.parametrize(
    ("age", "commit", "installed", "outcome"),
    [
        (timedelta(days=29), COMMIT, COMMIT, Outcome.PASS),
        (timedelta(days=31), COMMIT, COMMIT, Why.STALE),
        (-timedelta(minutes=1), COMMIT, COMMIT, Outcome.PASS),
        (-timedelta(hours=1), COMMIT, COMMIT, Why.STALE),
        (timedelta(0), COMMIT, COMMIT[:12], Outcome.PASS),
        (timedelta(0), COMMIT[:12], COMMIT, Outcome.PASS),
        (timedelta(0), "f" * 40, COMMIT, Why.STALE),
        (timedelta(0), f"modified {COMMIT}", COMMIT, Why.STALE),
        (timedelta(0), "", COMMIT, Why.STALE),
        (timedelta(0), COMMIT, "", Why.STALE),
        (timedelta(0), COMMIT, "0123", Why.STALE),
    ],
)
def test_evidence_is_of_the_installed_commit_and_not_too_old(
    age: timedelta, commit: str, installed: str, outcome: str
) -> None:
    measured = Measurement(1.0, 18, 0, measured_at=datetime.now(UTC) - age, commit=commit)
    assert judged(measured, CRITERIA["G-3"], installed) == outcome


def test_a_waiver_counts_until_its_end_and_never_hides_a_pass() -> None:
    at = datetime.now(UTC)
    waiver = Exemption(Outcome.WAIVED, "reason", "Hoa", at + timedelta(days=1))
    failed, passed = Measurement(0.9, 100, 10), Measurement(1.0, 100, 0)
    assert judge(SUCCESS, failed, at, COMMIT, waiver).outcome is Outcome.WAIVED
    assert judge(SUCCESS, Measurement(), at, COMMIT, waiver).outcome is Outcome.WAIVED
    assert judge(SUCCESS, passed, at, COMMIT, waiver).outcome is Outcome.PASS
    assert judge(SUCCESS, failed, at, COMMIT, replace(waiver, until=at)).outcome is Outcome.FAIL


@pytest.mark.parametrize("criterion", HAND_IN, ids=lambda each: each.id)
def test_a_good_file_passes_and_rubbish_is_refused(criterion: Criterion) -> None:
    assert judged(read_evidence_file(criterion, good_file(criterion)), criterion) == Outcome.PASS
    for rubbish in (b"", b"{}", b"[]", b"null", b"<a/>", b"\xff\xfe\x00", b'{"kind": 1}', b"[" * 100_000):
        with pytest.raises(EvidenceError, match=criterion.id):
            read_evidence_file(criterion, rubbish)


def test_each_test_case_decides_and_a_skipped_one_did_not_pass() -> None:
    criterion = CRITERIA["test-cases-W1"]
    for case in CASES[:10]:
        for file in (junit(failed=(case,)), junit(skipped=(case,))):
            found = read_evidence_file(criterion, file)
            assert judged(found, criterion) == Outcome.FAIL
            assert found.details == f"failed: {case}"
    assert judged(read_evidence_file(criterion, junit(failed=("TC-011",))), criterion) == Outcome.PASS


def test_a_case_without_a_test_did_not_pass() -> None:
    file = junit().replace(b'value="TC-018"', b'value="TC-118"')
    found = read_evidence_file(CRITERIA["G-3"], file)
    assert (found.value, found.details) == (17 / 18, "without a test: TC-018")


@pytest.mark.parametrize("entity", [b"<!DOCTYPE a>", b'<!ENTITY a "b">'])
def test_a_file_with_entities_is_refused(entity: bytes) -> None:
    with pytest.raises(EvidenceError, match="document type"):
        read_evidence_file(CRITERIA["G-3"], entity + junit())


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (figures("chaos", rate=100, minutes=10, p95_seconds=0.1), "its kind is 'chaos', not 'loadtest'"),
        (figures("loadtest", rate=99, minutes=10, p95_seconds=0.1), "rate is 99, at least 100"),
        (figures("loadtest", rate=100, minutes=9.9, p95_seconds=0.1), "minutes is 9.9, at least 10"),
        (figures("loadtest", rate=100, minutes=10, ok=True), "it has no 'p95_seconds'"),
        (figures("loadtest", rate=100, minutes=10, ok=True, p95_seconds=True), "p95_seconds is no number"),
        (figures("loadtest", rate=100, minutes=10, ok=True, p95_seconds=nan), "p95_seconds is no number"),
        (figures("loadtest", rate=100, minutes=10, ok=True, p95_seconds="fast"), "p95_seconds is no number"),
    ],
)
def test_a_load_test_has_to_be_the_one_that_was_asked_for(file: bytes, reason: str) -> None:
    with pytest.raises(EvidenceError, match=reason):
        read_evidence_file(CRITERIA["G-4-latency"], file)


@pytest.mark.parametrize("criterion", FIGURES, ids=lambda each: each.id)
def test_a_result_that_is_not_ok_counts_for_nothing(criterion: Criterion) -> None:
    with pytest.raises(EvidenceError, match="ok is False, not true"):
        read_evidence_file(criterion, good_file(criterion, ok=False))


@pytest.mark.parametrize("criterion", DRILLS, ids=lambda each: each.id)
def test_a_drill_of_another_tier_does_not_count(criterion: Criterion) -> None:
    wanted = int(criterion.parameters["exactly"].removeprefix("tier="))
    for tier in {1, 2, 3} - {wanted}:
        with pytest.raises(EvidenceError, match=f"tier is {tier}, {wanted} is needed"):
            read_evidence_file(criterion, good_file(criterion, tier=tier))


def test_the_baseline_is_the_p95_of_its_tickets() -> None:
    found = read_evidence_file(CRITERIA["G-9"], baseline(minutes=90, tickets=60))
    assert found.value == pytest.approx(90)
    assert found.total == 60
    few = read_evidence_file(CRITERIA["G-9"], baseline(tickets=19))
    assert judged(few, CRITERIA["G-9"]) == Why.TOO_FEW
    swapped = (
        b"first_response_at,created_at" + baseline().partition(b"\n")[1] + baseline().partition(b"\n")[2]
    )
    with pytest.raises(EvidenceError, match="row 1: the first response is earlier"):
        read_evidence_file(CRITERIA["G-9"], swapped)
    with pytest.raises(EvidenceError, match="6 days from the first ticket to the last, a week is needed"):
        read_evidence_file(CRITERIA["G-9"], baseline(days=6))
    with pytest.raises(EvidenceError, match="it has no row"):
        read_evidence_file(CRITERIA["G-9"], baseline(tickets=0))


@pytest.mark.parametrize(("days_before", "why"), [(7, None), (6, Why.NO_DATA)])
def test_a_baseline_with_tickets_of_the_pilot_is_none(
    tmp_path: Path, days_before: int, why: Why | None
) -> None:
    now = datetime.now(UTC)
    records = Records(tmp_path)
    content = baseline(since=now - timedelta(days=days_before))
    records.add(Statement(Kind.ATTEST, "G-9", "PO", "po", now), [("baseline.csv", content)])
    records.add(Statement(Kind.BEGIN, "W1", "Lan", "lan", now, since=now))
    with Sources(Places(), records) as sources:
        found = measure(CRITERIA["G-9"], sources, records.read(), datetime.now(UTC), "W1", {})
    assert found.why == why
    assert (found.value is None) == (why is Why.NO_DATA)


def test_an_outage_test_counts_the_lost_leads_and_has_to_be_right_as_a_whole() -> None:
    criterion = CRITERIA["G-5"]
    lost = figures("four_layers", sent=2000, lost=["r-1: ['received']", "r-2: []"], ok=False)
    with pytest.raises(EvidenceError, match="ok is False, not true"):
        read_evidence_file(criterion, lost)
    assert read_evidence_file(criterion, lost.replace(b"false", b"true")).value == 2
    with pytest.raises(EvidenceError, match="sent is 200, at least 1000"):
        read_evidence_file(criterion, figures("four_layers", sent=200, lost=[], ok=True))


def test_a_scenario_writes_what_the_criterion_reads() -> None:
    result = {"sent": 2000, "lost": [], "ok": True}
    found = read_evidence_file(CRITERIA["G-5"], json.dumps(proof("four_layers", result)).encode())
    assert (found.value, found.commit) == (0, commit_of_run())
    assert found.measured_at is not None
