"""`leads golive`: what is stated by people, and what is refused, as an operator types it."""

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner, Result

from leads.cli.__main__ import app
from leads.cli.golive.records import Records
from sandbox.postgres.server import free_port

JUNIT = """<testsuites><testsuite timestamp="2026-05-28T03:00:00+00:00">
<properties><property name="commit" value="0123456789abcdef"/></properties>
<testcase name="a"><properties><property name="test_case" value="TC-008"/></properties></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "golive"


@pytest.fixture
def proof(tmp_path: Path) -> Path:
    path = tmp_path / "proof.txt"
    path.write_text("signed")
    return path


def golive(folder: Path, *words: str, **environment: str) -> Result:
    arguments = ["golive", *words] if words[0] == "list" else ["golive", *words, "--records", str(folder)]
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "80", **environment})


def document(result: Result) -> Any:
    return json.loads(result.stdout)


def test_an_attestation_is_a_record_with_its_evidence(folder: Path, proof: Path) -> None:
    words = ["attest", "G-1", "--value", "1", "--evidence", str(proof), "--by", "Nguyễn Lan"]
    result = golive(folder, *words)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Attested G-1 = 1 signed. Record 1, ")
    (record,) = Records(folder).read()
    assert (record.of, record.statement.by, record.statement.value) == ("G-1", "Nguyễn Lan", 1.0)
    assert Records(folder).read_evidence(record.evidence[0]) == b"signed"
    assert document(golive(folder, *words, "--json"))["number"] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["G-99", "--value", "1"], "no criterion 'G-99'"),
        (["survey", "--value", "1"], "Similar: telesales-survey-W1"),
        (["G-1"], "Give the value of G-1 with --value"),
        (["G-1", "--value", "nan"], "Give the value of G-1 with --value"),
        (["success-rate", "--value", "1"], "success-rate is measured (sql) and cannot be attested"),
        (["telesales-survey-W1", "--value", "45", "--cases", "3"], "from 1 to 5, not 45"),
        (["telesales-survey-W1", "--value", "4.5"], "how many were asked"),
        (["managers-W4", "--value", "16", "--cases", "15"], "from 0 to 15, not 16"),
        (["test-case-TC-008", "--value", "1"], "is decided by one file"),
        (["test-case-TC-008"], "no `junit` as test-case-TC-008 needs it"),
        (["G-9"], "The file is no `baseline` as G-9 needs it"),
        (["G-1", "--value", "1", "--by", " "], "--by is a name"),
    ],
    ids=str,
)
def test_what_is_no_attestation_is_refused(folder: Path, proof: Path, words: list[str], message: str) -> None:
    by = [] if "--by" in words else ["--by", "Lan"]
    result = golive(folder, "attest", *words, "--evidence", str(proof), *by)
    assert (result.exit_code, Records(folder).read()) == (2, ())
    assert message in " ".join(result.output.split())


def test_a_file_decides_the_value(folder: Path, tmp_path: Path) -> None:
    junit = tmp_path / "junit.xml"
    junit.write_text(JUNIT)
    result = golive(folder, "attest", "test-case-TC-008", "--evidence", str(junit), "--by", "Minh")
    assert "Attested test-case-TC-008 = 100 %" in result.stdout
    gate = document(golive(folder, "gate", "W2", "--json", COMMIT="0123456789abcdef"))
    found = {each["id"]: each for each in gate["criteria"]}["test-case-TC-008"]
    assert (found["outcome"], found["why"]) == ("inconclusive", "stale"), "it is older than 30 days"


def test_evidence_that_does_not_exist_is_refused(folder: Path, tmp_path: Path) -> None:
    missing = str(tmp_path / "none")
    result = golive(folder, "attest", "G-1", "--value", "1", "--evidence", missing, "--by", "Lan")
    assert result.exit_code == 1
    assert "does not exist" in result.output


@pytest.mark.parametrize("until", ["2020-01-01", "2999-01-01"])
def test_a_waiver_has_an_end_within_180_days(folder: Path, until: str) -> None:
    result = golive(folder, "waive", "G-10", "--reason", "x", "--until", until, "--by", "Hoa")
    assert result.exit_code == 2
    assert "from today to 180 days later" in " ".join(result.output.split())


def test_a_waiver_needs_a_reason(folder: Path) -> None:
    result = golive(folder, "not-applicable", "allowlist-W4", "--reason", " ", "--by", "Hoa")
    assert result.exit_code == 2
    assert "--reason is a text" in result.output


def test_what_does_not_apply_is_named_with_its_reason(folder: Path) -> None:
    golive(folder, "not-applicable", "G-12", "--reason", "tự thiết lập", "--by", "Hoa")
    shown = golive(folder, "gate", "W1").stdout
    assert "n/a           G-12: The webhook's URL is set in Pancake" in shown
    assert "by Hoa: tự thiết lập" in shown


def test_without_any_source_every_criterion_is_inconclusive_and_nothing_passes(folder: Path) -> None:
    for wave in ("W1", "W2", "W3", "W4"):
        result = golive(folder, "gate", wave, "--json")
        found = document(result)
        assert result.exit_code == 1
        assert {each["outcome"] for each in found["criteria"]} == {"inconclusive"}
        assert not found["is_open"]
    assert found["before"]["outcome"] == "inconclusive"


def test_the_gate_fits_into_80_columns(folder: Path) -> None:
    lines = golive(folder, "gate", "W4").stdout.splitlines()
    assert [line for line in lines if len(line) > 80] == []
    assert lines[0].startswith("Gate W4: CLOSED, ")


def test_a_broken_chain_ends_the_gate(folder: Path, proof: Path) -> None:
    golive(folder, "attest", "G-1", "--value", "1", "--evidence", str(proof), "--by", "Lan")
    path = Records(folder).path
    path.write_bytes(path.read_bytes().replace(b"Lan", b"Tom"))
    result = golive(folder, "gate", "W1", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["exit_code"] == 1
    assert "does not end with the record that records.head names" in result.stderr


def test_a_time_in_the_future_is_refused(folder: Path) -> None:
    result = golive(folder, "gate", "W1", "--at", "2999-01-01")
    assert result.exit_code == 2
    assert "is in the future" in result.output


def test_the_list_shows_what_a_gate_needs(folder: Path) -> None:
    ids = [each["id"] for each in document(golive(folder, "list", "--gate", "W1", "--json"))]
    assert "telesales-survey-W1" in ids
    assert "sources-W2" not in ids
    lines = golive(folder, "list").stdout.splitlines()
    assert [line for line in lines if len(line) > 80] == []
    assert len(document(golive(folder, "list", "--json"))) > 150


def test_a_wave_cannot_begin_without_the_database(folder: Path) -> None:
    result = golive(folder, "begin", "W1", "--by", "Lan")
    assert (result.exit_code, Records(folder).read()) == (2, ())
    assert "DATABASE_URL is not set" in result.output


def test_a_wave_cannot_begin_while_the_database_is_away(folder: Path) -> None:
    away = f"postgresql://x@127.0.0.1:{free_port()}/x"
    result = golive(folder, "begin", "W1", "--by", "Lan", DATABASE_URL=away)
    assert (result.exit_code, Records(folder).read()) == (3, ())
    assert "The database does not answer" in result.stderr


def test_a_wave_begins_once_and_in_order(folder: Path, database: str) -> None:
    late = golive(folder, "begin", "W2", "--by", "Lan", DATABASE_URL=database)
    assert late.exit_code == 1
    assert "W1 has not begun" in late.output
    assert golive(folder, "begin", "W1", "--by", "Lan", DATABASE_URL=database).exit_code == 0
    again = golive(folder, "begin", "W1", "--by", "Lan", DATABASE_URL=database)
    assert again.exit_code == 1
    assert "already (record 1)" in again.output
    closed = golive(folder, "begin", "W2", "--by", "Lan", DATABASE_URL=database)
    assert closed.exit_code == 1
    assert "W2 cannot begin: the gate of W1 is closed" in closed.stderr
    assert closed.stdout == ""
    assert len(Records(folder).read()) == 1


def test_the_baseline_is_made_of_tickets_by_hand_and_can_be_attested(
    folder: Path, tmp_path: Path, database: str
) -> None:
    with psycopg.connect(database, autocommit=True) as session:
        session.execute(
            "INSERT INTO ticket (title, source_id, created_at, first_response_at)"
            " SELECT 'x', s.id, at, CASE WHEN n > 1 THEN at + n * interval '1 minute' END"
            " FROM generate_series(1, 40) AS n"
            " CROSS JOIN (VALUES ('ticket_source_1'), ('ticket_source_pancake')) AS s (id)"
            " CROSS JOIN LATERAL (SELECT timestamptz '2026-05-18 08:00+07' + n * interval '230 min' AS at)"
            " AS t"
        )
    days = ["--from", "2026-05-18", "--to", "2026-05-24"]
    environment = {"DATABASE_URL": database}
    result = CliRunner().invoke(app, ["golive", "baseline", *days], env=environment)
    assert len(result.stdout.splitlines()) == 1 + 40, "without Pancake's tickets"
    document_of_it = json.loads(
        CliRunner().invoke(app, ["golive", "baseline", *days, "--json"], env=environment).stdout
    )
    assert (document_of_it["tickets"], round(document_of_it["p95_minutes"], 2)) == (40, 39.05)
    file = tmp_path / "baseline.csv"
    file.write_text(result.stdout)
    attested = golive(folder, "attest", "G-9", "--evidence", str(file), "--by", "PO")
    assert "Attested G-9 = 39.05 min p95" in attested.stdout
    other = CliRunner().invoke(app, ["golive", "baseline", *days, "--source", "x"], env=environment)
    assert other.exit_code == 1
    assert "There are no such tickets" in other.output
