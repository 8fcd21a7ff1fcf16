"""What a record must have after four_layers and day: anything else is found, and named."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sandbox.chaos.layers_effects import Evidence, Stored, judge
from sandbox.chaos.ticks import EngineTick, Run, check_delivered, check_engine_ticks, count_succeeded

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
LAG = (NOON + timedelta(hours=7), NOON + timedelta(hours=8))
EVIDENCE = Evidence([{"id": "r1", "modified_on": "2026-11-20T12:00:00"}], LAG, [])
PHONE = "+84912000001"


def row(**fields: Any) -> Mapping[str, Any]:
    return {
        "id": 1, "record_id": "r1", "modified_on": NOON, "phone": PHONE, "origin": "webhook",
        "status": "processed", "replay_count": 0, "created_at": NOON, **fields,
    }  # fmt: skip


GOOD = Stored(
    [row()],
    [PHONE],
    {
        "event": [], "customer": [f"account {PHONE}", f"contact {PHONE}"], "ticket": ["assignment 1 of s"],
        "notification": ["r1@2026-11-20T12:00:00.000000 noti_pancake_new_lead"],
    },
    ["assignment 1 of s"],
)  # fmt: skip


def test_a_record_with_each_effect_once_is_valid() -> None:
    result = judge(EVIDENCE, GOOD)
    assert result.verdicts.is_valid, result
    assert result.by_layer == {"webhook": 1}


@pytest.mark.parametrize(
    ("rows", "problem", "id_"),
    [
        ([], "lost", "event: r1"),
        ([row(status="failed")], "lost", "event: r1"),
        ([row(modified_on=NOON - timedelta(seconds=1))], "lost", "event: r1"),
        ([row(), row(origin="poll", created_at=NOON + timedelta(minutes=1))], "duplicated", "event: r1"),
        ([row(), row(record_id="other")], "unexpected", "event: other"),
        (
            [row(origin="reconcile")],
            "unexpected",
            "event: r1 stored by reconciliation, polling should have",
        ),
    ],
)
def test_a_wrong_row_is_named(rows: list[Mapping[str, Any]], problem: str, id_: str) -> None:
    assert id_ in judge(EVIDENCE, replace(GOOD, rows=rows)).verdicts.ids(problem)


def test_a_version_of_the_deep_lag_may_come_from_reconciliation() -> None:
    late = LAG[0] + timedelta(minutes=1)
    evidence = replace(EVIDENCE, records=[{"id": "r1", "modified_on": f"{late:%Y-%m-%dT%H:%M:%S}"}])
    result = judge(evidence, replace(GOOD, rows=[row(origin="reconcile", modified_on=late)]))
    assert result.verdicts.is_valid, result


@pytest.mark.parametrize(
    ("effect", "ids"), [("customer", [f"contact {PHONE}"]), ("ticket", []), ("notification", [])]
)
def test_an_effect_that_is_missing_or_doubled_is_named(effect: str, ids: list[str]) -> None:
    missing = judge(EVIDENCE, replace(GOOD, observed={**GOOD.observed, effect: ids}))
    assert [id_.partition(":")[0] for id_ in missing.verdicts.ids("lost")] == [effect]
    twice = [*GOOD.observed[effect], *GOOD.observed[effect]]
    doubled = judge(EVIDENCE, replace(GOOD, observed={**GOOD.observed, effect: twice}))
    assert {id_.partition(":")[0] for id_ in doubled.verdicts.ids("duplicated")} == {effect}


def test_a_customer_with_two_open_tickets_is_named() -> None:
    verdicts = judge(EVIDENCE, replace(GOOD, tickets=[PHONE, PHONE])).verdicts
    assert verdicts.ids("duplicated") == [f"ticket: {PHONE}"]


RUNS = [Run("poll 20 12:00:00", "poll", "succeeded"), Run("poll 20 12:05:00", "poll", "skipped")]


def test_a_tick_has_a_run_and_works_once() -> None:
    answers = {run.tick: ["succeeded", "already_done"] for run in RUNS}
    assert check_delivered(answers, RUNS).is_valid
    assert check_delivered({**answers, "gone": ["succeeded"]}, RUNS).lost == ("gone",)
    assert check_delivered({RUNS[0].tick: ["succeeded", "succeeded"]}, RUNS).duplicated == (RUNS[0].tick,)
    assert count_succeeded(RUNS, "poll") == 1


def test_a_tick_that_the_engine_delivered_has_a_run() -> None:
    ticks = [EngineTick(RUNS[0].tick, True, 1), EngineTick("given up", False, 0)]
    assert check_engine_ticks(ticks, RUNS).is_valid
    assert check_engine_ticks([EngineTick("gone", True, 1)], RUNS).lost == ("gone",)
    assert check_engine_ticks([EngineTick(RUNS[0].tick, True, 2)], RUNS).duplicated == (RUNS[0].tick,)
