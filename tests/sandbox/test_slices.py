"""Contenders of a benchmark take turns, and are compared in pairs."""

import asyncio
import os
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from sandbox.bench import process
from sandbox.bench.environment import BenchEnvironment
from sandbox.bench.load import constant_arrival, request_for
from sandbox.bench.slices import Contender, Done, Slice, figures, ratio, run_slices, spread

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def bench() -> BenchEnvironment:
    fake: Any = SimpleNamespace(cluster=SimpleNamespace(pid=os.getpid()), cpu_seconds=lambda: 0.0)
    return cast(BenchEnvironment, fake)


def test_contenders_take_turns_in_changing_order() -> None:
    order: list[str] = []

    def contender(name: str) -> Contender:
        def work() -> Done:
            order.append(name)
            return Done(10, 2.0)

        return lambda: work

    contenders = {name: contender(name) for name in ("ours", "pgbench")}
    found = run_slices(bench(), contenders, 3, Console(quiet=True))
    assert order == ["ours", "pgbench", "pgbench", "ours", "ours", "pgbench"]
    assert [each.rate for each in found["ours"]] == [5.0, 5.0, 5.0]
    assert set(found["ours"][0].cpu_us) == {"handler", "postgres", "client"}


def test_what_is_prepared_is_not_measured() -> None:
    """Its CPU time would count as that of the client."""

    def prepare() -> Any:
        sum(range(5_000_000))
        return lambda: Done(1, 1.0)

    (found,) = run_slices(bench(), {"ours": prepare}, 1, Console(quiet=True))["ours"]
    assert found.cpu_us["client"] < 50_000


def test_rates_are_compared_in_pairs() -> None:
    """The second round was twice as slow for both: that says nothing about their ratio."""
    ours = [Slice(50, {"handler": 20.0}), Slice(25, {"handler": 30.0})]
    theirs = [Slice(100, {}), Slice(50, {})]
    assert ratio(ours, theirs) == {"median": 0.5, "q1": 0.5, "q3": 0.5, "min": 0.5, "n": 2}
    cpu = {"handler": {"median": 25.0, "q1": 22.0, "q3": 28.0, "min": 20.0, "n": 2}}
    assert figures(ours)["cpu_us"] == cpu
    assert figures([Slice(50, {"handler": 20_000.0})])["cores"] == {"handler": 1.0}


def test_a_spread_has_quartiles_and_the_number_of_values() -> None:
    assert spread([5, 1, 2, 3, 4]) == {"median": 3, "q1": 2, "q3": 4, "min": 1, "n": 5}
    assert spread([7.0]) == {"median": 7.0, "q1": 7.0, "q3": 7.0, "min": 7.0, "n": 1}


def test_latency_counts_from_the_due_time_and_missed_ones_are_counted() -> None:
    """One connection, 50 ms for each answer, a request every 10 ms: all but the first are sent late."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            await asyncio.sleep(0.05)
            writer.write(ANSWER)
        writer.close()

    async def run() -> Any:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            measurement = await constant_arrival(url, [request_for(url, {}, b"{}")] * 4, 100, 1)
            await asyncio.sleep(0.05)  # for both ends to close their sockets
            return measurement

    measurement = asyncio.run(run())
    assert measurement.summary()["n"] == 4
    assert measurement.missed == 3
    assert measurement.latencies_seconds[-1] >= 4 * 0.05 - 0.03


@pytest.mark.parametrize("step", ["BEGIN;", "COMMIT;"])
def test_pipelines_hold_all_steps_but_those_whose_row_is_kept(step: str) -> None:
    steps = process._in_pipelines()
    assert [each for each in steps if not each.endswith("pipeline")] == process._alone()
    assert step in steps
    is_open = False
    for each in steps:
        assert not (is_open and "\\gset" in each)
        is_open = each == process.START_PIPELINE or (is_open and each != process.END_PIPELINE)
    assert not is_open
    assert steps.count(process.START_PIPELINE) == steps.count(process.END_PIPELINE) == 3
