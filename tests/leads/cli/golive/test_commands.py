"""`leads golive`: what people state, what is refused, and the looks at day 0 and at each day after it."""

import json
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner, Result

from leads.cli.__main__ import app
from leads.cli.golive import watching
from leads.cli.golive.criterion import Part
from leads.cli.golive.gates import Evaluation
from leads.cli.golive.records import Kind, Records, Statement
from leads.domain.window import ICT
from sandbox.postgres.server import free_port
from tests.support.golive import sample_evaluation

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
    records = [] if words[0] in ("list", "baseline") else ["--records", str(folder)]
    return CliRunner().invoke(app, ["golive", *words, *records], env={"COLUMNS": "80", **environment})


def test_an_attestation_is_a_record_with_its_evidence(folder: Path, proof: Path) -> None:
    words = ["attest", "G-1", "--value", "1", "--evidence", str(proof), "--by", "Nguyễn Lan"]
    result = golive(folder, *words)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Attested G-1 = 1 signed. Record 1, ")
    (record,) = Records(folder).read()
    assert (record.of, record.statement.by, record.statement.value) == ("G-1", "Nguyễn Lan", 1.0)
    assert Records(folder).read_evidence(record.evidence[0]) == b"signed"
    assert json.loads(golive(folder, *words, "--json").stdout)["number"] == 2


REFUSED = [
    ("attest G-99 --value 1", "no criterion 'G-99'"),
    ("attest survey --value 1", "Similar: telesales-survey-W1"),
    ("attest G-1", "Give the value of G-1 with --value"),
    ("attest G-1 --value nan", "Give the value of G-1 with --value"),
    ("attest success-rate --value 1", "success-rate is measured (sql) and cannot be attested"),
    ("attest telesales-survey-W1 --value 45 --cases 3", "from 1 to 5, not 45"),
    ("attest telesales-survey-W1 --value 4.5", "how many were asked"),
    ("attest managers-W4 --value 16 --cases 15", "from 0 to 15, not 16"),
    ("attest test-case-TC-008 --value 1", "is decided by one file"),
    ("attest test-case-TC-008", "no `junit` as test-case-TC-008 needs it"),
    ("attest G-9", "The file is no `baseline` as G-9 needs it"),
    ("attest G-1 --value 1 --by ''", "--by is a name"),
    ("waive G-10 --reason x --until 2020-01-01", "from today to 180 days later"),
    ("waive G-10 --reason x --until 2999-01-01", "from today to 180 days later"),
    ("not-applicable allowlist-W4 --reason ''", "--reason is a text"),
    ("gate W1 --at 2999-01-01", "is in the future"),
    ("begin W1", "DATABASE_URL is not set"),
]


def test_what_cannot_be_stated_is_refused(folder: Path, proof: Path, subtests: pytest.Subtests) -> None:
    for line, message in REFUSED:
        verb, *words = shlex.split(line)
        evidence = ["--evidence", str(proof)] if verb == "attest" else []
        by = [] if "--by" in words or verb == "gate" else ["--by", "Lan"]
        with subtests.test(line):
            result = golive(folder, verb, *words, *evidence, *by)
            assert (result.exit_code, Records(folder).read()) == (2, ())
            assert message in " ".join(result.output.split())
    missing = str(folder / "none")
    result = golive(folder, "attest", "G-1", "--value", "1", "--evidence", missing, "--by", "Lan")
    assert (result.exit_code, "does not exist" in result.output) == (1, True)
    away = f"postgresql://x@127.0.0.1:{free_port()}/x"
    result = golive(folder, "begin", "W1", "--by", "Lan", DATABASE_URL=away)
    assert (result.exit_code, "The database does not answer" in result.stderr) == (3, True)
    assert Records(folder).read() == ()


def test_a_file_decides_the_value(folder: Path, tmp_path: Path) -> None:
    junit = tmp_path / "junit.xml"
    junit.write_text(JUNIT)
    result = golive(folder, "attest", "test-case-TC-008", "--evidence", str(junit), "--by", "Minh")
    assert "Attested test-case-TC-008 = 100 %" in result.stdout
    gate = json.loads(golive(folder, "gate", "W2", "--json", COMMIT="0123456789abcdef").stdout)
    (why,) = [each["why"] for each in gate["criteria"] if each["id"] == "test-case-TC-008"]
    assert why == "stale", "it is older than 30 days"


def test_what_does_not_apply_is_named_with_its_reason(folder: Path) -> None:
    golive(folder, "not-applicable", "G-12", "--reason", "tự thiết lập", "--by", "Hoa")
    shown = golive(folder, "gate", "W1").stdout
    assert "n/a           G-12: The webhook's URL is set in Pancake" in shown
    assert "by Hoa: tự thiết lập" in shown


def test_without_any_source_every_criterion_is_inconclusive_and_nothing_passes(folder: Path) -> None:
    lines = golive(folder, "gate", "W4").stdout.splitlines()
    assert lines[0].startswith("Gate W4: CLOSED, ")
    assert [line for line in lines if len(line) > 80] == []
    for wave in ("W1", "W2", "W3", "W4"):
        result = golive(folder, "gate", wave, "--json")
        found = json.loads(result.stdout)
        assert result.exit_code == 1
        assert {each["outcome"] for each in found["criteria"]} == {"inconclusive"}
        assert not found["is_open"]
    assert found["before"]["outcome"] == "inconclusive"


def test_a_broken_chain_ends_the_gate(folder: Path, proof: Path) -> None:
    golive(folder, "attest", "G-1", "--value", "1", "--evidence", str(proof), "--by", "Lan")
    path = Records(folder).path
    path.write_bytes(path.read_bytes().replace(b"Lan", b"Tom"))
    result = golive(folder, "gate", "W1", "--json")
    assert (result.exit_code, json.loads(result.stdout)["exit_code"]) == (1, 1)
    assert "does not end with the record that records.head names" in " ".join(result.stderr.split())


def test_the_list_shows_what_a_gate_needs(folder: Path) -> None:
    ids = [each["id"] for each in json.loads(golive(folder, "list", "--gate", "W1", "--json").stdout)]
    assert "telesales-survey-W1" in ids
    assert "sources-W2" not in ids
    assert {*ids} < {each["id"] for each in json.loads(golive(folder, "list", "--json").stdout)}


def test_a_wave_begins_once_and_in_order(folder: Path, database: str) -> None:
    for wave, exit_code, said in (
        ("W2", 1, "W1 has not begun"),
        ("W1", 0, ""),
        ("W1", 1, "already (record 1)"),
        ("W2", 1, "W2 cannot begin: the gate of W1 is closed"),
    ):
        result = golive(folder, "begin", wave, "--by", "Lan", DATABASE_URL=database)
        assert (result.exit_code, said in result.stderr) == (exit_code, True)
        assert bool(result.stdout) is (exit_code == 0)
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
    words = ["baseline", "--from", "2026-05-18", "--to", "2026-05-24"]
    result = golive(folder, *words, DATABASE_URL=database)
    assert len(result.stdout.splitlines()) == 1 + 40, "without Pancake's tickets"
    found = json.loads(golive(folder, *words, "--json", DATABASE_URL=database).stdout)
    assert (found["tickets"], round(found["p95_minutes"], 2)) == (40, 39.05)
    file = tmp_path / "baseline.csv"
    file.write_text(result.stdout)
    attested = golive(folder, "attest", "G-9", "--evidence", str(file), "--by", "PO")
    assert "Attested G-9 = 39.05 min p95" in attested.stdout
    other = golive(folder, *words, "--source", "x", DATABASE_URL=database)
    assert other.exit_code == 1
    assert "There are no such tickets" in other.output


NOW = datetime.now(UTC)
TODAY = NOW.astimezone(ICT).date()


class Looked:
    """Stands for the evaluation: it notes what is asked; its answer is open, or the closed sample."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[Part]]] = []
        self.is_open = True

    def __call__(self, subject: str, parts: Sequence[Part], *_: Any) -> Evaluation:
        self.asked.append((subject, list(parts)))
        found = () if self.is_open else sample_evaluation().judgements
        return Evaluation(subject, NOW, "", found)


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> Looked:
    found = Looked()
    monkeypatch.setattr(watching, "evaluate_parts", found)
    return found


def test_a_look_is_kept_and_a_later_one_of_the_day_replaces_it(looked: Looked, tmp_path: Path) -> None:
    run = golive(tmp_path, "day0", "--json")
    assert (run.exit_code, looked.asked) == (0, [("day 0", [Part.DEPLOY, Part.DAY0])])
    assert json.loads((tmp_path / f"day0-{TODAY}.json").read_text()) == json.loads(run.stdout)
    looked.is_open = False
    assert golive(tmp_path, "watch").exit_code == 1
    looked.is_open = True
    assert golive(tmp_path, "watch").exit_code == 0
    (kept,) = tmp_path.glob("watch-*")
    assert json.loads(kept.read_text())["is_open"]


def test_the_days_count_from_the_beginning_of_w1_and_midnight_in_vietnam_divides_them(
    looked: Looked, tmp_path: Path
) -> None:
    assert "days have a result" not in golive(tmp_path, "watch").stderr
    since = NOW - timedelta(days=4)
    Records(tmp_path).add(Statement(Kind.BEGIN, "W1", "Lan", "lan", NOW, since=since))
    for days_ago, is_open in ((3, True), (2, False), (5, True)):  # the last is from before the beginning
        day = TODAY - timedelta(days=days_ago)
        (tmp_path / f"watch-{day}.json").write_text(json.dumps({"is_open": is_open}))
    said = golive(tmp_path, "watch").stderr
    assert [subject for subject, _ in looked.asked] == ["watch", "day 4"]
    assert "3 of 7 days have a result, on 2 of them all passed." in said
    assert f"Without a result: {TODAY - timedelta(days=1)}." in said
    before = datetime(2026, 6, 4, 16, 59, tzinfo=UTC)
    assert [watching._day(before + timedelta(minutes=each)).day for each in (0, 1)] == [4, 5]
