"""Rates, deny list, open requests, suspension budget: floods are limited, Pancake never suspends us."""

import base64
import contextlib
import hmac
import socket
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.edge.harness import BUDGET_MAX_FAILURES, STRANGER, TOKEN, Edge, EdgeHarness
from tests.support.edge.surroundings import Reply, raw_exchange, signed
from tests.support.waiting import eventually

DENIED = "127.0.0.4"
PATH = f"/api/pancake/record/{TOKEN}"
STRANGERS_PATH = f"/api/pancake/record/{STRANGER}"
LARGE = b"x" * 257 * 1024
SECRET = b"secret"
HEADER = {"X-Pancake-Secret": SECRET.decode()}
MANY = BUDGET_MAX_FAILURES + 10
MAX_OPEN = 5
"""Instead of 2,000."""
GREEDY = "203.0.113.9"


def test_requests_over_the_rate_get_429_until_the_budget_is_spent_then_they_are_spooled(
    harness: EdgeHarness,
) -> None:
    """One address with a valid token: what was not answered 429 arrives. Other addresses are unaffected."""
    harness.set_limits(rate=10, burst=20)
    replies = harness.flood(400)
    assert {reply.status for reply in harness.flood(15, address="127.0.0.2")} == {"received"}
    refused = [reply for reply in replies if reply.code == 429]
    assert len(refused) == BUDGET_MAX_FAILURES
    last_refusal = max(number for number, reply in enumerate(replies) if reply.code == 429)
    assert "spooled" not in {reply.status for reply in replies[:last_refusal]}
    assert {reply.status for reply in refused} == {"rate_limited"}
    statuses = [reply.status for reply in replies]
    assert statuses.count("spooled") + statuses.count("received") == 400 - BUDGET_MAX_FAILURES
    assert statuses.count("received") >= 20
    assert harness.budget_used() == BUDGET_MAX_FAILURES
    eventually(lambda: len(harness.bodies) == 415 - BUDGET_MAX_FAILURES and not harness.edge.held())


def test_strangers_over_the_rate_get_429_without_using_the_budget(harness: EdgeHarness) -> None:
    """A stranger at the same address does not use up the rate of a valid token."""
    harness.set_limits(rate=10, burst=20)
    replies = harness.flood(300, token=STRANGER)
    assert {reply.code for reply in replies[-100:]} <= {200, 429}
    assert sum(reply.code == 429 for reply in replies) > BUDGET_MAX_FAILURES
    assert {reply.status for reply in replies if reply.code == 200} == {"unknown_token"}
    with harness.sender() as sender:
        # Other routes and methods have the rate of a stranger too. Pancake sends nothing but POST.
        assert {sender.request("GET", "/wp-login.php").code for _ in range(40)} <= {404, 429}
        assert 429 in {sender.request("GET", PATH).code for _ in range(20)}
    assert harness.budget_used() == 0
    assert {reply.status for reply in harness.flood(15)} == {"received"}
    assert not harness.edge.held() + harness.edge.held("unknown")


def trust_forwarded_addresses(harness: EdgeHarness) -> EdgeHarness:
    """Start an edge as if behind a load balancer on this machine: X-Forwarded-For names the sender."""
    return harness.add_site("set_real_ip_from 127.0.0.1;\nreal_ip_header X-Forwarded-For;\n").bring_up()


def test_deny_list_and_rate_hold_for_ipv6_addresses(own: Edge) -> None:
    """Addresses, prefixes whose length is not a multiple of eight, and IPv4 written as IPv6.

    The strangers of one network share a rate: one machine may use all 2^64 addresses of it.
    """
    harness = trust_forwarded_addresses(own())
    ranges = ["2001:db8::/33", "2001:db9::7", "198.51.100.7", "::ffff:203.0.113.0/124"]
    harness.set_limits(rate=999, burst=999, deny=ranges)
    denied = [
        "2001:db8:7fff::1", "2001:db9::7", "2001:db9:0:0:0:0:0:7", "::ffff:198.51.100.7", "203.0.113.15",
    ]  # fmt: skip
    welcome = ["2001:db8:8000::1", "2001:db9::8", "::ffff:198.51.100.8", "203.0.113.16"]
    with harness.sender() as sender:
        for address in denied + welcome:
            reply = sender.post(TOKEN, headers={"X-Forwarded-For": address})
            assert reply.status == ("denied" if address in denied else "received"), address
        harness.set_limits(rate=10, burst=5)
        network = [f"2001:db8::{number:x}" for number in range(40)]
        codes = [sender.post(STRANGER, headers={"X-Forwarded-For": each}).code for each in network]
        assert codes.count(429) > 20
        assert sender.post(STRANGER, headers={"X-Forwarded-For": "2001:db8:0:1::1"}).code == 200
        harness.set_limits(rate=10, burst=5)  # without the deny list
        codes = [sender.post(TOKEN, headers={"X-Forwarded-For": each}).code for each in network]
        assert codes.count(429) > 20


@pytest.mark.serial
def test_the_rate_is_that_of_the_file_after_a_burst(harness: EdgeHarness) -> None:
    harness.set_limits(rate=40, burst=20)
    began = time.monotonic()
    admitted = 0
    with harness.sender() as sender:
        while time.monotonic() - began < 1.0:
            admitted += sender.post(STRANGER).code == 200
    assert 50 <= admitted <= 75


def test_the_deny_list_can_be_changed_while_the_edge_runs(harness: EdgeHarness) -> None:
    harness.set_limits(deny=[DENIED, "127.0.1.0/24", "2001:db8::/32"])
    for address in (DENIED, "127.0.1.77"):
        assert harness.flood(1, address=address)[0].code == 429, address
    assert harness.flood(1, "unknown", DENIED)[0] == Reply(429, b'{"status":"denied"}')
    assert harness.flood(1, address="127.0.0.5")[0].status == "received"
    assert harness.budget_used() == 2
    mistakes = [
        '{"rate": "fast", "deny": []}', "", "7", "[]", "[1]", '{"deny": ["not an address"]}',
        '{"deny": {"127.0.0.9": true}}', '{"deny": null}', '{"denied": ["127.0.0.9"]}', '{"rate": null}',
        '{"burst": 0}', f'{{"deny": {["127.0.0.9"] * 1001}}}'.replace("'", '"'),
    ]  # fmt: skip
    for mistake in mistakes:
        before = harness.errors_of("limits")
        harness.replace_limits(mistake)
        assert harness.errors_of("limits") >= before + 2, mistake
        assert harness.flood(1, address=DENIED)[0].code == 429, mistake
    harness.set_limits()
    assert harness.flood(1, address=DENIED)[0].status == "received"
    harness.edge.limits_file.unlink()
    eventually(lambda: harness.metric("pancake_edge_denied_ranges{}") == 0)
    eventually(lambda: harness.metric("pancake_edge_rate_limit{}") == 1000)


def test_a_denied_sender_with_a_valid_token_never_gets_the_webhook_suspended(shared: Edge) -> None:
    """429 until the budget is spent; then 200, and a proved delivery goes to quarantine until that is full.

    Quarantine holds only deliveries that would have been accepted: an operator may release them.
    """
    harness = shared(EDGE_QUARANTINE_MAX_FILES="8")
    harness.enforce(webhook_secrets=[SECRET])
    harness.set_limits(deny=[DENIED])
    with harness.sender(DENIED) as sender:
        replies = [sender.post(TOKEN, b"1", signed(SECRET, b"1")) for _ in range(MANY)]
        forged = sender.post(TOKEN, b"forged", signed(b"wrong", b"forged"))
    assert [reply.code for reply in replies] == [429] * BUDGET_MAX_FAILURES + [200] * 10
    assert [reply.status for reply in replies[BUDGET_MAX_FAILURES:]] == ["quarantined"] * 8 + ["shed"] * 2
    assert forged == Reply(200, b'{"status":"hmac_invalid"}')
    assert len(harness.edge.held("quarantine")) == 8
    assert not harness.bodies


def test_an_unreadable_file_of_limits_changes_nothing(harness: EdgeHarness) -> None:
    """A file that only root may read: the deny list stays active, in new workers too; the error counts."""
    harness.set_limits(rate=500, burst=100, deny=[DENIED])
    harness.replace_limits("{}", mode=0)
    assert harness.errors_of("limits") >= 2
    workers = harness.edge.workers()
    for _ in range(2):
        assert harness.flood(1, address=DENIED)[0].code == 429
        assert harness.metric("pancake_edge_rate_limit{}") == 500
        harness.edge.reload()
        eventually(lambda: not set(workers) & set(harness.edge.workers()))


def test_deny_list_and_rate_apply_to_a_body_over_the_limit_too(harness: EdgeHarness) -> None:
    harness.set_limits(rate=10, burst=5, deny=[DENIED])
    with harness.sender(DENIED) as sender:
        assert sender.post(TOKEN, LARGE) == Reply(429, b'{"status":"denied"}')
        assert sender.post(STRANGER, LARGE) == Reply(429, b'{"status":"denied"}')
    with harness.sender() as sender:
        assert 429 in {sender.post(STRANGER, LARGE).code for _ in range(20)}
        assert sender.post(TOKEN, LARGE) == Reply(200, b'{"status":"too_large"}')
    assert harness.budget_used() == 1


def test_a_higher_rate_is_active_at_once(harness: EdgeHarness) -> None:
    """Also for a sender that filled its bucket under the lower rate."""
    harness.set_limits(rate=1, burst=60)
    assert 429 in {reply.code for reply in harness.flood(80)}
    harness.set_limits(rate=1000, burst=60)
    eventually(lambda: harness.post() == "received", seconds=5)


def test_a_flood_does_not_fill_the_log(shared: Edge) -> None:
    harness = shared(EDGE_LOG_PER_SECOND="5")
    harness.set_limits(rate=10, burst=5)
    began = time.time()
    raw_exchange(harness.edge.port, b"%s / HTTP/1.0\r\n\r\n" % (b"A" * 7000))
    harness.flood(1500, token=STRANGER)
    seconds = int(time.time() - began) + 2
    assert len(harness.access_log()) <= 2 * 5 * seconds
    assert max(map(len, harness.access_log())) < 400
    assert harness.metric('pancake_edge_log_suppressed_total{outcome="rate_limited"}') > 1000
    assert len(harness.edge.errors()) < 2000


@pytest.fixture
def limited(own: Edge) -> EdgeHarness:
    """An edge where one address may have MAX_OPEN requests open; X-Forwarded-For names the address."""
    harness = own()
    conf = harness.edge.directory / "nginx.conf"
    text = conf.read_text()
    assert text.count("edge_requests 2000;") == 1
    conf.write_text(text.replace("edge_requests 2000;", f"edge_requests {MAX_OPEN};"))
    return trust_forwarded_addresses(harness)


def post_from(
    harness: EdgeHarness, address: str, token: str = TOKEN, headers: dict[str, str] | None = None
) -> Reply:
    with harness.sender() as sender:
        return sender.post(token, b"{}", {"X-Forwarded-For": address, **(headers or {})})


def open_request(harness: EdgeHarness, address: str, path: str = PATH, expects: str = "") -> socket.socket:
    """Send a delivery whose body does not arrive."""
    connection = socket.create_connection(("127.0.0.1", harness.edge.port), timeout=8)
    head = f"POST {path} HTTP/1.1\r\nHost: e\r\nX-Forwarded-For: {address}\r\nContent-Length: 9\r\n"
    connection.sendall(f"{head}{expects}\r\n".encode())
    return connection


def seconds_until_closed(connection: socket.socket) -> float:
    began = time.monotonic()
    with connection, contextlib.suppress(ConnectionError):
        while connection.recv(65536):
            pass
    return time.monotonic() - began


@contextlib.contextmanager
def all_open(harness: EdgeHarness, *addresses: str) -> Iterator[None]:
    """Keep MAX_OPEN requests open, from these addresses in turn."""
    with contextlib.ExitStack() as held:
        for number in range(MAX_OPEN):
            address = addresses[number % len(addresses)]
            opened = open_request(harness, address, expects="Expect: 100-continue\r\n")
            # The edge reads its body: it is counted now.
            assert held.enter_context(opened).recv(65536).startswith(b"HTTP/1.1 100 ")
        yield


@pytest.mark.serial
def test_a_stranger_over_the_limit_holds_no_connection(limited: EdgeHarness) -> None:
    """Each further request is closed at once, not after the rest of its body. Other addresses are served.

    One machine may use all 2^64 addresses of a network.
    """
    with all_open(limited, GREEDY):
        for path in (STRANGERS_PATH, "/elsewhere", "/api/pancake/record/unknown"):
            assert seconds_until_closed(open_request(limited, GREEDY, path)) < 1, path
        assert b'"received"' in post_from(limited, "203.0.113.10").body
        eventually(lambda: limited.answered("too_many_connections", 444) == 3)
        assert limited.budget_used() == 0
    with all_open(limited, *(f"2001:db8::{number}" for number in range(1, 6))):
        assert seconds_until_closed(open_request(limited, "2001:db8::ffff", STRANGERS_PATH)) < 1
        eventually(lambda: limited.answered("too_many_connections", 444) == 4)
        assert post_from(limited, "2001:db8:0:1::1", STRANGER) == Reply(200, b'{"status":"unknown_token"}')


def test_a_valid_token_over_the_limit_gets_429_until_the_budget_is_spent(limited: EdgeHarness) -> None:
    with all_open(limited, GREEDY):
        replies = [post_from(limited, GREEDY) for _ in range(MANY)]
        refused = Reply(429, b'{"status":"too_many_connections"}')
        assert replies[:BUDGET_MAX_FAILURES] == [refused] * BUDGET_MAX_FAILURES
        assert {reply.status for reply in replies[BUDGET_MAX_FAILURES:]} == {"received"}
        assert limited.budget_used() == BUDGET_MAX_FAILURES


@pytest.mark.serial
def test_a_valid_token_without_the_proof_spends_no_budget_over_the_limit(limited: EdgeHarness) -> None:
    """It is refused as usual, and has a second for its body."""
    limited.enforce(webhook_secrets=[b"s"])
    with all_open(limited, GREEDY):
        unsigned = post_from(limited, GREEDY)
        proved = post_from(limited, GREEDY, headers=signed(b"s", b"{}"))
        assert unsigned == Reply(200, b'{"status":"timestamp_out_of_window"}')
        assert proved == Reply(429, b'{"status":"too_many_connections"}')
        assert 0.5 < seconds_until_closed(open_request(limited, GREEDY)) < 3
    assert limited.budget_used() == 1


def seconds_taken(harness: EdgeHarness, head: bytes, piece: bytes, pieces: int) -> float:
    """Send a head, then two pieces a second. Return the seconds until the edge has closed."""
    began = time.monotonic()
    raw_exchange(harness.edge.port, head, *[piece] * pieces, pause_seconds=0.5)
    return time.monotonic() - began


def post_late(harness: EdgeHarness, token: str) -> bytes:
    """Post a delivery whose body takes more than five seconds. Return the answer."""
    head = f"POST /api/pancake/record/{token} HTTP/1.0\r\nContent-Length: 3\r\n\r\n".encode()
    return raw_exchange(harness.edge.port, head, b"{", b"", b"}", b"", b"\n", pause_seconds=1.3)


def test_what_takes_longer_than_five_seconds(harness: EdgeHarness) -> None:
    """A head, and the rest of a refused body, are cut off. An answer is a failure for Pancake.

    Pancake's documentation advises a timeout of five seconds. A sender without the proof is not Pancake.
    """
    strict = harness.add_connection("strict", signature_mode="enforce", webhook_secrets=[SECRET])
    harness.fetch_policy()
    with ThreadPoolExecutor(4) as threads:
        head = threads.submit(seconds_taken, harness, b"POST / HTTP/1.1\r\n", b"X-A: b\r\n", 24)
        unneeded = b"POST /elsewhere HTTP/1.1\r\nHost: e\r\nContent-Length: 9\r\n\r\n"
        body = threads.submit(seconds_taken, harness, unneeded, b".", 12)
        proved = threads.submit(post_late, harness, TOKEN)
        unproved = threads.submit(post_late, harness, "strict")
    assert head.result() < 8
    assert body.result() < 8
    assert b"200 OK" in proved.result()
    assert b"timestamp_out_of_window" in unproved.result()
    eventually(lambda: harness.budget_used() == 1)
    assert harness.unproved() == 0
    eventually(lambda: harness.metric(f'pancake_edge_unproved_failures{{connection="{strict.id}"}}') == 1)
    assert harness.metric(f'pancake_edge_budget_used{{connection="{strict.id}"}}') == 0


def break_off(harness: EdgeHarness, headers: dict[str, str], length: str = "9") -> None:
    """Send the head of a delivery and half of its body, then close. The edge observes a failure.

    `length` may be malformed: the edge ends the request at once.
    """
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST {PATH} HTTP/1.1\r\nHost: e\r\n{lines}Content-Length: {length}\r\n\r\n"
    raw_exchange(harness.edge.port, head.encode() + b"half", gives_up_after=0.2)


def journal_lines(harness: EdgeHarness) -> list[str]:
    lines = (harness.edge.state / "budget.log").read_text().splitlines()
    return [line for line in lines if f" {harness.connection.id} " in line]


def sealed_line(harness: EdgeHarness, age_seconds: int = 0) -> str:
    """A line as the edge writes it."""
    text = f"{int(time.time()) - age_seconds} {harness.connection.id} {age_seconds:x}"
    key = base64.b64decode(harness.edge.state_keys.partition(":")[2])
    seal = hmac.digest(key, f"budget {text}".encode(), "sha256")[:15]
    return f"{text} {base64.b64encode(seal).decode()}\n"


def test_no_failure_is_chosen_if_it_cannot_be_written(own: Edge) -> None:
    """A restart would forget failures that are not on disk, and the budget could be spent twice."""
    harness = own().bring_up()
    harness.stop_upstreams()
    (harness.edge.state / "budget.log").mkdir()
    with harness.unwritable():
        replies = harness.flood(20)
        assert harness.budget_used() == 0
        harness.restart()
        replies += harness.flood(20)
    assert {(reply.code, reply.status) for reply in replies} == {(200, "shed")}


def test_all_failures_survive_a_restart_and_a_reload_counts_none_twice(harness: EdgeHarness) -> None:
    """The counts stay in memory: the journal is read after a start only."""
    for _ in range(200):
        break_off(harness, {}, "x")
    eventually(lambda: harness.budget_used() == 200)
    eventually(lambda: len(journal_lines(harness)) == 200)
    workers = harness.edge.workers()
    harness.edge.reload()
    eventually(lambda: not set(workers) & set(harness.edge.workers()))
    assert harness.budget_used() == 200
    harness.kill()
    harness.fetch_policy()
    assert harness.budget_used() == 200


def test_an_observed_failure_is_written_once_the_disk_works_again(own: Edge) -> None:
    harness = own().bring_up()
    journal = harness.edge.state / "budget.log"
    journal.mkdir()
    break_off(harness, {}, "x")
    eventually(lambda: harness.errors_of("budget") >= 1)
    journal.rmdir()
    eventually(lambda: journal.exists() and journal_lines(harness))


def test_a_journal_that_cannot_be_read_is_named_at_the_start(own: Edge) -> None:
    harness = own().bring_up()
    harness.edge.kill()
    (harness.edge.state / "budget.log").unlink(missing_ok=True)
    (harness.edge.state / "budget.log").mkdir()
    harness.bring_up()
    assert "journal not read: " in harness.edge.errors()


def test_a_failure_counts_for_thirty_minutes(own: Edge) -> None:
    """Pancake's window, rounded up to whole minutes."""
    harness = own().bring_up()
    for ages_seconds, counts in (
        ({"budget.log": 0}, 1),
        ({"budget.log": 29 * 60 + 55}, 1),
        ({"budget.log": 32 * 60}, 0),
        ({"budget.log": 60, "budget.log.former": 120}, 2),
    ):
        harness.edge.kill()
        for name, age_seconds in ages_seconds.items():
            journal = harness.edge.state / name
            journal.write_text(sealed_line(harness, age_seconds))
            journal.chmod(0o644)
        harness.bring_up()
        assert harness.budget_used() == counts, ages_seconds


def test_lines_that_the_edge_did_not_write_do_not_count(own: Edge) -> None:
    """Forged, changed, copied or torn ones: they could spend the budget of a connection."""
    harness = own().bring_up()
    harness.edge.kill()
    line = sealed_line(harness)
    forged = [
        f"{int(time.time())} {harness.connection.id}\n",
        line.replace(" 0 ", " 1 ", 1),
        line[:-9] + "\n",
    ]
    journal = harness.edge.state / "budget.log"
    journal.write_text("".join([line, *forged, *[line] * 200]))
    journal.chmod(0o644)
    harness.bring_up()
    assert harness.budget_used() == 1
    assert "lines of the journal are torn or not of this edge" in harness.edge.errors()


def test_a_flood_of_one_connection_leaves_the_others_their_share(harness: EdgeHarness) -> None:
    """Their deliveries come from the same addresses: those of Pancake."""
    other = harness.add_connection("other")
    harness.fetch_policy()
    harness.set_limits(rate=10, burst=10)
    flood = harness.flood(100)
    assert [reply.code for reply in flood].count(429) > 60
    assert {reply.status for reply in harness.flood(5, "other")} == {"received"}
    assert harness.metric(f'pancake_edge_budget_used{{connection="{other.id}"}}') == 0


def test_the_journal_does_not_grow_without_limit(own: Edge) -> None:
    """A new journal is started once the former one holds nothing that counts; here at once."""
    harness = own().edit("budget.lua", "> (WINDOW_MINUTES + 2) * 60", ">= 0")
    harness.edit("start.lua", "TIDY_INTERVAL_SECONDS = 60", "TIDY_INTERVAL_SECONDS = 0.05").bring_up()
    harness.set_limits(deny=[DENIED])
    harness.flood(3, address=DENIED)
    eventually((harness.edge.state / "budget.log.former").exists)
    assert harness.budget_used() == 3


def test_an_error_is_followed_by_no_further_bytes(harness: EdgeHarness) -> None:
    """With and without a valid token. Further bytes would be taken for the next answer."""
    harness.set_limits(deny=["127.0.0.1"])
    for token in (TOKEN, STRANGER):
        head = f"POST /api/pancake/record/{token} HTTP/1.1\r\nHost: e\r\nConnection: close\r\n"
        answer = raw_exchange(harness.edge.port, head.encode() + b"Content-Length: 2\r\n\r\n{}")
        assert answer.partition(b"\r\n\r\n")[2] == b'{"status":"denied"}'


def await_failures(harness: EdgeHarness, *, counted: int, unproved: int) -> None:
    """Wait for this number of failures in all; so many of them are counted as Pancake's."""
    eventually(lambda: harness.unproved() + harness.budget_used() == counted + unproved)
    assert (harness.budget_used(), harness.unproved()) == (counted, unproved)


def test_a_method_that_pancake_does_not_send_spends_nothing(harness: EdgeHarness) -> None:
    """Otherwise a browser with the URL could spend the budget."""
    harness.set_limits(deny=[DENIED])
    with harness.sender() as sender:
        codes = [sender.request(method, PATH).code for method in ("GET", "PUT") for _ in range(MANY)]
    assert set(codes) == {405}
    assert {reply.status for reply in harness.flood(BUDGET_MAX_FAILURES, address=DENIED)} == {"denied"}
    await_failures(harness, counted=BUDGET_MAX_FAILURES, unproved=2 * MANY)


DEMANDED = {"header_secrets": [SECRET]}
ALLOWED = {"signature_mode": "off", "allowlist_mode": "enforce", "allowed_ip_ranges": ["127.0.0.1"]}
BROKEN_OFF: dict[str, tuple[Mapping[str, object], dict[str, str], int]] = {
    "without the header": (DEMANDED, {}, 0),
    "with a wrong header": (DEMANDED, {"X-Pancake-Secret": "wrong"}, 0),
    "with the header": (DEMANDED, HEADER, 1),
    "outside of the allowlist": (ALLOWED | {"allowed_ip_ranges": ["10.0.0.0/8"]}, {}, 0),
    "inside of the allowlist": (ALLOWED, {}, 1),
    "the check may be wrong that is only monitored": (DEMANDED | {"signature_mode": "monitor"}, {}, 1),
}


def test_a_delivery_broken_off_counts_only_with_what_is_demanded(
    harness: EdgeHarness, subtests: pytest.Subtests
) -> None:
    """The header is checked without the body; a malformed request ends before its headers are read."""
    for name, (settings, headers, counted) in BROKEN_OFF.items():
        for length in ("9", "x") if settings is DEMANDED else ("9",):
            with subtests.test(name, length=length):
                harness.reset()
                harness.enforce(**settings)
                break_off(harness, headers, length)
                await_failures(harness, counted=counted, unproved=1 - counted)
                assert not harness.bodies


def test_a_delivery_broken_off_never_counts_where_a_signature_is_demanded(harness: EdgeHarness) -> None:
    """A signature is over the whole body."""
    harness.enforce(webhook_secrets=[SECRET])
    break_off(harness, signed(SECRET, b"half"))
    await_failures(harness, counted=0, unproved=1)


@pytest.mark.parametrize(("body", "refused"), [(b"{}", "secret_invalid"), (LARGE, "too_large")])
def test_a_denied_sender_without_the_proof_spends_nothing(
    harness: EdgeHarness, body: bytes, refused: str
) -> None:
    harness.enforce(header_secrets=[SECRET])
    harness.set_limits(deny=[DENIED])
    with harness.sender(DENIED) as sender:
        assert {sender.post(TOKEN, body).status for _ in range(20)} == {refused}
        assert (harness.budget_used(), harness.unproved()) == (0, 0)
        assert sender.post(TOKEN, body, HEADER).status == "denied"
    assert (harness.budget_used(), harness.unproved()) == (1, 0)


def test_unproved_failures_count_for_thirty_minutes_and_not_after_a_restart(own: Edge) -> None:
    """They change no decision, so they are not written to disk."""
    harness = own().edit("settings.lua", "budget_window_minutes = 30", "budget_window_minutes = 0")
    harness.edit("budget.lua", "math.floor(at / 60)", "math.floor(at)").bring_up()
    with harness.sender() as sender:
        # It counts for the rest of its second only, and on a busy machine that may be over before it is read.
        eventually(lambda: sender.request("GET", PATH) and harness.unproved() > 0)
    eventually(lambda: harness.unproved() == 0, seconds=5)
    assert not (harness.edge.state / "budget.log").exists()
