"""The chain of records and the signed report: what is changed in them is found, and no writer loses any."""

import base64
import fcntl
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from ops.cli import app
from ops.clients.signing import SignatureRefused, SigningKey, VerifyKey
from ops.failures import CommandFailed
from ops.golive.gates import Before, print_evaluation
from ops.golive.judgement import Outcome
from ops.golive.records import (
    FIRST,
    MAX_EVIDENCE_BYTES,
    Kind,
    Records,
    RecordsError,
    Statement,
    newest,
    read_file,
)
from ops.golive.report import PAYLOAD_TYPE, html_page
from sandbox.processes import ROOT, Processes
from tests.support.fake_services import fake_prometheus
from tests.support.golive import Pilot, sample_evaluation, sample_figures, sample_records, write_keys

NOW = datetime(2026, 5, 28, 3, tzinfo=UTC)
WRITER = """
import sys
from datetime import UTC, datetime
from itertools import count, islice
from pathlib import Path
from ops.golive.records import Kind, Records, Statement
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


def test_an_interrupted_append_is_not_a_record_and_a_crash_before_the_head_loses_none(
    records: Records,
) -> None:
    whole = records.path.read_bytes()
    for number, torn in enumerate((1, 20, -1), start=5):
        with records.path.open("ab") as file:
            file.write(whole.splitlines()[-1][:torn])
        assert len(records.read()) == number - 1
        records.add(statement(f"G-{number}"))  # it replaces the torn one
        assert records.path.read_bytes().startswith(whole)
    assert [each.of for each in records.read()][-4:] == ["G-3", "G-5", "G-6", "G-7"]
    head = records.folder / "records.head"
    before = head.read_bytes()
    records.add(statement("G-8"))
    head.write_bytes(before)
    assert len(records.read()) == 8
    records.add(statement("G-9"))
    assert len(records.read()) == 9


def start_writer(processes: Processes, folder: Path, of: str, number: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(folder), of, str(number)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return processes.start(command, cwd=ROOT, stdout=subprocess.PIPE, env=environment)


def values_of(folder: Path, of: str) -> list[float | None]:
    return [each.statement.value for each in Records(folder).read() if each.of == of]


def test_parallel_writers_make_one_chain_and_a_killed_one_leaves_every_confirmed_record(
    tmp_path: Path, processes: Processes
) -> None:
    writers = [start_writer(processes, tmp_path, of, 10) for of in ("G-1", "G-2")]
    assert [writer.communicate(timeout=60)[0].splitlines()[-1] for writer in writers] == ["10", "10"]
    assert values_of(tmp_path, "G-1") == values_of(tmp_path, "G-2") == [*range(1, 11)]
    assert list(tmp_path.rglob("*partial*")) == []

    with start_writer(processes, tmp_path, "G-3", sys.maxsize) as writer:
        assert writer.stdout
        for _ in range(10):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)  # it comes at no particular place
        confirmed = 10 + len(writer.stdout.read().splitlines())
    found = values_of(tmp_path, "G-3")
    assert found == [*range(1, len(found) + 1)]
    assert confirmed <= len(found) <= confirmed + 1
    assert all(Records(tmp_path).read_evidence(each.evidence[0]) for each in Records(tmp_path).read())


def test_what_is_locked_too_large_or_no_file_is_refused(
    tmp_path: Path, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(MAX_EVIDENCE_BYTES + 1)
    with pytest.raises(CommandFailed, match="larger than 64 MB"):
        read_file(large)
    for path in (tmp_path, tmp_path / "none", Path("/dev/zero")):
        with pytest.raises(RecordsError, match="is not a file"):
            read_file(path)
    with pytest.raises(RecordsError, match="at most 10"):
        records.add(statement(), [("e", b"")] * 11)
    monkeypatch.setattr("ops.golive.records.LOCK_SECONDS", 0.05)
    with records.path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(RecordsError, match="is locked by another process"):
            records.read()


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


SAMPLE = ROOT / "docs" / "go-live-report.html"
WRITE = "WRITE_DOCS=1 scripts/test tests/ops/golive/test_records.py"
HOSTILE = "<script>alert(1)</script>\"'&\u202e"
NAMES = ("report.html", "report.json", "criteria.json", "records.jsonl")


class Signed(NamedTuple):
    """A report in its folder, the folder of its records, and the keys."""

    report: Path
    records: Path
    private: Path
    public: Path

    def envelope(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.report / "report.dsse.json").read_text())
        return document

    def write_envelope(self, envelope: Mapping[str, Any]) -> None:
        (self.report / "report.dsse.json").write_text(json.dumps(envelope))

    def verify(self, *words: str) -> Result:
        arguments = ["golive", "verify", str(self.report / "report.dsse.json")]
        arguments += ["--public-key", str(self.public), "--records", str(self.records), *words]
        return CliRunner().invoke(app, arguments, env={"COLUMNS": "80"})

    def differences(self) -> str:
        """What `leads golive verify` says of a report that is not as it was signed, as one line."""
        result = self.verify()
        assert result.exit_code == 1, result.output
        return " ".join((result.stdout + result.stderr).split())


@pytest.fixture(scope="module")
def made(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Signed:
    """A report of gate W1 with three records, made once."""
    folder = tmp_path_factory.mktemp("report")
    with fake_prometheus() as prometheus:
        pilot = Pilot(module_database, folder / "records", prometheus.url)
        pilot.seed()
        proof = folder / "proof.pdf"
        proof.write_text("signed")
        assert pilot.golive("begin", "W1", "--by", "Lan").exit_code == 0
        for criterion in ("G-1", "G-2"):
            words = ["attest", criterion, "--value", "1", "--evidence", str(proof), "--by", "Lan"]
            assert pilot.golive(*words).exit_code == 0
        private, public = write_keys(folder)
        result = pilot.golive("report", "W1", "--key", str(private), "--to", str(folder / "reports"))
        assert result.exit_code == 1, result.output
    (report,) = (folder / "reports").iterdir()
    return Signed(report, folder / "records", private, public)


@pytest.fixture
def signed(made: Signed, tmp_path: Path) -> Signed:
    """A copy that a test may change."""
    shutil.copytree(made.report, tmp_path / "report")
    shutil.copytree(made.records, tmp_path / "records")
    return made._replace(report=tmp_path / "report", records=tmp_path / "records")


def test_an_unchanged_report_is_what_was_signed(signed: Signed) -> None:
    result = signed.verify()
    assert result.exit_code == 0, result.output
    assert "DIFFERS" not in result.stdout
    assert "The report is what was signed: gate W1 was closed at" in result.stdout
    document = json.loads(signed.verify("--json").stdout)
    assert document["is_right"]
    assert {each["name"] for each in document["checks"]} >= {*NAMES, "evidence proof.pdf"}


def test_a_flipped_bit_of_a_file_is_found(signed: Signed, subtests: pytest.Subtests) -> None:
    for name in NAMES:
        with subtests.test(name=name):
            path = signed.report / name
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
            assert f"DIFFERS {name} it was changed" in signed.differences()
            path.unlink()
            assert "cannot be read" in signed.differences()


def test_a_flipped_bit_of_every_byte_of_what_was_signed_is_found(signed: Signed) -> None:
    envelope = signed.envelope()
    payload = base64.b64decode(envelope["payload"])
    key = VerifyKey.read(signed.public)
    for position in range(0, len(payload), 7):
        changed = bytearray(payload)
        changed[position] ^= 1
        encoded = base64.b64encode(changed).decode()
        with pytest.raises(SignatureRefused, match="or was changed"):
            key.open(json.dumps(envelope | {"payload": encoded}).encode(), PAYLOAD_TYPE)
    signed.write_envelope(envelope | {"payload": base64.b64encode(payload + b" ").decode()})
    assert signed.verify().stdout == ""
    assert "was not signed by the key" in signed.differences()


def test_another_key_another_type_and_a_name_that_leaves_the_folder_are_refused(
    signed: Signed, tmp_path: Path
) -> None:
    _, other = write_keys(tmp_path)
    assert "was not signed by the key" in signed._replace(public=other).differences()
    payload = json.loads(base64.b64decode(signed.envelope()["payload"]))
    key = SigningKey.read(signed.private)
    signed.write_envelope(key.envelope("text/plain", b"{}"))
    assert "The payload is 'text/plain'" in signed.differences()
    payload["subject"].append({"name": "../records/records.head", "digest": {"sha256": "0" * 64}})
    signed.write_envelope(key.envelope(PAYLOAD_TYPE, json.dumps(payload).encode()))
    assert "it is no name of a file of a report" in signed.differences()


def test_removed_records_and_changed_and_missing_evidence_are_found(signed: Signed) -> None:
    path = Records(signed.records).path
    whole = path.read_bytes()
    evidence = Records(signed.records).evidence_path(Records(signed.records).read()[1].evidence[0])
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
    assert "DIFFERS records in" in signed.differences()
    path.write_bytes(whole)
    evidence.write_text("Signed")
    assert "DIFFERS evidence proof.pdf The evidence proof.pdf was changed" in signed.differences()
    evidence.unlink()
    assert "proof.pdf cannot be read" in signed.differences()


def test_later_records_are_no_difference_and_a_rewritten_chain_is(signed: Signed) -> None:
    before = Records(signed.records).read()
    Records(signed.records).add(before[-1].statement)
    assert signed.verify().exit_code == 0
    rewritten = Records(signed.records.with_name("rewritten"))
    for record in before[1:]:
        rewritten.add(record.statement)
    shutil.copytree(signed.records / "evidence", rewritten.folder / "evidence")
    found = signed._replace(records=rewritten.folder).differences()
    assert "do not begin with the 3 records of the report" in found


def test_openssl_verifies_the_signature(signed: Signed, tmp_path: Path) -> None:
    """The envelope is what the protocol says, by another implementation of Ed25519."""
    envelope = signed.envelope()
    payload = base64.b64decode(envelope["payload"])
    kind = envelope["payloadType"].encode()
    (tmp_path / "signed").write_bytes(b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload))
    (tmp_path / "signature").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    words = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(signed.public), "-rawin"]
    files = ["-in", str(tmp_path / "signed"), "-sigfile", str(tmp_path / "signature")]
    assert subprocess.run([*words, *files], capture_output=True, check=False).returncode == 0
    statement = json.loads(payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert {each["name"] for each in statement["subject"]} >= set(NAMES)


def test_a_key_that_cannot_sign_or_verify_is_refused(signed: Signed, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    words = ["golive", "report", "W1", "--key", str(path), "--to", str(tmp_path), "--records", str(tmp_path)]

    def refusal() -> str:
        result = CliRunner().invoke(app, words)
        assert (result.exit_code, result.stdout) == (2, "")
        return " ".join(result.output.split())

    assert "cannot be read" in refusal()
    path.write_bytes(signed.private.read_bytes())
    path.chmod(0o644)
    assert "can be read by others" in refusal()
    path.write_bytes(b"")
    path.chmod(0o600)
    assert "is not a private key in PEM" in refusal()
    result = signed._replace(public=signed.private).verify()
    assert result.exit_code == 2
    assert "is not a public key in PEM" in " ".join(result.output.split())


def test_a_closed_gate_before_is_the_first_thing_said() -> None:
    before = Before("W1", Outcome.FAIL, "It was closed when W2 began.")
    said = io.StringIO()
    print_evaluation(replace(sample_evaluation(), before=before), Console(file=said, width=100))
    assert said.getvalue().splitlines()[2].endswith("The gate of wave W1. It was closed when W2 began.")


def test_the_page_is_the_sample_in_the_documentation_and_loads_and_runs_nothing() -> None:
    text = html_page(sample_evaluation(), sample_figures(), sample_records())
    if os.environ.get("WRITE_DOCS"):
        SAMPLE.write_text(text, "utf-8")
    assert SAMPLE.read_text("utf-8") == text, f"make it with: {WRITE}"
    assert "default-src 'none'" in text
    assert not re.search(r"<script|<link|<iframe|<img|src=|href=|url\(|@import|\son\w+=", text)


def test_every_text_is_escaped() -> None:
    evaluation = sample_evaluation()
    judgements = [
        replace(each, measurement=replace(each.measurement, details=HOSTILE), reason=HOSTILE)
        for each in evaluation.judgements
    ]
    records = [
        replace(each, statement=replace(each.statement, by=HOSTILE, reason=HOSTILE, of=HOSTILE))
        for each in sample_records()
    ]
    hostile = replace(evaluation, judgements=tuple(judgements), commit=HOSTILE)
    text = html_page(hostile, [], records)
    assert "<script" not in text
    assert "\u202e" not in text
    assert "&lt;script&gt;" in text
