"""The chain of records: what is changed, removed or reordered is found; killed writers lose nothing."""

import fcntl
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
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
ROOT = Path(__file__).parents[4]
WRITER = """
import sys
from datetime import UTC, datetime
from itertools import count, islice
from pathlib import Path
from leads.cli.golive.records import Kind, Records, Statement
folder, of, records = sys.argv[1:]
for number in islice(count(1), int(records)):
    statement = Statement(Kind.ATTEST, of, "Lan", "lan", datetime.now(UTC), value=number)
    Records(Path(folder)).add(statement, [("proof", str(number).encode())])
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


def test_records_are_read_as_they_were_added_and_are_for_their_owner_only(records: Records) -> None:
    found = records.read()
    assert [(each.number, each.of) for each in found] == [(1, "G-0"), (2, "G-1"), (3, "G-2"), (4, "G-3")]
    assert [each.previous for each in found] == [FIRST, *(each.sha256() for each in found[:-1])]
    assert found[0].statement == statement("G-0", reason="ký ngày 28")
    assert records.read_evidence(found[1].evidence[0]) == b"signed"
    modes = {path.name: path.stat().st_mode & 0o777 for path in records.folder.rglob("*")}
    assert modes.pop("evidence") == 0o700
    assert set(modes.values()) == {0o600}
    assert Records(records.folder / "none").read() == ()


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


def test_removed_and_reordered_records_are_found(records: Records) -> None:
    lines = records.path.read_bytes().splitlines(keepends=True)
    for removed in range(4):
        records.path.write_bytes(b"".join(lines[:removed] + lines[removed + 1 :]))
        with pytest.raises(RecordsError):
            records.read()
    for first in range(3):
        swapped = [*lines[:first], lines[first + 1], lines[first], *lines[first + 2 :]]
        records.path.write_bytes(b"".join(swapped))
        with pytest.raises(RecordsError, match=f"line {first + 1}: the record was changed"):
            records.read()
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
    with records.path.open("ab") as file:
        file.write(whole.splitlines()[-1][:torn])
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


def start_writer(folder: Path, of: str, number: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), of, str(number)], cwd=ROOT, stdout=subprocess.PIPE,
        text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def values_of(folder: Path, of: str) -> list[float | None]:
    return [each.statement.value for each in Records(folder).read() if each.of == of]


def test_parallel_writers_make_one_chain_and_a_killed_one_leaves_every_confirmed_record(
    tmp_path: Path,
) -> None:
    writers = [start_writer(tmp_path, of, 10) for of in ("G-1", "G-2")]
    assert [writer.communicate(timeout=60)[0].splitlines()[-1] for writer in writers] == ["10", "10"]
    assert values_of(tmp_path, "G-1") == values_of(tmp_path, "G-2") == [*range(1, 11)]
    assert list(tmp_path.rglob("*partial*")) == []

    with start_writer(tmp_path, "G-3", sys.maxsize) as writer:
        assert writer.stdout
        for _ in range(10):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)  # it comes at no particular place
        confirmed = 10 + len(writer.stdout.read().splitlines())
    found = values_of(tmp_path, "G-3")
    assert found == [*range(1, len(found) + 1)]
    assert confirmed <= len(found) <= confirmed + 1
    assert all(Records(tmp_path).read_evidence(each.evidence[0]) for each in Records(tmp_path).read())


def test_a_lock_that_is_held_ends_the_command_with_a_message(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
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
