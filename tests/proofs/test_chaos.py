"""The chaos runs: checkers, plans, crash points, the wire that strikes there, guards."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any
from unittest.mock import Mock, call

import pytest
from psycopg._queries import PostgresQuery
from psycopg.adapt import Transformer

from leads.adapters.database import QUERIES
from ops.golive.criterion import Role, Source, load_criteria
from ops.golive.judgement import read_evidence_file
from ops.golive.records import Kind, role_for
from proofs.chaos.crash_points import Choice, Runner, WrongEffects
from proofs.chaos.crashes.proxies import (
    Moment,
    Point,
    Trip,
    Tripwire,
    differences,
    points_of,
    read_found,
    read_points,
    statement_names,
    write_points,
)
from proofs.chaos.crashes.world import SCENARIOS, Scenario, World
from proofs.chaos.effects import (
    NEW_LEAD,
    EngineTick,
    Evidence,
    Run,
    Verdict,
    Verdicts,
    check,
    check_delivered,
    check_engine_ticks,
    count_succeeded,
    expected_effects,
    judge,
)
from proofs.chaos.layers import AFTERNOON, DAY, PHASES, plan_afternoon, plan_day
from proofs.chaos.month import DIRECTOR, MANAGER, handed_in, value_of
from proofs.chaos.mutations import PROOFS, Mutation, read_table, run_proof
from proofs.chaos.outages import BREAKS, Kill
from proofs.handed_in import good_file
from proofs.incidents.faults import Installation
from proofs.mutants.places import find_place
from proofs.sender import LeadVersion, Sent
from sandbox.monitoring.past import PastPrometheus
from sandbox.processes import Processes


def test_each_id_is_named_by_what_happened_to_it() -> None:
    verdict = check("abcde", "abc", ["a", "b", "b", "d", "x"])
    lists = {"lost": ("c",), "duplicated": ("b",), "unexpected": ("x",), "recovered": ("d",)}
    assert verdict == Verdict(attempted=5, acknowledged=3, ok=("a", "d"), **lists)
    assert not verdict.is_valid
    assert verdict.counts() == {
        "attempted": 5, "acknowledged": 3, "ok": 2, "lost": 1, "duplicated": 1, "unexpected": 1,
        "recovered": 1,
    }  # fmt: skip
    assert check("aab", "aab", "ab").is_valid, "a repeated delivery is one id"
    assert check("ab", "a", "a").is_valid, "what was never acknowledged may be missing"
    with pytest.raises(ValueError, match="acknowledged, but not attempted: x, y"):
        check("a", "ayx", "a")


def test_a_problem_is_named_by_effect_and_id_and_one_invalid_effect_makes_all_invalid() -> None:
    verdicts = Verdicts({"event": check("ab", "ab", "a"), "ticket": check("t", "t", "tt")})
    assert not verdicts.is_valid
    assert verdicts.as_json() == {
        "lost": ["event: b"],
        "duplicated": ["ticket: t"],
        "unexpected": [],
        "effects": {name: verdict.counts() for name, verdict in verdicts.effects.items()},
    }
    assert Verdicts({"event": check("a", "a", "a")}).is_valid
    for observed in ("", "aa", "ab"):
        assert not Verdicts({"event": check("a", "a", "a"), "ticket": check("a", "a", observed)}).is_valid


FIRST = LeadVersion(1, "chaos-000001", "0910000001", "Khách 1", "2026-11-01T00:00:00.001000")
LATER = LeadVersion(2, "chaos-000001", "0910000001", "Khách 2", "2026-11-01T00:00:00.002000")


def test_a_record_has_one_ticket_with_its_newest_name_and_one_notification() -> None:
    assert expected_effects([FIRST, LATER], ["assignment 1 of s"]) == {
        "event": [
            "chaos-000001@2026-11-01T00:00:00.001000 processed",
            "chaos-000001@2026-11-01T00:00:00.002000 processed",
        ],
        "customer": ["account +84910000001", "contact +84910000001"],
        "ticket": ["chaos-000001 Khách 2", "assignment 1 of s"],
        "notification": [f"chaos-000001 {NEW_LEAD}"],
    }


def test_only_what_was_answered_with_2xx_is_acknowledged() -> None:
    sent = Sent()
    sent.record(FIRST, "received", True, 0.1)
    sent.record(LATER, "502", False, 0.2)
    assert sent.acknowledged == [FIRST]
    assert sent.non_2xx == ["chaos-000001@2026-11-01T00:00:00.002000: 502"]


NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
LAG = (NOON + timedelta(hours=7), NOON + timedelta(hours=8))
RECORD = {"id": "r1", "modified_on": "2026-11-20T12:00:00"}
PHONE = "+84912000001"


def row(**fields: Any) -> Mapping[str, Any]:
    return {
        "id": 1, "record_id": "r1", "modified_on": NOON, "phone": PHONE, "origin": "webhook",
        "status": "processed", "replay_count": 0, "created_at": NOON, "is_told_later": False,
        **fields,
    }  # fmt: skip


GOOD = Evidence(
    [RECORD],
    LAG,
    [row()],
    [PHONE],
    {
        "event": [], "customer": [f"account {PHONE}", f"contact {PHONE}"], "ticket": ["assignment 1 of s"],
        "notification": ["r1@2026-11-20T12:00:00.000000 noti_pancake_new_lead"],
    },
    ["assignment 1 of s"],
)  # fmt: skip


def test_a_record_with_each_effect_once_is_valid_whichever_layer_stored_it() -> None:
    late = LAG[0] + timedelta(minutes=1)
    records = [{**RECORD, "modified_on": f"{late:%Y-%m-%dT%H:%M:%S}"}]
    reconciled = replace(GOOD, records=records, rows=[row(origin="reconcile", modified_on=late)])
    for evidence, layer in ((GOOD, "webhook"), (reconciled, "reconcile")):
        verdicts, by_layer = judge(evidence)
        assert verdicts.is_valid, verdicts
        assert by_layer == {layer: 1}


@pytest.mark.parametrize(
    ("rows", "problem", "id_"),
    [
        ([], "lost", "event: r1"),
        ([row(status="failed")], "lost", "event: r1"),
        ([row(modified_on=NOON - timedelta(seconds=1))], "lost", "event: r1"),
        ([row(), row(origin="poll", created_at=NOON + timedelta(minutes=1))], "duplicated", "event: r1"),
        ([row(), row(record_id="other")], "unexpected", "event: other"),
        ([row(origin="reconcile")], "unexpected", "event: r1 stored by reconciliation, polling should have"),
    ],
)
def test_a_wrong_row_is_named(rows: list[Mapping[str, Any]], problem: str, id_: str) -> None:
    assert id_ in judge(replace(GOOD, rows=rows))[0].ids(problem)


@pytest.mark.parametrize(
    ("effect", "ids"), [("customer", [f"contact {PHONE}"]), ("ticket", []), ("notification", [])]
)
def test_an_effect_that_is_missing_or_doubled_is_named(effect: str, ids: list[str]) -> None:
    missing, _ = judge(replace(GOOD, observed={**GOOD.observed, effect: ids}))
    assert [id_.partition(":")[0] for id_ in missing.ids("lost")] == [effect]
    twice = [*GOOD.observed[effect], *GOOD.observed[effect]]
    doubled, _ = judge(replace(GOOD, observed={**GOOD.observed, effect: twice}))
    assert {id_.partition(":")[0] for id_ in doubled.ids("duplicated")} == {effect}


def test_a_customer_with_two_open_tickets_is_named() -> None:
    verdicts, _ = judge(replace(GOOD, tickets=[PHONE, PHONE]))
    assert verdicts.ids("duplicated") == [f"ticket: {PHONE}"]


RUNS = [Run("poll 20 12:00:00", "poll", "succeeded"), Run("poll 20 12:05:00", "poll", "skipped")]


def test_a_tick_has_a_run_and_works_once() -> None:
    answers = {run.tick: ["succeeded", "already_done"] for run in RUNS}
    assert check_delivered(answers, RUNS).is_valid
    assert check_delivered({**answers, "gone": ["succeeded"]}, RUNS).lost == ("gone",)
    assert check_delivered({RUNS[0].tick: ["succeeded", "succeeded"]}, RUNS).duplicated == (RUNS[0].tick,)
    assert count_succeeded(RUNS, "poll") == 1
    ticks = [EngineTick(RUNS[0].tick, True, 1), EngineTick("given up", False, 0)]
    assert check_engine_ticks(ticks, RUNS).is_valid
    assert check_engine_ticks([EngineTick("gone", True, 1)], RUNS).lost == ("gone",)
    assert check_engine_ticks([EngineTick(RUNS[0].tick, True, 2)], RUNS).duplicated == (RUNS[0].tick,)


@pytest.mark.parametrize(
    ("kind", "ends", "begins"),
    [
        (Kill.ENGINE, [call.engine._end(SIGKILL)], [call.engine.start(), call.engine.wait_ready()]),
        (Kill.ENGINE_STOP, [call.engine._end(SIGTERM)], [call.engine.start(), call.engine.wait_ready()]),
        (
            Kill.HANDLERS,
            [call.first._end(SIGKILL), call.second._end(SIGKILL)],
            [call.first.start(), call.second.start(), call.first.wait_ready(), call.second.wait_ready()],
        ),
        (Kill.POSTGRES, [call.cluster.stop(crash=True)], [call.cluster.start()]),
    ],
)
def test_a_kill_ends_its_part_and_brings_it_back(kind: Kill, ends: list[Any], begins: list[Any]) -> None:
    parts = Mock()
    sandbox = Mock(engines=[parts.engine], replicas=[parts.first, parts.second], cluster=parts.cluster)
    with BREAKS[kind](Installation(sandbox)):
        assert parts.mock_calls == ends
    assert parts.mock_calls == ends + begins


MIDNIGHT = datetime(2026, 11, 19, 17, tzinfo=UTC)
"""In Vietnam."""


def test_planned_steps_are_in_order_within_their_time_and_edits_follow_their_lead() -> None:
    for plan, length in ((plan_day, DAY), (plan_afternoon, AFTERNOON)):
        steps = plan(MIDNIGHT, 100, 1)
        assert [step.at for step in steps] == sorted(step.at for step in steps)
        assert steps[0].at >= MIDNIGHT
        assert steps[-1].at <= MIDNIGHT + length + timedelta(seconds=1)
        created = {step.number: step.at for step in steps if step.kind == "lead"}
        edits = [step for step in steps if step.kind == "edit"]
        assert len(edits) == 20
        assert all(created[step.number] < step.at for step in edits)
        assert {step.name for step in steps if step.kind == "begin"} == {phase.name for phase in PHASES}


ONCE, AGAIN, OTHER = Trip("sql", "a", 1), Trip("sql", "a", 2), Trip("call", "b", 1)
ROOT = Path(__file__).parents[2]
INGEST = next(scenario for scenario in SCENARIOS if scenario.name == "ingest")


def test_the_points_of_each_scenario_are_read_as_they_were_written(tmp_path: Path) -> None:
    moments = [point.moment for point in points_of("one", [Trip("event", "lock", 1)])]
    assert moments == [Moment.BEFORE, Moment.AFTER]
    assert list(read_points()) == [scenario.name for scenario in SCENARIOS]
    trips = {"one": [ONCE, AGAIN], "two": [OTHER]}
    write_points(trips, tmp_path / "points.txt")
    assert read_points(tmp_path / "points.txt") == trips


def test_a_round_trip_that_only_the_file_or_only_the_trace_has_is_a_difference() -> None:
    assert differences({"one": [ONCE]}, {"one": [ONCE]}) == []
    found = differences({"one": [ONCE], "gone": [OTHER]}, {"one": [ONCE, AGAIN]})
    assert found == [f"one: not in the file: {AGAIN}", f"gone: not in the trace: {OTHER}"]


def test_a_point_that_failed_once_is_in_every_sample() -> None:
    points = [point for scenario, trips in read_points().items() for point in points_of(scenario, trips)]
    assert f"at {len(points)} points" in (ROOT / "docs" / "proofs.md").read_text()
    assert read_found()
    assert set(read_found()) <= {str(point) for point in points}
    for seed in range(3):
        sample = [str(point) for point in Choice([], 2, 0, seed, write=False).select(points)]
        assert sorted(sample[:-2]) == sorted(read_found())
        assert len(set(sample)) == len(read_found()) + 2


def test_faults_strike_one_after_the_other_each_counted_anew() -> None:
    first, second = Point("one", AGAIN, Moment.AFTER), Point("one", ONCE, Moment.LOST)
    wire = Tripwire([first, second])
    assert wire.reached("sql", "a") is None, "nothing is counted yet"
    wire.start()
    assert [wire.reached("sql", "a") for _ in range(3)] == [None, Moment.AFTER, Moment.LOST]
    assert wire.struck == [first, second]
    assert wire.reached("sql", "a") is None
    assert wire.traces == [[ONCE, AGAIN], [ONCE], [ONCE]]

    without_fault = Tripwire()
    without_fault.start()
    without_fault.reached("sql", "a")
    without_fault.stop()
    assert without_fault.reached("sql", "a") is None
    assert without_fault.traces == [[ONCE]], "nothing is counted after the calls"


def test_statements_are_known_as_psycopg_sends_them() -> None:
    names = statement_names()
    for name, text in QUERIES.items():
        query = PostgresQuery(Transformer())
        query.convert(text, _Anything())
        assert names[query.query] == name


class _Anything(dict[str, object]):
    def __missing__(self, key: str) -> None:
        return None


@pytest.fixture
async def runner() -> AsyncIterator[Runner]:
    async with World(processes=2) as world:
        yield Runner(world)


@pytest.mark.slow("it starts two processes and their proxies")
async def test_a_run_names_what_a_fault_did_and_another_process_goes_on(runner: Runner) -> None:
    trips = await runner.trace(INGEST)
    assert trips == read_points()["ingest"]
    store = Trip("sql", "ingest_record/store_deliveries", 1)
    struck = await runner.strike(INGEST, [Point("ingest", store, Moment.AFTER)])
    assert (struck.is_valid, struck.struck) == (True, 1), struck
    assert store in struck.recovery

    lost = await runner.strike(INGEST, [Point("ingest", store, Moment.LOST)])
    assert (lost.is_valid, lost.struck) == (True, 1), lost

    absent = Point("ingest", Trip("sql", "no such statement", 1), Moment.BEFORE)
    missed = await runner.strike(INGEST, [absent])
    assert missed.problems == [f"did not strike: {absent}"]

    twice = Scenario("ingest", INGEST.prepare, INGEST.act, (1, 2, 2, 2))
    with pytest.raises(WrongEffects, match=r"ingest: without a fault \(1, 2, 2, 1\) effects"):
        await runner.trace(twice)


# Guards: each place and proof exists, and a fault is put in and taken out exactly

TABLE = read_table()


def test_the_text_of_each_guard_is_at_its_place_once_and_its_proof_exists(subtests: pytest.Subtests) -> None:
    points = [str(point) for scenario, trips in read_points().items() for point in points_of(scenario, trips)]
    for mutation in TABLE:
        kind, _, rest = mutation.proof.partition(" ")
        path, _, test = rest.partition("::")
        with subtests.test(mutation.guard):
            assert find_place(ROOT, mutation.place).text.count(mutation.text) == 1
            assert mutation.text != mutation.replacement
            if kind == "pytest":
                assert not test or f"def {test.partition('[')[0]}(" in (ROOT / path).read_text()
            else:
                assert kind in PROOFS
                assert any(rest in point for point in points)
    assert len({mutation.guard for mutation in TABLE}) == len(TABLE), "guards have different names"


def test_a_guard_is_removed_once_or_refused(tmp_path: Path) -> None:
    mutation = Mutation("g", "module:LIMIT", "3", "4", "pytest x")
    (tmp_path / "module.py").write_text("LIMIT = 3\nOTHER = 3\n")
    mutation.apply(tmp_path)
    assert (tmp_path / "module.py").read_text() == "LIMIT = 4\nOTHER = 3\n"
    with pytest.raises(LookupError, match="has '3' 0 times"):
        mutation.apply(tmp_path)


def test_several_proofs_of_a_kind_are_one_command_whose_exit_code_counts(tmp_path: Path) -> None:
    assert PROOFS["pytest"](["a", "b"])[-2:] == ["a", "b"]
    assert PROOFS["crash_points"](["a b", "c"])[2:] == ["--point", "a b", "--point", "c"]
    (tmp_path / "test_proof.py").write_text("def test_it() -> None:\n    assert False\n")
    code, output = run_proof("pytest", ["test_proof.py"], tmp_path)
    assert code == 1, output
    (tmp_path / "test_proof.py").write_text("def test_it() -> None: ...\n")
    assert run_proof("pytest", ["test_proof.py"], tmp_path)[0] == 0


@pytest.mark.parametrize(
    "name",
    ["no/statement", "no_function()", "no.module:f", "leads.domain.assign:no", "no.lua:f", "spool.lua:no"],
)
def test_a_place_that_is_gone_is_named(name: str) -> None:
    with pytest.raises(LookupError, match="no"):
        find_place(ROOT, name)


def test_samples_of_another_time_hold_until_the_next_ones_and_a_new_counter_was_zero() -> None:
    since, counter = datetime(2026, 11, 1, tzinfo=UTC), 'leads_total{job="a b"}'
    with Processes() as processes:
        past = PastPrometheus(processes, since)
        past.take({"up": 1.0}, since)
        past.take({"up": 0.0, counter: 7.0}, since + timedelta(minutes=10))
        samples = [line.rsplit(" ", 2) for line in past.text().splitlines()[:-1]]
    assert [(name, value, (float(at) - since.timestamp()) / 60) for name, value, at in samples] == [
        ("up", "1.0", 0), ("up", "1.0", 4), ("up", "1.0", 8), ("up", "0.0", 10),
        (counter, "0.0", 4), (counter, "0.0", 8), (counter, "7.0", 10),
    ]  # fmt: skip


def test_in_the_month_each_states_what_that_key_may_state_with_a_value_that_passes() -> None:
    for each in (each for each in load_criteria() if each.source in (Source.PERSON, Source.FILE)):
        by, _, *options = handed_in(each)
        role = role_for(Kind.ATTEST, each.id, DIRECTOR if "--by" in options else "")
        assert role in ((by, Role.OPS) if by == MANAGER else (by,)), each.id
        found = value_of(each) or f"={read_evidence_file(each, good_file(each)).value}"
        assert each.is_met_by(float(found[1:])), each.id
