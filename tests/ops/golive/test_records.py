"""Signed records and the signed report: what is changed in them is found, and no writer loses any."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from errno import ENOSPC
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from leads.domain.errors import Misconfigured
from ops.cli import app
from ops.failures import CommandFailed
from ops.files import digest_of
from ops.golive.criterion import Role, find_criterion
from ops.golive.evaluation import Before
from ops.golive.gates import print_evaluation
from ops.golive.judgement import Notice, Outcome
from ops.golive.records import (
    FILE,
    MAX_FILE_BYTES,
    VERIFIED,
    Handed,
    Kind,
    Record,
    Records,
    RecordsError,
    heads_of,
    newest,
    read_file,
    signature_of,
)
from ops.golive.report import html_page, write_folder
from proofs.handed_in import make_key
from sandbox.processes import ROOT, Processes
from tests.support.end_to_end import DRIVER, browsing
from tests.support.fake_services import fake_prometheus
from tests.support.golive import (
    Pilot,
    sample_evaluation,
    sample_figures,
    sample_records,
    signing_variables,
    state,
)

NOW = datetime(2026, 5, 28, 3, tzinfo=UTC)
HOUR = timedelta(hours=1)
PROOF = Handed("proof.pdf", b"signed")
WRITER = """
import sys
from itertools import count, islice
from pathlib import Path
from ops.golive.records import Handed, Kind, Records, make_statement
folder, of, records = sys.argv[1:]
for number in islice(count(1), int(records)):
    statement = make_statement(Kind.ATTEST, of, value=number)
    Records(Path(folder)).add(statement, files=[Handed("proof", str(number).encode())])
    print(number, flush=True)
"""


@pytest.fixture
def records(tmp_path: Path) -> Records:
    """Four records, one after the other; the second has evidence."""
    records = Records(tmp_path / "golive")
    for number in range(1, 5):
        files = [PROOF] if number == 2 else []
        records.add(state(Kind.ATTEST, f"E2-FE-{FRONT_END[number]}", NOW, reason="ký ngày 28"), files=files)
    return records


FRONT_END = ("", "codegen", "settings", "account", "browsers")


def path_of(records: Records, record: Record) -> Path:
    return records.folder / f"{record.digest}.json"


def test_a_record_is_a_plain_file_that_openssh_verifies_and_that_names_the_ones_before(
    records: Records,
) -> None:
    found = records.read()
    assert [each.of for each in found] == [f"E2-FE-{name}" for name in FRONT_END[1:]]
    assert [each.heads for each in found] == [(), *((each.digest,) for each in found[:-1])]
    assert {each.signer for each in found} == {"lan@diva.example"}
    assert records.read_evidence(found[1].evidence[0]) == b"signed"
    modes = {path: path.stat().st_mode & 0o777 for path in records.folder.parent.rglob("*")}
    assert modes == {path: 0o700 if path.is_dir() else 0o600 for path in modes}
    assert Records(records.folder / "none").read() == ()
    path = path_of(records, found[0])
    assert json.loads(path.read_text())["statement"]["reason"] == "ký ngày 28"
    words = ["-f", str(records.signers), "-I", "lan@diva.example", "-n", "golive.developer"]
    verified = subprocess.run(
        ["ssh-keygen", "-Y", "verify", *words, "-s", str(signature_of(path))],
        input=path.read_bytes(), capture_output=True, check=False,
    )  # fmt: skip
    assert verified.returncode == 0, verified.stderr


def test_a_changed_removed_or_renamed_record_is_found(records: Records, subtests: pytest.Subtests) -> None:
    first, second, *_ = found = records.read()
    path = path_of(records, second)
    content, signature = path.read_bytes(), signature_of(path).read_bytes()
    for position in range(0, len(content), 29):
        changed = bytearray(content)
        changed[position] ^= 1 << (position % 8)
        path.write_bytes(changed)
        with pytest.raises(RecordsError, match="does not count"):
            records.read()
    path.write_bytes(content)
    signature_of(path).write_bytes(signature_of(path_of(records, first)).read_bytes())
    with pytest.raises(RecordsError, match="incorrect signature"):
        records.read()
    signature_of(path).write_bytes(signature)
    for record in found:
        with subtests.test(record.of):
            path_of(records, record).rename(records.folder / "away")
            with pytest.raises(RecordsError, match=f"A record is missing: {record.digest[:12]}"):
                records.read()
            (records.folder / "away").rename(path_of(records, record))
    signature_of(path).unlink()
    with pytest.raises(RecordsError, match="cannot be read"):
        records.read()


def test_a_record_that_is_dated_before_one_that_it_names_is_found(records: Records) -> None:
    """By the holder of a key, with another program."""
    *_, last = records.read()
    statement = state(Kind.ATTEST, "G-1", NOW - HOUR)
    content = FILE.dump_json(Record(statement, heads=(last.digest,)), exclude=VERIFIED)
    _, (signature,) = records.sign(statement.role, [content])
    path = records.folder / f"{digest_of(content)}.json"
    path.write_bytes(content)
    signature_of(path).write_bytes(signature)
    with pytest.raises(RecordsError, match=f"{path.stem[:12]} is dated before one that it names"):
        records.read()


def test_two_people_add_at_once_and_the_next_record_names_both(records: Records, tmp_path: Path) -> None:
    """Each on a copy of the folder, as two clones have it; the copies are put together afterwards."""
    other = Records(tmp_path / "copy")
    shutil.copytree(records.folder, other.folder)
    (here,) = records.add(state(Kind.ATTEST, "G-1", NOW))
    (there,) = other.add(state(Kind.ATTEST, "G-2", NOW))
    shutil.copytree(other.folder, records.folder, dirs_exist_ok=True)
    (last,) = records.add(state(Kind.ATTEST, "G-6", NOW))
    assert last.heads == tuple(sorted([here.digest, there.digest]))
    assert len(records.read()) == 7
    path_of(records, there).unlink()
    with pytest.raises(RecordsError, match=f"{there.digest[:12]}, which lan@diva.example saw"):
        records.read()


def test_parallel_writers_lose_nothing_and_a_killed_one_blocks_nobody(
    tmp_path: Path, processes: Processes
) -> None:
    def start(of: str, number: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WRITER, str(tmp_path), of, str(number)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return processes.start(command, cwd=ROOT, stdout=subprocess.PIPE, env=environment)

    def values(of: str) -> list[float | None]:
        return [each.statement.value for each in Records(tmp_path).read() if each.of == of]

    writers = [start(of, 5) for of in ("G-1", "G-2")]
    assert [writer.communicate(timeout=60)[0].splitlines()[-1] for writer in writers] == ["5", "5"]
    assert values("G-1") == values("G-2") == [*range(1, 6)]
    with start("G-6", sys.maxsize) as writer:
        assert writer.stdout
        for _ in range(5):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)  # it comes at no particular place
        confirmed = 5 + len(writer.stdout.read().splitlines())
    found = values("G-6")
    assert found == [*range(1, len(found) + 1)]
    assert confirmed <= len(found) <= confirmed + 1
    Records(tmp_path).add(state(Kind.ATTEST, "G-12", datetime.now(UTC)))
    for each in Records(tmp_path).read():
        assert all(Records(tmp_path).read_evidence(evidence) for evidence in each.evidence)


def use(patch: pytest.MonkeyPatch, folder: Path, key: Path) -> None:
    patch.setenv("GOLIVE_KEY", str(key))
    patch.setenv("GOLIVE_SIGNERS", str(folder / "allowed_signers"))


def test_a_key_signs_only_in_its_roles_and_while_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    """A key is judged at the time of the record: what it signed before its end counts afterwards."""
    ended = (datetime.now(UTC) - HOUR).strftime("%Y%m%d%H%M%SZ")
    keys = {
        "qa": make_key(tmp_path, "minh", "golive.qa"),
        "ended": make_key(tmp_path, "hoa", "golive.qa", f',valid-before="{ended}"'),
    }
    (tmp_path / "elsewhere").mkdir()
    unknown = make_key(tmp_path / "elsewhere", "unknown")
    statement = state(Kind.ATTEST, "G-6", datetime.now(UTC))
    for name, key, of, reason in (
        ("another role", keys["qa"], "G-1", "golive.owner has to sign this.*not permitted"),
        ("ended", keys["ended"], "G-6", "key has expired"),
        ("unknown", unknown, "G-6", "No principal matched"),
    ):
        with subtests.test(name):
            use(monkeypatch, tmp_path, key)
            with pytest.raises(RecordsError, match=reason):
                Records(tmp_path / "golive").add(replace(statement, of=of, role=find_criterion(of).owner))
            assert list((tmp_path / "golive").rglob("*")) == []
    use(monkeypatch, tmp_path, keys["qa"])
    records = Records(tmp_path / "golive")
    records.add(statement)
    signers = records.signers
    text = signers.read_text().replace(" ssh-ed25519", f',valid-before="{ended}" ssh-ed25519', 1)
    signers.write_text(text)
    with pytest.raises(RecordsError, match=r"key has expired.*gets an end \(valid-before\)"):
        records.read()
    later = (datetime.now(UTC) + HOUR).strftime("%Y%m%d%H%M%SZ")
    signers.write_text(text.replace(ended, later, 1))
    assert [each.signer for each in records.read()] == ["minh@diva.example"]


def test_the_signers_are_kept_away_from_the_records_and_a_key_that_is_open_to_others_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = make_key(tmp_path, "minh")
    use(monkeypatch, tmp_path, key)
    with pytest.raises(Misconfigured, match="beside the records"):
        Records(tmp_path)
    key.chmod(0o644)
    with pytest.raises(Misconfigured, match="are too open"):
        Records(tmp_path / "golive").add(state(Kind.ATTEST, "G-6", NOW))


def test_a_record_in_another_role_than_the_owners_never_counts(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.add(replace(state(Kind.ATTEST, "G-1", NOW), role=Role.QA))
    assert newest(records.read(), Kind.ATTEST, "G-1", datetime.now(UTC)) is None
    records.add(state(Kind.ATTEST, "E6-director", NOW, by="Giám đốc Hùng"))
    found = newest(records.read(), Kind.ATTEST, "E6-director", datetime.now(UTC))
    assert found is not None
    assert (found.statement.role, found.stated_by) == (Role.OWNER, "lan@diva.example for Giám đốc Hùng")


def test_the_newest_statement_that_holds_at_a_time_counts_and_the_first_beginning(tmp_path: Path) -> None:
    records, later = Records(tmp_path), NOW.replace(hour=9)
    records.add(state(Kind.ATTEST, "G-1", NOW, value=1.0))
    records.add(state(Kind.ATTEST, "G-1", later, value=0.0))
    records.add(state(Kind.BEGIN, "W1", later, since=NOW))
    found = records.read()
    for at, value in ((NOW.replace(hour=8), 1.0), (later, 0.0)):
        record = newest(found, Kind.ATTEST, "G-1", at)
        assert record is not None
        assert record.statement.value == value
    assert newest(found, Kind.ATTEST, "G-1", NOW.replace(hour=1)) is None
    again = (*found, replace(found[-1], statement=replace(found[-1].statement, since=NOW.replace(hour=7))))
    begun = newest(again, Kind.BEGIN, "W1", later)
    assert begun is not None
    assert begun.holds_at == NOW
    with pytest.raises(RecordsError, match="W1 has begun already"):
        records.add(state(Kind.BEGIN, "W1", later))
    records.add(state(Kind.ATTEST, "G-1", datetime.now(UTC) + HOUR))
    with pytest.raises(RecordsError, match="of the future"):
        records.read()


def test_what_is_too_large_empty_or_no_file_is_refused(tmp_path: Path) -> None:
    large, empty = tmp_path / "large", tmp_path / "empty"
    with large.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(CommandFailed, match="larger than 64 MB"):
        read_file(large)
    empty.touch()
    with pytest.raises(RecordsError, match="is empty: it proves nothing"):
        read_file(empty)
    for path in (tmp_path, tmp_path / "none", Path("/dev/zero")):
        with pytest.raises(RecordsError, match="is not a file"):
            read_file(path)


SAMPLE = ROOT / "docs" / "go-live-report.html"
WRITE = "WRITE_DOCS=1 scripts/test tests/ops/golive/test_records.py"
HOSTILE = "<script>alert(1)</script>\"'&\u202e"


class Signed(NamedTuple):
    """A report in its folder, and the folder of its records."""

    report: Path
    records: Path

    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.report / "report.json").read_text())
        return document

    def sign(self, document: dict[str, Any]) -> None:
        """Sign another report.json, as who has the key could."""
        content = json.dumps(document).encode()
        _, (signature,) = Records(self.records).sign(Role.RELEASE, [content])
        (self.report / "report.json").write_bytes(content)
        (self.report / "report.json.sig").write_bytes(signature)

    def verify(self, *words: str, **environment: str) -> Result:
        arguments = ["golive", "verify", str(self.report), "--records", str(self.records), *words]
        return CliRunner().invoke(app, arguments, env={"COLUMNS": "80", **environment})

    def differences(self, **environment: str) -> str:
        """What `leads golive verify` says of a report that is not as it was signed, as one line."""
        result = self.verify(**environment)
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
        with mock.patch("ops.golive.evaluation.entry_criteria", list):
            assert pilot.golive("begin", "W1").exit_code == 0
        words = ["attest", "G-1", "G-2", "--value", "1", "--evidence", str(proof), "--by", "Bà Hoa"]
        assert pilot.golive(*words).exit_code == 0
        result = pilot.golive("report", "W1", "--to", str(folder / "reports"))
        assert result.exit_code == 1, result.output
        printed = result.stdout.rpartition("leads golive ")[2].split()
        assert pilot.golive(*printed).exit_code == 0
    (report,) = (folder / "reports").iterdir()
    return Signed(report, folder / "records")


@pytest.fixture
def signed(made: Signed, tmp_path: Path) -> Signed:
    """A copy that a test may change."""
    shutil.copytree(made.report, tmp_path / "report")
    shutil.copytree(made.records, tmp_path / "records")
    return Signed(tmp_path / "report", tmp_path / "records")


def test_an_unchanged_report_is_what_was_signed(signed: Signed) -> None:
    result = signed.verify()
    assert result.exit_code == 0, result.output
    assert "DIFFERS" not in result.stdout
    assert "The report is what was signed: gate W1 was closed at" in result.stdout
    document = json.loads(signed.verify("--json").stdout)
    assert document["is_right"]
    names = {each["name"] for each in document["checks"]}
    assert names >= {"signature of lan@diva.example", "report.html", "evidence proof.pdf", "criterion G-1"}
    Records(signed.records).add(state(Kind.ATTEST, "G-6", datetime.now(UTC)))
    assert signed.verify().exit_code == 0, "later records are no difference"


def test_a_changed_report_or_page_and_the_signature_of_another_key_are_found(
    signed: Signed, tmp_path: Path
) -> None:
    page, report = signed.report / "report.html", signed.report / "report.json"
    content = page.read_text()
    page.write_text(content.replace("ĐÓNG", "MỞ"))
    assert "DIFFERS report.html it was changed" in signed.differences()
    page.unlink()
    assert "cannot be read" in signed.differences()
    forged = content.replace("Signed by <code>lan@", "Signed by <code>hoa@")
    page.write_text(forged)
    signed.sign(signed.document() | {"page": digest_of(forged.encode())})
    assert "does not say: Signed by <code>lan@diva.example<" in signed.differences()
    page.write_text(content)
    report.write_text(report.read_text().replace('"is_open": false', '"is_open": true'))
    assert "was changed, or is not signed by the release manager" in signed.differences()
    for forged in ("{}", "[" * 100_000):
        report.write_text(forged)
        assert "was changed, or is not signed" in signed.differences()
    (tmp_path / "other").mkdir()
    other = signing_variables(tmp_path / "other")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in other.items():
            patch.setenv(name, value)
        signed.sign({"signed_at": datetime.now(UTC).isoformat()})
    assert "No principal matched" in signed.differences()


def test_removed_records_and_changed_and_missing_evidence_are_found(signed: Signed) -> None:
    records = Records(signed.records)
    begun, *attested = records.read()
    evidence = records.evidence_path(attested[0].evidence[0])
    kept = path_of(records, attested[-1]).read_bytes()
    path_of(records, attested[-1]).unlink()
    assert len(records.read()) == 2, "no record names it"
    assert f"the report names what is missing: {attested[-1].digest[:12]}" in signed.differences()
    path_of(records, attested[-1]).write_bytes(kept)
    evidence.write_text("Signed")
    assert "DIFFERS evidence proof.pdf The evidence proof.pdf was changed" in signed.differences()
    evidence.unlink()
    assert "proof.pdf cannot be read" in signed.differences()
    path_of(records, begun).unlink()
    assert "A record is missing" in signed.differences()


def test_a_report_that_used_weaker_criteria_is_named_without_being_evaluated_again(
    signed: Signed, subtests: pytest.Subtests
) -> None:
    """Cheat 10: the report is written by a clone with edited criteria."""
    document = signed.document()
    for criterion, changes, said in (
        ("success-rate", {"target": 0.9}, "target was 0.9, installed is 0.995"),
        ("success-rate", {"query": "golive/load_missing"}, "query was golive/load_missing"),
        ("success-rate", {"statement": "00"}, "statement was 00, installed is "),
        ("G-3", {"max_age_days": 365}, "max_age_days was 365, installed is 30"),
        ("G-9", {"min_samples": None}, "min_samples was None, installed is 20"),
        ("G-1", {"may_be_waived": True}, "may_be_waived was True, installed is False"),
        ("G-3", {"max_age_days": 7}, ""),
        ("G-3", {"target": 1.0}, ""),
    ):
        with subtests.test(criterion, **changes):
            rules = [
                each | {"rule": each["rule"] | changes} if each["id"] == criterion else each
                for each in document["criteria"]
            ]
            signed.sign(document | {"criteria": rules})
            if said:
                assert f"DIFFERS criterion {criterion} {said}" in signed.differences()
            else:
                assert signed.verify().exit_code == 0
    for of_g_1, said in (
        ({"owner": "release"}, "DIFFERS criterion G-1 owner was release, installed is owner"),
        ({"value": 2.0}, "DIFFERS outcome of G-1 it is said to pass with 2.0"),
        ({"outcome": "inconclusive", "value": None}, "it was inconclusive (None), it is pass (1.0)"),
    ):
        rules = [each | of_g_1 if each["id"] == "G-1" else each for each in document["criteria"]]
        signed.sign(document | {"criteria": rules})
        assert said in signed.differences()
    signed.sign(document | {"criteria": [each for each in document["criteria"] if each["id"] != "G-12"]})
    assert "DIFFERS criterion G-12" in signed.differences()
    signed.sign(document | {"subject": "entry"})
    assert "DIFFERS criterion E2-BE-tests" in signed.differences(), "the entry needs what W1 does not"


def test_a_report_that_says_less_than_its_records_is_named(signed: Signed) -> None:
    """A report by an edited clone: it is found without any service."""
    document = signed.document()
    assert "G-1, G-2: stated by lan@diva.example for Bà Hoa" in [each["en"] for each in document["notices"]]
    (begun, *_) = Records(signed.records).read()
    for changes, said in (
        ({"is_open": True}, "DIFFERS gate W1 it is said to be open, and is closed by "),
        ({"is_open": True}, "DIFFERS report.html it does not say: >OPEN<; >MỞ<"),
        (
            {"notices": [{"vi": "x là y", "en": "x is y", "gate": ""}]},
            "DIFFERS report.html it does not say: x là y; x is y",
        ),
        ({"notices": []}, "DIFFERS again: G-1 it does not say in red: stated by lan@diva.example for Bà Hoa"),
        ({"at": begun.statement.at.isoformat()}, "the report is dated before what it names"),
        ({"before": None}, "DIFFERS gate before it was unknown, it is pass (It was open when W1 began"),
        (
            {"before": document["before"] | {"outcome": "fail"}},
            "DIFFERS gate before it was fail (It was open",
        ),
        ({"commit": "modified 0123"}, "DIFFERS in red it does not say: the installed program was modified"),
        ({"signers": "ab" * 32}, "DIFFERS in red it does not say: the allowed signers were changed after W1"),
    ):
        signed.sign(document | changes)
        assert said in signed.differences()


def test_a_report_that_leaves_out_what_was_red_before_is_named(signed: Signed) -> None:
    """A wave that began anew, and the red lines of an earlier gate."""
    records = Records(signed.records)
    red = {"vi": "x", "en": "G-1: waived until 01/01/2027", "gate": ""}
    gate = {"subject": "W1", "is_open": False, "notices": [red]}
    records.add(state(Kind.BEGIN, "W1", datetime.now(UTC), reason="five sources were on"))
    records.add(
        state(Kind.BEGIN, "W2", datetime.now(UTC)), files=[Handed("gate-W1.json", json.dumps(gate).encode())]
    )
    later = {"at": datetime.now(UTC).isoformat(), "heads": heads_of(records.read())}
    signed.sign(signed.document() | later)
    differences = signed.differences()
    assert (
        "DIFFERS in red it does not say: W1 began anew, by lan@diva.example: five sources were on"
        in differences
    )
    assert "W1: G-1: waived until 01/01/2027" in differences


def test_a_sign_off_that_says_w4_was_open_is_named(signed: Signed) -> None:
    """What people stated of W4 tells it without any service."""
    before = {"gate": "W4", "outcome": "pass", "reason": "It is open."}
    signed.sign(signed.document() | {"subject": "sign-off", "before": before, "criteria": []})
    found = signed.differences()
    assert "DIFFERS gate before it was pass (It is open.), W4 is closed by G-3 (no_data)" in found


def test_a_closed_gate_before_is_the_first_thing_said() -> None:
    before = Before("W1", Outcome.FAIL, "It was closed when W2 began.")
    said = io.StringIO()
    print_evaluation(replace(sample_evaluation(), before=before), Console(file=said, width=100))
    lines = [line for line in said.getvalue().splitlines() if not line.startswith(("notice", " "))]
    assert lines[3].endswith("The gate of wave W1. It was closed when W2 began.")


def test_the_page_says_in_vietnamese_how_the_gate_before_was() -> None:
    for subject, outcome, said in (
        ("W2", Outcome.PASS, "Khi đợt W2 bắt đầu, cổng này đang mở."),
        ("W2", Outcome.FAIL, "Khi đợt W2 bắt đầu, cổng này đang đóng."),
        ("W2", Outcome.INCONCLUSIVE, "Đợt W2 chưa bắt đầu."),
        ("sign-off", Outcome.FAIL, "Hiện nay, cổng này đang đóng."),
    ):
        evaluation = replace(sample_evaluation(), subject=subject, before=Before("W1", outcome, ""))
        assert said in html_page(evaluation, [], [], "lan@diva.example")


def test_the_page_is_the_sample_in_the_documentation_and_loads_and_runs_nothing() -> None:
    text = html_page(sample_evaluation(), sample_figures(), sample_records(), "lan@diva.example")
    if os.environ.get("WRITE_DOCS"):
        SAMPLE.write_text(text, "utf-8")
    assert SAMPLE.read_text("utf-8") == text, f"make it with: {WRITE}"
    assert "default-src 'none'" in text
    assert not re.search(r"<script|<link|<iframe|<img|src=|href=(?!.#)|url\(|@import|\son\w+=", text)


@pytest.mark.skipif(DRIVER is None, reason="chromium and chromium-driver are not installed")
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_a_screen_and_a_phone(width: int) -> None:
    with browsing(width, 900) as browser:
        browser.open(SAMPLE.as_uri())
        assert browser.run("return document.documentElement.scrollWidth - window.innerWidth") <= 0
        assert "Gate W2" in browser.run("return document.body.innerText")
        links = "return [...document.links].map(link => !!document.querySelector(link.hash))"
        assert set(browser.run(links)) == {True}


def test_every_text_is_escaped() -> None:
    evaluation = sample_evaluation()
    judgements = [
        replace(each, measurement=replace(each.measurement, details=HOSTILE), reason=HOSTILE)
        for each in evaluation.judgements
    ]
    records = [
        replace(
            each, statement=replace(each.statement, by=HOSTILE, reason=HOSTILE, of=HOSTILE), signer=HOSTILE
        )
        for each in sample_records()
    ]
    notices = (Notice(HOSTILE, HOSTILE),)
    hostile = replace(
        evaluation, judgements=tuple(judgements), commit=HOSTILE, notices=notices, signers=HOSTILE
    )
    text = html_page(hostile, [], records, HOSTILE)
    assert "<script" not in text
    assert "\u202e" not in text
    assert "&lt;script&gt;" in text


KILLED = """
import os, signal, sys
from pathlib import Path
from ops.golive.report import write_folder
from tests.support.golive import sample_evaluation
Path.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
write_folder(Path(sys.argv[1]), sample_evaluation(), {"page": b"of a customer"})
"""


def test_a_report_is_whole_or_not_there_and_the_next_one_removes_what_a_killed_one_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "reports"
    killed = subprocess.run([sys.executable, "-c", KILLED, folder], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [each.name for each in folder.rglob("*.partial/*")] == ["page"]
    evaluation = replace(sample_evaluation(), at=NOW)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", mock.Mock(side_effect=OSError(ENOSPC, "No space left on device")))
        with pytest.raises(OSError, match="No space left"):
            write_folder(folder, evaluation, {"page": b"of a customer"})
    assert [*folder.rglob("*")] == []
    made = write_folder(folder, evaluation, {"page": b"whole"})
    with pytest.raises(CommandFailed, match=f"{made} exists already"):
        write_folder(folder, evaluation, {"page": b"other"})
    assert [*folder.rglob("*")] == [made, made / "page"]
    assert (made / "page").read_bytes() == b"whole"
