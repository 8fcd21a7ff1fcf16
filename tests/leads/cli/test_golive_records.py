"""The chain of records: what is changed, removed or reordered is found; killed writers lose nothing."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

import pytest

from leads.cli.golive.record import FIRST
from leads.cli.golive.records import (
    MAX_EVIDENCE_BYTES,
    Kind,
    Records,
    RecordsError,
    Statement,
    newest,
    read_file,
)

NOW = datetime(2026, 5, 28, 3, tzinfo=UTC)
ROOT = Path(__file__).parents[3]
WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from leads.cli.golive.records import Kind, Records, Statement
number = 0
while True:
    number += 1
    statement = Statement(Kind.ATTEST, "G-1", "Lan", "lan", datetime.now(UTC), value=number)
    Records(Path(sys.argv[1])).add(statement, [("proof", str(number).encode())])
    print(number, flush=True)
"""


def statement(of: str = "G-1", **values: object) -> Statement:
    fields = {"kind": Kind.ATTEST, "by": "Nguyễn Lan", "login": "lan", "at": NOW, "value": 1.0}
    return Statement(of=of, **(fields | values))  # type: ignore[arg-type]


@pytest.fixture
def records(tmp_path: Path) -> Records:
    """Four records; the second has evidence."""
    records = Records(tmp_path / "golive")
    for number in range(4):
        files = [("proof.pdf", b"signed")] if number == 1 else []
        records.add(statement(f"G-{number}", reason="ký ngày 28"), files)
    return records


def test_records_are_read_as_they_were_added(records: Records) -> None:
    found = records.read()
    assert [(each.number, each.of) for each in found] == [(1, "G-0"), (2, "G-1"), (3, "G-2"), (4, "G-3")]
    assert [each.previous for each in found] == [FIRST, *(each.sha256() for each in found[:-1])]
    assert found[0].statement == statement("G-0", reason="ký ngày 28")
    assert records.read_evidence(found[1].evidence[0]) == b"signed"


def test_without_a_folder_there_are_no_records(tmp_path: Path) -> None:
    assert Records(tmp_path / "none").read() == ()


def test_every_flipped_bit_of_every_byte_is_found(records: Records) -> None:
    content = records.path.read_bytes()
    for position in range(0, len(content), 3):
        changed = bytearray(content)
        changed[position] ^= 1 << (position % 8)
        records.path.write_bytes(changed)
        with pytest.raises(RecordsError):
            records.read()
    records.path.write_bytes(content)
    assert len(records.read()) == 4


@pytest.mark.parametrize("removed", range(4))
def test_a_removed_record_is_found(records: Records, removed: int) -> None:
    lines = records.path.read_bytes().splitlines(keepends=True)
    records.path.write_bytes(b"".join(lines[:removed] + lines[removed + 1 :]))
    with pytest.raises(RecordsError):
        records.read()


@pytest.mark.parametrize("first", range(3))
def test_reordered_records_are_found(records: Records, first: int) -> None:
    lines = records.path.read_bytes().splitlines(keepends=True)
    lines[first], lines[first + 1] = lines[first + 1], lines[first]
    records.path.write_bytes(b"".join(lines))
    with pytest.raises(RecordsError, match=f"line {first + 1}: the record was changed"):
        records.read()


def test_a_removed_file_is_found(records: Records) -> None:
    records.path.unlink()
    with pytest.raises(RecordsError, match="is missing"):
        records.read()
    with pytest.raises(RecordsError, match="it was changed, or records were removed"):
        records.add(statement())


def test_changed_or_removed_evidence_is_found(records: Records) -> None:
    (evidence,) = records.read()[1].evidence
    records.evidence_path(evidence).write_bytes(b"Signed")
    with pytest.raises(RecordsError, match=r"proof\.pdf was changed"):
        records.read_evidence(evidence)
    records.evidence_path(evidence).unlink()
    with pytest.raises(RecordsError, match=r"proof\.pdf cannot be read"):
        records.read_evidence(evidence)


@pytest.mark.parametrize("torn", [1, 20, -1])
def test_an_interrupted_append_is_not_a_record_and_the_next_one_replaces_it(
    records: Records, torn: int
) -> None:
    whole = records.path.read_bytes()
    line = records.path.read_bytes().splitlines()[-1]
    with records.path.open("ab") as file:
        file.write(line[:torn])
    assert len(records.read()) == 4
    records.add(statement("G-5"))
    assert records.path.read_bytes().startswith(whole)
    assert [each.of for each in records.read()][-2:] == ["G-3", "G-5"]


def test_a_crash_before_the_head_was_written_loses_nothing(records: Records) -> None:
    head = records.folder / "records.head"
    before = head.read_bytes()
    records.add(statement("G-5"))
    head.write_bytes(before)
    assert len(records.read()) == 5
    records.add(statement("G-6"))
    assert len(records.read()) == 6


def _add_many(folder: str, writer: int) -> None:
    for number in range(10):
        Records(Path(folder)).add(statement(f"G-{writer}", value=float(number)), [("e", b"same")])


def test_parallel_writers_make_one_chain(tmp_path: Path) -> None:
    context = get_context("spawn")
    writers = [context.Process(target=_add_many, args=(str(tmp_path), writer)) for writer in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0] * 2
    found = Records(tmp_path).read()
    for number in range(2):
        values = [each.statement.value for each in found if each.of == f"G-{number}"]
        assert values == [float(value) for value in range(10)]
    assert [path.name for path in tmp_path.rglob("*partial*")] == []


def test_a_killed_writer_leaves_every_confirmed_record(tmp_path: Path) -> None:
    for _ in range(2):
        before = len(Records(tmp_path).read())
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        ) as writer:  # fmt: skip
            assert writer.stdout
            writer.stdout.readline()
            time.sleep(0.1)  # some more records; the kill comes at no particular place
            writer.send_signal(signal.SIGKILL)
            confirmed = 1 + len(writer.stdout.read().splitlines())
        found = Records(tmp_path).read()
        assert before + confirmed <= len(found) <= before + confirmed + 1
        assert all(Records(tmp_path).read_evidence(each.evidence[0]) for each in found)


def test_a_lock_that_is_held_ends_the_command_with_a_message(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    monkeypatch.setattr("leads.cli.golive.records.LOCK_SECONDS", 0.05)
    with records.path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(RecordsError, match="is locked by another process"):
            records.read()


def test_what_is_too_large_or_no_file_is_refused(tmp_path: Path, records: Records) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(MAX_EVIDENCE_BYTES + 1)
    with pytest.raises(RecordsError, match="larger than 64 MB"):
        read_file(large)
    for path in (tmp_path, tmp_path / "none", Path("/dev/zero")):
        with pytest.raises(RecordsError, match="is not a file"):
            read_file(path)
    with pytest.raises(RecordsError, match="at most 10"):
        records.add(statement(), [("e", b"")] * 11)


def test_records_and_evidence_are_for_their_owner_only(records: Records) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in records.folder.rglob("*")}
    assert {mode for name, mode in modes.items() if name != "evidence"} == {0o600}
    assert modes["evidence"] == 0o700


def test_the_newest_statement_that_holds_at_a_time_counts(tmp_path: Path) -> None:
    records = Records(tmp_path)
    later = NOW.replace(hour=9)
    records.add(statement(value=1.0))
    records.add(statement(value=0.0, at=later))
    records.add(statement("W1", kind=Kind.BEGIN, at=later, since=NOW))
    found = records.read()
    for at, value in ((NOW.replace(hour=8), 1.0), (later, 0.0)):
        record = newest(found, Kind.ATTEST, "G-1", at)
        assert record is not None
        assert record.statement.value == value
    assert newest(found, Kind.ATTEST, "G-1", NOW.replace(hour=1)) is None
    assert newest(found, Kind.BEGIN, "W1", NOW) is not None
    with pytest.raises(RecordsError, match="W1 has begun already"):
        records.add(statement("W1", kind=Kind.BEGIN, at=later))
