"""`leads edge-spool` on files sealed as the edge seals them, and on entries that the edge did not write.

tests/edge has it on those of a real edge.
"""

import base64
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from leads.adapters.secrets import KeyRing
from tests.support.operators import leads

KEYS = "k1:" + "A" * 43 + "="
OTHER_KEYS = "k1:" + "B" * 43 + "="
CONNECTION = "f0000000-0000-4000-8000-000000000001"
OTHER_CONNECTION = "f0000000-0000-4000-8000-00000000000f"
TOKEN = "the-token-of-the-test"
TOKEN_SHA256 = sha256(TOKEN.encode()).hexdigest()
FOREIGN = "0000000000001-ab-1.sealed"
BODY = '{"table_id": "lead", "id": "r-1", "name": "Nguyễn Văn A"}'.encode()


def seal(state: Path, folder: str, name: str, body: bytes = BODY, *, denied: bool = False) -> None:
    """Write a delivery as the edge does."""
    content = {
        "arrived_at": "2026-05-14T03:00:00.000Z", "source_ip": "203.0.113.7", "denied": denied,
        "token_sha256": TOKEN_SHA256, "raw": base64.b64encode(body).decode(),
    }  # fmt: skip
    (state / folder / name).write_bytes(b"PE1" + KeyRing.parse(KEYS).encrypt(json.dumps(content), "delivery"))


def seal_policy(state: Path, connection: str, tokens: list[str]) -> None:
    """Write the policy as the edge does: the answer of the handlers."""
    digests = [{"sha256": digest, "expires_at": None} for digest in tokens]
    policy = json.dumps({"version": "1", "connections": [{"id": connection, "token_sha256": digests}]})
    (state / "policy.sealed").write_bytes(b"PE1" + KeyRing.parse(KEYS).encrypt(policy, "policy"))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    for folder in ("spool", "unknown", "quarantine"):
        (tmp_path / "state" / folder).mkdir(parents=True)
    return tmp_path / "state"


def run(state: Path, *arguments: str, keys: str = KEYS, typed: str = "") -> Result:
    environment = {"EDGE_STATE_DIR": str(state), "EDGE_STATE_KEYS": keys}
    return leads("edge-spool", *arguments, typed=typed, **environment)


def read_json(result: Result) -> Any:
    return json.loads(result.stdout)


def test_a_phone_or_record_need_not_be_an_argument(state: Path) -> None:
    """Every user of the machine sees those."""
    seal(state, "spool", "1-a-1.sealed", b'{"id": "1", "phone_number": "0905111222"}')
    for typed, erased in (("0905 111 223\n", 0), ("84 905 111 222\n", 1)):
        assert read_json(run(state, "erase", "--phone", "-", "--json", typed=typed))["erased"] == erased
    seal(state, "spool", "2-a-1.sealed", b'{"id": "0905111222"}')
    typed = f"{CONNECTION}/lead/0905111222\n"
    assert read_json(run(state, "erase", "--record", "-", "--json", typed=typed))["erased"] == 1
    for option in ("--phone", "--record"):
        assert run(state, "erase", option, "-", typed="").exit_code == 2


HOSTILE = {
    "nested": (b"[" * 100_000, "-"),
    "a lone surrogate": (b'{"table_id": "lead", "id": "r\\ud800"}', r"lead/r\ud800"),
    "a forged line": (
        b'{"table_id": "lead", "id": "r\\n2-b-1.sealed  denied"}',
        r"lead/r\n2-b-1.sealed  denied",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_body_stops_a_list_or_adds_a_line_to_it(state: Path, name: str) -> None:
    body, record = HOSTILE[name]
    seal(state, "quarantine", "1-a-1.sealed", body)
    listed = run(state, "list")
    assert (listed.exit_code, listed.stdout) == (
        0, f"1-a-1.sealed  2026-05-14T03:00:00.000Z  203.0.113.7  {record}\n",
    )  # fmt: skip
    assert len(read_json(run(state, "list", "--json"))) == 1
    shown = run(state, "show", "1-a-1.sealed")
    assert (shown.exit_code, read_json(shown)["body"]) == (0, body.decode())
    assert run(state, "erase", "--phone", "0905111222").exit_code == 0


def test_a_list_has_no_data_of_customers_and_no_token(state: Path) -> None:
    seal(state, "quarantine", "2-b-1.sealed", denied=True)
    seal(state, "quarantine", "1-a-1.sealed")
    listed = run(state, "list")
    assert listed.stdout.splitlines() == [
        "1-a-1.sealed  2026-05-14T03:00:00.000Z  203.0.113.7  lead/r-1",
        "2-b-1.sealed  2026-05-14T03:00:00.000Z  203.0.113.7  lead/r-1  denied",
    ]
    entries = read_json(run(state, "list", "--json"))
    shown = [(entry["name"], entry["denied"]) for entry in entries]
    assert shown == [("1-a-1.sealed", False), ("2-b-1.sealed", True)]
    assert "Nguy" not in listed.stdout + json.dumps(entries)
    # A cut list says how to see the rest.
    for number in range(3):
        seal(state, "spool", f"{number}-a-1.sealed")
    listed = run(state, "list", "--folder", "spool", "--max-files", "2")
    assert len(listed.stdout.splitlines()) == 2
    assert "Show them with --max-files 3." in listed.stderr
    listed = run(state, "list", "--folder", "unknown", "--json")
    assert (listed.exit_code, read_json(listed), listed.stderr) == (0, [], "unknown is empty.\n")


def test_the_body_is_shown_as_it_came(state: Path) -> None:
    seal(state, "quarantine", "1-a-1.sealed")
    seal(state, "quarantine", "2-b-1.sealed", b"\xff\x00")
    shown = run(state, "show", "1-a-1.sealed")
    assert read_json(shown)["body"].encode() == BODY
    assert read_json(shown)["token_sha256"] == TOKEN_SHA256
    assert base64.b64decode(read_json(run(state, "show", "2-b-1.sealed"))["body_base64"]) == b"\xff\x00"


def test_all_but_those_of_denied_senders_are_released(state: Path) -> None:
    seal(state, "quarantine", "1-a-1.sealed")
    seal(state, "quarantine", "2-b-1.sealed", denied=True)
    released = run(state, "release", "--all", "--json")
    assert read_json(released) == {"released": ["1-a-1.sealed"], "kept": ["2-b-1.sealed"], "errors": {}}
    assert run(state, "release", "2-b-1.sealed").stdout == "1 released, 0 kept\n"
    assert sorted(path.name for path in (state / "spool").iterdir()) == ["1-a-1.sealed", "2-b-1.sealed"]


def test_what_cannot_be_decrypted_stays_is_named_and_ends_with_1(state: Path) -> None:
    """It may be an erased customer's."""
    seal(state, "quarantine", "1-a-1.sealed")
    assert "unreadable: " in run(state, "list", keys=OTHER_KEYS).stdout
    released = run(state, "release", "--all", keys=OTHER_KEYS)
    assert (released.exit_code, released.stdout) == (1, "0 released, 1 kept\n")
    erased = run(state, "erase", "--phone", "0905111222", keys=OTHER_KEYS)
    assert (erased.exit_code, "quarantine/1-a-1.sealed is unreadable" in erased.stderr) == (1, True)
    assert (state / "quarantine" / "1-a-1.sealed").exists()


def test_a_mistake_is_a_message_and_an_exit_code(state: Path, subtests: pytest.Subtests) -> None:
    """golden/edge-spool-*.txt have a folder and a delivery that are not there."""
    for line, keys, code, words in (
        ("list", "k1:short", 2, "EDGE_STATE_KEYS: key 1"),
        ("release", KEYS, 2, "Give the file names, or --all."),
        ("release x --all", KEYS, 2, "Give the file names, or --all."),
        # The edge's machine has no database that knows the names of connections.
        ("erase --record Diva/lead/r-1", KEYS, 2, "leads connection status"),
    ):
        with subtests.test(line=line, keys=keys):
            result = run(state, *line.split(), keys=keys)
            assert (result.exit_code, result.stdout) == (code, "")
            assert words in result.stderr


def test_what_no_operator_handled_is_removed_by_age(state: Path) -> None:
    now = datetime.now(UTC)
    names = {days: f"{int((now - timedelta(days=days)).timestamp() * 1000)}-a-1.sealed" for days in (29, 31)}
    for name in names.values():
        seal(state, "quarantine", name)
        seal(state, "spool", name)
    assert run(state, "purge", "--dry-run").stdout == "1 older than 30 days.\n"
    assert read_json(run(state, "purge", "--json")) == {"removed": 1, "older": 1}
    assert [path.name for path in (state / "quarantine").iterdir()] == [names[29]]
    assert len(list((state / "spool").iterdir())) == 2, "these are still delivered"


def test_the_deliveries_of_an_erased_customer_are_removed_from_all_folders(state: Path) -> None:
    of_customer = b'{"id": "r-2", "phone_number": "0905 111 222"}'
    for folder in ("spool", "unknown", "quarantine"):
        seal(state, folder, "1-a-1.sealed", of_customer)
        seal(state, folder, "2-b-1.sealed")
    assert run(state, "erase", "--phone", "+84905111222", "--dry-run").exit_code == 0
    erased = read_json(run(state, "erase", "--phone", "+84905111222", "--json"))
    assert erased == {"erased": 3, "unreadable": []}
    assert {path.name for path in state.rglob("*.sealed")} == {"2-b-1.sealed"}
    assert read_json(run(state, "erase", "--record", f"{CONNECTION}/lead/r-1", "--json"))["erased"] == 3
    assert list(state.rglob("*.sealed")) == []


def test_a_record_is_compared_with_the_connection_of_its_token(
    state: Path, subtests: pytest.Subtests
) -> None:
    """A delivery whose token is of no connection may be the customer's: it is removed."""
    for connection, tokens, is_erased in (
        (OTHER_CONNECTION, ["0" * 64, TOKEN_SHA256], False),  # another one, after a rotation
        (CONNECTION, [TOKEN_SHA256], True),
        (OTHER_CONNECTION, ["0" * 64], True),
    ):
        with subtests.test(connection=connection, tokens=tokens):
            seal_policy(state, connection, tokens)
            seal(state, "spool", "1-a-1.sealed")
            erased = run(state, "erase", "--record", f"{CONNECTION}/lead/r-1", "--json")
            assert read_json(erased)["erased"] == int(is_erased)
            assert bool(list((state / "spool").iterdir())) != is_erased

    # Without a policy that can be read the connection is not known.
    for policy in (b"", b"PE1no policy", b"{}"):
        (state / "policy.sealed").write_bytes(policy)
        seal(state, "spool", "1-a-1.sealed")
        erased = run(state, "erase", "--record", f"{OTHER_CONNECTION}/lead/r-1", "--json")
        assert read_json(erased)["erased"] == 1


def make_large(path: Path) -> None:
    path.touch()
    os.truncate(path, 1_000_000_000_000)


def test_a_foreign_entry_is_unreadable(state: Path, subtests: pytest.Subtests) -> None:
    makers: tuple[Callable[[Path], None], ...] = (
        os.mkfifo, lambda path: path.symlink_to("/dev/zero"), Path.mkdir, make_large,
    )  # fmt: skip
    for number, make in enumerate(makers):
        make(state / "quarantine" / f"{number}-ab-1.sealed")
    names = [f"{number}-ab-1.sealed" for number in range(len(makers))]
    for words in (
        "list",
        "release --all",
        *(f"{verb} {name}" for verb in ("show", "release") for name in names),
    ):
        with subtests.test(words):
            result = run(state, *words.split())
            assert result.output.count("not a sealed delivery") == (1 if "sealed" in words else len(names))
    assert not list((state / "spool").iterdir())


def test_a_foreign_entry_does_not_keep_others_from_being_removed(state: Path) -> None:
    quarantine = state / "quarantine"
    foreign = ("x.sealed", "9" * 15 + "-a.sealed", "9" * 40 + "-a.sealed", FOREIGN)
    for name in foreign:
        (quarantine / name).mkdir()
    for old in ("0000000000000-ab-1.sealed", "0000000000002-ab-1.sealed"):
        (quarantine / old).touch()
    result = run(state, "purge")
    assert (result.exit_code, [name for name in foreign if name not in result.stderr]) == (1, [])
    assert {path.name for path in quarantine.iterdir()} == set(foreign)


def test_a_name_does_not_leave_the_folder(state: Path, subtests: pytest.Subtests) -> None:
    outside = [state.parent / "outside.sealed", state / "policy.sealed"]
    for path in outside:
        path.write_text("outside")
    for name in ("../policy.sealed", "../../outside.sealed", "/etc/passwd", "..", "."):
        for verb in ("show", "release"):
            with subtests.test(name, verb=verb):
                assert run(state, verb, name).exit_code == 1
    assert all(path.exists() for path in outside)
