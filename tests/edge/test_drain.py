"""Handing over stored deliveries: rate, refusals, quarantine, unreadable files; and work that overlaps.

The tests of overlaps widen the moment between two steps, which is too short to hit.
"""

import base64
import contextlib
import re
import time
from concurrent.futures import ThreadPoolExecutor

from tests.support.edge.harness import BUDGET_MAX_FAILURES, Edge, EdgeHarness
from tests.support.edge.surroundings import ACCEPTED, Reply
from tests.support.fake_services import Answer
from tests.support.waiting import eventually

SENDERS = 12


def test_the_drain_keeps_to_its_rate_while_live_traffic_goes_on(shared: Edge) -> None:
    """Live deliveries do not wait until the spool is empty. A file that an operator removes is no error."""
    harness = shared(EDGE_DRAIN_PER_SECOND="20")
    harness.stop_upstreams()
    harness.post_many([b"old-%d" % number for number in range(30)])
    harness.start_upstreams()
    began = time.monotonic()
    eventually(harness.drained)
    assert harness.post_many([b"new-%d" % number for number in range(10)]) == ["received"] * 10
    harness.edge.held()[-1].unlink()
    eventually(lambda: not harness.edge.held())
    assert time.monotonic() - began > 29 / 20 - 0.5
    eventually(lambda: harness.drained() == 29)
    assert len(harness.bodies) == 39
    assert harness.errors_of("spool") == harness.errors_of("drain") == 0


def test_a_connection_with_many_deliveries_does_not_keep_another_waiting(shared: Edge) -> None:
    harness = shared(EDGE_DRAIN_PER_SECOND="20")
    harness.add_connection("other")
    harness.fetch_policy()
    harness.stop_upstreams()
    harness.post_many([b"many-%02d" % number for number in range(60)])
    assert harness.post(b"one", token="other") == "spooled"
    harness.start_upstreams()
    eventually(lambda: b"one" in harness.bodies)
    many = [body for body in harness.bodies if body != b"one"]
    assert len(many) < 30
    assert max(many) < b"many-30", "the oldest first"
    eventually(lambda: not harness.edge.held())


def test_files_of_strangers_do_not_keep_a_connection_waiting(shared: Edge) -> None:
    """Each token that a stranger invents is another one, yet has no turn before the connection."""
    harness = shared(EDGE_DRAIN_PER_SECOND="20")
    harness.stop_upstreams()
    for number in range(40):
        assert harness.post(token=f"stranger-{number}") == "spooled"
    bodies = [b"lead-%02d" % number for number in range(50)]  # more than one listing hands over
    harness.post_many(bodies)
    harness.start_upstreams()
    eventually(lambda: len(harness.bodies) == len(bodies))
    assert harness.drained("unknown_token", "unknown") < 20
    eventually(lambda: not harness.edge.held("unknown"))


def refuse(harness: EdgeHarness, body: bytes, code: int = 400) -> None:
    """Let both paths refuse deliveries whose body begins so."""
    for path in (harness.hasura, harness.handlers):
        path.refuses, path.refusal_code = lambda raw: raw.startswith(body), code


def post_until_quarantined(harness: EdgeHarness) -> None:
    """Post deliveries that succeed until another one is in quarantine."""

    def is_quarantined() -> bool:
        harness.post(b"live")
        return len(harness.edge.held("quarantine")) == 1

    eventually(is_quarantined)
    eventually(lambda: not harness.edge.held())


def test_a_delivery_that_every_working_path_refuses_is_quarantined(harness: EdgeHarness) -> None:
    """Other deliveries pass and no path is skipped. It is handed over once an operator moves it back."""
    refuse(harness, b"odd")
    assert harness.post_many([b"odd", b"even"]) == ["spooled", "received"]
    post_until_quarantined(harness)
    assert harness.metric('pancake_edge_quarantined_total{reason="refused"}') == 1
    assert harness.metric('pancake_edge_spool_files{folder="quarantine"}') == 1
    harness.hasura.refuses = lambda raw: False
    (odd,) = harness.edge.held("quarantine")
    odd.rename(harness.edge.state / "spool" / odd.name)
    eventually(lambda: b"odd" in harness.hasura.bodies)
    assert harness.metric('pancake_edge_spool_files{folder="quarantine"}') == 0


def test_a_delivery_that_fails_on_every_path_does_not_delay_others(harness: EdgeHarness) -> None:
    """Every path answers 503 to it, as if it were down, and there is no live traffic to show otherwise."""
    harness.stop_upstreams()
    others = [b"%d" % number for number in range(20)]
    harness.post_many([b"poison", *others])
    refuse(harness, b"poison", 503)
    harness.start_upstreams()
    eventually(lambda: len(harness.edge.held()) == 1, seconds=20)
    assert sorted(harness.bodies) == sorted(others)
    post_until_quarantined(harness)


def spool_behind_refused(harness: EdgeHarness, refused: int, others: int = 1) -> None:
    """Spool deliveries that the handlers will refuse, then some that they take; start the handlers."""
    harness.stop_upstreams()
    harness.post_many([b"odd %d" % number for number in range(refused)] + [b"even"] * others)
    refuse(harness, b"odd")
    harness.handlers.start()


def test_many_refused_deliveries_do_not_starve_those_behind_them(own: Edge) -> None:
    """More than the drain tries in one round (here a second): the next round continues behind them.

    Each of them may be the probe of the handlers: its refusal skips the path for 0.25 s, not 2 s.
    """
    harness = own(EDGE_SKIP_SECONDS="2")
    harness.edit("start.lua", "DRAIN_ROUND_SECONDS = 60", "DRAIN_ROUND_SECONDS = 1").bring_up()
    spool_behind_refused(harness, 10)
    eventually(lambda: harness.bodies == [b"even"], seconds=15)


def test_failures_from_the_spool_do_not_skip_a_path_for_live_traffic(shared: Edge) -> None:
    harness = shared(EDGE_SKIP_SECONDS="1")
    harness.stop_upstreams()
    harness.post(b"poison")
    refuse(harness, b"poison", 503)
    harness.handlers.start()
    eventually(lambda: harness.post(b"first") == "received")

    def offers() -> int:
        return sum(base64.b64encode(b"poison") in request.body for request in harness.handlers.posted)

    before, statuses = offers(), list[str]()

    def tried_twice_more() -> bool:
        statuses.append(harness.post(b"live"))
        return offers() >= before + 2

    eventually(tried_twice_more, seconds=20)
    assert set(statuses) == {"received"}


def test_refusals_from_the_spool_do_not_skip_a_path_for_live_traffic(harness: EdgeHarness) -> None:
    """Many in a row: three of live deliveries would close the path. They delay no others of the spool.

    Only the handlers run: nothing is quarantined.
    """
    spool_behind_refused(harness, 8, others=20)
    eventually(lambda: len(harness.edge.held()) == 8)
    assert harness.bodies == [b"even"] * 20
    before = len(harness.handlers.posted)
    eventually(lambda: len(harness.handlers.posted) >= before + 8)
    assert harness.post(b"live") == "received"
    assert not harness.edge.held("quarantine")


def test_a_file_that_cannot_be_removed_is_handed_over_once(harness: EdgeHarness) -> None:
    """For instance on a disk that became read-only. The errors are counted."""
    harness.stop_upstreams()
    harness.post_many([b"1", b"2"])
    files = harness.edge.held()
    with harness.unwritable():
        harness.start_upstreams()
        eventually(lambda: harness.errors_of("spool") >= 2 and harness.drained() == 2)
        served = harness.handlers.policies_served
        # Meanwhile the drain lists the folder several times.
        eventually(lambda: harness.handlers.policies_served >= served + 5)
        assert sorted(harness.bodies) == [b"1", b"2"]
    for path in files:
        path.unlink()


def test_the_count_of_the_folder_is_right_after_a_worker_was_killed(shared: Edge) -> None:
    harness = shared(workers=1)
    harness.stop_upstreams()

    def deliver(number: int) -> None:
        with contextlib.suppress(OSError):
            harness.post_many([b"%d-%d" % (number, step) for step in range(20)])

    with ThreadPoolExecutor(20) as threads:
        ended = threads.map(deliver, range(20))
        eventually(harness.edge.held)
        harness.edge.kill_worker()
        assert len(list(ended)) == 20
    gauge = 'pancake_edge_spool_files{folder="spool"}'
    eventually(lambda: harness.metric(gauge) == len(harness.edge.held()))
    harness.start_upstreams()
    eventually(lambda: not harness.edge.held() and harness.metric(gauge) == 0)


def test_refusals_by_failing_paths_never_quarantine_a_delivery(harness: EdgeHarness) -> None:
    """After a broken metadata apply all are refused: they stay in the spool and are drained later."""
    harness.hasura.override = harness.handlers.override = Answer(404)
    assert harness.post_many([b"1", b"2"]) == ["spooled"] * 2
    before = len(harness.handlers.posted)
    # More than twice the three attempts of each delivery that would quarantine it.
    eventually(lambda: len(harness.handlers.posted) > before + 12)
    assert len(harness.edge.held()) == 2
    harness.hasura.override = harness.handlers.override = None
    eventually(lambda: not harness.edge.held())
    assert len(harness.bodies) == 2
    assert not harness.edge.held("quarantine")


def test_a_full_quarantine_leaves_deliveries_in_the_spool(shared: Edge) -> None:
    """Files that cannot be decrypted: torn, or sealed with a removed key."""
    harness = shared(EDGE_QUARANTINE_MAX_FILES="1")
    harness.stop_upstreams()
    harness.post_many([b"1", b"2", b"3"])
    files = harness.edge.held()
    for path in files[:2]:
        path.write_bytes(b"torn")
    harness.start_upstreams()
    eventually(lambda: len(harness.bodies) == 1 and len(harness.edge.held()) == 1)
    assert len(harness.edge.held("quarantine")) == 1
    eventually(lambda: re.search("delivery not quarantined: .*: quarantine is full", harness.edge.errors()))
    harness.edge.held()[0].unlink()


def test_a_quarantine_that_cannot_be_written_leaves_deliveries_in_the_spool(harness: EdgeHarness) -> None:
    harness.stop_upstreams()
    harness.post(b"1")
    (path,) = harness.edge.held()
    with harness.unwritable("quarantine"):
        path.write_bytes(b"torn")  # a drain reads it at once, also while nothing answers
        harness.start_upstreams()
        eventually(lambda: "delivery not quarantined: " in harness.edge.errors())
        assert harness.edge.held() == [path]
    path.unlink()


def post_at_once(harness: EdgeHarness, each: int = 1) -> list[str]:
    """Post deliveries from SENDERS threads, `each` one after the other; return their outcomes."""
    with ThreadPoolExecutor(SENDERS) as threads:
        groups = threads.map(lambda sender: harness.post_many([b"%d" % sender] * each), range(SENDERS))
    return [outcome for group in groups for outcome in group]


def test_of_many_that_see_a_free_lease_one_takes_it(own: Edge) -> None:
    """The probe of a path that failed: the others use the other path."""
    seen = "-- Several workers may see the same free_at."
    harness = own(EDGE_SKIP_SECONDS="0.3", EDGE_POLICY_SECONDS="60")
    harness.edit("claim.lua", seen, f"ngx.sleep(0.2) {seen}").bring_up()
    harness.hasura.override = Answer(503, delay_seconds=0.3)
    assert post_at_once(harness) == ["received"] * SENDERS
    time.sleep(0.4)  # until the pause is over: a delivery that looks for its end would be the probe
    requests = len(harness.hasura.requests)
    assert post_at_once(harness) == ["received"] * SENDERS
    assert len(harness.hasura.requests) - requests == 1


def test_failures_at_once_do_not_exceed_the_budget(own: Edge) -> None:
    """All see that one failure is left: it is chosen once, or not at all."""
    counted = "-- Count first and take it back if that was too much"
    harness = own(EDGE_SPOOL_MAX_FILES="1")
    harness.edit("budget.lua", counted, f"ngx.sleep(0.2) {counted}").bring_up()
    harness.stop_upstreams()
    assert harness.post(b"1") == "spooled", "others are failures"
    for _ in range((BUDGET_MAX_FAILURES - 1) // SENDERS):
        assert set(post_at_once(harness)) == {"spool_full"}, "they share one write of the journal"
    harness.flood((BUDGET_MAX_FAILURES - 1) % SENDERS)
    assert harness.budget_used() == BUDGET_MAX_FAILURES - 1
    assert post_at_once(harness).count("spool_full") <= 1
    assert harness.budget_used() <= BUDGET_MAX_FAILURES


def test_the_spool_never_holds_more_than_its_limit(own: Edge) -> None:
    """Its counts are corrected from listings, which do not show what is being written."""
    listed = "local names, err = files.list(settings.folder_paths[folder], size_in)"
    started = 'dict:incr(folder .. ".puts", 1, 0)'
    slow_writes = started, f"{started} ngx.sleep(1.5)"
    slow_listings = listed, f'{listed} if ngx.get_phase() == "timer" then ngx.sleep(0.3) end'
    edits = (slow_writes, slow_listings)
    edges = [own(EDGE_SPOOL_MAX_FILES="2").edit("spool.lua", *edit).bring_up() for edit in edits]

    def fill(harness: EdgeHarness) -> tuple[int, int]:
        harness.stop_upstreams()
        ends_at, outcomes = time.monotonic() + 3, []
        while time.monotonic() < ends_at:
            outcomes += post_at_once(harness)
        return outcomes.count("spooled"), len(harness.edge.held())

    with ThreadPoolExecutor(len(edges)) as threads:
        assert list(threads.map(fill, edges)) == [(2, 2)] * 2


def test_a_file_that_is_being_written_is_not_swept(own: Edge) -> None:
    harness = own().edit("start.lua", "TIDY_INTERVAL_SECONDS = 60", "TIDY_INTERVAL_SECONDS = 1")
    harness.write_slowly(0.5).bring_up()
    harness.stop_upstreams()
    assert post_at_once(harness, each=4) == ["spooled"] * SENDERS * 4


def test_the_policy_is_written_by_one_at_a_time(own: Edge) -> None:
    """It is fetched many times while it is written. Two writers would share one partial file."""
    harness = own().write_slowly(0.8).bring_up()
    for _ in range(16):
        harness.fetch_policy()
    assert (harness.edge.state / "policy.sealed").exists()
    assert harness.errors_of("policy") == 0


def test_a_write_waits_three_seconds_for_its_turn(own: Edge) -> None:
    """Here a fifth of a second, on a slow disk: 16 are written at once, the others are answered in time."""
    harness = own().edit("disk.lua", "queue_timeout_seconds = 3 }", "queue_timeout_seconds = 0.2 }")
    harness.write_slowly(0.6).bring_up()
    harness.stop_upstreams()
    with ThreadPoolExecutor(60) as threads:
        statuses = list(threads.map(lambda number: harness.post(b"%d" % number), range(60)))
    assert set(statuses) == {"spooled", "spool_full"}
    assert statuses.count("spooled") == len(harness.edge.held())


def test_an_internal_error_loses_no_delivery_and_stops_no_loop(own: Edge) -> None:
    """The first fetch of the policy fails, and whatever is done about one delivery and one stranger."""
    harness = own()
    odd = base64.b64encode(b"odd").decode()
    fetch, forward = "function M.refresh()", "local received_by, last_err = 0"
    confirm = "function M.confirm(token_sha256, arrived_at)"
    harness.edit("policy.lua", fetch, f'{fetch} if dict:add("tried", true) then error("the first fetch") end')
    harness.edit("policy.lua", confirm, f'{confirm} error("the stranger")')
    harness.edit("upstream.lua", forward, f'if delivery.raw == "{odd}" then error("odd") end {forward}')
    harness.bring_up()
    assert harness.flood(1, "unknown") == [Reply(500, b'{"status":"error"}')]
    assert harness.post_many([b"odd", b"even"]) == ["spooled", "received"]
    post_until_quarantined(harness)
    assert b"odd" not in harness.bodies
    assert [harness.errors_of(source) >= 1 for source in ("policy", "delivery", "drain")] == [True] * 3


def test_a_delivery_is_handed_over_once_however_long_it_takes(harness: EdgeHarness) -> None:
    """Meanwhile the other threads of the drain list the folder."""
    harness.stop_upstreams()
    assert harness.post(b"1") == "spooled"
    harness.hasura.override = Answer(200, ACCEPTED, delay_seconds=0.6)
    harness.start_upstreams()
    eventually(lambda: not harness.edge.held())
    assert (len(harness.hasura.posted), len(harness.handlers.posted)) == (1, 0)
