"""Rate limit and deny list: a flood is limited, and other senders are served."""

import time
from collections.abc import Callable

from tests.support.edge.harness import BUDGET_MAX_FAILURES, STRANGER, TOKEN, EdgeHarness
from tests.support.edge.sender import Reply, raw_exchange, signed
from tests.support.waiting import eventually

HMAC_INVALID = b'{"status":"hmac_invalid"}'


def test_requests_over_the_rate_get_429_until_the_budget_is_spent_then_they_are_spooled(
    harness: EdgeHarness,
) -> None:
    """One address with a valid token: every delivery that was not answered 429 arrives."""
    harness.set_limits(rate=10, burst=20)
    replies = harness.flood(400)
    refused = [reply for reply in replies if reply.code == 429]
    assert len(refused) == BUDGET_MAX_FAILURES
    last_refusal = max(number for number, reply in enumerate(replies) if reply.code == 429)
    assert "spooled" not in {reply.status for reply in replies[:last_refusal]}
    assert {reply.status for reply in refused} == {"rate_limited"}
    spooled = [reply for reply in replies if reply.status == "spooled"]
    accepted = [reply for reply in replies if reply.status == "received"]
    assert len(spooled) + len(accepted) == 400 - BUDGET_MAX_FAILURES
    assert len(accepted) >= 20
    assert harness.budget_used() == BUDGET_MAX_FAILURES
    eventually(lambda: len(harness.bodies) == 400 - BUDGET_MAX_FAILURES and not harness.edge.held())


def test_other_addresses_are_unaffected(harness: EdgeHarness) -> None:
    harness.set_limits(rate=10, burst=20)
    assert 429 in {reply.code for reply in harness.flood(60)}
    assert {reply.status for reply in harness.flood(15, address="127.0.0.2")} == {"received"}


def test_strangers_over_the_rate_get_429_without_using_the_budget(harness: EdgeHarness) -> None:
    """A stranger at the same address does not use up the rate of a valid token."""
    harness.set_limits(rate=10, burst=20)
    replies = harness.flood(300, token=STRANGER)
    assert {reply.code for reply in replies[-100:]} <= {200, 429}
    assert sum(reply.code == 429 for reply in replies) > BUDGET_MAX_FAILURES
    assert {reply.status for reply in replies if reply.code == 200} == {"unknown_token"}
    assert harness.budget_used() == 0
    assert {reply.status for reply in harness.flood(15)} == {"received"}
    assert not harness.edge.held() + harness.edge.held("unknown")


def test_other_routes_and_methods_have_the_rate_of_a_stranger(harness: EdgeHarness) -> None:
    harness.set_limits(rate=10, burst=5)
    with harness.sender() as sender:
        assert {sender.request("GET", "/wp-login.php").code for _ in range(40)} == {404, 429}
        assert {sender.request("GET", f"/api/pancake/record/{TOKEN}").code for _ in range(20)} <= {405, 429}
        assert sender.post(TOKEN).status == "received"
    assert harness.budget_used() == 0  # Pancake sends nothing but POST


def trust_forwarded_addresses(harness: EdgeHarness) -> None:
    """Start the edge as if behind a load balancer on this machine: X-Forwarded-For names the sender."""
    with (harness.edge.directory / "site" / "http.conf").open("a") as site:
        site.write("set_real_ip_from 127.0.0.1;\nreal_ip_header X-Forwarded-For;\n")
    harness.edge.bring_up()


def test_the_deny_list_holds_ipv6_addresses(start_harness: Callable[..., EdgeHarness]) -> None:
    """Addresses, prefixes whose length is not a multiple of eight, and IPv4 written as IPv6."""
    harness = start_harness(started=False)
    trust_forwarded_addresses(harness)
    ranges = ["2001:db8::/33", "2001:db9::7", "198.51.100.7", "::ffff:203.0.113.0/124"]
    harness.set_limits(rate=999, burst=999, deny=ranges)
    denied = [
        "2001:db8:7fff::1",
        "2001:db9::7",
        "2001:db9:0:0:0:0:0:7",
        "::ffff:198.51.100.7",
        "203.0.113.15",
    ]
    welcome = ["2001:db8:8000::1", "2001:db9::8", "::ffff:198.51.100.8", "203.0.113.16"]
    with harness.sender() as sender:
        for address in denied + welcome:
            reply = sender.post(TOKEN, headers={"X-Forwarded-For": address})
            assert reply.status == ("denied" if address in denied else "received"), address


def test_strangers_of_one_ipv6_network_share_a_rate(start_harness: Callable[..., EdgeHarness]) -> None:
    """One machine may use all 2^64 addresses of its network; another network has a separate rate."""
    harness = start_harness(started=False)
    trust_forwarded_addresses(harness)
    harness.set_limits(rate=10, burst=5)
    with harness.sender() as sender:
        codes = [
            sender.post(STRANGER, headers={"X-Forwarded-For": f"2001:db8::{number:x}"}).code
            for number in range(40)
        ]
        assert codes.count(429) > 20
        assert sender.post(STRANGER, headers={"X-Forwarded-For": "2001:db8:0:1::1"}).code == 200


def test_the_rate_is_that_of_the_file_after_a_burst(harness: EdgeHarness) -> None:
    harness.set_limits(rate=40, burst=20)
    began = time.monotonic()
    admitted = 0
    with harness.sender() as sender:
        while time.monotonic() - began < 1.0:
            admitted += sender.post(STRANGER).code == 200
    assert 50 <= admitted <= 75


def test_the_deny_list_can_be_changed_while_the_edge_runs(harness: EdgeHarness) -> None:
    """No reload is needed; a file that is not valid changes nothing."""
    harness.set_limits(rate=1001, burst=1000, deny=["127.0.0.4", "127.0.1.0/24", "2001:db8::/32"])
    for address in ("127.0.0.4", "127.0.1.77"):
        assert harness.flood(1, address=address)[0].code == 429, address
    assert harness.flood(1, "unknown", "127.0.0.4")[0] == Reply(429, b'{"status":"denied"}')
    assert harness.flood(1, address="127.0.0.5")[0].status == "received"
    assert harness.budget_used() == 2
    harness.write_limits(rate="fast", deny=[])
    eventually(lambda: harness.metric('pancake_edge_errors_total{source="limits"}') >= 2)
    assert harness.flood(1, address="127.0.0.4")[0].code == 429
    harness.edge.limits_file.write_text("")
    eventually(lambda: harness.metric('pancake_edge_errors_total{source="limits"}') >= 4)
    assert harness.flood(1, address="127.0.0.4")[0].code == 429
    mistakes: list[dict[str, object]] = [
        {"deny": ["not an address"]}, {"deny": {"127.0.0.9": True}}, {"deny": None},
        {"denied": ["127.0.0.9"]}, {"rate": None}, {"burst": 0},
    ]  # fmt: skip
    for mistake in mistakes:
        before = harness.metric('pancake_edge_errors_total{source="limits"}')
        harness.write_limits(**mistake)
        eventually(lambda: harness.metric('pancake_edge_errors_total{source="limits"}') >= before + 2)  # noqa: B023
        assert harness.flood(1, address="127.0.0.4")[0].code == 429, mistake
    harness.set_limits(rate=1002, burst=1000)
    assert harness.flood(1, address="127.0.0.4")[0].status == "received"
    harness.edge.limits_file.unlink()
    eventually(lambda: harness.metric("pancake_edge_rate_limit{}") == 1000)


def test_a_denied_sender_with_a_valid_token_never_gets_the_webhook_suspended(harness: EdgeHarness) -> None:
    """429 until the budget is spent; then 200, and the delivery goes to quarantine."""
    harness.set_limits(rate=1001, burst=1000, deny=["127.0.0.4"])
    replies = harness.flood(160, address="127.0.0.4")
    assert [reply.code for reply in replies] == [429] * BUDGET_MAX_FAILURES + [200] * 10
    assert {reply.status for reply in replies[BUDGET_MAX_FAILURES:]} == {"quarantined"}
    assert len(harness.edge.held("quarantine")) == 10
    assert not harness.bodies


def test_a_denied_sender_must_prove_what_its_connection_demands(harness: EdgeHarness) -> None:
    """Quarantine holds only deliveries that would have been accepted: an operator may release them."""
    harness.connection.webhook_secrets, harness.connection.signature_mode = [b"s"], "enforce"
    harness.wait_for_new_policy()
    harness.set_limits(rate=1001, burst=1000, deny=["127.0.0.4"])
    with harness.sender("127.0.0.4") as sender:
        codes = {sender.post(TOKEN, b"1", signed(b"s", b"1")).code for _ in range(BUDGET_MAX_FAILURES)}
        assert codes == {429}
        assert sender.post(TOKEN, b"forged", signed(b"wrong", b"forged")) == Reply(200, HMAC_INVALID)
        assert sender.post(TOKEN, b"genuine", signed(b"s", b"genuine")).status == "quarantined"
    assert len(harness.edge.held("quarantine")) == 1


def test_an_unreadable_file_of_limits_changes_nothing(harness: EdgeHarness) -> None:
    """A file that only root may read: the deny list stays active, in new workers too; the error counts."""
    harness.set_limits(rate=500, burst=100, deny=["127.0.0.4"])
    fresh = harness.edge.limits_file.with_suffix(".new")
    fresh.write_text("{}")
    fresh.chmod(0)
    fresh.rename(harness.edge.limits_file)
    eventually(lambda: harness.metric('pancake_edge_errors_total{source="limits"}') >= 2)
    assert harness.flood(1, address="127.0.0.4")[0].code == 429
    assert harness.metric("pancake_edge_rate_limit{}") == 500
    workers = harness.edge.workers()
    harness.edge.reload()
    eventually(lambda: not set(workers) & set(harness.edge.workers()))
    assert harness.flood(1, address="127.0.0.4")[0].code == 429
    assert harness.metric("pancake_edge_rate_limit{}") == 500


def test_deny_list_and_rate_apply_to_a_body_over_the_limit_too(harness: EdgeHarness) -> None:
    large = b"x" * 257 * 1024
    harness.set_limits(rate=10, burst=5, deny=["127.0.0.4"])
    with harness.sender("127.0.0.4") as sender:
        assert sender.post(TOKEN, large) == Reply(429, b'{"status":"denied"}')
        assert sender.post(STRANGER, large) == Reply(429, b'{"status":"denied"}')
    with harness.sender() as sender:
        assert 429 in {sender.post(STRANGER, large).code for _ in range(20)}
        assert sender.post(TOKEN, large) == Reply(200, b'{"status":"too_large"}')
    assert harness.budget_used() == 1


def test_a_higher_rate_is_active_at_once(harness: EdgeHarness) -> None:
    """Also for a sender that filled its bucket under the lower rate."""
    harness.set_limits(rate=1, burst=60)
    assert 429 in {reply.code for reply in harness.flood(80)}
    harness.set_limits(rate=1000, burst=60)
    eventually(lambda: harness.flood(1)[0].status == "received", seconds=5)


def test_a_flood_does_not_fill_the_log(start_harness: Callable[..., EdgeHarness]) -> None:
    """The number of lines per second and outcome is limited; suppressed lines are counted."""
    harness = start_harness(EDGE_LOG_PER_SECOND="5")
    harness.set_limits(rate=10, burst=5)
    before = len(harness.edge.access_log().splitlines())
    began = time.time()
    raw_exchange(harness.edge.port, b"%s / HTTP/1.0\r\n\r\n" % (b"A" * 7000))
    harness.flood(1500, token=STRANGER)
    seconds = int(time.time() - began) + 2
    lines = len(harness.edge.access_log().splitlines()) - before
    assert lines <= 2 * 5 * seconds
    assert max(map(len, harness.edge.access_log().splitlines())) < 400
    suppressed = 'pancake_edge_log_suppressed_total{outcome="rate_limited"}'
    assert harness.metric(suppressed) > 1000
    assert len(harness.edge.errors()) < 2000
