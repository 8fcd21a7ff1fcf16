"""`leads golive`: what people state, in which role, and what is refused, shown in red, or no evidence."""

import json
import os
import shlex
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg
import pytest

from ops.clients.db_session import QUERIES
from ops.golive.criterion import Role, Source, load_criteria
from ops.golive.evidence import WHOLE_SUITE, EvidenceError, read_evidence_file
from ops.golive.records import Kind, Records
from sandbox.postgres.server import free_port
from tests.support.golive import COMMIT, golive, good_file, junit, sign_as_pipeline, state

ROOT = Path(__file__).parents[3]
ALL = load_criteria()
CRITERIA = {each.id: each for each in ALL}
HAND_IN = [each for each in ALL if each.source is Source.FILE]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "golive"


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    path = tmp_path / "signed.txt"
    path.write_text("signed")
    return path


def test_the_list_has_the_criteria_of_a_gate_or_all(folder: Path) -> None:
    for words, waves in (((), None), (("--gate", "W2"), "W2")):
        listed = [each["id"] for each in json.loads(golive(folder, "list", "--json", *words).stdout)]
        assert listed == [each.id for each in load_criteria() if waves is None or waves in each.parts]


def test_an_attestation_is_a_record_with_its_evidence(folder: Path, signed: Path) -> None:
    words = ["attest", "G-1", "--value", "1", "--evidence", str(signed)]
    result = golive(folder, *words)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Attested G-1 = 1 signed. Record ")
    assert "signed as golive.owner by lan@diva.example" in result.stdout
    (record,) = Records(folder).read()
    assert (record.of, record.signer, record.statement.value) == ("G-1", "lan@diva.example", 1.0)
    assert Records(folder).read_evidence(record.evidence[0]) == b"signed"
    (second,) = json.loads(golive(folder, *words, "--json").stdout)
    assert second["heads"] == [record.digest]


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
    ("attest G-1 --value 1 --by 'a\nb'", "--by is a name"),
    ("waive zero-miss --reason x --until 2026-12-31", "zero-miss has to be met"),
    ("not-applicable E4-11 --reason x --until 2026-12-31", "lets only these be waived: G-10, signature-W4"),
    ("waive G-10 --reason x --until 2020-01-01", "from today to 180 days later"),
    ("waive G-10 --reason x --until 2999-01-01", "from today to 180 days later"),
    ("not-applicable allowlist-W4 --reason '' --until {tomorrow}", "--reason is a text"),
    ("not-applicable allowlist-W4 --reason x", "Missing option '--until'"),
    ("attest", "What is open lists: leads golive attest --open W1"),
    ("gate W1 --at 2999-01-01", "is in the future"),
    ("begin W1", "DATABASE_URL is not set"),
]


def test_what_cannot_be_stated_is_refused(folder: Path, signed: Path, subtests: pytest.Subtests) -> None:
    for line, message in REFUSED:
        verb, *words = shlex.split(line.format(tomorrow=f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%d}"))
        evidence = ["--evidence", str(signed)] if verb == "attest" else []
        with subtests.test(line):
            result = golive(folder, verb, *words, *evidence)
            assert (result.exit_code, Records(folder).read()) == (2, ())
            assert message in " ".join(result.output.split())
    missing = str(folder / "none")
    result = golive(folder, "attest", "G-1", "--value", "1", "--evidence", missing)
    assert (result.exit_code, "does not exist" in result.output) == (1, True)
    away = f"postgresql://x@127.0.0.1:{free_port()}/x"
    result = golive(folder, "begin", "W1", DATABASE_URL=away)
    assert (result.exit_code, "The database does not answer" in result.stderr) == (3, True)
    assert Records(folder).read() == ()


def test_a_file_decides_the_value(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "junit.xml"
    file.write_bytes(junit(commit="f" * 40))
    result = golive(folder, "attest", "test-case-TC-008", "--evidence", str(file))
    assert "Attested test-case-TC-008 = 100 %" in result.stdout
    gate = json.loads(golive(folder, "gate", "W2", "--json", COMMIT=COMMIT).stdout)
    (why,) = [each["why"] for each in gate["criteria"] if each["id"] == "test-case-TC-008"]
    assert why == "stale", "it is of another commit"


def test_what_is_waived_or_does_not_apply_stands_in_red_with_its_reason(folder: Path) -> None:
    """Cheat 1: only what the checklist allows, by its owner, until a day, in words that everybody reads."""
    day = datetime.now(UTC) + timedelta(days=1)
    for verb, criterion, said in (
        ("waive", "G-10", "waived"), ("not-applicable", "allowlist-W4", "not applicable"),
    ):  # fmt: skip
        words = [verb, criterion, "--reason", "Pancake chưa trả lời", "--until", f"{day:%Y-%m-%d}"]
        assert golive(folder, *words).exit_code == 0
        (kept,) = [each for each in Records(folder).read() if each.of == criterion]
        assert kept.statement.role is Role.SECURITY
        gate = json.loads(golive(folder, "gate", "W4", "--json").stdout)
        text = f"{criterion}: {said} until {day:%d/%m/%Y} by lan@diva.example: Pancake chưa trả lời"
        assert text in [each["en"] for each in gate["notices"]]
    shown = " ".join(golive(folder, "gate", "W4").stdout.split())
    assert "n/a allowlist-W4: Connections that enforce no address ranges" in shown
    assert "by lan@diva.example until" in shown


def test_a_record_that_exempts_what_has_to_be_met_changes_nothing(folder: Path) -> None:
    """Written by a program that was edited: the installed criteria decide."""
    until = datetime.now(UTC) + timedelta(days=1)
    for kind in (Kind.WAIVE, Kind.NOT_APPLICABLE):
        Records(folder).add(state(kind, "success-rate", datetime.now(UTC), reason="x", until=until))
    gate = json.loads(golive(folder, "gate", "W1", "--json").stdout)
    assert {each["outcome"] for each in gate["criteria"]} == {"inconclusive"}


def test_one_file_proves_several_criteria_and_what_is_open_is_listed(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "junit.xml"
    file.write_bytes(junit())
    ids = [each.id for each in HAND_IN if each.query == "junit"]
    result = golive(folder, "attest", *ids, "--evidence", str(file), COMMIT=COMMIT)
    assert result.exit_code == 0, result.output
    assert result.stdout.count("Attested ") == len(ids) == 5
    assert len({each.evidence[0].sha256 for each in Records(folder).read()}) == 1
    listed = golive(folder, "attest", "--open", "W3", COMMIT=COMMIT).stdout
    assert "unknown  G-1: The product owner signed" in listed
    assert not any(f"  {name}: " in listed for name in ids)
    of_people = [each for each in ALL if "W3" in each.parts and each.source in (Source.PERSON, Source.FILE)]
    left = len(of_people) - len([each for each in ids if "W3" in CRITERIA[each].parts])
    assert listed.endswith(f"{left} of {len(of_people)} are open.\n")
    found = json.loads(golive(folder, "attest", "--open", "W3", "--json", COMMIT=COMMIT).stdout)
    assert len(found) == left


def gate_criterion(folder: Path, wave: str, name: str, **environment: str) -> dict[str, Any]:
    gate: dict[str, Any] = json.loads(golive(folder, "gate", wave, "--json", **environment).stdout)
    (found,) = [each for each in gate["criteria"] if each["id"] == name]
    return dict(found, notices=[each["en"] for each in gate["notices"]])


def test_evidence_that_the_pipeline_did_not_sign_is_stated_by_a_person_in_red(
    folder: Path, tmp_path: Path
) -> None:
    """Cheat 9: a hand-written load test passes, but whose word it is stands above everything."""
    file = tmp_path / "load.json"
    file.write_bytes(good_file(CRITERIA["G-4-latency"]))
    assert golive(folder, "attest", "G-4-latency", "--evidence", str(file), COMMIT=COMMIT).exit_code == 0
    found = gate_criterion(folder, "W1", "G-4-latency", COMMIT=COMMIT)
    assert found["outcome"] == "pass"
    assert "G-4-latency: stated by a person, not signed by CI" in found["notices"]
    sign_as_pipeline(file)
    assert golive(folder, "attest", "G-4-latency", "--evidence", str(file), COMMIT=COMMIT).exit_code == 0
    found = gate_criterion(folder, "W1", "G-4-latency", COMMIT=COMMIT)
    assert found["details"].endswith("signed by ci@diva.example")
    assert not any("by a person" in each for each in found["notices"])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty: it proves nothing"),
        (junit().replace(WHOLE_SUITE.encode(), b"a part of the suite"), "it is a part of the suite, not"),
        (junit().replace(b'name="suite"', b'name="other"'), "it is a part, not the whole suite"),
    ],
)  # fmt: skip
def test_an_empty_file_and_a_part_of_the_suite_are_refused(
    folder: Path, tmp_path: Path, content: bytes, reason: str
) -> None:
    """Cheat 9: one file of tests is not the whole suite."""
    file = tmp_path / "junit.xml"
    file.write_bytes(content)
    result = golive(folder, "attest", "E2-BE-tests", "--evidence", str(file))
    assert (result.exit_code in (1, 2), Records(folder).read()) == (True, ())
    assert reason in " ".join(result.output.split())


def test_evidence_counts_for_the_commit_that_was_installed_then_and_later_ones_are_named(
    folder: Path, tmp_path: Path
) -> None:
    """Cheat 8: a correction after W1 makes no evidence of W1 worthless, and hides nothing."""
    file, later = tmp_path / "junit.xml", "fedc" * 10
    file.write_bytes(junit())
    words = ["attest", "G-3", "--evidence", str(file)]
    assert golive(folder, *words, COMMIT=later).exit_code == 0
    assert gate_criterion(folder, "W1", "G-3", COMMIT=COMMIT)["why"] == "stale", (
        "made on what was not installed"
    )
    assert golive(folder, *words, COMMIT=COMMIT).exit_code == 0
    found = gate_criterion(folder, "W1", "G-3", COMMIT="ab" * 20)
    assert found["outcome"] == "pass"
    assert f"G-3: on {COMMIT[:12]}; installed since: {'ab' * 6}" in found["notices"]


def test_a_drill_of_production_and_a_smoke_test_of_staging_are_no_evidence(
    folder: Path, tmp_path: Path, database: str
) -> None:
    """Cheat 8: each criterion names where its evidence is made."""
    given = {"DATABASE_URL": database, "COMMIT": COMMIT}
    with psycopg.connect(database) as connection:
        found = connection.execute(QUERIES["golive/load_installation"]).fetchone()
    assert found is not None
    for name, wave, here, elsewhere in (
        ("G-8-tier1", "W1", None, "pass"), ("D0-smoke", "day0", "pass", None),
    ):  # fmt: skip
        for place, outcome in ((found[0], here), ("staging@1", elsewhere)):
            file = tmp_path / "result.json"
            file.write_bytes(good_file(CRITERIA[name], installation={"database": place}))
            assert golive(folder, "attest", name, "--evidence", str(file), **given).exit_code == 0
            verb = ["gate", wave] if wave == "W1" else [wave]
            gate = json.loads(golive(folder, *verb, "--json", **given).stdout)
            (judged,) = [each for each in gate["criteria"] if each["id"] == name]
            assert judged["outcome"] == (outcome or "inconclusive"), judged
            assert ("of this gate" in judged["reason"]) is (outcome is None)
    with mock.patch.dict(QUERIES, {"golive/load_installation": b"SELECT no_right"}):
        unknown = gate_criterion(folder, "W1", "G-8-tier1", **given)
    assert (unknown["why"], unknown["outcome"]) == ("no_data", "inconclusive"), unknown
    file.write_bytes(good_file(CRITERIA["G-8-tier1"]).replace(b"installation", b"else"))
    with pytest.raises(EvidenceError, match="it has no 'installation'"):
        read_evidence_file(CRITERIA["G-8-tier1"], file.read_bytes())


def test_a_gate_of_another_installation_than_that_of_w1_is_closed_and_shown(
    folder: Path, database: str, open_entry: None
) -> None:
    """Cheat 8: the database of a fine week in staging is not the one in which W1 began."""
    given = {"DATABASE_URL": database, "COMMIT": COMMIT, "PUBLIC_URL": "https://crm.example.com"}
    assert golive(folder, "begin", "W1", **given).exit_code == 0
    same = gate_criterion(folder, "W1", "same-installation", **given)
    assert same["outcome"] == "pass", same
    other = gate_criterion(
        folder, "W1", "same-installation", **given | {"PUBLIC_URL": "https://staging.example.com"}
    )
    assert other["outcome"] == "fail"
    assert other["details"] == "edge: crm.example.com, now staging.example.com"


def test_a_change_of_the_allowed_signers_between_gates_is_shown(
    folder: Path, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_entry: None
) -> None:
    signers = tmp_path / "allowed_signers"
    signers.write_text(Path(os.environ["GOLIVE_SIGNERS"]).read_text())
    monkeypatch.setenv("GOLIVE_SIGNERS", str(signers))
    assert golive(folder, "begin", "W1", DATABASE_URL=database).exit_code == 0
    before = gate_criterion(folder, "W1", "G-1", DATABASE_URL=database)["notices"]
    assert not any("allowed signers" in each for each in before)
    signers.write_text(f"{signers.read_text()}# another person\n")
    after = gate_criterion(folder, "W1", "G-1", DATABASE_URL=database)["notices"]
    assert any(each.startswith("the allowed signers were changed after W1 began: ") for each in after)


def test_a_gate_names_every_variable_that_it_lacks_at_once(folder: Path) -> None:
    shown = " ".join(
        golive(folder, "gate", "W1", GOLIVE_SIGNERS="/nonexistent/allowed_signers").stdout.split()
    )
    assert (
        "notice not set, so what they answer is unknown: DATABASE_URL, PROMETHEUS_URL, HASURA_URL,"
        " PUBLIC_URL, GOLIVE_SIGNERS (/nonexistent/allowed_signers is missing)"
    ) in shown


def test_a_clone_in_which_the_runbook_was_followed_is_not_modified() -> None:
    names = (
        "golive/records/x.json",
        "junit.xml",
        "golive.yaml",
        "reports/W1/report.html",
        "webhook-url.txt",
        "api-key.txt",
    )
    done = subprocess.run(
        ["git", "check-ignore", *names], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == list(names)


def test_without_any_source_every_criterion_is_inconclusive_and_nothing_passes(folder: Path) -> None:
    for wave in ("W1", "W2", "W3", "W4"):
        result = golive(folder, "gate", wave, "--json")
        found = json.loads(result.stdout)
        assert result.exit_code == 1
        assert {each["outcome"] for each in found["criteria"]} == {"inconclusive"}
        assert not found["is_open"]
    assert found["before"]["outcome"] == "inconclusive"


def test_a_changed_record_ends_the_gate(folder: Path, signed: Path) -> None:
    golive(folder, "attest", "G-1", "--value", "1", "--evidence", str(signed))
    (path,) = (folder / "records").glob("*.json")
    path.write_bytes(path.read_bytes().replace(b"G-1", b"G-2"))
    result = golive(folder, "gate", "W1", "--json")
    assert (result.exit_code, json.loads(result.stdout)["exit_code"]) == (1, 1)
    assert "does not count: its hash is not its name" in " ".join(result.stderr.split())


def test_a_wave_begins_once_and_in_order(folder: Path, database: str, open_entry: None) -> None:
    for wave, exit_code, said in (
        ("W2", 1, "W1 has not begun"),
        ("W1", 0, ""),
        ("W1", 1, "already (record "),
        ("W2", 1, "W2 cannot begin: the gate of W1 is closed"),
    ):
        result = golive(folder, "begin", wave, DATABASE_URL=database)
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
    words = ["baseline", "--since", "2026-05-18", "--until", "2026-05-24"]
    result = golive(folder, *words, DATABASE_URL=database)
    assert len(result.stdout.splitlines()) == 1 + 40, "without Pancake's tickets"
    found = json.loads(golive(folder, *words, "--json", DATABASE_URL=database).stdout)
    assert (found["tickets"], round(found["p95_minutes"], 2)) == (40, 39.05)
    file = tmp_path / "baseline.csv"
    file.write_text(result.stdout)
    attested = golive(folder, "attest", "G-9", "--evidence", str(file))
    assert "Attested G-9 = 39.05 min p95" in attested.stdout
    other = golive(folder, *words, "--ticket-source", "x", DATABASE_URL=database)
    assert other.exit_code == 1
    assert "There are no such tickets" in other.output
