"""`leads edge-spool` on what a real edge left on disk: a person sees it, and sends it on its way again."""

import json
import os
import subprocess
import sys

import pytest

from sandbox.edge.nginx import NginxEdge
from tests.edge.conftest import TOKEN, Stage, eventually
from tests.edge.test_limits import BUDGET, flood
from tests.edge.test_spool import away, back, post_many


def command(edge: NginxEdge, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it as an operator does, with the edge's own environment."""
    told = {"EDGE_STATE_DIR": str(edge.state), "EDGE_STATE_KEYS": edge.state_keys, **environment}
    return subprocess.run(
        [sys.executable, "-m", "leads.cli", "edge-spool", *arguments],
        env={**os.environ, **told}, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


def test_a_person_sees_what_waits_but_no_token(stage: Stage) -> None:
    """`list` names time, sender and record, no customer's data; `show` adds the body as it came."""
    away(stage)
    body = '{"table_id": "lead", "id": "r-1", "name": "Nguyễn Văn A"}'.encode()
    post_many(stage, [body, b"\xff\x00"])
    listed = command(stage.edge, "list", "--folder", "spool")
    first, second = listed.stdout.splitlines()
    assert first.endswith("127.0.0.1  lead/r-1")
    assert second.endswith("127.0.0.1  -")
    assert "Nguy" not in listed.stdout
    shown = command(stage.edge, "show", first.split()[0], "--folder", "spool").stdout
    assert json.loads(shown)["body"].encode() == body
    assert TOKEN not in shown
    assert json.loads(command(stage.edge, "show", second.split()[0], "--folder", "spool").stdout)[
        "body_base64"
    ]


def test_a_quarantined_delivery_is_released_and_taken(stage: Stage) -> None:
    """The way back: out of quarantine, into the spool, to the handlers."""
    stage.hasura.refuses = stage.handlers.refuses = lambda raw: raw.startswith(b"odd")
    post_many(stage, [b"odd 1", b"odd 2"])

    def quarantined() -> bool:
        post_many(stage, [b"even"])
        return len(stage.edge.held("quarantine")) == 2

    eventually(quarantined)
    stage.hasura.refuses = lambda _: False
    one, _ = stage.edge.held("quarantine")
    assert command(stage.edge, "release", one.name).stdout == "1 released, 0 kept\n"
    eventually(lambda: b"odd 1" in stage.hasura.bodies)
    assert command(stage.edge, "release", "--all").returncode == 0
    eventually(lambda: b"odd 2" in stage.hasura.bodies and not stage.edge.held())
    assert not stage.edge.held("quarantine")


def test_what_came_from_a_denied_sender_is_released_by_name_alone(stage: Stage) -> None:
    """`list` tells which they are; `--all` leaves them where they are."""
    stage.limit_and_wait(rate=1001, burst=1000, deny=["127.0.0.4"])
    assert flood(stage, BUDGET + 1, address="127.0.0.4")[-1].status == "quarantined"
    (name,) = [path.name for path in stage.edge.held("quarantine")]
    assert command(stage.edge, "list").stdout.endswith("127.0.0.4  -  denied\n")
    assert command(stage.edge, "release", "--all").stdout == "0 released, 1 kept\n"
    assert command(stage.edge, "release", name).stdout == "1 released, 0 kept\n"
    eventually(lambda: stage.bodies == [b"%d" % BUDGET])


def test_what_cannot_be_read_stays_in_quarantine_and_says_why(stage: Stage) -> None:
    """Torn, or sealed with a key that these are not."""
    away(stage)
    post_many(stage, [b"1", b"2"])
    torn, whole = stage.edge.held()
    torn.write_bytes(b"torn")
    back(stage)
    eventually(lambda: not stage.edge.held())
    assert whole.name not in command(stage.edge, "list").stdout
    assert "unreadable: not a sealed delivery" in command(stage.edge, "list").stdout
    released = command(stage.edge, "release", "--all")
    assert (released.returncode, released.stdout) == (1, "0 released, 1 kept\n")
    assert len(stage.edge.held("quarantine")) == 1
    other = "k1:" + "A" * 43 + "="
    away(stage)
    post_many(stage, [b"3"])
    assert "unreadable: " in command(stage.edge, "list", "--folder", "spool", EDGE_STATE_KEYS=other).stdout


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "says"),
    [
        (["list"], {"EDGE_STATE_KEYS": ""}, 2, "EDGE_STATE_KEYS is not set"),
        (["list"], {"EDGE_STATE_KEYS": "k1:short"}, 2, "EDGE_STATE_KEYS: key 1"),
        (["list"], {"EDGE_STATE_DIR": "/nowhere"}, 2, "No such file"),
        (["show", "0000000000001-ab-1.sealed"], {}, 1, "No such file"),
        (["release"], {}, 2, "Give the file names"),
        (["release", "x", "--all"], {}, 2, "Give the file names"),
    ],
)
def test_a_mistake_is_a_sentence(
    stage: Stage, arguments: list[str], environment: dict[str, str], code: int, says: str
) -> None:
    """No traceback, nothing moved."""
    answer = command(stage.edge, *arguments, **environment)
    assert (answer.returncode, says in answer.stderr, "Traceback" in answer.stderr) == (code, True, False)


def test_help_needs_no_environment(stage: Stage) -> None:
    """Also of a command."""
    for arguments in (["--help"], ["list", "--help"]):
        answer = command(stage.edge, *arguments, EDGE_STATE_KEYS="")
        assert answer.returncode == 0
        assert "leads edge-spool" in answer.stdout
