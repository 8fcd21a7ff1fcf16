"""Handing over stored deliveries: the rate, refusals, quarantine, files that cannot be read or removed."""

import base64
import contextlib
import json
import os
import re
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from leads.adapters.secrets import KeyRing
from tests.support.edge.harness import TOKEN, TOKEN_SHA256, EdgeHarness
from tests.support.edge.http_server import Answer
from tests.support.waiting import eventually


def test_the_drain_keeps_to_its_rate_while_live_traffic_goes_on(
    start_harness: Callable[..., EdgeHarness],
) -> None:
    """Live deliveries do not wait until the spool is empty."""
    harness = start_harness(EDGE_DRAIN_PER_SECOND="20")
    harness.stop_upstreams()
    harness.post_many([b"old-%d" % number for number in range(30)])
    harness.start_upstreams()
    began = time.monotonic()
    eventually(lambda: harness.bodies)
    with harness.sender() as sender:
        assert [sender.post(TOKEN, b"new-%d" % number).status for number in range(10)] == ["received"] * 10
    assert harness.edge.held()
    eventually(lambda: not harness.edge.held())
    assert time.monotonic() - began > 30 / 20 - 0.5
    assert len(harness.bodies) == 40


def test_a_delivery_that_every_working_path_refuses_is_quarantined(harness: EdgeHarness) -> None:
    """Other deliveries pass and no path is skipped. It is handed over once an operator moves it back."""
    harness.hasura.refuses = harness.handlers.refuses = lambda raw: raw == b"odd"
    assert harness.post_many([b"odd", b"even"]) == ["spooled", "received"]

    def quarantined() -> bool:
        harness.post_many([b"even"])
        return len(harness.edge.held("quarantine")) == 1

    eventually(quarantined)
    assert not harness.edge.held()
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
    harness.post_many([b"poison", *(b"%d" % number for number in range(20))])
    harness.hasura.refuses = harness.handlers.refuses = lambda raw: raw == b"poison"
    harness.hasura.refusal_code = harness.handlers.refusal_code = 503
    harness.start_upstreams()
    eventually(lambda: len(harness.edge.held()) == 1, seconds=20)
    assert sorted(harness.bodies) == sorted(b"%d" % number for number in range(20))

    def quarantined() -> bool:
        harness.post_many([b"live"])
        return len(harness.edge.held("quarantine")) == 1

    eventually(quarantined)
    eventually(lambda: not harness.edge.held())


def test_a_refused_delivery_does_not_delay_others_while_one_path_is_down(harness: EdgeHarness) -> None:
    """Only the handlers run and refuse some deliveries: nothing is quarantined."""
    harness.stop_upstreams()
    odd, even = [b"odd %d" % number for number in range(6)], [b"%d" % number for number in range(20)]
    harness.post_many(odd + even)
    harness.handlers.refuses = lambda raw: raw.startswith(b"odd")
    harness.handlers.start()
    eventually(lambda: len(harness.edge.held()) == len(odd))
    assert sorted(harness.bodies) == sorted(even)
    assert not harness.edge.held("quarantine")


def spool_behind_refused(harness: EdgeHarness, count: int) -> None:
    """Spool `count` deliveries that the handlers will refuse, then one that they take; start the handlers."""
    harness.stop_upstreams()
    harness.post_many([b"odd %d" % number for number in range(count)] + [b"even"])
    harness.handlers.refuses = lambda raw: raw.startswith(b"odd")
    harness.handlers.start()


def test_many_refused_deliveries_do_not_starve_those_behind_them(
    start_harness: Callable[..., EdgeHarness],
) -> None:
    """More than the drain tries in one round (here a second): the next round continues behind them."""
    harness = start_harness(started=False)
    harness.edge.edit("start.lua", "DRAIN_ROUND_SECONDS = 60", "DRAIN_ROUND_SECONDS = 1")
    harness.edge.bring_up()
    spool_behind_refused(harness, 20)
    eventually(lambda: harness.bodies == [b"even"], seconds=20)


def test_refused_deliveries_of_an_outage_do_not_keep_a_path_skipped(
    start_harness: Callable[..., EdgeHarness],
) -> None:
    """Each of them may be the probe of the handlers: its refusal skips the path for 0.25 s, not 5 s."""
    harness = start_harness(EDGE_SKIP_SECONDS="5")
    spool_behind_refused(harness, 8)
    eventually(lambda: harness.bodies == [b"even"], seconds=12)


def test_failures_from_the_spool_do_not_skip_a_path_for_live_traffic(
    start_harness: Callable[..., EdgeHarness],
) -> None:
    """The handlers answer 503 to one spooled delivery and keep accepting live ones."""
    harness = start_harness(EDGE_SKIP_SECONDS="2")
    harness.stop_upstreams()
    harness.post_many([b"poison"])
    harness.handlers.refuses, harness.handlers.refusal_code = lambda raw: raw == b"poison", 503
    harness.handlers.start()
    eventually(lambda: harness.post_many([b"first"]) == ["received"])
    before, statuses = harness.count_offers(b"poison"), list[str]()

    def tried_twice_more() -> bool:
        statuses.extend(harness.post_many([b"live"]))
        return harness.count_offers(b"poison") >= before + 2

    eventually(tried_twice_more, seconds=20)
    assert set(statuses) == {"received"}


def test_refusals_from_the_spool_do_not_skip_a_path_for_live_traffic(harness: EdgeHarness) -> None:
    """Many in a row: three of live deliveries would close the path."""
    harness.stop_upstreams()
    harness.post_many([b"poison"] * 8 + [b"good"])
    harness.handlers.refuses = lambda raw: raw == b"poison"
    harness.handlers.start()
    eventually(lambda: harness.bodies == [b"good"])
    before = harness.count_offers(b"poison")
    eventually(lambda: harness.count_offers(b"poison") >= before + 8)
    assert harness.post_many([b"live"]) == ["received"]


def test_a_file_that_cannot_be_removed_is_handed_over_once(harness: EdgeHarness) -> None:
    """For instance on a disk that became read-only. The errors are counted."""
    harness.stop_upstreams()
    harness.post_many([b"1", b"2"])
    (harness.edge.state / "spool").chmod(0o500)
    try:
        harness.start_upstreams()
        eventually(lambda: harness.metric('pancake_edge_errors_total{source="spool"}') >= 2)
        drained = 'pancake_edge_drained_total{folder="spool",outcome="received"}'
        eventually(lambda: harness.metric(drained) == 2)
        harness.wait_for_new_policy()  # meanwhile the drain has listed the folder many times
        assert sorted(harness.bodies) == [b"1", b"2"]
    finally:
        (harness.edge.state / "spool").chmod(0o700)


def test_the_count_of_the_folder_is_right_after_a_worker_was_killed(
    start_harness: Callable[..., EdgeHarness],
) -> None:
    harness = start_harness(workers=1)
    harness.stop_upstreams()

    def deliver(number: int) -> None:
        with contextlib.suppress(OSError):
            harness.post_many([b"%d-%d" % (number, step) for step in range(20)])

    with ThreadPoolExecutor(20) as threads:
        threads.map(deliver, range(20))
        eventually(harness.edge.held)
        harness.edge.kill_worker()
    gauge = 'pancake_edge_spool_files{folder="spool"}'
    eventually(lambda: harness.metric(gauge) == len(harness.edge.held()))
    harness.start_upstreams()
    eventually(lambda: not harness.edge.held() and harness.metric(gauge) == 0)


def test_refusals_by_failing_paths_never_quarantine_a_delivery(harness: EdgeHarness) -> None:
    """After a broken metadata apply all are refused: they stay in the spool and are drained later."""
    harness.hasura.override = harness.handlers.override = Answer(404)
    assert set(harness.post_many([b"%d" % number for number in range(2)])) == {"spooled"}
    before = harness.handlers.delivery_requests
    # More than twice the three attempts of each delivery that would quarantine it.
    eventually(lambda: harness.handlers.delivery_requests > before + 20)
    assert len(harness.edge.held()) == 2
    harness.hasura.override = harness.handlers.override = None
    eventually(lambda: not harness.edge.held())
    assert len(harness.bodies) == 2
    assert not harness.edge.held("quarantine")


def seal_former(harness: EdgeHarness, folder: str, token: str) -> None:
    """Write a delivery as the edge did before it sent the digest of the token instead of the token."""
    arrived = time.time()
    content = {
        "token": token, "raw": base64.b64encode(token.encode()).decode(), "source_ip": "127.0.0.1",
        "arrived": arrived, "arrived_at": datetime.fromtimestamp(arrived, UTC).isoformat(), "headers": {},
    }  # fmt: skip
    sealed = b"PE1" + KeyRing.parse(harness.edge.state_keys).encrypt(json.dumps(content), "delivery")
    name = f"{int(arrived * 1000):013d}-{secrets.token_hex(6)}-{len(sealed)}.sealed"
    path = harness.edge.state / folder / name
    path.write_bytes(sealed)
    os.chown(path, path.parent.stat().st_uid, path.parent.stat().st_gid)


def test_files_of_the_former_form_are_drained_after_an_upgrade(harness: EdgeHarness) -> None:
    """They hold the token. It is not sent on, and an unknown one is checked by its digest too."""
    harness.stop_upstreams()
    for folder, token in (("spool", TOKEN), ("unknown", TOKEN), ("unknown", "never-known")):
        seal_former(harness, folder, token)
    harness.start_upstreams()
    eventually(lambda: not harness.edge.held() and not harness.edge.held("unknown"))
    deliveries = harness.hasura.deliveries + harness.handlers.deliveries
    assert [(delivery.token_sha256, delivery.raw) for delivery in deliveries] == [
        (TOKEN_SHA256, TOKEN.encode())
    ] * 2
    assert harness.metric('pancake_edge_drained_total{folder="unknown",outcome="unknown_token"}') == 1


def test_a_file_that_cannot_be_decrypted_is_quarantined(harness: EdgeHarness) -> None:
    """Torn, or sealed with a removed key. Other deliveries are handed over."""
    harness.stop_upstreams()
    harness.post_many([b"1", b"2"])
    harness.edge.held()[0].write_bytes(b"torn")
    harness.start_upstreams()
    eventually(lambda: not harness.edge.held())
    assert len(harness.bodies) == 1
    assert len(harness.edge.held("quarantine")) == 1


def test_a_full_quarantine_leaves_deliveries_in_the_spool(start_harness: Callable[..., EdgeHarness]) -> None:
    harness = start_harness(EDGE_QUARANTINE_MAX_FILES="1")
    harness.stop_upstreams()
    harness.post_many([b"1", b"2", b"3"])
    for path in harness.edge.held()[:2]:
        path.write_bytes(b"torn")
    harness.start_upstreams()
    eventually(lambda: len(harness.bodies) == 1 and len(harness.edge.held()) == 1)
    assert len(harness.edge.held("quarantine")) == 1
    eventually(lambda: re.search("delivery not quarantined: .*: quarantine is full", harness.edge.errors()))
