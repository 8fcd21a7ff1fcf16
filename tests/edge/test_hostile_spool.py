"""Files in the spool that the edge did not write so: none is delivered, none stops the drain."""

import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from leads.adapters.secrets import KeyRing
from sandbox.processes import Processes
from tests.support.edge.harness import TOKEN_SHA256, EdgeHarness
from tests.support.waiting import eventually

Tamper = Callable[[EdgeHarness, Path], object]
QUARANTINED = 'pancake_edge_quarantined_total{reason="unreadable"}'
LARGE_BYTES = 400_000_000
MAX_WORKER_BYTES = 200_000_000


def sealed(harness: EdgeHarness, content: object, purpose: str = "delivery") -> bytes:
    """Seal a document with the key of the edge."""
    return b"PE1" + KeyRing.parse(harness.edge.state_keys).encrypt(json.dumps(content), purpose)


def delivery(**changes: Any) -> dict[str, Any]:
    now = time.time()
    return {
        "token_sha256": TOKEN_SHA256, "raw": "e30=", "source_ip": "127.0.0.1", "arrived": now,
        "arrived_at": "2026-05-14T03:00:00.000Z",
    } | changes  # fmt: skip


def change_byte(at: int) -> Tamper:
    def tamper(_: EdgeHarness, path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[at] ^= 1
        path.write_bytes(content)

    return tamper


def write(content: bytes) -> Tamper:
    return lambda _, path: path.write_bytes(content)


def keep(part: slice) -> Tamper:
    return lambda _, path: path.write_bytes(path.read_bytes()[part])


def link_to(target: str) -> Tamper:
    def tamper(_: EdgeHarness, path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return tamper


def make_pipe(_: EdgeHarness, path: Path) -> None:
    path.unlink()
    os.mkfifo(path)
    path.chmod(0o666)


def make_folder(_: EdgeHarness, path: Path) -> None:
    path.unlink()
    path.mkdir()
    os.chown(path, path.parent.stat().st_uid, path.parent.stat().st_gid)


def make_large(_: EdgeHarness, path: Path) -> None:
    os.truncate(path, LARGE_BYTES)


def seal_for_the_policy(harness: EdgeHarness, path: Path) -> None:
    path.write_bytes(sealed(harness, delivery(), "policy"))


def seal_with_another_key(_: EdgeHarness, path: Path) -> None:
    key = KeyRing({"k1": secrets.token_bytes(32)})
    path.write_bytes(b"PE1" + key.encrypt(json.dumps(delivery()), "delivery"))


def copy_the_policy(harness: EdgeHarness, path: Path) -> None:
    path.write_bytes((harness.edge.state / "policy.sealed").read_bytes())


TAMPERED: dict[str, Tamper] = {
    "empty": write(b""),
    "one byte": write(b"P"),
    "the magic alone": write(b"PE1"),
    "a key id that is longer than the file": write(b"PE1\xff" + b"k"),
    "random bytes": write(secrets.token_bytes(500)),
    "a delivery that is not sealed": write(json.dumps(delivery()).encode()),
    "a NUL in a sealed form": write(b"PE1\x02k1" + bytes(100)),
    "cut by one byte": keep(slice(-1)),
    "cut in the middle": keep(slice(150)),
    "cut before the tag": keep(slice(30)),
    "without its first byte": keep(slice(1, None)),
    "another magic": change_byte(0),
    "another length of the key id": change_byte(3),
    "another key id": change_byte(5),
    "another nonce": change_byte(10),
    "another first byte of the text": change_byte(20),
    "another byte of the token's digest": change_byte(60),
    "another tag": change_byte(-1),
    "more bytes at the end": lambda _, path: path.write_bytes(path.read_bytes() * 2),
    "sealed with another key": seal_with_another_key,
    "sealed for the policy": seal_for_the_policy,
    "the policy of the edge": copy_the_policy,
    "sealed, but no JSON object": lambda harness, path: path.write_bytes(sealed(harness, "text")),
    "a link to a device without an end": link_to("/dev/zero"),
    "a link to a file": link_to("/etc/passwd"),
    "a link to itself": link_to("loop.sealed"),
    "a pipe": make_pipe,
    "a folder": make_folder,
    "very large": make_large,
}


@pytest.fixture(scope="module")
def shared_harness() -> Iterator[EdgeHarness]:
    """One edge for all files: each test finds it as the last one left it."""
    with Processes() as processes:
        harness = EdgeHarness.create(processes, 2, {})
        harness.edge.bring_up()
        yield harness
        harness.close()


@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_file_is_quarantined(shared_harness: EdgeHarness, name: str) -> None:
    """Those before and after it are delivered once, live traffic goes on, and no worker grows or dies."""
    edge, workers = shared_harness.edge, shared_harness.edge.workers()
    quarantined = shared_harness.metric(QUARANTINED)
    shared_harness.stop_upstreams()
    bodies = [f"{name} {number}".encode() for number in range(3)]
    for body in bodies:
        assert shared_harness.post_many([body]) == ["spooled"]
        time.sleep(0.002)  # deliveries of one millisecond have no order in the spool
    TAMPERED[name](shared_harness, edge.held()[1])
    shared_harness.start_upstreams()
    eventually(lambda: not any(map(os.path.lexists, edge.state.glob("spool/[!.]*.sealed"))), seconds=10)
    eventually(lambda: shared_harness.metric(QUARANTINED) == quarantined + 1)
    assert shared_harness.post_many([b"live"]) == ["received"]
    received = [body for body in shared_harness.bodies if body.startswith(name.encode())]
    assert sorted(received) == [bodies[0], bodies[2]]
    assert edge.workers() == workers
    for pid in workers:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        assert pages * os.sysconf("SC_PAGE_SIZE") < MAX_WORKER_BYTES
