"""Whose failures spend the suspension budget: those of senders that proved themselves."""

from collections.abc import Callable

import pytest

from tests.support.edge.harness import BUDGET_MAX_FAILURES, TOKEN, EdgeHarness
from tests.support.edge.sender import raw_exchange, signed
from tests.support.waiting import eventually

MANY = BUDGET_MAX_FAILURES + 10
PATH = f"/api/pancake/record/{TOKEN}"
SECRET = b"secret"
HEADER = {"X-Pancake-Secret": SECRET.decode()}


def demand(harness: EdgeHarness, *, signature: bool = False, header: bool = False) -> None:
    """Enforce a proof."""
    harness.connection.webhook_secrets = [SECRET] * signature
    harness.connection.header_secrets = [SECRET] * header
    harness.connection.signature_mode = "enforce"
    harness.wait_for_new_policy()


def break_off(harness: EdgeHarness, headers: dict[str, str], length: str = "9") -> None:
    """Send the head of a delivery and half of its body, then close. `length` may be malformed."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST {PATH} HTTP/1.1\r\nHost: e\r\n{lines}Content-Length: {length}\r\n\r\n"
    raw_exchange(harness.edge.port, head.encode() + b"half", timeout_seconds=0.2)


def unproved(harness: EdgeHarness) -> float:
    """Return the failures that the edge has seen and did not count as Pancake's."""
    return harness.metric(f'pancake_edge_unproved_failures{{connection="{harness.connection.id}"}}')


def test_a_method_that_pancake_does_not_send_spends_nothing(harness: EdgeHarness) -> None:
    """Anybody who knows the URL could otherwise spend the budget with a browser."""
    harness.set_limits(rate=1001, burst=1000, deny=["127.0.0.4"])
    with harness.sender() as sender:
        codes = [sender.request(method, PATH).code for method in ("GET", "PUT") for _ in range(MANY)]
    assert set(codes) == {405}
    replies = harness.flood(BUDGET_MAX_FAILURES, address="127.0.0.4")
    assert {reply.status for reply in replies} == {"denied"}
    assert harness.budget_used() == BUDGET_MAX_FAILURES
    assert unproved(harness) == 2 * MANY


@pytest.mark.parametrize("length", ["9", "x"])
def test_a_delivery_broken_off_counts_only_with_the_header_that_is_demanded(
    harness: EdgeHarness, length: str
) -> None:
    """The header is checked without the body; a malformed request ends before its headers are read."""
    demand(harness, header=True)
    break_off(harness, {}, length)
    break_off(harness, {"X-Pancake-Secret": "wrong"}, length)
    eventually(lambda: unproved(harness) + harness.budget_used() == 2)
    assert harness.budget_used() == 0
    break_off(harness, HEADER, length)
    eventually(lambda: unproved(harness) + harness.budget_used() == 3)
    assert harness.budget_used() == 1


def test_a_delivery_broken_off_never_counts_where_a_signature_is_demanded(harness: EdgeHarness) -> None:
    """A signature is over the whole body."""
    demand(harness, signature=True)
    break_off(harness, signed(SECRET, b"half"))
    eventually(lambda: unproved(harness) + harness.budget_used() == 1)
    assert harness.budget_used() == 0


def test_only_addresses_of_an_enforced_allowlist_spend_the_budget(harness: EdgeHarness) -> None:
    harness.connection.allowlist_mode, harness.connection.allowed_ip_ranges = "enforce", ["10.0.0.0/8"]
    harness.wait_for_new_policy()
    break_off(harness, {})
    eventually(lambda: unproved(harness) + harness.budget_used() == 1)
    assert harness.budget_used() == 0
    harness.connection.allowed_ip_ranges = ["127.0.0.1"]
    harness.wait_for_new_policy()
    break_off(harness, {})
    eventually(lambda: harness.budget_used() == 1)
    assert unproved(harness) == 1


def test_a_check_that_is_only_monitored_excludes_no_failure(harness: EdgeHarness) -> None:
    """It may be the check that is wrong: Pancake must not be suspended for it."""
    demand(harness, header=True)
    harness.connection.signature_mode = "monitor"
    harness.wait_for_new_policy()
    break_off(harness, {})
    eventually(lambda: harness.budget_used() == 1)


def test_a_refusal_that_comes_late_spends_nothing(harness: EdgeHarness) -> None:
    """An answer after more than five seconds is a failure for Pancake, but this sender is not Pancake."""
    demand(harness, signature=True)
    head = f"POST {PATH} HTTP/1.0\r\nContent-Length: 3\r\n\r\n".encode()
    answer = raw_exchange(harness.edge.port, head, b"{", b"", b"}", b"", b"\n", pause_seconds=1.3)
    assert b"timestamp_out_of_window" in answer
    eventually(lambda: unproved(harness) + harness.budget_used() == 1)
    assert harness.budget_used() == 0


@pytest.mark.parametrize("body", [b"{}", b"x" * 257 * 1024])
def test_a_denied_sender_without_the_proof_spends_nothing(harness: EdgeHarness, body: bytes) -> None:
    demand(harness, header=True)
    harness.set_limits(rate=1001, burst=1000, deny=["127.0.0.4"])
    with harness.sender("127.0.0.4") as sender:
        refused = "secret_invalid" if len(body) < 1000 else "too_large"
        assert {sender.post(TOKEN, body).status for _ in range(20)} == {refused}
        assert (harness.budget_used(), unproved(harness)) == (0, 0)
        assert sender.post(TOKEN, body, HEADER).status == "denied"
    assert (harness.budget_used(), unproved(harness)) == (1, 0)


def test_unproved_failures_count_for_thirty_minutes_and_not_after_a_restart(
    start_harness: Callable[..., EdgeHarness],
) -> None:
    """They change no decision, so they are not written to disk."""
    harness = start_harness(started=False)
    harness.edge.edit("settings.lua", "budget_window_minutes = 30", "budget_window_minutes = 0")
    harness.edge.edit("budget.lua", "math.floor(at / 60)", "math.floor(at)")
    harness.edge.bring_up()
    with harness.sender() as sender:
        # It counts for the rest of its second only, and on a busy machine that may be over before it is read.
        eventually(lambda: sender.request("GET", PATH) and unproved(harness) > 0)
    eventually(lambda: unproved(harness) == 0, seconds=5)
    assert not (harness.edge.state / "budget.log").exists()
