"""The crash points: the file of the round trips, the wire, the proxies, and single runs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from psycopg._queries import PostgresQuery
from psycopg.adapt import Transformer

from leads.adapters.queries import QUERIES
from sandbox.chaos.crash_points import Choice
from sandbox.chaos.crashes.pg_proxy import statement_names
from sandbox.chaos.crashes.points import (
    Moment,
    Point,
    Trip,
    differences,
    points_of,
    read_found,
    read_points,
    write_points,
)
from sandbox.chaos.crashes.run import Runner, WrongEffects
from sandbox.chaos.crashes.scenarios import SCENARIOS, Scenario
from sandbox.chaos.crashes.tripwire import Tripwire
from sandbox.chaos.crashes.world import World

FIRST, AGAIN, OTHER = Trip("sql", "a", 1), Trip("sql", "a", 2), Trip("call", "b", 1)
README = Path(__file__).parents[2] / "README.md"
INGEST = next(scenario for scenario in SCENARIOS if scenario.name == "ingest")


def test_the_file_of_the_points_names_each_scenario_once_and_in_order() -> None:
    assert list(read_points()) == [scenario.name for scenario in SCENARIOS]


def test_the_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    trips = {"one": [FIRST, AGAIN], "two": [OTHER]}
    write_points(trips, tmp_path / "points.txt")
    assert read_points(tmp_path / "points.txt") == trips


@pytest.mark.parametrize("line", ["one\tsql\t1", "one\tdisk\t1\ta", "one\tsql\tx\ta"])
def test_a_line_that_is_no_round_trip_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "points.txt"
    path.write_text(f"# comment\n{line}\n")
    with pytest.raises(ValueError, match=r"points\.txt, line 2"):
        read_points(path)


def test_a_round_trip_that_only_the_file_or_only_the_trace_has_is_a_difference() -> None:
    assert differences({"one": [FIRST]}, {"one": [FIRST]}) == []
    found = differences({"one": [FIRST], "gone": [OTHER]}, {"one": [FIRST, AGAIN]})
    assert found == [f"one: not in the file: {AGAIN}", f"gone: not in the trace: {OTHER}"]


def all_points() -> list[Point]:
    return [point for scenario, trips in read_points().items() for point in points_of(scenario, trips)]


def test_the_readme_states_how_many_points_there_are() -> None:
    assert f"at {len(all_points())} points" in README.read_text()


def test_a_point_that_failed_once_is_in_every_sample() -> None:
    points = all_points()
    assert read_found()
    assert set(read_found()) <= {str(point) for point in points}
    for seed in range(3):
        sample = [str(point) for point in Choice([], 2, 0, seed, write=False).select(points)]
        assert sorted(sample[:-2]) == sorted(read_found())
        assert len(set(sample)) == len(read_found()) + 2


def test_hasura_has_no_answer_to_lose() -> None:
    moments = [point.moment for point in points_of("one", [Trip("event", "lock", 1)])]
    assert moments == [Moment.BEFORE, Moment.AFTER]


def test_faults_strike_one_after_the_other_each_counted_anew() -> None:
    first, second = Point("one", AGAIN, Moment.AFTER), Point("one", FIRST, Moment.LOST)
    wire = Tripwire([first, second])
    assert wire.reached("sql", "a") is None, "nothing is counted yet"
    wire.start()
    assert [wire.reached("sql", "a") for _ in range(3)] == [None, Moment.AFTER, Moment.LOST]
    assert wire.struck == [first, second]
    assert wire.reached("sql", "a") is None
    assert wire.traces == [[FIRST, AGAIN], [FIRST], [FIRST]]


def test_without_a_fault_nothing_is_counted_after_the_calls() -> None:
    wire = Tripwire()
    wire.start()
    wire.reached("sql", "a")
    wire.stop()
    wire.reached("sql", "a")
    assert wire.traces == [[FIRST]]


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
