"""The spool: a delivery that no path takes is on disk before its answer, within the limits of the spool."""

import base64
import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from leads.adapters.secrets import KeyRing
from tests.support.edge.harness import BUDGET_MAX_FAILURES, TOKEN, EdgeHarness
from tests.support.waiting import eventually


def test_deliveries_of_an_outage_are_stored_and_drained_oldest_first(harness: EdgeHarness) -> None:
    """Each is answered 200 spooled. The drain's four threads keep the order only roughly."""
    bodies = [b"%03d" % number for number in range(40)]
    harness.stop_upstreams()
    assert set(harness.post_many(bodies)) == {"spooled"}
    assert len(harness.edge.held()) == 40
    harness.start_upstreams()
    eventually(lambda: len(harness.bodies) >= 40 and not harness.edge.held())
    assert sorted(harness.bodies) == bodies
    positions = [harness.bodies_in_order.index(body) for body in bodies]
    assert all(abs(position - number) <= 6 for number, position in enumerate(positions)), positions
    assert harness.metric('pancake_edge_spool_files{folder="spool"}') == 0
    assert harness.metric('pancake_edge_drained_total{folder="spool",outcome="received"}') == 40


def test_a_stored_delivery_holds_no_token(harness: EdgeHarness) -> None:
    harness.stop_upstreams()
    harness.post_many([b"1"])
    with harness.sender() as sender:
        sender.post("unknown-to-the-edge", b"2")
    keys = KeyRing.parse(harness.edge.state_keys)
    for folder, token in (("spool", TOKEN), ("unknown", "unknown-to-the-edge")):
        (path,) = harness.edge.held(folder)
        text = keys.decrypt(path.read_bytes()[3:], "delivery")
        assert json.loads(text)["token_sha256"] == hashlib.sha256(token.encode()).hexdigest()
        assert token not in text


@contextlib.contextmanager
def trace_worker(harness: EdgeHarness, *options: str) -> Iterator[Path]:
    """Trace the system calls of the one worker with strace. Yields the path of the trace."""
    if shutil.which("strace") is None:
        pytest.skip("system calls are traced with strace: apt-get install strace")
    trace = harness.edge.directory / "trace"
    command = ["strace", "-f", "-y", "-o", str(trace), *options, "-p", str(harness.edge.workers()[0])]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        try:
            message = tracer.stderr.readline()
            if "attached" not in message:
                pytest.skip(f"strace may not trace the worker here: {message.strip()}")
            yield trace
        finally:
            tracer.send_signal(signal.SIGINT)


def test_a_delivery_is_on_disk_before_its_answer(start_harness: Callable[..., EdgeHarness]) -> None:
    """System calls in this order: write, fsync, rename, fsync of the folder, and then the answer."""
    harness = start_harness(workers=1)
    harness.stop_upstreams()
    calls = "trace=fsync,?rename,?renameat,?renameat2,write,writev,sendto"
    with trace_worker(harness, "-e", calls) as trace:
        harness.post_many([b"1"])
    (name,) = [path.name for path in harness.edge.held()]
    steps = [
        rf"fsync\(\d+<\S+/spool/\.part-{name}>", rf'rename\w*\(.*/\.part-{name}", .*/spool/{name}"',
        r"fsync\(\d+<\S+/spool>", r"HTTP/1\.1 200 OK",
    ]  # fmt: skip
    assert re.search(".*".join(steps), trace.read_text(), re.DOTALL), trace.read_text()


def test_a_burst_on_a_slow_disk_is_stored(start_harness: Callable[..., EdgeHarness]) -> None:
    """120 ms per fsync: requests at the same time wait for their turn; none is shed or answered with 503."""
    harness = start_harness(workers=1)
    harness.stop_upstreams()
    with (
        trace_worker(harness, "-e", "trace=fsync", "-e", "inject=fsync:delay_enter=120ms"),
        ThreadPoolExecutor(80) as threads,
    ):
        statuses = list(threads.map(lambda number: harness.post_many([b"%d" % number]), range(80)))
    assert statuses == [["spooled"]] * 80


def test_a_reload_waits_for_running_writes(start_harness: Callable[..., EdgeHarness]) -> None:
    """On a slow disk: a delivery during the change of workers gets its answer."""
    harness = start_harness(workers=1)
    harness.stop_upstreams()
    with (
        trace_worker(harness, "-e", "trace=fsync", "-e", "inject=fsync:delay_enter=500ms"),
        ThreadPoolExecutor(4) as threads,
    ):
        statuses = threads.map(lambda number: harness.post_many([b"%d" % number]), range(4))
        eventually(lambda: list((harness.edge.state / "spool").glob(".part-*")))
        harness.edge.reload()
        assert list(statuses) == [["spooled"]] * 4


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_full_disk_is_noticed_before_a_delivery_needs_it(harness: EdgeHarness) -> None:
    """The probe is as large as the largest delivery: an empty file would still fit on the disk."""
    spool = harness.edge.state / "spool"
    owner = spool.stat()
    options = f"size=256k,mode=700,uid={owner.st_uid},gid={owner.st_gid}"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(spool)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"mounting is not permitted here: {mounted.stderr.strip()}")
    try:
        harness.edge.reload()
        eventually(lambda: harness.metric("pancake_edge_spool_writable{}") == 0)
        assert not list(spool.iterdir())
    finally:
        harness.edge.stop()
        subprocess.run(["umount", str(spool)], check=True)


def test_an_unreadable_file_stays_in_the_spool_and_is_logged(harness: EdgeHarness) -> None:
    """For instance one that root put back with the wrong owner."""
    harness.stop_upstreams()
    harness.post_many([b"1", b"2"])
    closed, _ = harness.edge.held()
    before = closed.stat()
    closed.chmod(0)
    os.chown(closed, os.geteuid(), os.getegid())
    harness.start_upstreams()
    eventually(lambda: len(harness.bodies) == 1)
    eventually(lambda: harness.metric('pancake_edge_errors_total{source="spool"}') >= 1)
    assert harness.edge.held() == [closed]
    assert f"delivery not read: {closed.name}" in harness.edge.errors()
    os.chown(closed, before.st_uid, before.st_gid)
    closed.chmod(before.st_mode)


def test_a_partial_file_of_a_killed_process_is_removed(start_harness: Callable[..., EdgeHarness]) -> None:
    """At its second sweep, a minute later (here 0.1 s). Its delivery was never answered."""
    harness = start_harness(started=False)
    harness.edge.edit("start.lua", "TIDY_INTERVAL_SECONDS = 60", "TIDY_INTERVAL_SECONDS = 0.1")
    half = harness.edge.state / "spool" / ".part-1700000000000-0123456789ab-9.sealed"
    half.write_bytes(b"PE1")
    harness.edge.start()
    harness.edge.wait_ready()
    eventually(lambda: not half.exists())


def test_a_missing_folder_stops_only_what_needs_it(start_harness: Callable[..., EdgeHarness]) -> None:
    """The edge starts and forwards, and its log names the folder."""
    harness = start_harness(started=False)
    (harness.edge.state / "unknown").rmdir()
    harness.edge.bring_up()
    assert harness.post_many([b"1"]) == ["received"]
    eventually(lambda: harness.metric("pancake_edge_spool_writable{}") == 0)
    assert "/state/unknown: No such file" in harness.edge.errors()


def test_the_size_of_the_spool_is_limited_in_bytes_too(start_harness: Callable[..., EdgeHarness]) -> None:
    harness = start_harness(EDGE_SPOOL_MAX_BYTES="300000")
    harness.stop_upstreams()
    with harness.sender() as sender:
        replies = [sender.post(TOKEN, b"x" * 100_000).status for _ in range(3)]
    assert replies == ["spooled", "spooled", "spool_full"]


def test_files_of_deliveries_and_policy_are_encrypted(harness: EdgeHarness) -> None:
    """Neither a token nor a body nor a secret is readable."""
    harness.connection.webhook_secrets = [b"secret-of-the-connection"]
    harness.wait_for_new_policy()
    harness.stop_upstreams()
    harness.post_many([b'{"phone":"0912345678"}'])
    for path in harness.edge.state.rglob("*.sealed"):
        sealed = path.read_bytes()
        for clear in (
            TOKEN.encode(),
            b"0912345678",
            b"secret-of",
            base64.b64encode(b"secret-of-the-connection"),
        ):
            assert clear not in sealed
    assert (harness.edge.state / "policy.sealed").exists()


def test_a_full_spool_survives_sigkill_of_every_process(start_harness: Callable[..., EdgeHarness]) -> None:
    """All deliveries that were answered 200 are handed over after the restart."""
    harness = start_harness(EDGE_SPOOL_MAX_FILES="30")
    harness.stop_upstreams()
    statuses = harness.post_many([b"%d" % number for number in range(30)])
    assert set(statuses) == {"spooled"}
    harness.edge.kill()
    harness.edge.start()
    harness.edge.wait_ready()
    assert harness.post_many([b"one too many"]) != ["spooled"]
    harness.start_upstreams()
    eventually(lambda: not harness.edge.held())
    assert sorted(harness.bodies) == sorted(b"%d" % number for number in range(30))


def test_sigkill_during_a_burst_loses_no_delivery_that_was_answered(harness: EdgeHarness) -> None:
    harness.stop_upstreams()
    answered: list[bytes] = []

    def deliver(number: int) -> None:
        with harness.sender() as sender:
            for step in range(40):
                body = b"%d-%d" % (number, step)
                try:
                    if sender.post(TOKEN, body).status == "spooled":
                        answered.append(body)
                except (OSError, ValueError):
                    return

    with ThreadPoolExecutor(4) as threads:
        for number in range(4):
            threads.submit(deliver, number)
        eventually(lambda: len(answered) >= 40)
        harness.edge.kill()
    harness.edge.start()
    harness.edge.wait_ready()
    harness.start_upstreams()
    eventually(lambda: not harness.edge.held())
    assert set(answered) <= set(harness.bodies)
    assert not harness.edge.held("quarantine")


def test_a_reload_loses_nothing(harness: EdgeHarness) -> None:
    """HUP while deliveries are on disk and more arrive."""
    harness.stop_upstreams()
    harness.post_many([b"%d" % number for number in range(10)])
    harness.edge.reload()
    for number in range(10, 20):
        try:
            statuses = harness.post_many([b"%d" % number])
        except ConnectionError:  # nginx closes connections without a request: nothing was answered
            statuses = harness.post_many([b"%d" % number])
        assert statuses == ["spooled"]
    harness.start_upstreams()
    eventually(lambda: not harness.edge.held())
    assert {int(body) for body in harness.bodies} == set(range(20))


def test_an_unwritable_spool_answers_as_a_full_one(harness: EdgeHarness) -> None:
    harness.stop_upstreams()
    # The probe of the disk at the start would count as one more error.
    eventually(lambda: "spool_writable" in httpx.get(f"{harness.edge.ops_url}/healthz").json())
    (harness.edge.state / "spool").chmod(0o500)
    try:
        with harness.sender() as sender:
            replies = [sender.post(TOKEN, b"%d" % number) for number in range(3)]
    finally:
        (harness.edge.state / "spool").chmod(0o700)
    assert {(reply.code, reply.status) for reply in replies} == {(503, "spool_full")}
    assert harness.metric('pancake_edge_errors_total{source="spool"}') == 3
    assert harness.metric('pancake_edge_spool_files{folder="spool"}') == 0


def test_a_burst_of_spooled_deliveries_is_queued_not_refused(harness: EdgeHarness) -> None:
    """More deliveries at once than nginx has writing threads: each waits for its turn."""
    harness.stop_upstreams()

    def deliver(number: int) -> list[str]:
        return harness.post_many([b"%d-%d" % (number, step) for step in range(5)])

    with ThreadPoolExecutor(60) as threads:
        statuses = [status for part in threads.map(deliver, range(60)) for status in part]
    assert statuses == ["spooled"] * 300
    assert len(harness.edge.held()) == 300


def test_a_full_spool_answers_503_within_the_budget_and_then_sheds(
    start_harness: Callable[..., EdgeHarness],
) -> None:
    """150 errors at most; then 200 shed, and only polling brings the record."""
    harness = start_harness(EDGE_SPOOL_MAX_FILES="5")
    harness.stop_upstreams()
    with harness.sender() as sender:
        replies = [sender.post(TOKEN, b"%d" % number) for number in range(170)]
    assert [reply.status for reply in replies[:5]] == ["spooled"] * 5
    assert {(reply.code, reply.status) for reply in replies[5:155]} == {(503, "spool_full")}
    assert {(reply.code, reply.status) for reply in replies[155:]} == {(200, "shed")}
    assert len(harness.edge.held()) == 5
    assert harness.metric('pancake_edge_shed_total{folder="spool"}') == 15
    assert harness.budget_used() == BUDGET_MAX_FAILURES
