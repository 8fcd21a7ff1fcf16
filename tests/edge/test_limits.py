"""Rate limit, deny list and suspension budget: floods are held off and never get the webhook suspended."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from sandbox.pancake.faults import Faults
from sandbox.pancake.leads import Leads
from sandbox.pancake.webhook import Sender as PancakeSender
from sandbox.pancake.webhook import Settings
from tests.edge.conftest import TOKEN, Stage, eventually
from tests.edge.sender import Reply, raw_exchange, signed
from tests.edge.test_spool import away
from tests.edge.test_verify import connection_for

SUSPENDS_AT = 300
BUDGET = 150


STRANGER = "x" * 200  # so long that nobody need be asked about it
HMAC_INVALID = b'{"status":"hmac_invalid"}'


def flood(stage: Stage, n: int, token: str = TOKEN, address: str = "127.0.0.1") -> list[Reply]:
    """As many deliveries as fast as one connection can."""
    with stage.sender(address) as sender:
        return [sender.post(token, b"%d" % number) for number in range(n)]


def used(stage: Stage) -> float:
    """Failures on the books of the connection."""
    return stage.metric(f'pancake_edge_budget_used{{connection="{stage.connection.id}"}}')


def test_the_excess_is_429_until_half_of_the_budget_is_spent_and_then_spooled(stage: Stage) -> None:
    """From one address with a valid token; nothing is lost: what was not 429 arrives in the end."""
    stage.limit_and_wait(rate=10, burst=20)
    replies = flood(stage, 400)
    refused = [reply for reply in replies if reply.code == 429]
    assert len(refused) == BUDGET
    last_refusal = max(number for number, reply in enumerate(replies) if reply.code == 429)
    assert "spooled" not in {reply.status for reply in replies[:last_refusal]}
    assert {reply.status for reply in refused} == {"rate_limited"}
    kept = [reply for reply in replies if reply.status == "spooled"]
    taken = [reply for reply in replies if reply.status == "received"]
    assert len(kept) + len(taken) == 400 - BUDGET
    assert len(taken) >= 20
    assert used(stage) == BUDGET
    eventually(lambda: len(stage.bodies) == 400 - BUDGET and not stage.edge.held())


def test_other_addresses_are_unaffected(stage: Stage) -> None:
    """One bucket per address."""
    stage.limit_and_wait(rate=10, burst=20)
    assert 429 in {reply.code for reply in flood(stage, 60)}
    assert {reply.status for reply in flood(stage, 15, address="127.0.0.2")} == {"received"}


def test_without_a_valid_token_it_is_429_throughout_and_costs_no_budget(stage: Stage) -> None:
    """Nor does a stranger at Pancake's address use up Pancake's quota."""
    stage.limit_and_wait(rate=10, burst=20)
    replies = flood(stage, 300, token=STRANGER)
    assert {reply.code for reply in replies[-100:]} <= {200, 429}
    assert sum(reply.code == 429 for reply in replies) > BUDGET
    assert {reply.status for reply in replies if reply.code == 200} == {"unknown_token"}
    assert used(stage) == 0
    assert {reply.status for reply in flood(stage, 15)} == {"received"}
    assert not stage.edge.held() + stage.edge.held("unknown")


def test_other_routes_and_methods_are_held_to_a_strangers_rate(stage: Stage) -> None:
    """Whoever looks around here is slowed down too."""
    stage.limit_and_wait(rate=10, burst=5)
    with stage.sender() as sender:
        assert {sender.request("GET", "/wp-login.php").code for _ in range(40)} == {404, 429}
        assert {sender.request("GET", f"/api/pancake/record/{TOKEN}").code for _ in range(20)} <= {405, 429}
        assert sender.post(TOKEN).status == "received"
    assert used(stage) > 0  # a 405 or 429 that names a valid token is one that Pancake would count


def believe_in_forwarded_addresses(stage: Stage) -> None:
    """Start it as behind a balancer on this machine, which may say any address."""
    with (stage.edge.directory / "site" / "http.conf").open("a") as site:
        site.write("set_real_ip_from 127.0.0.1;\nreal_ip_header X-Forwarded-For;\n")
    stage.edge.bring_up()


def test_an_ipv6_sender_is_denied_as_well(nginx: Callable[..., Stage]) -> None:
    """Full addresses, ranges whose length is no multiple of eight, and IPv4 written as IPv6."""
    stage = nginx(started=False)
    believe_in_forwarded_addresses(stage)
    ranges = ["2001:db8::/33", "2001:db9::7", "198.51.100.7", "::ffff:203.0.113.0/124"]
    stage.limit_and_wait(rate=999, burst=999, deny=ranges)
    denied = [
        "2001:db8:7fff::1",
        "2001:db9::7",
        "2001:db9:0:0:0:0:0:7",
        "::ffff:198.51.100.7",
        "203.0.113.15",
    ]
    welcome = ["2001:db8:8000::1", "2001:db9::8", "::ffff:198.51.100.8", "203.0.113.16"]
    with stage.sender() as sender:
        for address in denied + welcome:
            reply = sender.post(TOKEN, headers={"X-Forwarded-For": address})
            assert reply.status == ("denied" if address in denied else "received"), address


def test_strangers_of_one_ipv6_network_share_a_rate(nginx: Callable[..., Stage]) -> None:
    """One machine has 2^64 addresses to itself; another network is another sender."""
    stage = nginx(started=False)
    believe_in_forwarded_addresses(stage)
    stage.limit_and_wait(rate=10, burst=5)
    with stage.sender() as sender:
        codes = [
            sender.post(STRANGER, headers={"X-Forwarded-For": f"2001:db8::{number:x}"}).code
            for number in range(40)
        ]
        assert codes.count(429) > 20
        assert sender.post(STRANGER, headers={"X-Forwarded-For": "2001:db8:0:1::1"}).code == 200


def test_the_rate_is_what_the_file_says_with_a_burst(stage: Stage) -> None:
    """A bucket that leaks at the rate: the burst at once, then the rate."""
    stage.limit_and_wait(rate=40, burst=20)
    began = time.monotonic()
    admitted = 0
    with stage.sender() as sender:
        while time.monotonic() - began < 1.0:
            admitted += sender.post(STRANGER).code == 200
    assert 50 <= admitted <= 75


def test_the_deny_list_changes_at_run_time(stage: Stage) -> None:
    """Addresses and ranges are denied and let in again without a reload; a broken file changes nothing."""
    stage.limit_and_wait(rate=1001, burst=1000, deny=["127.0.0.4", "127.0.1.0/24", "2001:db8::/32"])
    assert (flood(stage, 1, address="127.0.0.4")[0].code, flood(stage, 1, address="127.0.1.77")[0].code) == (
        429,
        429,
    )
    assert flood(stage, 1, "nobody", "127.0.0.4")[0] == Reply(429, b'{"status":"denied"}')
    assert flood(stage, 1, address="127.0.0.5")[0].status == "received"
    assert used(stage) == 2
    stage.limit(rate="fast", deny=[])
    eventually(lambda: stage.metric('pancake_edge_errors_total{source="limits"}') >= 2)
    assert flood(stage, 1, address="127.0.0.4")[0].code == 429
    stage.edge.limits_file.write_text("")
    eventually(lambda: stage.metric('pancake_edge_errors_total{source="limits"}') >= 4)
    assert flood(stage, 1, address="127.0.0.4")[0].code == 429
    mistakes: list[dict[str, object]] = [
        {"deny": ["not an address"]}, {"deny": {"127.0.0.9": True}}, {"deny": None},
        {"denied": ["127.0.0.9"]}, {"rate": None}, {"burst": 0},
    ]  # fmt: skip
    for mistake in mistakes:
        before = stage.metric('pancake_edge_errors_total{source="limits"}')
        stage.limit(**mistake)
        eventually(lambda: stage.metric('pancake_edge_errors_total{source="limits"}') >= before + 2)  # noqa: B023
        assert flood(stage, 1, address="127.0.0.4")[0].code == 429, mistake
    stage.limit_and_wait(rate=1002, burst=1000)
    assert flood(stage, 1, address="127.0.0.4")[0].status == "received"
    stage.edge.limits_file.unlink()
    eventually(lambda: stage.metric("pancake_edge_rate_limit{}") == 1000)


def test_a_denied_sender_with_a_valid_token_never_gets_the_webhook_suspended(stage: Stage) -> None:
    """429 while the budget lasts; then 200, and the delivery is set aside for a person, not handed over."""
    stage.limit_and_wait(rate=1001, burst=1000, deny=["127.0.0.4"])
    replies = flood(stage, 160, address="127.0.0.4")
    assert [reply.code for reply in replies] == [429] * BUDGET + [200] * 10
    assert {reply.status for reply in replies[BUDGET:]} == {"quarantined"}
    assert len(stage.edge.held("quarantine")) == 10
    assert not stage.bodies


def test_a_denied_sender_must_prove_what_everybody_must(stage: Stage) -> None:
    """Set aside is only what would have been let in: a person may send it on its way."""
    stage.connection.webhook_secrets, stage.connection.signature_mode = [b"s"], "enforce"
    stage.learn()
    stage.limit_and_wait(rate=1001, burst=1000, deny=["127.0.0.4"])
    assert {reply.code for reply in flood(stage, BUDGET, address="127.0.0.4")} == {429}
    with stage.sender("127.0.0.4") as sender:
        assert sender.post(TOKEN, b"forged", signed(b"wrong", b"forged")) == Reply(200, HMAC_INVALID)
        assert sender.post(TOKEN, b"genuine", signed(b"s", b"genuine")).status == "quarantined"
    assert len(stage.edge.held("quarantine")) == 1


def test_limits_that_cannot_be_read_change_nothing(stage: Stage) -> None:
    """Replaced by a file that only root may read: the deny list stays in force, and the error is counted."""
    stage.limit_and_wait(rate=500, burst=100, deny=["127.0.0.4"])
    fresh = stage.edge.limits_file.with_suffix(".new")
    fresh.write_text("{}")
    fresh.chmod(0)
    fresh.rename(stage.edge.limits_file)
    eventually(lambda: stage.metric('pancake_edge_errors_total{source="limits"}') >= 2)
    assert flood(stage, 1, address="127.0.0.4")[0].code == 429
    assert stage.metric("pancake_edge_rate_limit{}") == 500
    workers = stage.edge.workers()
    stage.edge.reload()
    eventually(lambda: not set(workers) & set(stage.edge.workers()))
    assert flood(stage, 1, address="127.0.0.4")[0].code == 429
    assert stage.metric("pancake_edge_rate_limit{}") == 500


def test_a_body_beyond_the_limit_is_held_to_the_same_rules(stage: Stage) -> None:
    """Neither the deny list nor a stranger's rate is passed by sending more."""
    large = b"x" * 257 * 1024
    stage.limit_and_wait(rate=10, burst=5, deny=["127.0.0.4"])
    with stage.sender("127.0.0.4") as sender:
        assert sender.post(TOKEN, large) == Reply(429, b'{"status":"denied"}')
        assert sender.post(STRANGER, large) == Reply(429, b'{"status":"denied"}')
    with stage.sender() as sender:
        assert 429 in {sender.post(STRANGER, large).code for _ in range(20)}
        assert sender.post(TOKEN, large) == Reply(200, b'{"status":"too_large"}')
    assert used(stage) == 1


@contextlib.contextmanager
def holding_all_connections(stage: Stage) -> Iterator[None]:
    """Somebody at 127.0.0.9 has as many requests open as one address may: five here."""
    head = f"POST /api/pancake/record/{TOKEN} HTTP/1.1\r\nHost: e\r\nContent-Length: 9\r\n\r\n".encode()
    with contextlib.ExitStack() as held:
        for _ in range(5):
            connection = socket.create_connection(
                ("127.0.0.1", stage.edge.port), source_address=("127.0.0.9", 0)
            )
            held.enter_context(connection).sendall(head)
        with stage.sender("127.0.0.9") as sender:
            eventually(lambda: sender.post(STRANGER).status == "too_many_connections")
            yield


def test_one_address_may_have_a_bounded_number_of_requests_open(nginx: Callable[..., Stage]) -> None:
    """Strangers hear 429; a valid token too while the budget lasts, and then it is served. Others are."""
    stage = nginx(started=False)
    conf = stage.edge.directory / "nginx.conf"
    conf.write_text(conf.read_text().replace("edge_connections 2000", "edge_connections 5"))
    stage.edge.bring_up()
    with holding_all_connections(stage):
        replies = flood(stage, 200, address="127.0.0.9")
        assert [reply.status for reply in replies] == ["too_many_connections"] * BUDGET + ["received"] * 50
        assert {reply.code for reply in replies[:BUDGET]} == {429}
        assert flood(stage, 1, address="127.0.0.2")[0].status == "received"
        assert used(stage) == BUDGET


def test_a_higher_rate_is_in_force_at_once(stage: Stage) -> None:
    """Also for whoever had filled the bucket under the lower one."""
    stage.limit_and_wait(rate=1, burst=60)
    assert 429 in {reply.code for reply in flood(stage, 80)}
    stage.limit_and_wait(rate=1000, burst=60)
    eventually(lambda: flood(stage, 1)[0].status == "received", seconds=5)


def test_no_error_is_chosen_that_cannot_be_remembered(stage: Stage) -> None:
    """A disk that takes nothing: a restart would forget the count, and two halves are the whole budget."""
    away(stage)
    (stage.edge.state / "spool").chmod(0o500)
    (stage.edge.state / "budget.log").mkdir()
    try:
        replies = flood(stage, 20)
        assert used(stage) == 0
        stage.edge.stop()
        stage.edge.start()
        stage.edge.wait_ready()
        replies += flood(stage, 20)
    finally:
        (stage.edge.state / "spool").chmod(0o700)
    assert {(reply.code, reply.status) for reply in replies} == {(200, "shed")}


def test_an_answer_that_pancake_did_not_wait_for_is_on_the_books(stage: Stage) -> None:
    """Whatever took longer than the five seconds of its documentation may have been a failure to it."""
    head = f"POST /api/pancake/record/{TOKEN} HTTP/1.0\r\nContent-Length: 3\r\n\r\n".encode()
    answer = raw_exchange(stage.edge.port, head, b"{", b"", b"}", b"", b"\n", pause=1.3)
    assert b"200 OK" in answer
    eventually(lambda: used(stage) == 1)


def test_failures_that_came_together_are_all_remembered(nginx: Callable[..., Stage]) -> None:
    """Hundreds of broken requests at once: after a restart every one of them is still on the books."""
    stage = nginx()
    head = f"POST /api/pancake/record/{TOKEN} HTTP/1.1\r\nHost: e\r\nContent-Length: x\r\n\r\n".encode()
    for _ in range(200):
        raw_exchange(stage.edge.port, head)
    eventually(lambda: used(stage) == 200)
    journal = stage.edge.state / "budget.log"
    eventually(lambda: len(journal.read_text().splitlines()) == 200)
    stage.edge.kill()
    stage.edge.bring_up()
    assert used(stage) == 200


def test_a_burst_at_a_full_spool_spends_the_budget_before_anything_is_shed(
    nginx: Callable[..., Stage],
) -> None:
    """Writing failures down takes its time on the disk: those that come together wait for it."""
    stage = nginx(EDGE_SPOOL_MAX_FILES="1")
    away(stage)
    flood(stage, 1)
    with ThreadPoolExecutor(60) as threads:
        replies = [reply for part in threads.map(lambda _: flood(stage, 2), range(60)) for reply in part]
    assert {(reply.code, reply.status) for reply in replies} == {(503, "spool_full")}
    assert used(stage) == 120


def test_a_failure_that_the_disk_did_not_take_is_written_later(stage: Stage) -> None:
    """It happened, so it must be remembered: as soon as the disk lets us."""
    journal = stage.edge.state / "budget.log"
    journal.mkdir()
    head = f"POST /api/pancake/record/{TOKEN} HTTP/1.1\r\nHost: e\r\nContent-Length: x\r\n\r\n".encode()
    raw_exchange(stage.edge.port, head)
    eventually(lambda: stage.metric('pancake_edge_errors_total{source="budget"}') >= 1)
    journal.rmdir()
    eventually(lambda: journal.exists() and stage.connection.id in journal.read_text())


def restart_with_journals(stage: Stage, ages: dict[str, int]) -> None:
    """As after a crash: each journal, by its name, holds one failure that is so many seconds old."""
    stage.edge.kill()
    for name, age in ages.items():
        journal = stage.edge.state / name
        journal.write_text(f"{int(time.time()) - age} {stage.connection.id}\n")
        journal.chmod(0o644)
    stage.edge.bring_up()


def test_a_failure_counts_for_thirty_minutes(nginx: Callable[..., Stage]) -> None:
    """Pancake's window, rounded up to whole minutes: not less, and not for ever."""
    stage = nginx()
    for age, counts in ((0, 1), (29 * 60 + 55, 1), (32 * 60, 0)):
        restart_with_journals(stage, {"budget.log": age})
        assert used(stage) == counts, age
    restart_with_journals(stage, {"budget.log": 60, "budget.log.former": 120})
    assert used(stage) == 2


def test_the_journal_does_not_grow_without_an_end(nginx: Callable[..., Stage]) -> None:
    """Once nothing in the former one counts any more a new one is begun; here that moment comes at once."""
    stage = nginx(started=False)
    stage.edge.edit("budget.lua", "> (WINDOW_MINUTES + 2) * 60", ">= 0")
    stage.edge.edit("start.lua", "TIDY_INTERVAL_SECONDS = 60", "TIDY_INTERVAL_SECONDS = 0.05")
    stage.edge.bring_up()
    stage.limit_and_wait(rate=1001, burst=1000, deny=["127.0.0.4"])
    flood(stage, 3, address="127.0.0.4")
    eventually((stage.edge.state / "budget.log.former").exists)
    assert used(stage) == 3


def test_everything_down_and_the_spool_full_never_meets_pancakes_condition(
    nginx: Callable[..., Stage],
) -> None:
    """1,000 deliveries, rate-limited as well, restarts in between: failures stay at half of what suspends."""
    stage = nginx(EDGE_SPOOL_MAX_FILES="10")
    away(stage)
    stage.limit_and_wait(rate=200, burst=100)
    replies = flood(stage, 300)
    stage.edge.kill()
    stage.edge.start()
    stage.edge.wait_ready()
    replies += flood(stage, 300)
    stage.edge.stop()
    stage.edge.start()
    stage.edge.wait_ready()
    replies += flood(stage, 400, address="127.0.0.3")
    failures = [reply for reply in replies if not 200 <= reply.code < 300]
    assert len(failures) == BUDGET < SUSPENDS_AT
    assert used(stage) == BUDGET
    assert {reply.status for reply in replies[500:]} == {"shed"}


def test_each_error_is_one_answer_and_nothing_after_it(stage: Stage) -> None:
    """Denied with and without a valid token, byte by byte: the next answer stays in step."""
    stage.limit_and_wait(rate=1001, burst=1000, deny=["127.0.0.1"])
    for token in (TOKEN, STRANGER):
        head = f"POST /api/pancake/record/{token} HTTP/1.1\r\nHost: e\r\nConnection: close\r\n"
        answer = raw_exchange(stage.edge.port, head.encode() + b"Content-Length: 2\r\n\r\n{}")
        assert answer.partition(b"\r\n\r\n")[2] == b'{"status":"denied"}'


async def pancake_posts(url: str, events: int) -> PancakeSender:
    """Pancake's own webhook sender (the simulator's), after that many events; it retries each twice."""
    settings = Settings(url=url, retry_seconds=[0.0, 0.0])
    sender = PancakeSender(settings, Faults(), Leads(1), lambda: datetime.now(UTC))
    for number in range(events):
        sender.emit({"id": f"r{number}", "modified_on": "2026-05-14T02:35:56"}, "lead", created=True)
    await sender.idle()
    await sender.aclose()
    return sender


async def test_the_simulator_never_suspends_us(nginx: Callable[..., Stage]) -> None:
    """Every upstream down and the spool full from the start: its rule is never met. Without an edge it is."""
    stage = nginx(EDGE_SPOOL_MAX_FILES="1")
    away(stage)
    sender = await asyncio.wait_for(pancake_posts(f"{stage.edge.url}/api/pancake/record/{TOKEN}", 400), 60)
    assert (sender.enabled, sender.suspensions) == (True, [])
    assert sender.counts["status_503"] == BUDGET
    bare = await asyncio.wait_for(pancake_posts(f"{stage.hasura.url}/", 400), 60)
    assert not bare.enabled


def test_each_connection_has_a_budget_of_its_own(nginx: Callable[..., Stage]) -> None:
    """What one spends is not missing for another."""
    stage = nginx(EDGE_SPOOL_MAX_FILES="1")
    stage.handlers.connections = [connection_for(1, "off"), connection_for(2, "off")]
    stage.learn()
    away(stage)
    first = flood(stage, 160, token="token-1")
    second = flood(stage, 160, token="token-2")
    assert sum(reply.code == 503 for reply in first) == sum(reply.code == 503 for reply in second) == BUDGET


def test_a_flood_does_not_fill_the_log(nginx: Callable[..., Stage]) -> None:
    """A bounded number of lines per second and outcome; what is left out is counted."""
    stage = nginx(EDGE_LOG_PER_SECOND="5")
    stage.limit_and_wait(rate=10, burst=5)
    before = len(stage.edge.access_log().splitlines())
    began = time.time()
    raw_exchange(stage.edge.port, b"%s / HTTP/1.0\r\n\r\n" % (b"A" * 7000))
    flood(stage, 1500, token=STRANGER)
    seconds = int(time.time() - began) + 2
    lines = len(stage.edge.access_log().splitlines()) - before
    assert lines <= 2 * 5 * seconds
    assert max(map(len, stage.edge.access_log().splitlines())) < 400
    suppressed = 'pancake_edge_log_suppressed_total{outcome="rate_limited"}'
    assert stage.metric(suppressed) > 1000
    assert len(stage.edge.errors()) < 2000
