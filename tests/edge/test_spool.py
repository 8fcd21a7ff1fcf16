"""The spool: what nobody would take is on disk before the answer, and is handed over later."""

import base64
import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.edge.conftest import TOKEN, Stage, eventually
from tests.edge.fakes import Answer


def away(stage: Stage) -> None:
    """Nothing behind the edge answers."""
    stage.hasura.stop()
    stage.handlers.stop()


def back(stage: Stage) -> None:
    """Everything behind the edge answers again."""
    stage.hasura.start()
    stage.handlers.start()


def post_many(stage: Stage, bodies: list[bytes]) -> list[str]:
    """Deliver them one after the other; the statuses."""
    with stage.sender() as sender:
        return [sender.post(TOKEN, body).status for body in bodies]


def offered(stage: Stage, body: bytes) -> int:
    """How often the handlers were offered that body, taken or not."""
    return sum(base64.b64encode(body) in request.body for request in stage.handlers.requests)


def test_with_everything_down_deliveries_are_kept_and_drained_oldest_first(stage: Stage) -> None:
    """200 spooled each; once a path is back they arrive in order with their time and address of arrival."""
    bodies = [b"%03d" % number for number in range(40)]
    away(stage)
    assert set(post_many(stage, bodies)) == {"spooled"}
    assert len(stage.edge.held()) == 40
    back(stage)
    eventually(lambda: len(stage.bodies) >= 40 and not stage.edge.held())
    assert sorted(stage.bodies) == bodies
    places = [stage.in_order.index(body) for body in bodies]
    assert all(abs(place - number) <= 6 for number, place in enumerate(places)), places
    assert stage.metric('pancake_edge_spool_files{folder="spool"}') == 0
    assert stage.metric('pancake_edge_drained_total{folder="spool",outcome="received"}') == 40


@contextlib.contextmanager
def traced(stage: Stage, *options: str) -> Iterator[Path]:
    """The file in which strace notes what the one worker asks of the kernel meanwhile."""
    if shutil.which("strace") is None:
        pytest.skip("what the kernel saw is told by strace: apt-get install strace")
    trace = stage.edge.directory / "trace"
    command = ["strace", "-f", "-y", "-o", str(trace), *options, "-p", str(stage.edge.workers()[0])]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        try:
            said = tracer.stderr.readline()
            if "attached" not in said:
                pytest.skip(f"strace may not look at the worker here: {said.strip()}")
            yield trace
        finally:
            tracer.send_signal(signal.SIGINT)


def test_a_delivery_is_on_disk_before_its_answer(nginx: Callable[..., Stage]) -> None:
    """Written, fsynced, renamed, the folder fsynced, and only then 200: in this order, says the kernel."""
    stage = nginx(workers=1)
    away(stage)
    calls = "trace=fsync,?rename,?renameat,?renameat2,write,writev,sendto"
    with traced(stage, "-e", calls) as trace:
        post_many(stage, [b"1"])
    (name,) = [path.name for path in stage.edge.held()]
    steps = [
        rf"fsync\(\d+<\S+/spool/\.part-{name}>", rf'rename\w*\(.*/\.part-{name}", .*/spool/{name}"',
        r"fsync\(\d+<\S+/spool>", r"HTTP/1\.1 200 OK",
    ]  # fmt: skip
    assert re.search(".*".join(steps), trace.read_text(), re.DOTALL), trace.read_text()


def test_a_burst_on_a_slow_disk_is_kept(nginx: Callable[..., Stage]) -> None:
    """120 ms for each fsync: who comes together waits for his turn; nothing is shed, no failure chosen."""
    stage = nginx(workers=1)
    away(stage)
    with (
        traced(stage, "-e", "trace=fsync", "-e", "inject=fsync:delay_enter=120ms"),
        ThreadPoolExecutor(80) as threads,
    ):
        statuses = list(threads.map(lambda number: post_many(stage, [b"%d" % number]), range(80)))
    assert statuses == [["spooled"]] * 80


def test_a_reload_waits_for_what_is_being_written(nginx: Callable[..., Stage]) -> None:
    """On a slow disk: who delivers while the workers change hears that it was kept."""
    stage = nginx(workers=1)
    away(stage)
    with (
        traced(stage, "-e", "trace=fsync", "-e", "inject=fsync:delay_enter=500ms"),
        ThreadPoolExecutor(4) as threads,
    ):
        statuses = threads.map(lambda number: post_many(stage, [b"%d" % number]), range(4))
        eventually(lambda: list((stage.edge.state / "spool").glob(".part-*")))
        stage.edge.reload()
        assert list(statuses) == [["spooled"]] * 4


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_full_disk_is_noticed_before_a_delivery_needs_it(stage: Stage) -> None:
    """An empty file fits where no delivery would: the probe is as large as the largest one."""
    spool = stage.edge.state / "spool"
    owner = spool.stat()
    options = f"size=256k,mode=700,uid={owner.st_uid},gid={owner.st_gid}"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(spool)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"nothing may be mounted here: {mounted.stderr.strip()}")
    try:
        stage.edge.reload()
        eventually(lambda: stage.metric("pancake_edge_spool_writable{}") == 0)
        assert not list(spool.iterdir())
    finally:
        stage.edge.stop()
        subprocess.run(["umount", str(spool)], check=True)


def test_a_file_that_the_disk_does_not_give_is_left_and_said(stage: Stage) -> None:
    """Put back by root with root's rights, for instance: it stays, and is not passed over in silence."""
    away(stage)
    post_many(stage, [b"1", b"2"])
    closed, _ = stage.edge.held()
    mode = closed.stat()
    closed.chmod(0)
    os.chown(closed, os.geteuid(), os.getegid())
    back(stage)
    eventually(lambda: len(stage.bodies) == 1)
    eventually(lambda: stage.metric('pancake_edge_errors_total{source="spool"}') >= 1)
    assert stage.edge.held() == [closed]
    assert f"delivery not read: {closed.name}" in stage.edge.errors()
    os.chown(closed, mode.st_uid, mode.st_gid)
    closed.chmod(mode.st_mode)


def test_half_a_file_of_a_killed_process_goes(nginx: Callable[..., Stage]) -> None:
    """Seen twice, a minute apart (here a tenth of a second), it is nobody's; it was never answered."""
    stage = nginx(started=False)
    stage.edge.edit("start.lua", "TIDY_INTERVAL_SECONDS = 60", "TIDY_INTERVAL_SECONDS = 0.1")
    half = stage.edge.state / "spool" / ".part-1700000000000-0123456789ab-9.sealed"
    half.write_bytes(b"PE1")
    stage.edge.start()
    stage.edge.wait_ready()
    eventually(lambda: not half.exists())


def test_a_missing_folder_stops_only_what_needs_it(nginx: Callable[..., Stage]) -> None:
    """The edge starts, forwards, and says which folder takes nothing."""
    stage = nginx(started=False)
    (stage.edge.state / "unknown").rmdir()
    stage.edge.bring_up()
    assert post_many(stage, [b"1"]) == ["received"]
    eventually(lambda: stage.metric("pancake_edge_spool_writable{}") == 0)
    assert "/state/unknown: No such file" in stage.edge.errors()


def test_the_folder_has_a_limit_of_bytes_too(nginx: Callable[..., Stage]) -> None:
    """Few large deliveries fill a disk as well as many small ones."""
    stage = nginx(EDGE_SPOOL_MAX_BYTES="300000")
    away(stage)
    with stage.sender() as sender:
        replies = [sender.post(TOKEN, b"x" * 100_000).status for _ in range(3)]
    assert replies == ["spooled", "spooled", "spool_full"]


def test_nothing_of_a_delivery_lies_readable_on_disk(stage: Stage) -> None:
    """Token, bytes and secrets are sealed, in the spool and in the policy."""
    stage.connection.webhook_secrets = [b"secret-of-the-connection"]
    stage.learn()
    away(stage)
    post_many(stage, [b'{"phone":"0912345678"}'])
    for path in stage.edge.state.rglob("*.sealed"):
        sealed = path.read_bytes()
        for clear in (
            TOKEN.encode(),
            b"0912345678",
            b"secret-of",
            base64.b64encode(b"secret-of-the-connection"),
        ):
            assert clear not in sealed
    assert (stage.edge.state / "policy.sealed").exists()


def test_a_full_spool_survives_sigkill_of_every_process(nginx: Callable[..., Stage]) -> None:
    """What was answered 200 is there after the restart, with the policy, and is handed over."""
    stage = nginx(EDGE_SPOOL_MAX_FILES="30")
    away(stage)
    statuses = post_many(stage, [b"%d" % number for number in range(30)])
    assert set(statuses) == {"spooled"}
    stage.edge.kill()
    stage.edge.start()
    stage.edge.wait_ready()
    assert post_many(stage, [b"one too many"]) != ["spooled"]
    back(stage)
    eventually(lambda: not stage.edge.held())
    assert sorted(stage.bodies) == sorted(b"%d" % number for number in range(30))


def test_sigkill_in_the_middle_of_a_burst_loses_nothing_that_was_answered(stage: Stage) -> None:
    """Half-written files were never answered; everything answered is a whole file."""
    away(stage)
    answered: list[bytes] = []

    def deliver(number: int) -> None:
        with stage.sender() as sender:
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
        stage.edge.kill()
    stage.edge.start()
    stage.edge.wait_ready()
    back(stage)
    eventually(lambda: not stage.edge.held())
    assert set(answered) <= set(stage.bodies)
    assert not stage.edge.held("quarantine")


def test_the_drain_keeps_to_its_rate_while_live_traffic_goes_on(nginx: Callable[..., Stage]) -> None:
    """A live delivery is answered by the handlers at once although the spool is far from empty."""
    stage = nginx(EDGE_DRAIN_PER_SECOND="20")
    away(stage)
    post_many(stage, [b"old-%d" % number for number in range(30)])
    back(stage)
    began = time.monotonic()
    eventually(lambda: stage.bodies)
    with stage.sender() as sender:
        assert [sender.post(TOKEN, b"new-%d" % number).status for number in range(10)] == ["received"] * 10
    assert stage.edge.held()
    eventually(lambda: not stage.edge.held())
    assert time.monotonic() - began > 30 / 20 - 0.5
    assert len(stage.bodies) == 40


def test_what_every_path_refuses_while_healthy_is_set_aside_and_never_deleted(stage: Stage) -> None:
    """One odd delivery: quarantine, counted; its neighbours pass, and no path is skipped for it."""
    stage.hasura.refuses = stage.handlers.refuses = lambda raw: raw == b"odd"
    assert post_many(stage, [b"odd", b"even"]) == ["spooled", "received"]

    def quarantined() -> bool:
        post_many(stage, [b"even"])
        return len(stage.edge.held("quarantine")) == 1

    eventually(quarantined)
    assert not stage.edge.held()
    assert stage.metric('pancake_edge_quarantined_total{reason="refused"}') == 1
    assert stage.metric('pancake_edge_spool_files{folder="quarantine"}') == 1
    stage.hasura.refuses = lambda raw: False
    (odd,) = stage.edge.held("quarantine")
    odd.rename(stage.edge.state / "spool" / odd.name)
    eventually(lambda: b"odd" in stage.hasura.bodies)
    assert stage.metric('pancake_edge_spool_files{folder="quarantine"}') == 0


def test_one_delivery_that_no_path_survives_holds_up_none_of_the_others(stage: Stage) -> None:
    """Every path answers it with 503, as if ill; at night no live delivery would show that it is not."""
    away(stage)
    post_many(stage, [b"poison", *(b"%d" % number for number in range(20))])
    stage.hasura.refuses = stage.handlers.refuses = lambda raw: raw == b"poison"
    stage.hasura.refusal = stage.handlers.refusal = 503
    back(stage)
    eventually(lambda: len(stage.edge.held()) == 1, seconds=20)
    assert sorted(stage.bodies) == sorted(b"%d" % number for number in range(20))

    def quarantined() -> bool:
        post_many(stage, [b"live"])
        return len(stage.edge.held("quarantine")) == 1

    eventually(quarantined)
    eventually(lambda: not stage.edge.held())


def test_an_odd_delivery_holds_up_nobody_while_one_path_is_down(stage: Stage) -> None:
    """Only the handlers are there, and refuse some: the others pass, and nothing is set aside for it."""
    away(stage)
    odd, even = [b"odd %d" % number for number in range(6)], [b"%d" % number for number in range(20)]
    post_many(stage, odd + even)
    stage.handlers.refuses = lambda raw: raw.startswith(b"odd")
    stage.handlers.start()
    eventually(lambda: len(stage.edge.held()) == len(odd))
    assert sorted(stage.bodies) == sorted(even)
    assert not stage.edge.held("quarantine")


def test_many_odd_deliveries_do_not_starve_those_behind_them(nginx: Callable[..., Stage]) -> None:
    """More than the drain tries in one of its rounds (here a second): the next round goes on behind them."""
    stage = nginx(started=False)
    stage.edge.edit("start.lua", "DRAIN_ROUND_SECONDS = 60", "DRAIN_ROUND_SECONDS = 1")
    stage.edge.bring_up()
    away(stage)
    post_many(stage, [b"odd %d" % number for number in range(20)] + [b"even"])
    stage.handlers.refuses = lambda raw: raw.startswith(b"odd")
    stage.handlers.start()
    eventually(lambda: stage.bodies == [b"even"], seconds=20)


def test_odd_deliveries_left_by_an_outage_do_not_keep_a_path_closed(nginx: Callable[..., Stage]) -> None:
    """Each may be the one that probes the handlers, who refuse it: that costs a moment, not five seconds."""
    stage = nginx(EDGE_SKIP_SECONDS="5")
    away(stage)
    post_many(stage, [b"odd %d" % number for number in range(8)] + [b"even"])
    stage.handlers.refuses = lambda raw: raw.startswith(b"odd")
    stage.handlers.start()
    eventually(lambda: stage.bodies == [b"even"], seconds=12)


def test_what_fails_from_the_spool_takes_no_path_from_live_traffic(nginx: Callable[..., Stage]) -> None:
    """The handlers never survive one spooled delivery; live ones reach them all the while."""
    stage = nginx(EDGE_SKIP_SECONDS="2")
    away(stage)
    post_many(stage, [b"poison"])
    stage.handlers.refuses, stage.handlers.refusal = lambda raw: raw == b"poison", 503
    stage.handlers.start()
    eventually(lambda: post_many(stage, [b"first"]) == ["received"])
    before, statuses = offered(stage, b"poison"), list[str]()

    def tried_twice_more() -> bool:
        statuses.extend(post_many(stage, [b"live"]))
        return offered(stage, b"poison") >= before + 2

    eventually(tried_twice_more, seconds=20)
    assert set(statuses) == {"received"}


def test_what_cannot_be_removed_is_not_handed_over_again_and_again(stage: Stage) -> None:
    """A disk that became read-only: each delivery goes its way once, and the log says so."""
    away(stage)
    post_many(stage, [b"1", b"2"])
    (stage.edge.state / "spool").chmod(0o500)
    try:
        back(stage)
        eventually(lambda: stage.metric('pancake_edge_errors_total{source="spool"}') >= 2)
        drained = 'pancake_edge_drained_total{folder="spool",outcome="received"}'
        eventually(lambda: stage.metric(drained) == 2)
        stage.learn()  # and the drain has gone round many times meanwhile
        assert sorted(stage.bodies) == [b"1", b"2"]
    finally:
        (stage.edge.state / "spool").chmod(0o700)


def test_a_worker_that_is_killed_while_it_writes_leaves_the_count_right(nginx: Callable[..., Stage]) -> None:
    """The gauge says what lies in the folder, whatever happened to those who wrote."""
    stage = nginx(workers=1)
    away(stage)

    def deliver(number: int) -> None:
        with contextlib.suppress(OSError):
            post_many(stage, [b"%d-%d" % (number, step) for step in range(20)])

    with ThreadPoolExecutor(20) as threads:
        threads.map(deliver, range(20))
        eventually(stage.edge.held)
        stage.edge.kill_worker()
    gauge = 'pancake_edge_spool_files{folder="spool"}'
    eventually(lambda: stage.metric(gauge) == len(stage.edge.held()))
    back(stage)
    eventually(lambda: not stage.edge.held() and stage.metric(gauge) == 0)


def test_refusals_while_the_paths_are_ill_never_set_anything_aside(stage: Stage) -> None:
    """A broken metadata apply refuses everything for a while: all of it stays in the spool and is drained."""
    stage.hasura.override = stage.handlers.override = Answer(404)
    assert set(post_many(stage, [b"%d" % number for number in range(2)])) == {"spooled"}
    seen = stage.handlers.knocks
    eventually(lambda: stage.handlers.knocks > seen + 20)  # three refusals of each by either worker make 12
    assert len(stage.edge.held()) == 2
    stage.hasura.override = stage.handlers.override = None
    eventually(lambda: not stage.edge.held())
    assert len(stage.bodies) == 2
    assert not stage.edge.held("quarantine")


def test_a_file_that_cannot_be_opened_is_set_aside(stage: Stage) -> None:
    """Torn by the disk, or sealed with a key that is gone: kept for a person, and the rest goes on."""
    away(stage)
    post_many(stage, [b"1", b"2"])
    stage.edge.held()[0].write_bytes(b"torn")
    back(stage)
    eventually(lambda: not stage.edge.held())
    assert len(stage.bodies) == 1
    assert len(stage.edge.held("quarantine")) == 1


def test_a_full_quarantine_takes_no_more(nginx: Callable[..., Stage]) -> None:
    """What would go there stays in the spool, whose size is bounded too, and the log says so."""
    stage = nginx(EDGE_QUARANTINE_MAX_FILES="1")
    away(stage)
    post_many(stage, [b"1", b"2", b"3"])
    for path in stage.edge.held()[:2]:
        path.write_bytes(b"torn")
    back(stage)
    eventually(lambda: len(stage.bodies) == 1 and len(stage.edge.held()) == 1)
    assert len(stage.edge.held("quarantine")) == 1
    eventually(lambda: re.search("delivery not quarantined: .*: quarantine is full", stage.edge.errors()))


def test_a_reload_loses_nothing(stage: Stage) -> None:
    """HUP changes the workers while deliveries are on disk and more are coming."""
    away(stage)
    post_many(stage, [b"%d" % number for number in range(10)])
    stage.edge.reload()
    for number in range(10, 20):
        try:
            statuses = post_many(stage, [b"%d" % number])
        except ConnectionError:  # nginx hangs up on who has not asked anything yet: nothing was promised
            statuses = post_many(stage, [b"%d" % number])
        assert statuses == ["spooled"]
    back(stage)
    eventually(lambda: not stage.edge.held())
    assert {int(body) for body in stage.bodies} == set(range(20))


def test_a_disk_that_takes_nothing_is_a_full_spool(stage: Stage) -> None:
    """503 within the budget, never a 200 for what is not on disk."""
    away(stage)
    (stage.edge.state / "spool").chmod(0o500)
    try:
        with stage.sender() as sender:
            replies = [sender.post(TOKEN, b"%d" % number) for number in range(3)]
    finally:
        (stage.edge.state / "spool").chmod(0o700)
    assert {(reply.code, reply.status) for reply in replies} == {(503, "spool_full")}
    assert stage.metric('pancake_edge_errors_total{source="spool"}') == 3
    assert stage.metric('pancake_edge_spool_files{folder="spool"}') == 0


def test_a_burst_of_spooled_deliveries_is_queued_not_refused(stage: Stage) -> None:
    """More at once than nginx has threads for writing: each waits its turn, none hears an error."""
    away(stage)

    def deliver(number: int) -> list[str]:
        return post_many(stage, [b"%d-%d" % (number, step) for step in range(5)])

    with ThreadPoolExecutor(60) as threads:
        statuses = [status for part in threads.map(deliver, range(60)) for status in part]
    assert statuses == ["spooled"] * 300
    assert len(stage.edge.held()) == 300


def test_full_means_503_within_the_budget_and_then_shed_with_200(nginx: Callable[..., Stage]) -> None:
    """150 errors at most, half of what suspends; then the sender hears 200 and polling brings the record."""
    stage = nginx(EDGE_SPOOL_MAX_FILES="5")
    away(stage)
    with stage.sender() as sender:
        replies = [sender.post(TOKEN, b"%d" % number) for number in range(170)]
    assert [reply.status for reply in replies[:5]] == ["spooled"] * 5
    assert {(reply.code, reply.status) for reply in replies[5:155]} == {(503, "spool_full")}
    assert {(reply.code, reply.status) for reply in replies[155:]} == {(200, "shed")}
    assert len(stage.edge.held()) == 5
    assert stage.metric('pancake_edge_shed_total{folder="spool"}') == 15
    assert stage.metric(f'pancake_edge_budget_used{{connection="{stage.connection.id}"}}') == 150
