"""`scripts/loadtest`: what it measures, what it counts, what its report shows."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hdrh.histogram import HdrHistogram
from typer.testing import CliRunner

from sandbox.chaos.stream import versions
from sandbox.edge.packages import missing_packages
from sandbox.loadtest import sender
from sandbox.loadtest.__main__ import app
from sandbox.loadtest.histograms import milliseconds, write_histograms
from sandbox.loadtest.resources import Sampler
from sandbox.loadtest.sender import Leg, new_histogram, send

ROOT = Path(__file__).parents[2]
ANSWER = b'{"status": "received"}'


@asynccontextmanager
async def server(*, delay: float = 0, status: int = 200, stall: float = 0) -> AsyncIterator[str]:
    """Answer each request after `delay` seconds; the first one blocks all for `stall` seconds."""
    stalled = False

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal stalled
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length:")[2].split()[0])
                await reader.readexactly(length)
                if stall and not stalled:
                    stalled = True
                    time.sleep(stall)  # noqa: ASYNC251 - the whole server stands still
                await asyncio.sleep(delay)
                line = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(ANSWER))
                writer.write(line + ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/api"


async def post(leg: Leg, url: str, connections: int = 4) -> Leg:
    await send(leg, url, versions(1), connections)
    return leg


async def test_every_delivery_is_counted_and_duplicates_are_posted_twice() -> None:
    async with server() as url:
        leg = await post(Leg(100, 0.42), url)
    numbers = [version.number for version in leg.sent.versions]
    assert numbers == [*range(1, 21), 20, *range(21, 41), 40]
    assert (leg.offered, leg.delivered, leg.dropped, leg.late) == (42, 42, 0, 0)
    assert leg.latencies.get_total_count() == 42
    assert leg.sent.answers == {"received": 42}
    assert leg.delivered_per_second == pytest.approx(100, rel=0.3)


async def test_a_stall_shows_in_all_deliveries_that_were_due_during_it() -> None:
    """No coordinated omission: one answer took 0.5 s, and about half of the others waited for it."""
    async with server(stall=0.5) as url:
        leg = await post(Leg(100, 1), url)
    slow = [value for value in (25, 50, 75, 100) if leg.latencies.get_value_at_percentile(value) > 50_000]
    assert 75 in slow
    assert leg.latencies.get_value_at_percentile(100) > 400_000


async def test_what_no_connection_is_free_for_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "MAX_DELAY_SECONDS", 0.2)
    async with server(delay=0.3) as url:
        leg = await post(Leg(100, 0.5), url, connections=2)
    assert leg.dropped > 20
    assert leg.offered == 50 == leg.dropped + leg.delivered
    assert len(leg.sent.versions) == leg.delivered


async def test_errors_are_counted_and_the_next_delivery_has_a_new_connection() -> None:
    async with server(status=503) as url:
        refused = await post(Leg(50, 0.2), url)
    assert (refused.delivered, refused.sent.answers) == (0, {"503": 10})
    assert len(refused.sent.non_2xx) == 10
    unreachable = await post(Leg(50, 0.2), "http://127.0.0.1:9/api")
    assert unreachable.sent.answers == {"ConnectionRefusedError": 10}
    assert unreachable.sent.acknowledged == []


def test_a_histogram_log_is_read_by_its_library(tmp_path: Path) -> None:
    leg, histogram = Leg(100, 1, started_at=1000.0, ended_at=1001.0), new_histogram()
    for value in (1_000, 2_000, 250_000):
        histogram.record_value(value)
    write_histograms(tmp_path / "log", [(leg, {"edge": histogram, "ticket": new_histogram()})])
    line = next(line for line in (tmp_path / "log").read_text().splitlines() if line.startswith("Tag="))
    tag, start, seconds, highest_ms, encoded = line.split(",")
    assert (tag, float(start), float(seconds), float(highest_ms)) == ("Tag=edge-100", 1000, 1, 250)
    read = HdrHistogram.decode(encoded)
    assert read.get_total_count() == 3
    assert milliseconds(read)["max"] == pytest.approx(250, rel=0.01)
    assert milliseconds(new_histogram()) == {
        "n": 0, "p50": None, "p95": None, "p99": None, "p99_9": None, "max": None
    }  # fmt: skip


SERVICES = ("edge", "engine", "handlers", "postgres", "engine_sessions")


def test_the_cpu_of_children_that_ended_counts() -> None:
    child = "import time\nwhile time.process_time() < 0.3: pass"
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])\ninput()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
        with Sampler({"parent": process.pid}) as sampler:
            time.sleep(1.5)
        process.communicate(b"\n")
    assert sampler.usage["parent"].cpu_seconds >= 0.25
    assert sampler.usage["parent"].peak_mb > 1


def test_only_processes_of_a_title_count_if_one_is_given() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        titles = {"same": sys.executable, "other": "postgres: "}
        with Sampler(dict.fromkeys(titles, process.pid), titles) as sampler:
            time.sleep(0.5)
        process.kill()
    assert sampler.usage["same"].cpu_seconds > 0
    assert (sampler.usage["other"].cpu_seconds, sampler.usage["other"].peak_mb) == (0, 0)


@pytest.mark.skipif(bool(missing_packages()), reason="nginx with Lua is not installed")
def test_a_short_run_counts_every_lead_and_writes_its_report(tmp_path: Path) -> None:
    command = ["--rate", "10", "--minutes", "0.05", "--json"]
    files = ["--html", str(tmp_path / "report.html"), "--histograms", str(tmp_path / "log")]
    ended = CliRunner().invoke(app, [*command, *files])
    result = json.loads(ended.stdout)
    (step,) = result["steps"]
    assert (result["lost"], result["duplicated"], result["unexpected"]) == ([], [], [])
    assert (step["offered"], step["delivered"], step["dropped"]) == (30, 30, 0)
    assert ended.exit_code == (0 if result["ok"] else 1)  # how fast this machine is, is no test's business
    assert step["ticket_ms"]["n"] > 10
    assert step["ticket_ms"]["p50"] > step["edge_ms"]["p50"]
    assert all(step["cpu_ms_per_lead"][name] > 0 for name in SERVICES)
    assert step["cpu_ms_per_lead"]["engine_sessions"] < step["cpu_ms_per_lead"]["postgres"]
    assert result["table_bytes"]["public.pancake_webhook_event"] > 0
    page = (tmp_path / "report.html").read_text()
    assert ("Passed: " if result["ok"] else "Failed: ") in page
    assert "<script" not in page
    assert page.count("<svg") == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rate", "1500"], "--rate"),
        (["--steps", "10,fast"], "is not a list of numbers"),
        (["--steps", "0.5"], "from 1 to 900"),
        (["--minutes", "1441"], "limited to 24"),
        (["--html", "/nowhere/report.html"], "does not exist"),
    ],
)
def test_wrong_options_are_named_before_anything_starts(arguments: list[str], message: str) -> None:
    ended = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert ended.exit_code == 2
    assert message in ended.output
