"""Policy and proofs: the handlers decide which tokens are valid and what a delivery must prove.

The exact outcome for each signature, timestamp, secret, address, mode; the last policy while they are down.
"""

import hashlib
import json
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from itertools import product

import pytest

from leads.adapters.secrets import KeyRing
from ops.daily.edge_spool import Folder, Spool
from sandbox.edge import state_key
from tests.support.edge.harness import TOKEN, Edge, EdgeHarness
from tests.support.edge.surroundings import Reply, raw_exchange, signed
from tests.support.fake_services import Answer
from tests.support.waiting import eventually

CURRENT, PREVIOUS, WRONG = b"current secret", b"previous secret", b"wrong secret"
MODES = ("off", "monitor", "enforce")
SHIFTS_SECONDS = (-360, -240, 240, 360)
"""Distances of a signature's timestamp from now. The window is 300 s."""
SIGNERS = (CURRENT, PREVIOUS, WRONG, None)
"""None stands for a delivery without signature."""
RARELY = {"EDGE_POLICY_SECONDS": "3600"}
"""No scheduled fetch happens during a test."""
LONG_SECRET = b"a-long-secret" * 100
BODY = '{"id":"1","name":"Nguyễn Văn A"}'.encode()
POLICY_FILES = ("policy.sealed", "policy-newest.sealed")
"""The policy on the disk of the edge, and when the newest one that was stored there was made."""
NO_TIMES = ("2026-05-14T02:35:56+16:00", "2026-05-14T02:35:56-1560", "2026-05-14T02:35:56 soon")
"""Offsets that PostgreSQL refuses, and a text that is no offset."""


def monitored(harness: EdgeHarness, check: str) -> float:
    """Return the number of deliveries that a check in monitor mode would have refused."""
    return harness.metric(f'pancake_edge_monitored_total{{check="{check}"}}')


def expected_outcome(mode: str, shift_seconds: int, signer: bytes | None) -> str:
    if mode == "enforce" and abs(shift_seconds) > 300:
        return "timestamp_out_of_window"
    if mode == "enforce" and signer in (WRONG, None):
        return "hmac_invalid"
    return "received"


@pytest.mark.test_case("TC-017")
def test_signature_by_timestamp_by_secret_by_mode(
    harness: EdgeHarness, record_property: Callable[[str, object], None]
) -> None:
    cases = list(product(MODES, SHIFTS_SECONDS, SIGNERS))
    secrets = [CURRENT, PREVIOUS]
    for number, (mode, _, _) in enumerate(cases):
        harness.add_connection(f"token-{number}", signature_mode=mode, webhook_secrets=secrets)
    harness.fetch_policy()
    wanted, got, stored = [], [], []
    with harness.sender() as sender:
        for number, (mode, shift, signer) in enumerate(cases):
            body = BODY + str(number).encode()
            headers = signed(signer or CURRENT, body, at=time.time() + shift)
            if signer is None:
                del headers["X-Pancake-Signature"]
            reply = sender.post(f"token-{number}", body, headers)
            got.append((reply.code, reply.status))
            wanted.append((200, expected_outcome(mode, shift, signer)))
            if wanted[-1][1] == "received":
                stored.append(body)
    assert got == wanted
    assert harness.bodies == stored
    record_property("tries", len(cases) - len(stored))
    for outcome in ("hmac_invalid", "timestamp_out_of_window"):
        assert harness.answered(outcome) == [status for _, status in wanted].count(outcome)
        assert monitored(harness, outcome) == [
            expected_outcome("enforce", shift, signer) for mode, shift, signer in cases if mode == "monitor"
        ].count(outcome)


@pytest.mark.test_case("TC-017")
def test_allowlist_by_mode(harness: EdgeHarness) -> None:
    """Addresses and ranges, inside and outside; enforce with an empty list refuses every address."""
    lists: tuple[list[str], ...] = ([], ["127.0.0.8/30"], ["10.0.0.1", "127.0.0.9"])
    cases = list(product(MODES, lists, ("127.0.0.9", "127.0.0.12")))
    for number, (mode, ranges, _) in enumerate(cases):
        harness.add_connection(f"token-{number}", allowlist_mode=mode, allowed_ip_ranges=ranges)
    harness.fetch_policy()
    stored = []
    assert harness.edge.health()["refused"] == {}
    for number, (mode, ranges, address) in enumerate(cases):
        inside = bool(ranges) and address == "127.0.0.9"
        with harness.sender(address) as sender:
            reply = sender.post(f"token-{number}", str(number).encode())
        refused = mode == "enforce" and not inside
        wanted = "ip_not_allowed" if refused else "received"
        assert (reply.code, reply.status) == (200, wanted), (mode, ranges, address)
        stored += [] if refused else [str(number).encode()]
    assert harness.bodies == stored
    assert (harness.answered("ip_not_allowed"), monitored(harness, "ip_not_allowed")) == (4, 4)
    told = harness.edge.health()["refused"].values()
    assert sorted(each["deliveries"] for each in told) == [1] * 4
    assert all(each["outcome"] == "ip_not_allowed" and 0 <= each["seconds"] < 60 for each in told)


def test_malformed_proofs_are_refused_like_wrong_ones(
    harness: EdgeHarness, record_property: Callable[[str, object], None]
) -> None:
    harness.enforce(webhook_secrets=[CURRENT])
    good = signed(CURRENT, BODY)
    stamp, signature = good["X-Pancake-Timestamp"], good["X-Pancake-Signature"]
    out_of_window = [
        None, "", "now", "0x10", "-5", "nan", "inf", "1e9", stamp + "000", stamp + "x", stamp + ".",
        stamp + ".0", "9" * 21,
    ]  # fmt: skip
    invalid = [
        None, "", signature[:-1], signature + "0", "g" + signature[1:], "sha256=" + signature,
        signature[::-1], "0" * 64,
    ]  # fmt: skip
    with harness.sender() as sender:
        for name, texts, outcome in (
            ("X-Pancake-Timestamp", out_of_window, "timestamp_out_of_window"),
            ("X-Pancake-Signature", invalid, "hmac_invalid"),
        ):
            for text in texts:
                headers = {key: value for key, value in {**good, name: text}.items() if value is not None}
                assert sender.post(TOKEN, BODY, headers).status == outcome, (name, text)
        assert sender.post(TOKEN, BODY + b" ", good).status == "hmac_invalid"
        upper = {**good, "X-Pancake-Signature": signature.upper()}
        assert sender.post(TOKEN, BODY, upper).status == "received"
    assert harness.bodies == [BODY]
    record_property("tries", len(out_of_window) + len(invalid) + 1)


def test_a_shared_secret_in_the_header_of_the_connection(harness: EdgeHarness) -> None:
    """The proof that Pancake can send today. During rotation two values are valid."""
    cases = {CURRENT: "received", PREVIOUS: "received", WRONG: "secret_invalid", None: "secret_invalid"}
    for mode in MODES:
        harness.enforce(header_secrets=[CURRENT, PREVIOUS], header_name="X-Diva-Key", signature_mode=mode)
        for secret, strict in cases.items():
            headers = {} if secret is None else {"X-Diva-Key": secret.decode()}
            wanted = strict if mode == "enforce" else "received"
            assert harness.post(headers=headers) == wanted, (mode, secret)
    assert monitored(harness, "secret_invalid") == 2
    assert len(harness.bodies) == 4 + 4 + 2


def test_a_signature_proves_one_body_only(harness: EdgeHarness) -> None:
    """timestamp.body is signed: a timestamp with a fraction could take its digits from another body."""
    harness.enforce(webhook_secrets=[CURRENT])
    proof = signed(CURRENT, b"5." + BODY)
    moved = proof | {"X-Pancake-Timestamp": proof["X-Pancake-Timestamp"] + ".5"}
    assert harness.post(b"5." + BODY, proof) == "received"
    assert harness.post(BODY, moved) == "timestamp_out_of_window"
    assert harness.bodies == [b"5." + BODY]


def test_tokens_and_secrets_end_at_their_time_also_if_no_new_policy_comes(shared: Edge) -> None:
    """By the clock of the edge: the policy still lists them. The time may be written with any offset."""
    harness = shared(**RARELY)
    ends = datetime.now(UTC) + timedelta(seconds=3)
    vietnam = (ends + timedelta(hours=7)).strftime("%Y-%m-%dT%H:%M:%S.%f+07:00")
    past = (datetime.now(UTC) - timedelta(seconds=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    harness.connection.tokens = {TOKEN: None, "old": vietnam, "older": past}
    strict = {"signature_mode": "enforce", "secret_ends": [None, ends.isoformat()]}
    harness.add_connection("signing", webhook_secrets=[CURRENT, PREVIOUS], **strict)
    harness.add_connection("sending", header_secrets=[CURRENT, PREVIOUS], **strict)
    harness.fetch_policy()

    def answers(secret: bytes = PREVIOUS) -> list[str]:
        header = {"X-Pancake-Secret": secret.decode()}
        return [
            harness.post(token="old"),
            harness.post(BODY, signed(secret, BODY), token="signing"),
            harness.post(BODY, header, token="sending"),
        ]

    assert answers() == ["received"] * 3
    assert harness.post(token="older") == "unknown_token"
    harness.handlers.policy_override = Answer(500)
    eventually(lambda: answers()[1:] == ["hmac_invalid", "secret_invalid"])
    assert datetime.now(UTC) >= ends - timedelta(seconds=1), "the edge drops the fraction"
    # An unknown token is stored while the handlers cannot be asked about it.
    eventually(lambda: answers() == ["spooled", "hmac_invalid", "secret_invalid"])
    assert answers(CURRENT)[1:] == ["received"] * 2
    assert harness.post() == "received"


def test_the_time_at_which_a_token_ends_is_read_exactly(harness: EdgeHarness) -> None:
    """Of each month, in leap years too, with any offset; the edge drops the fraction."""
    source = random.Random(5)
    zones = [UTC, timezone(timedelta(hours=7)), timezone(timedelta(hours=-9, minutes=-30))]
    ends = [
        datetime.fromtimestamp(source.randrange(2**32), source.choice(zones)).replace(month=month, day=28)
        + timedelta(days=source.randrange(5), microseconds=source.randrange(10**6))
        for month in range(1, 13)
        for _ in range(4)
    ]
    harness.connection.tokens = {str(number): each.isoformat() for number, each in enumerate(ends)}
    fault, found = harness.parse_policy(harness.handlers.policy())
    assert fault == ""
    assert found == {
        hashlib.sha256(str(number).encode()).hexdigest(): int(each.timestamp())
        for number, each in enumerate(ends)
    }


def test_enforce_demands_both_secrets_if_both_are_set_and_refuses_all_if_none_is(
    harness: EdgeHarness,
) -> None:
    """Neither proof replaces the other."""
    header = {"X-Pancake-Secret": PREVIOUS.decode()}
    both = signed(CURRENT, BODY) | header
    harness.enforce()
    assert harness.post(BODY, both) == "hmac_invalid"
    harness.enforce(webhook_secrets=[CURRENT], header_secrets=[PREVIOUS])
    assert harness.post(BODY, signed(CURRENT, BODY)) == "secret_invalid"
    assert harness.post(BODY, header) == "timestamp_out_of_window"
    assert not harness.bodies
    assert harness.post(BODY, both) == "received"


def test_refused_deliveries_use_neither_rate_nor_budget(harness: EdgeHarness) -> None:
    """A sender that knows a token but no secret takes no rate from Pancake at the same address."""
    harness.enforce(webhook_secrets=[CURRENT])
    harness.set_limits(rate=1, burst=3)
    with harness.sender() as sender:
        assert {sender.post(TOKEN, BODY).status for _ in range(50)} == {"timestamp_out_of_window"}
        assert sender.post(TOKEN, BODY, signed(CURRENT, BODY)).status == "received"
    assert harness.budget_used() == 0


def test_a_token_is_called_unknown_only_after_a_fetch(shared: Edge) -> None:
    harness = shared(**RARELY)
    served, refused = harness.handlers.policies_served, harness.edge.health()["unknown_tokens"]
    for n in range(3):
        assert harness.post(token="unknown") == "unknown_token"
        assert harness.handlers.policies_served == served + n + 1
    health = harness.edge.health()
    assert health["unknown_tokens"] - refused == 3
    assert 0 <= health["unknown_token_seconds"] < 10
    harness.add_connection("brand-new")
    assert harness.post(token="brand-new") == "received"
    harness.handlers.connections = []
    harness.fetch_policy()
    assert harness.post(token="brand-new") == "unknown_token"


def test_many_unknown_tokens_share_a_few_fetches(shared: Edge) -> None:
    """At most about ten a second."""
    harness = shared(**RARELY)
    served, began = harness.handlers.policies_served, time.monotonic()

    def post(number: int) -> set[str]:
        with harness.sender() as sender:
            return {sender.post(f"stranger-{number}-{step}").status for step in range(5)}

    with ThreadPoolExecutor(16) as threads:
        assert set().union(*threads.map(post, range(16))) == {"unknown_token"}
    assert harness.handlers.policies_served - served <= 10 * (time.monotonic() - began) + 3


def test_the_policy_stays_active_without_the_handlers_even_after_a_restart(harness: EdgeHarness) -> None:
    """Read from disk: signatures are still demanded. After a change of keys the old one can be removed."""
    harness.enforce(webhook_secrets=[b"s"])
    new = state_key("k2")
    harness.restart(keys=f"{new},{harness.edge.state_keys}")
    for name in POLICY_FILES:
        eventually(lambda: (harness.edge.state / name).read_bytes().startswith(b"PE1\x02k2"))  # noqa: B023
    harness.stop_upstreams()
    harness.restart(keys=new)
    assert harness.post() == "timestamp_out_of_window"
    assert harness.post(headers=signed(b"s", b"{}")) == "spooled"
    assert harness.post(token="unknown") == "spooled"
    assert (len(harness.edge.held()), len(harness.edge.held("unknown"))) == (1, 1)


def test_a_policy_that_cannot_be_stored_or_restored_is_fetched_again(harness: EdgeHarness) -> None:
    """After an error of the disk the next fetch writes again; until then a torn policy is not used."""
    sealed = harness.edge.state / "policy.sealed"
    sealed.unlink(missing_ok=True)
    with harness.unwritable("."):
        harness.enforce(webhook_secrets=[b"s"])
        eventually(lambda: harness.errors_of("policy") >= 1)
        assert harness.post() == "timestamp_out_of_window"
    eventually(sealed.exists)
    harness.edge.kill()
    sealed.write_bytes(b"PE1torn")
    harness.handlers.stop()
    harness.edge.start()
    harness.edge.wait_ready()
    assert "policy not restored: " in harness.edge.errors()
    assert harness.post(headers=signed(b"s", b"{}")) == "spooled"
    assert len(harness.edge.held("unknown")) == 1
    harness.handlers.start()
    eventually(lambda: harness.bodies == [b"{}"])


def test_an_older_policy_that_is_put_back_is_not_used_after_a_restart(
    harness: EdgeHarness, subtests: pytest.Subtests
) -> None:
    """It holds a revoked token. Together with the mark of its time it is used for three days."""
    policy, newest = (harness.edge.state / name for name in POLICY_FILES)
    old = {**json.loads(harness.handlers.policy()), "version": "old"}
    old["connections"][0]["token_sha256"][0]["sha256"] = hashlib.sha256(b"revoked").hexdigest()
    harness.stop_upstreams()

    def mark(hours: float) -> bytes:
        return harness.seal(int(time.time() - 3600 * hours), "newest policy")

    def put_back(hours: float, seen: bytes | None) -> str:
        """Return what happens to a policy that was made so many hours ago, beside this mark."""
        harness.edge.kill()
        made_at = datetime.now(UTC) - timedelta(hours=hours)
        policy.write_bytes(harness.seal({**old, "generated_at": made_at.isoformat()}, "policy"))
        newest.unlink(missing_ok=True)
        if seen is not None:
            newest.write_bytes(seen)
        harness.edge.start()
        harness.edge.wait_ready()
        before = len(harness.edge.held())
        assert harness.post(token="revoked") == "spooled"
        if len(harness.edge.held()) > before:
            return "used"
        return harness.edge.errors().rpartition("policy not restored: ")[2].strip()

    unreadable = "policy-newest.sealed: "
    for name, hours, seen, wanted in (
        ("the mark is newer", 1, mark(0), "older than the newest one that was stored"),
        ("there is no mark", 1, None, "no policy-newest.sealed"),
        ("the mark is forged", 1, b"PE1torn", unreadable),
        ("the mark is a policy", 1, harness.seal(old, "policy"), unreadable + "altered or torn"),
        ("the mark is of its time", 1, mark(1), "used"),
        ("the mark is of its time, too long ago", 73, mark(73), "older than three days"),
    ):
        with subtests.test(name):
            assert put_back(hours, seen).startswith(wanted)


def test_a_policy_that_does_not_change_is_stored_again(own: Edge) -> None:
    """With the time at which it was fetched: so an outage does not make it too old for a restart."""
    harness = own().edit("policy.lua", "STORE_AGAIN_SECONDS = 3600", "STORE_AGAIN_SECONDS = 0").bring_up()
    paths = [harness.edge.state / name for name in POLICY_FILES]
    eventually(lambda: all(path.exists() for path in paths))
    keys = KeyRing.parse(harness.edge.state_keys)

    def made_at() -> tuple[datetime, int]:
        text, mark = (
            keys.decrypt(path.read_bytes()[3:], purpose)
            for path, purpose in zip(paths, ("policy", "newest policy"), strict=True)
        )
        return datetime.fromisoformat(json.loads(text)["generated_at"]), int(mark)

    first_at, first_mark = made_at()
    eventually(lambda: made_at()[1] > first_mark)
    assert made_at()[0] > first_at


def test_a_malformed_policy_is_rejected(harness: EdgeHarness, subtests: pytest.Subtests) -> None:
    """The last valid policy stays active and the failure is counted."""
    good = json.loads(harness.handlers.policy())
    first = good["connections"][0]
    assert harness.parse_policy(json.dumps(good).encode())[0] == ""

    def with_first(**changes: object) -> bytes:
        return json.dumps({**good, "connections": [{**first, **changes}]}).encode()

    digest = "a" * 64
    broken = [
        b"", b"[]", b'{"version":"1"}', b'{"connections":[{"id":"1"}]}',
        *(json.dumps({**good, "generated_at": made_at}).encode() for made_at in (None, 7, "soon")),
        *(with_first(**{key: None}) for key in first if key != "header_name"),
        with_first(token_sha256=[{"sha256": "ab", "expires_at": None}]),
        with_first(token_sha256=[{"sha256": digest, "expires_at": 7}]),
        *(with_first(token_sha256=[{"sha256": digest, "expires_at": time}]) for time in NO_TIMES),
        with_first(signature_mode="maybe"), with_first(allowlist_mode="maybe"),
        with_first(webhook_secrets=["*"]), with_first(header_secrets=["*"]),
        with_first(webhook_secrets_expire_at=["soon"]),
        with_first(header_secrets_expire_at=["soon"]), with_first(allowed_ip_ranges=["x/y"]),
        with_first(allowed_ip_ranges=["10.0.0.0/33"]),
    ]  # fmt: skip
    for document in broken:
        with subtests.test(document.decode()):
            assert harness.parse_policy(document)[0] != ""
    failed = 'pancake_edge_policy_refresh_total{result="failed"}'
    for answer in (Answer(200, broken[-1]), Answer(401)):
        harness.handlers.policy_override = answer
        before = harness.metric(failed)
        eventually(lambda: harness.metric(failed) >= before + 2)  # noqa: B023
        assert harness.post() == "received"
        assert harness.post(token="possibly-new-token") == "spooled"
    harness.handlers.policy_override = None
    eventually(lambda: not harness.edge.held("unknown"))


def test_unknown_tokens_wait_in_their_own_folder_while_the_handlers_are_down(shared: Edge) -> None:
    """Later a token that became valid is delivered, an unknown one dropped, a wrong proof refused.

    The folder is small: strangers cannot fill the disk.
    """
    harness = shared(EDGE_UNKNOWN_MAX_FILES="5")
    harness.stop_upstreams()
    body = b'{"id":"7"}'
    for token, sent, headers in (
        ("later", body, {}),
        ("strict", body, signed(b"s", body)),
        ("strict", b"forged", signed(b"x", b"forged")),
        ("headed", body, {"X-Of-The-Clinic": LONG_SECRET.decode()}),
        ("unknown", body, {}),
    ):
        assert harness.post(sent, headers, token=token) == "spooled"
    assert harness.flood(2, token="unknown") == [Reply(200, b'{"status":"shed"}')] * 2
    assert (len(harness.edge.held("unknown")), harness.edge.held()) == (5, [])
    with pytest.raises(AssertionError, match="still"):  # none is settled while no policy comes
        eventually(lambda: len(harness.edge.held("unknown")) < 5, seconds=1)
    harness.add_connection("later")
    harness.add_connection("strict", signature_mode="enforce", webhook_secrets=[b"s"])
    by_header = {"header_secrets": [LONG_SECRET], "header_name": "X-Of-The-Clinic"}
    harness.add_connection("headed", signature_mode="enforce", **by_header)
    harness.start_upstreams()
    eventually(lambda: not harness.edge.held("unknown"))
    deliveries = harness.hasura.deliveries + harness.handlers.deliveries
    assert sorted((delivery.token_sha256, delivery.raw) for delivery in deliveries) == sorted(
        (hashlib.sha256(token.encode()).hexdigest(), body) for token in ("headed", "later", "strict")
    )
    assert harness.drained("unknown_token", "unknown") == harness.drained("hmac_invalid", "unknown") == 1


def test_an_unknown_token_stored_by_the_version_before_is_delivered(shared: Edge) -> None:
    """Its file holds the headers as text. Of this version's only those that may be a proof are stored."""
    harness = shared()
    harness.stop_upstreams()
    headers = signed(b"s", b"{}")
    others = {"Cookie": "session=1", "Authorization": "Basic eA==", "X-Of-The-Clinic": "1"}
    assert harness.post(b"{}", headers | others, token="strict") == "spooled"
    (path,) = harness.edge.held("unknown")
    document = harness.unseal(path)
    assert set(document.pop("proof")) == {name.lower() for name in (*headers, "X-Of-The-Clinic")}
    document["headers"] = {name.lower(): value for name, value in headers.items()}
    path.write_bytes(harness.seal(document))
    harness.add_connection("strict", signature_mode="enforce", webhook_secrets=[b"s"])
    harness.start_upstreams()
    eventually(lambda: harness.bodies == [b"{}"])


def test_what_a_stranger_leaves_in_an_outage_can_be_read_back_and_is_dropped(shared: Edge) -> None:
    """Characters that JSON writes as six, slashes of base64 as two; bytes that are no text; more headers."""
    harness = shared(EDGE_UNKNOWN_MAX_FILES="5")
    harness.stop_upstreams()
    body = b"\xff" * 256 * 1024
    headers = [f"X-Pancake-{name}: ".encode() for name in ("Timestamp", "Signature", "Secret")]
    lines = [b"POST /api/pancake/record/stranger HTTP/1.0", b"Content-Length: %d" % len(body)]
    for byte in (b"\x01", b"\xff"):
        head = b"\r\n".join([*lines, *(name + byte * 8000 for name in headers), b"X-More: \xfe", b"", b""])
        assert raw_exchange(harness.edge.port, head + body).endswith(b'{"status":"spooled"}')
    spool = Spool(harness.edge.state, KeyRing.parse(harness.edge.state_keys))
    names = spool.names(Folder.UNKNOWN)
    assert [spool.read(Folder.UNKNOWN, name).body for name in names] == [body] * 2
    harness.start_upstreams()
    eventually(lambda: not harness.edge.held("unknown"))
    assert harness.drained("unknown_token", "unknown") == 2
    assert not harness.edge.held("quarantine")


def test_what_could_not_be_read_back_is_refused_at_the_door(own: Edge) -> None:
    harness = own().edit("spool.lua", "MAX_SEALED_BYTES = 768 * 1024", "MAX_SEALED_BYTES = 1024").bring_up()
    harness.stop_upstreams()
    assert harness.post(b"1" * 1024, token="stranger") == "too_large"
    assert harness.post(b"1", token="stranger") == "spooled"
    assert len(harness.edge.held("unknown")) == 1


def test_an_unknown_token_is_answered_before_its_body_is_read(shared: Edge) -> None:
    """Strangers fill neither unknown/ nor memory with slow bodies."""
    harness = shared(**RARELY)
    head = b"POST /api/pancake/record/unknown HTTP/1.0\r\nContent-Length: 2\r\n\r\n"
    answer = raw_exchange(harness.edge.port, head, gives_up_after=2)
    assert answer.endswith(b'{"status":"unknown_token"}')
    assert not harness.edge.held("unknown")


@pytest.mark.serial
def test_handlers_that_hang_delay_one_stranger_and_no_valid_token(shared: Edge) -> None:
    """After a fetch without an answer other strangers do not wait for another one."""
    harness = shared(**RARELY)
    harness.handlers.policy_override = Answer(200, b"{}", delay_seconds=30)
    with ThreadPoolExecutor(1) as thread:
        stranger = thread.submit(harness.post, token="unknown")
        for token, outcome in ((TOKEN, "received"), ("unknown", "spooled")):
            began = time.monotonic()
            assert harness.post(token=token) == outcome
            assert time.monotonic() - began < 0.5
            assert stranger.result() == "spooled"


def test_no_log_holds_a_token_or_a_body(harness: EdgeHarness) -> None:
    stranger = "stranger-token-value"
    harness.post(b"secret body")
    harness.post(b"secret body", token=stranger)
    harness.post(b"z" * 300 * 1024)
    harness.stop_upstreams()
    harness.post(b"secret body")
    harness.post(b"secret body", token=stranger)
    outcomes = ["received", "unknown_token", "too_large", "spooled", "spooled"]
    eventually(lambda: len(harness.access_log()) == len(outcomes))
    text = "\n".join(harness.access_log()) + harness.edge.errors()
    for hidden in (TOKEN, stranger, "secret body", hashlib.sha256(TOKEN.encode()).hexdigest()):
        assert hidden not in text
    entries = [json.loads(line) for line in harness.access_log()]
    assert [entry["outcome"] for entry in entries] == outcomes
    assert entries[0].items() >= {
        ("connection", harness.connection.id), ("upstream", "hasura"), ("source_ip", "127.0.0.1"),
    }  # fmt: skip
