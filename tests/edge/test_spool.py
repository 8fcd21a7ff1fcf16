"""The spool: a delivery that no path takes is on disk before its answer, within the limits of the spool.

It survives kills, reloads and slow disks. No file that the edge did not write is delivered or stops a drain.
"""

import base64
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest
from typer.testing import CliRunner

from leads.adapters.secrets import KeyRing
from ops.cli import app
from sandbox.edge import FOLDERS
from tests.support.edge.harness import BUDGET_MAX_FAILURES, TOKEN, TOKEN_SHA256, Edge, EdgeHarness
from tests.support.programs import run
from tests.support.waiting import eventually

Tamper = Callable[[EdgeHarness, Path], object]

LARGE_BYTES = 400_000_000
MAX_WORKER_BYTES = 200_000_000


def test_deliveries_of_an_outage_are_stored_and_drained_oldest_first(harness: EdgeHarness) -> None:
    """Each is answered 200 spooled. The drain's four threads keep the order only roughly."""
    bodies = [b"%03d" % number for number in range(40)]
    harness.stop_upstreams()
    assert set(harness.post_many(bodies)) == {"spooled"}
    assert len(harness.edge.held()) == 40
    harness.start_upstreams()
    eventually(lambda: len(harness.bodies) >= 40 and not harness.edge.held())
    assert sorted(harness.bodies) == bodies
    positions = [harness.bodies.index(body) for body in bodies]
    assert all(abs(position - number) <= 6 for number, position in enumerate(positions)), positions
    assert harness.metric('pancake_edge_spool_files{folder="spool"}') == 0
    assert harness.drained() == 40


def test_files_are_encrypted_and_a_stored_delivery_holds_no_token(harness: EdgeHarness) -> None:
    secret, stranger = b"secret-of-the-connection", "unknown-to-the-edge"
    policy = harness.edge.state / "policy.sealed"
    policy.unlink(missing_ok=True)
    harness.enforce(signature_mode="off", webhook_secrets=[secret])
    eventually(policy.exists)
    harness.stop_upstreams()
    assert harness.post(b'{"phone":"0912345678"}') == harness.post(b"2", token=stranger) == "spooled"
    for path in harness.edge.state.rglob("*.sealed"):
        for clear in (TOKEN.encode(), b"0912345678", b"secret-of", base64.b64encode(secret)):
            assert clear not in path.read_bytes()
    for folder, token in (("spool", TOKEN), ("unknown", stranger)):
        (path,) = harness.edge.held(folder)
        stored = harness.unseal(path)
        assert stored["token_sha256"] == sha256(token.encode()).hexdigest()
        assert token not in json.dumps(stored)


@pytest.mark.skipif(shutil.which("strace") is None, reason="it traces system calls: apt-get install strace")
def test_a_delivery_is_on_disk_before_its_answer(shared: Edge) -> None:
    """System calls in this order: write, fsync, rename, fsync of the folder, and then the answer."""
    harness = shared(workers=1)
    harness.stop_upstreams()
    trace, (worker,) = harness.edge.directory / "trace", harness.edge.workers()
    calls = "trace=fsync,?rename,?renameat,?renameat2,write,writev,sendto"
    command = ["strace", "-f", "-y", "-o", str(trace), "-e", calls, "-p", str(worker)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        try:
            message = tracer.stderr.readline()
            if "attached" not in message:
                pytest.skip(f"strace may not trace the worker here: {message.strip()}")
            harness.post(b"1")
        finally:
            tracer.send_signal(signal.SIGINT)
    (name,) = [path.name for path in harness.edge.held()]
    steps = [
        rf"fsync\(\d+<\S+/spool/\.part-{name}>", rf'rename\w*\(.*/\.part-{name}", .*/spool/{name}"',
        r"fsync\(\d+<\S+/spool>", r"HTTP/1\.1 200 OK",
    ]  # fmt: skip
    assert re.search(".*".join(steps), trace.read_text(), re.DOTALL), trace.read_text()


def test_a_burst_on_a_slow_disk_is_queued_not_refused(own: Edge) -> None:
    """More deliveries at once than nginx has writing threads: each waits for its turn."""
    harness = own(workers=1).write_slowly(0.1).bring_up()
    harness.stop_upstreams()
    with ThreadPoolExecutor(80) as threads:
        statuses = list(threads.map(lambda number: harness.post(b"%d" % number), range(80)))
    assert statuses == ["spooled"] * 80
    assert len(harness.edge.held()) == 80


def test_a_reload_waits_for_running_writes(own: Edge) -> None:
    """On a slow disk: a delivery during the change of workers gets its answer, and is drained by the next."""
    harness = own(workers=1).write_slowly(1).bring_up()
    harness.stop_upstreams()
    with ThreadPoolExecutor(4) as threads:
        statuses = threads.map(lambda number: harness.post(b"%d" % number), range(4))
        eventually(lambda: list((harness.edge.state / "spool").glob(".part-*")))
        harness.edge.reload()
        assert list(statuses) == ["spooled"] * 4
    harness.start_upstreams()
    eventually(lambda: not harness.edge.held())
    assert {int(body) for body in harness.bodies} == set(range(4))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_full_disk_is_noticed_before_a_delivery_needs_it(own: Edge) -> None:
    """The probe is as large as the largest delivery: an empty file would still fit on the disk."""
    harness = own().bring_up()
    spool = harness.edge.state / "spool"
    owner = spool.stat()
    options = f"size=256k,mode=700,uid={owner.st_uid},gid={owner.st_gid}"
    mounted = run("mount", "-t", "tmpfs", "-o", options, "tmpfs", spool, code=None)
    if mounted.returncode != 0:
        pytest.skip(f"mounting is not permitted here: {mounted.stderr.strip()}")
    try:
        harness.edge.reload()
        eventually(lambda: harness.metric("pancake_edge_spool_writable{}") == 0)
        assert not list(spool.iterdir())
    finally:
        harness.edge.stop()
        run("umount", spool)


def test_an_unreadable_file_stays_in_the_spool_and_is_logged(harness: EdgeHarness) -> None:
    """For instance a file that root put back with the wrong owner."""
    harness.stop_upstreams()
    harness.post_many([b"1", b"2"])
    closed, _ = harness.edge.held()
    closed.chmod(0)
    os.chown(closed, os.geteuid(), os.getegid())
    harness.start_upstreams()
    eventually(lambda: len(harness.bodies) == 1 and harness.errors_of("spool") >= 1)
    eventually(lambda: f"delivery not read: {closed.name}" in harness.edge.errors())
    assert harness.edge.held() == [closed]
    closed.unlink()


def test_a_partial_file_of_a_killed_process_is_removed(own: Edge) -> None:
    """At its second sweep, a minute later (here 0.1 s). Its delivery was never answered."""
    harness = own().edit("start.lua", "TIDY_INTERVAL_SECONDS = 60", "TIDY_INTERVAL_SECONDS = 0.1")
    half = harness.edge.state / "spool" / ".part-1700000000000-0123456789ab-9.sealed"
    half.write_bytes(b"PE1")
    harness.bring_up()
    eventually(lambda: not half.exists())


def test_a_missing_or_unwritable_folder_stops_only_what_needs_it(own: Edge) -> None:
    """Tested once a minute and at each start of a worker."""
    harness = own().bring_up()
    eventually(lambda: harness.edge.health().get("spool_writable") is True)
    assert harness.metric("pancake_edge_spool_writable{}") == 1
    with harness.unwritable("unknown"):
        harness.edge.reload()
        eventually(lambda: harness.edge.health().get("spool_writable") is False)
        assert harness.metric("pancake_edge_spool_writable{}") == 0
    eventually(lambda: "folder not writable: unknown" in harness.edge.errors())
    (harness.edge.state / "unknown").rmdir()
    harness.restart()
    eventually(lambda: "/state/unknown: No such file" in harness.edge.errors())
    assert harness.post() == "received"


def test_the_size_of_the_spool_is_limited_in_bytes_too(shared: Edge) -> None:
    harness = shared(EDGE_SPOOL_MAX_BYTES="300000")
    harness.stop_upstreams()
    assert harness.post_many([b"x" * 100_000] * 3) == ["spooled", "spooled", "spool_full"]


def test_sigkill_during_a_burst_loses_no_delivery_that_was_answered(harness: EdgeHarness) -> None:
    harness.stop_upstreams()
    answered: list[bytes] = []

    def deliver(number: int) -> None:
        with harness.sender() as sender:
            for step in range(40):
                body = b"%d-%d" % (number, step)
                try:
                    if sender.post(TOKEN, body).status == "spooled":
                        answered.append(body)
                except (OSError, ValueError):
                    return

    with ThreadPoolExecutor(4) as threads:
        ended = threads.map(deliver, range(4))
        eventually(lambda: len(answered) >= 40)
        harness.edge.kill()
        assert len(list(ended)) == 4
    harness.edge.start()
    harness.edge.wait_ready()
    harness.start_upstreams()
    eventually(lambda: not harness.edge.held())
    assert set(answered) <= set(harness.bodies)
    assert not harness.edge.held("quarantine")


def test_an_unwritable_spool_answers_as_a_full_one(own: Edge) -> None:
    harness = own().bring_up()
    harness.stop_upstreams()
    # The probe of the disk at the start would count as one more error.
    eventually(lambda: "spool_writable" in harness.edge.health())
    with harness.unwritable():
        replies = harness.flood(3)
    assert {(reply.code, reply.status) for reply in replies} == {(503, "spool_full")}
    assert harness.errors_of("spool") == 3
    assert harness.metric('pancake_edge_spool_files{folder="spool"}') == 0


def test_a_program_of_the_writing_threads_that_fails_answers_as_a_full_spool(own: Edge) -> None:
    harness = own()
    for function in ("M.preload()", "M.write_durable(directory, name, data)"):
        harness.edit("files.lua", f"function {function}", f'function {function} error("broken")')
    harness.bring_up()
    harness.stop_upstreams()
    assert harness.post() == "spool_full"
    eventually(lambda: "thread not prepared: " in harness.edge.errors())
    assert harness.errors_of("spool") >= 1


def test_a_full_spool_answers_503_within_the_budget_and_then_sheds(shared: Edge) -> None:
    """150 errors at most for each connection, after a restart too: Pancake suspends a webhook after 300.

    Then 200 shed, and only polling brings the record.
    """
    harness = shared(EDGE_SPOOL_MAX_FILES="5")
    harness.add_connection("second")
    harness.fetch_policy()
    eventually((harness.edge.state / "policy-newest.sealed").exists)
    harness.stop_upstreams()
    replies = harness.flood(170)
    assert [reply.status for reply in replies[:5]] == ["spooled"] * 5
    assert {(reply.code, reply.status) for reply in replies[5:155]} == {(503, "spool_full")}
    assert {(reply.code, reply.status) for reply in replies[155:]} == {(200, "shed")}
    assert len(harness.edge.held()) == 5
    assert harness.metric('pancake_edge_shed_total{folder="spool"}') == 15
    assert sum(reply.code == 503 for reply in harness.flood(160, "second")) == BUDGET_MAX_FAILURES
    harness.kill()
    assert {reply.status for reply in harness.flood(20)} == {"shed"}
    assert harness.budget_used() == BUDGET_MAX_FAILURES


DELIVERY = {
    "token_sha256": TOKEN_SHA256, "raw": "e30=", "source_ip": "127.0.0.1", "arrived": 1778727600,
    "arrived_at": "2026-05-14T03:00:00.000Z",
}  # fmt: skip


def change(rewritten: Callable[[bytes], bytes]) -> Tamper:
    return lambda _, path: path.write_bytes(rewritten(path.read_bytes()))


def write(content: bytes) -> Tamper:
    return change(lambda _: content)


def change_byte(at: int) -> Tamper:
    return change(lambda old: old[:at] + bytes([old[at] ^ 1]) + old[at:][1:])


def replace(make: Callable[[Path], object]) -> Tamper:
    def tamper(_: EdgeHarness, path: Path) -> None:
        path.unlink()
        make(path)
        if not path.is_symlink():
            path.chmod(0o777)

    return tamper


FOREIGN_KEY = KeyRing({"k1": secrets.token_bytes(32)})
TAMPERED: Mapping[str, Tamper] = {
    "empty": write(b""),
    "one byte": write(b"P"),
    "the magic alone": write(b"PE1"),
    "a key id that is longer than the file": write(b"PE1\xff" + b"k"),
    "random bytes": write(secrets.token_bytes(500)),
    "a delivery that is not sealed": write(json.dumps(DELIVERY).encode()),
    "a NUL in a sealed form": write(b"PE1\x02k1" + bytes(100)),
    "cut by one byte": change(lambda old: old[:-1]),
    "cut in the middle": change(lambda old: old[:150]),
    "cut before the tag": change(lambda old: old[:30]),
    "without its first byte": change(lambda old: old[1:]),
    "another magic": change_byte(0),
    "another length of the key id": change_byte(3),
    "another key id": change_byte(5),
    "another nonce": change_byte(10),
    "another first byte of the text": change_byte(20),
    "another byte of the token's digest": change_byte(60),
    "another tag": change_byte(-1),
    "more bytes at the end": change(lambda old: old * 2),
    "sealed with another key": write(b"PE1" + FOREIGN_KEY.encrypt(json.dumps(DELIVERY), "delivery")),
    "sealed for the policy": lambda edge, path: path.write_bytes(edge.seal(DELIVERY, "policy")),
    "the policy of the edge": lambda edge, path: shutil.copyfile(edge.edge.state / "policy.sealed", path),
    "sealed, but no JSON object": lambda edge, path: path.write_bytes(edge.seal("text")),
    "a link to a device without an end": replace(lambda path: path.symlink_to("/dev/zero")),
    "a link to a file": replace(lambda path: path.symlink_to("/etc/passwd")),
    "a link to itself": replace(lambda path: path.symlink_to("loop.sealed")),
    "a pipe": replace(os.mkfifo),
    "a folder": replace(Path.mkdir),
    "very large": lambda _, path: os.truncate(path, LARGE_BYTES),
}


def test_a_tampered_file_is_quarantined(own: Edge, subtests: pytest.Subtests) -> None:
    """Those before and after it are delivered once, live traffic goes on, and no worker grows or dies."""
    harness = own().bring_up()
    eventually((harness.edge.state / "policy-newest.sealed").exists)
    workers = harness.edge.workers()
    harness.stop_upstreams()
    harness.post_many([b"%d" % number for number in range(2 * len(TAMPERED) + 1)])
    files = harness.edge.held()
    whole = {base64.b64decode(harness.unseal(path)["raw"]) for path in files[::2]}
    for path, tamper in zip(files[1::2], TAMPERED.values(), strict=True):
        tamper(harness, path)
    harness.start_upstreams()
    spool, quarantine = (harness.edge.state / name for name in ("spool", "quarantine"))
    eventually(lambda: not any(map(os.path.lexists, spool.glob("[!.]*.sealed"))))
    assert harness.post(b"live") == "received"
    assert sorted(harness.bodies) == sorted([*whole, b"live"])
    for path, name in zip(files[1::2], TAMPERED, strict=True):
        with subtests.test(name):
            assert os.path.lexists(quarantine / path.name)
    unreadable = 'pancake_edge_quarantined_total{reason="unreadable"}'
    eventually(lambda: harness.metric(unreadable) == len(TAMPERED))
    assert harness.edge.workers() == workers
    for pid in workers:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        assert pages * os.sysconf("SC_PAGE_SIZE") < MAX_WORKER_BYTES


def test_a_name_that_states_more_than_a_delivery_has_fills_no_folder(harness: EdgeHarness) -> None:
    """Anyone with write access there could fill the spool's limit with one empty file.

    In a full quarantine it has no place either, and stays.
    """
    harness.stop_upstreams()
    name = f"0000000000001-{'ab' * 10}-{'9' * 40}.sealed"
    forged = [harness.edge.state / folder / name for folder in ("quarantine", "spool")]
    for path in forged:
        path.touch()
        harness.metric('pancake_edge_spool_files{folder="quarantine"}')  # counts it
    assert harness.post(b"1") == "spooled"
    for path in set(harness.edge.held()) - set(forged):
        path.unlink()
    eventually(lambda: harness.metric('pancake_edge_spool_files{folder="spool"}') == 0)
    assert harness.post(b"2") == "spooled"
    for path in forged:
        path.unlink()


def _put_pipes(harness: EdgeHarness) -> None:
    for name in ("limits.json", "budget.log", "policy.sealed", "policy-newest.sealed"):
        path = harness.edge.state / name
        path.unlink(missing_ok=True)
        os.mkfifo(path)
        path.chmod(0o666)


def test_a_pipe_in_place_of_a_file_of_the_edge_stops_neither_it_nor_its_start(own: Edge) -> None:
    """It would wait for the other end of it, in each worker once a second, and before it starts."""
    harness = own(workers=1).bring_up()
    _put_pipes(harness)
    eventually(lambda: harness.errors_of("limits") > 0)
    assert harness.post(b"1") == "received"
    harness.edge.stop()
    _put_pipes(harness)  # a policy fetched meanwhile has replaced them
    harness.edge.start()
    harness.edge.wait_ready()
    assert "policy not restored: " in harness.edge.errors()
    assert harness.post(b"2") == "received"
    harness.replace_limits('{"deny": ["127.0.0.4"]}')
    with harness.sender("127.0.0.4") as sender:
        assert sender.post(TOKEN, b"3").status == "quarantined", "no error is chosen that cannot be written"


def test_leads_edge_spool_reads_releases_and_erases_what_the_edge_wrote(harness: EdgeHarness) -> None:
    """A delivery of a denied sender, that its connection's customer has, from its list to its end."""
    environment = {"EDGE_STATE_DIR": str(harness.edge.state), "EDGE_STATE_KEYS": harness.edge.state_keys}

    def command(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["edge-spool", *arguments], env=environment)
        assert result.exit_code == 0, result.output
        return result.stdout

    policy = harness.edge.state / "policy.sealed"
    policy.unlink(missing_ok=True)
    harness.enforce(signature_mode="off", webhook_secrets=[b"a new version of the policy"])
    eventually(policy.exists)
    harness.set_limits(deny=["127.0.0.4"])
    harness.flood(BUDGET_MAX_FAILURES, address="127.0.0.4")
    body = '{"table_id": "lead", "id": "r-1", "name": "Nguyễn Văn A"}'.encode()
    with harness.sender("127.0.0.4") as sender:
        assert [sender.post(TOKEN, body).status for _ in range(2)] == ["quarantined"] * 2
    listed = command("list")
    assert [line.partition("127.")[2] for line in listed.splitlines()] == ["0.0.4  lead/r-1  denied"] * 2
    assert "Nguy" not in listed
    name = listed.split()[0]
    shown = command("show", name)
    assert (json.loads(shown)["body"].encode(), TOKEN in shown) == (body, False)
    assert command("release", name) == "1 released, 0 kept\n"
    eventually(lambda: harness.bodies == [body] and not harness.edge.held())
    other = "00000000-0000-0000-0000-00000000000f"
    for connection, erased in ((other, "0 deliveries"), (harness.connection.id, "1 delivery")):
        said = command("erase", "--record", f"{connection}/lead/r-1")
        assert said == f"{erased} of the customer, removed.\n"
    assert [harness.edge.held(folder) for folder in FOLDERS] == [[], [], []]
