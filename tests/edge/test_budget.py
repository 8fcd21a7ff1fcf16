"""The suspension budget: what counts, what is on disk, and that Pancake never suspends the webhook."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from sandbox.pancake.faults import Faults
from sandbox.pancake.leads import Leads
from sandbox.pancake.webhook import Sender as PancakeSender
from sandbox.pancake.webhook import Settings
from tests.support.edge.harness import BUDGET_MAX_FAILURES, STRANGER, SUSPENSION_FAILURES, TOKEN, EdgeHarness
from tests.support.edge.proofs import connection_for
from tests.support.edge.sender import raw_exchange
from tests.support.waiting import eventually


def test_no_failure_is_chosen_if_it_cannot_be_written(harness: EdgeHarness) -> None:
    """A restart would forget failures that are not on disk, and the budget could be spent twice."""
    harness.stop_upstreams()
    (harness.edge.state / "spool").chmod(0o500)
    (harness.edge.state / "budget.log").mkdir()
    try:
        replies = harness.flood(20)
        assert harness.budget_used() == 0
        harness.edge.stop()
        harness.edge.start()
        harness.edge.wait_ready()
        replies += harness.flood(20)
    finally:
        (harness.edge.state / "spool").chmod(0o700)
    assert {(reply.code, reply.status) for reply in replies} == {(200, "shed")}


def test_an_answer_after_pancakes_timeout_counts_as_a_failure(harness: EdgeHarness) -> None:
    """Pancake's documentation advises a timeout of five seconds."""
    head = f"POST /api/pancake/record/{TOKEN} HTTP/1.0\r\nContent-Length: 3\r\n\r\n".encode()
    answer = raw_exchange(harness.edge.port, head, b"{", b"", b"}", b"", b"\n", pause_seconds=1.3)
    assert b"200 OK" in answer
    eventually(lambda: harness.budget_used() == 1)


def test_failures_at_the_same_time_all_survive_a_restart(start_harness: Callable[..., EdgeHarness]) -> None:
    harness = start_harness()
    head = f"POST /api/pancake/record/{TOKEN} HTTP/1.1\r\nHost: e\r\nContent-Length: x\r\n\r\n".encode()
    for _ in range(200):
        raw_exchange(harness.edge.port, head)
    eventually(lambda: harness.budget_used() == 200)
    journal = harness.edge.state / "budget.log"
    eventually(lambda: len(journal.read_text().splitlines()) == 200)
    harness.edge.kill()
    harness.edge.bring_up()
    assert harness.budget_used() == 200


def test_a_reload_counts_no_failure_twice(harness: EdgeHarness) -> None:
    """The counts stay in memory: the journal is read after a start only."""
    harness.set_limits(rate=1001, burst=1000, deny=["127.0.0.4"])
    harness.flood(3, address="127.0.0.4")
    assert len((harness.edge.state / "budget.log").read_text().splitlines()) == 3
    harness.edge.reload()
    harness.wait_for_new_policy()
    assert harness.budget_used() == 3


def test_a_burst_at_a_full_spool_spends_the_budget_before_anything_is_shed(
    start_harness: Callable[..., EdgeHarness],
) -> None:
    """Requests that fail at the same time share one write of the journal and wait for it."""
    harness = start_harness(EDGE_SPOOL_MAX_FILES="1")
    harness.stop_upstreams()
    harness.flood(1)
    with ThreadPoolExecutor(60) as threads:
        replies = [reply for part in threads.map(lambda _: harness.flood(2), range(60)) for reply in part]
    assert {(reply.code, reply.status) for reply in replies} == {(503, "spool_full")}
    assert harness.budget_used() == 120


def test_an_observed_failure_is_written_once_the_disk_works_again(harness: EdgeHarness) -> None:
    journal = harness.edge.state / "budget.log"
    journal.mkdir()
    head = f"POST /api/pancake/record/{TOKEN} HTTP/1.1\r\nHost: e\r\nContent-Length: x\r\n\r\n".encode()
    raw_exchange(harness.edge.port, head)
    eventually(lambda: harness.metric('pancake_edge_errors_total{source="budget"}') >= 1)
    journal.rmdir()
    eventually(lambda: journal.exists() and harness.connection.id in journal.read_text())


def restart_with_journals(harness: EdgeHarness, ages_seconds: dict[str, int]) -> None:
    """Restart the edge with one failure in each journal. `ages_seconds`: file name -> age of the failure."""
    harness.edge.kill()
    for name, age_seconds in ages_seconds.items():
        journal = harness.edge.state / name
        journal.write_text(f"{int(time.time()) - age_seconds} {harness.connection.id}\n")
        journal.chmod(0o644)
    harness.edge.bring_up()


def test_a_failure_counts_for_thirty_minutes(start_harness: Callable[..., EdgeHarness]) -> None:
    """Pancake's window, rounded up to whole minutes."""
    harness = start_harness()
    for age, counts in ((0, 1), (29 * 60 + 55, 1), (32 * 60, 0)):
        restart_with_journals(harness, {"budget.log": age})
        assert harness.budget_used() == counts, age
    restart_with_journals(harness, {"budget.log": 60, "budget.log.former": 120})
    assert harness.budget_used() == 2


def test_the_journal_does_not_grow_without_limit(start_harness: Callable[..., EdgeHarness]) -> None:
    """A new journal is started once the former one holds nothing that counts; here at once."""
    harness = start_harness(started=False)
    harness.edge.edit("budget.lua", "> (WINDOW_MINUTES + 2) * 60", ">= 0")
    harness.edge.edit("start.lua", "TIDY_INTERVAL_SECONDS = 60", "TIDY_INTERVAL_SECONDS = 0.05")
    harness.edge.bring_up()
    harness.set_limits(rate=1001, burst=1000, deny=["127.0.0.4"])
    harness.flood(3, address="127.0.0.4")
    eventually((harness.edge.state / "budget.log.former").exists)
    assert harness.budget_used() == 3


def test_an_outage_with_a_full_spool_never_gets_the_webhook_suspended(
    start_harness: Callable[..., EdgeHarness],
) -> None:
    """1,000 deliveries over the rate with restarts in between: half of the failures that suspend."""
    harness = start_harness(EDGE_SPOOL_MAX_FILES="10")
    harness.stop_upstreams()
    harness.set_limits(rate=200, burst=100)
    replies = harness.flood(300)
    harness.edge.kill()
    harness.edge.start()
    harness.edge.wait_ready()
    replies += harness.flood(300)
    harness.edge.stop()
    harness.edge.start()
    harness.edge.wait_ready()
    replies += harness.flood(400, address="127.0.0.3")
    failures = [reply for reply in replies if not 200 <= reply.code < 300]
    assert len(failures) == BUDGET_MAX_FAILURES < SUSPENSION_FAILURES
    assert harness.budget_used() == BUDGET_MAX_FAILURES
    assert {reply.status for reply in replies[500:]} == {"shed"}


def test_an_error_is_followed_by_no_further_bytes(harness: EdgeHarness) -> None:
    """With and without a valid token. Further bytes would be taken for the next answer."""
    harness.set_limits(rate=1001, burst=1000, deny=["127.0.0.1"])
    for token in (TOKEN, STRANGER):
        head = f"POST /api/pancake/record/{token} HTTP/1.1\r\nHost: e\r\nConnection: close\r\n"
        answer = raw_exchange(harness.edge.port, head.encode() + b"Content-Length: 2\r\n\r\n{}")
        assert answer.partition(b"\r\n\r\n")[2] == b'{"status":"denied"}'


async def post_from_simulator(url: str, events: int) -> PancakeSender:
    """Post events with the webhook sender of the Pancake simulator, which retries each twice."""
    settings = Settings(url=url, retry_seconds=[0.0, 0.0])
    sender = PancakeSender(settings, Faults(), Leads(1), lambda: datetime.now(UTC))
    for number in range(events):
        sender.emit({"id": f"r{number}", "modified_on": "2026-05-14T02:35:56"}, "lead", created=True)
    await sender.idle()
    await sender.aclose()
    return sender


async def test_the_simulator_never_suspends_the_webhook(start_harness: Callable[..., EdgeHarness]) -> None:
    """Every upstream is down and the spool is full. Without the edge the same events suspend the webhook."""
    harness = start_harness(EDGE_SPOOL_MAX_FILES="1")
    harness.stop_upstreams()
    sender = await asyncio.wait_for(
        post_from_simulator(f"{harness.edge.url}/api/pancake/record/{TOKEN}", 400), 60
    )
    assert (sender.enabled, sender.suspensions) == (True, [])
    assert sender.counts["status_503"] == BUDGET_MAX_FAILURES
    bare = await asyncio.wait_for(post_from_simulator(f"{harness.hasura.url}/", 400), 60)
    assert not bare.enabled


def test_each_connection_has_a_budget_of_its_own(start_harness: Callable[..., EdgeHarness]) -> None:
    harness = start_harness(EDGE_SPOOL_MAX_FILES="1")
    harness.handlers.connections = [connection_for(1, "off"), connection_for(2, "off")]
    harness.wait_for_new_policy()
    harness.stop_upstreams()
    first = harness.flood(160, token="token-1")
    second = harness.flood(160, token="token-2")
    assert (
        sum(reply.code == 503 for reply in first)
        == sum(reply.code == 503 for reply in second)
        == BUDGET_MAX_FAILURES
    )
