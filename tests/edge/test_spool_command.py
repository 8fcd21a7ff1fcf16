"""`leads edge-spool` on the files of a real edge: list, show, release."""

import json
import os
import subprocess
import sys

import pytest

from sandbox.edge.nginx import NginxEdge
from tests.support.edge.harness import BUDGET_MAX_FAILURES, TOKEN, EdgeHarness
from tests.support.waiting import eventually


def command(edge: NginxEdge, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command with the environment of the edge."""
    variables = {"EDGE_STATE_DIR": str(edge.state), "EDGE_STATE_KEYS": edge.state_keys, **environment}
    return subprocess.run(
        [sys.executable, "-m", "leads.cli", "edge-spool", *arguments],
        env={**os.environ, **variables}, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


def test_list_and_show_print_deliveries_without_tokens(harness: EdgeHarness) -> None:
    """`list` prints time, sender and record but no customer data; `show` adds the body."""
    harness.stop_upstreams()
    body = '{"table_id": "lead", "id": "r-1", "name": "Nguyễn Văn A"}'.encode()
    harness.post_many([body, b"\xff\x00"])
    listed = command(harness.edge, "list", "--folder", "spool")
    first, second = listed.stdout.splitlines()
    assert first.endswith("127.0.0.1  lead/r-1")
    assert second.endswith("127.0.0.1  -")
    assert "Nguy" not in listed.stdout
    shown = command(harness.edge, "show", first.split()[0], "--folder", "spool").stdout
    assert json.loads(shown)["body"].encode() == body
    assert TOKEN not in shown
    assert json.loads(command(harness.edge, "show", second.split()[0], "--folder", "spool").stdout)[
        "body_base64"
    ]


def test_a_released_delivery_is_handed_over(harness: EdgeHarness) -> None:
    """From quarantine to the spool, and from there to the handlers."""
    harness.hasura.refuses = harness.handlers.refuses = lambda raw: raw.startswith(b"odd")
    harness.post_many([b"odd 1", b"odd 2"])

    def quarantined() -> bool:
        harness.post_many([b"even"])
        return len(harness.edge.held("quarantine")) == 2

    eventually(quarantined)
    harness.hasura.refuses = lambda _: False
    one, _ = harness.edge.held("quarantine")
    assert command(harness.edge, "release", one.name).stdout == "1 released, 0 kept\n"
    eventually(lambda: b"odd 1" in harness.hasura.bodies)
    assert command(harness.edge, "release", "--all").returncode == 0
    eventually(lambda: b"odd 2" in harness.hasura.bodies and not harness.edge.held())
    assert not harness.edge.held("quarantine")


def test_a_delivery_of_a_denied_sender_is_released_by_name_only(harness: EdgeHarness) -> None:
    """`list` marks it; `--all` keeps it."""
    harness.set_limits(rate=1001, burst=1000, deny=["127.0.0.4"])
    assert harness.flood(BUDGET_MAX_FAILURES + 1, address="127.0.0.4")[-1].status == "quarantined"
    (name,) = [path.name for path in harness.edge.held("quarantine")]
    assert command(harness.edge, "list").stdout.endswith("127.0.0.4  -  denied\n")
    assert command(harness.edge, "release", "--all").stdout == "0 released, 1 kept\n"
    assert command(harness.edge, "release", name).stdout == "1 released, 0 kept\n"
    eventually(lambda: harness.bodies == [b"%d" % BUDGET_MAX_FAILURES])


def test_an_unreadable_delivery_stays_in_quarantine_with_its_reason(harness: EdgeHarness) -> None:
    """Torn, or sealed with another key."""
    harness.stop_upstreams()
    harness.post_many([b"1", b"2"])
    torn, whole = harness.edge.held()
    torn.write_bytes(b"torn")
    harness.start_upstreams()
    eventually(lambda: not harness.edge.held())
    assert whole.name not in command(harness.edge, "list").stdout
    assert "unreadable: not a sealed delivery" in command(harness.edge, "list").stdout
    released = command(harness.edge, "release", "--all")
    assert (released.returncode, released.stdout) == (1, "0 released, 1 kept\n")
    assert len(harness.edge.held("quarantine")) == 1
    other = "k1:" + "A" * 43 + "="
    harness.stop_upstreams()
    harness.post_many([b"3"])
    assert "unreadable: " in command(harness.edge, "list", "--folder", "spool", EDGE_STATE_KEYS=other).stdout


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "message"),
    [
        (["list"], {"EDGE_STATE_KEYS": ""}, 2, "EDGE_STATE_KEYS is not set"),
        (["list"], {"EDGE_STATE_KEYS": "k1:short"}, 2, "EDGE_STATE_KEYS: key 1"),
        (["list"], {"EDGE_STATE_DIR": "/nowhere"}, 2, "No such file"),
        (["show", "0000000000001-ab-1.sealed"], {}, 1, "No such file"),
        (["release"], {}, 2, "Give the file names"),
        (["release", "x", "--all"], {}, 2, "Give the file names"),
    ],
)
def test_a_usage_error_is_a_message(
    harness: EdgeHarness, arguments: list[str], environment: dict[str, str], code: int, message: str
) -> None:
    """Without a traceback."""
    answer = command(harness.edge, *arguments, **environment)
    assert (answer.returncode, message in answer.stderr, "Traceback" in answer.stderr) == (code, True, False)


def test_help_needs_no_environment(harness: EdgeHarness) -> None:
    for arguments in (["--help"], ["list", "--help"]):
        answer = command(harness.edge, *arguments, EDGE_STATE_KEYS="")
        assert answer.returncode == 0
        assert "leads edge-spool" in answer.stdout


def test_a_record_is_erased_for_its_connection_only(harness: EdgeHarness) -> None:
    """The edge knows from its policy which connection a token is of."""
    eventually((harness.edge.state / "policy.sealed").exists)
    harness.stop_upstreams()
    harness.post_many([b'{"table_id": "lead", "id": "r-1"}'])
    other = "00000000-0000-0000-0000-00000000000f"
    for connection, erased in ((other, "0"), (harness.connection.id, "1")):
        answer = command(harness.edge, "erase", "--record", f"{connection}/lead/r-1")
        assert answer.stdout == f"{erased} deliveries of the customer, removed.\n", answer.stderr
    assert harness.edge.held() == []
