"""`leads golive`: what people state, in which role, and what is refused, shown in red, or no evidence."""

import json
import os
import re
import shlex
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import psycopg
import pytest

from ops.clients.db_session import QUERIES, open_session
from ops.golive.criterion import Role, load_criteria
from ops.golive.deploy import command, steps
from ops.golive.deploy.site import Journal, PlanFile
from ops.golive.deploy.step import Action, Found, State
from ops.golive.judgement import WHOLE_SUITE, EvidenceError, read_evidence_file
from ops.golive.measuring import load_installation
from ops.golive.records import CI, Kind, Records
from ops.settings import read_operator_settings
from proofs.handed_in import COMMIT, good_file, junit, sign_as_pipeline
from sandbox.postgres.server import free_port
from sandbox.processes import ROOT
from tests.support.fake_services import fake_prometheus
from tests.support.golive import ALL, CRITERIA, HAND_IN, golive, state


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "golive"


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    path = tmp_path / "signed.txt"
    path.write_text("signed")
    return path


def gate_of(folder: Path, wave: str = "W1", **environment: str) -> dict[str, Any]:
    gate: dict[str, Any] = json.loads(golive(folder, "gate", wave, "--json", **environment).stdout)
    return gate | {"red": [each["en"] for each in gate["notices"]]}


def judged(folder: Path, name: str, **environment: str) -> dict[str, Any]:
    """A criterion of the gate of W1, with what is red."""
    gate = gate_of(folder, **environment)
    (found,) = [each for each in gate["criteria"] if each["id"] == name]
    return dict(found, red=gate["red"])


def attest(folder: Path, name: str, file: Path, *words: str, **environment: str) -> str:
    result = golive(folder, "attest", name, *words, "--evidence", str(file), **environment)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_list_has_the_criteria_of_a_gate_or_all(folder: Path) -> None:
    for words, waves in (((), None), (("--gate", "W2"), "W2")):
        listed = [each["id"] for each in json.loads(golive(folder, "list", "--json", *words).stdout)]
        assert listed == [each.id for each in load_criteria() if waves is None or waves in each.parts]


def test_an_attestation_is_a_record_with_its_evidence(folder: Path, signed: Path) -> None:
    said = attest(folder, "G-1", signed, "--value", "1")
    assert said.startswith("Attested G-1 = 1 signed. Record ")
    assert "signed as golive.owner by lan@diva.example" in said
    (record,) = Records(folder).read()
    assert (record.of, record.signer, record.statement.value) == ("G-1", "lan@diva.example", 1.0)
    assert Records(folder).read_evidence(record.evidence[0]) == b"signed"
    (second,) = json.loads(attest(folder, "G-1=1", signed, "--json"))
    assert second["heads"] == [record.digest]


def test_one_paper_proves_several_criteria_each_with_what_was_found(folder: Path, signed: Path) -> None:
    said = attest(folder, "E2-QA-data=11", signed, "E2-QA-accounts=3", "E2-QA-chaos", "--value", "1")
    assert "Attested E2-QA-accounts = 3 accounts on staging. Record " in said
    found = {each.of: (each.statement.value, each.evidence[0].name) for each in Records(folder).read()}
    values = {"E2-QA-data": 11.0, "E2-QA-accounts": 3.0, "E2-QA-chaos": 1.0}
    assert found == {name: (value, signed.name) for name, value in values.items()}


REFUSED = [
    ("attest G-99 --value 1", "no criterion 'G-99'"),
    ("attest survey --value 1", "Similar: telesales-survey-W1"),
    ("attest G-1", "Give the value of G-1: G-1=VALUE"),
    ("attest G-1=1 G-2", "Give the value of G-2: G-2=VALUE"),
    ("attest G-1 --value nan", "Give the value of G-1: G-1=VALUE"),
    ("attest G-1=1 G-1=0", "G-1 is given more than once"),
    ("attest G-1=yes", "The value of G-1 is a number, not 'yes'"),
    ("attest success-rate --value 1", "success-rate is measured (sql) and cannot be attested"),
    ("attest telesales-survey-W1 --value 45 --cases 3", "from 1 to 5, not 45"),
    ("attest telesales-survey-W1 --value 4.5", "how many were asked"),
    ("attest managers-W4 --value 16 --cases 15", "from 0 to 15, not 16"),
    ("attest G-3-staging --value 95", "from 0 to 1, not 95"),
    ("attest test-case-TC-008 --value 1", "is decided by one file"),
    ("attest test-case-TC-008", "no `junit` as test-case-TC-008 needs it"),
    ("attest G-9", "The file is no `baseline` as G-9 needs it"),
    ("attest G-1 --value 1 --by 'a\nb'", "--by is a name"),
    ("waive zero-miss --reason x --until 2026-12-31", "zero-miss has to be met"),
    ("not-applicable E4-11 --reason x --until 2026-12-31", "lets only these be waived: G-10, signature-W4"),
    ("waive G-10 --reason x --until 2020-01-01", "from today to 180 days later"),
    ("waive G-10 --reason x --until 2999-01-01", "from today to 180 days later"),
    ("not-applicable allowlist-W4 --reason '' --until {tomorrow}", "--reason is a text"),
    ("not-applicable allowlist-W4 --reason TEXT --until {tomorrow}", "TEXT stands for a reason"),
    ("not-applicable allowlist-W4 --reason x", "Missing option '--until'"),
    ("waive G-10 --by Hoa --reason 'not yet answered' --until {tomorrow}", "what Hoa signed with --evidence"),
    ("begin W1 --by Hoa", "No such option: --by"),
    ("attest", "What is open lists: leads golive attest --open W1"),
    ("gate W1 --at 2999-01-01", "is in the future"),
    ("begin W1", "https://crm.example.com"),  # of PUBLIC_URL, the last of those that are not set
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


def test_what_is_waived_or_does_not_apply_stands_in_red_with_its_reason(folder: Path) -> None:
    """Cheat 1: only what the checklist allows, by its owner, until a day, in words that everybody reads."""
    day = datetime.now(UTC) + timedelta(days=1)
    for verb, criterion, said in (
        ("waive", "G-10", "waived"), ("not-applicable", "allowlist-W4", "not applicable"),
    ):  # fmt: skip
        words = [verb, criterion, "--reason", "Pancake chưa trả lời", "--until", f"{day:%Y-%m-%d}"]
        assert golive(folder, *words).exit_code == 0
        words[3] = "ít lead"
        assert golive(folder, *words).exit_code == 2, "it says nothing to who reads it later"
        (kept,) = [each for each in Records(folder).read() if each.of == criterion]
        assert kept.statement.role is Role.SECURITY
        text = f"{criterion}: {said} until {day:%d/%m/%Y} by lan@diva.example: Pancake chưa trả lời"
        assert text in gate_of(folder, "W4")["red"]
    shown = " ".join(golive(folder, "gate", "W4").stdout.split())
    assert "n/a allowlist-W4: Connections that enforce no address ranges" in shown
    assert "by lan@diva.example until" in shown


def test_a_record_that_exempts_what_has_to_be_met_changes_nothing(folder: Path) -> None:
    """Written by a program that was edited: the installed criteria decide."""
    until = datetime.now(UTC) + timedelta(days=1)
    for kind in (Kind.WAIVE, Kind.NOT_APPLICABLE):
        Records(folder).add(state(kind, "success-rate", datetime.now(UTC), reason="x", until=until))
        for reason, end in (("", until), (" ", until), ("x", until.replace(year=2099))):
            Records(folder).add(state(kind, "G-10", datetime.now(UTC), reason=reason, until=end))
            assert {each["outcome"] for each in gate_of(folder, "W4")["criteria"]} == {"inconclusive"}
    Records(folder).add(state(Kind.WAIVE, "G-10", datetime.now(UTC), reason="x", until=until))
    (waived,) = [each for each in gate_of(folder, "W4")["criteria"] if each["outcome"] == "waived"]
    assert waived["id"] == "G-10"


def test_one_file_proves_several_criteria_and_what_is_open_is_listed(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "junit.xml"
    file.write_bytes(junit())
    first, *others = ids = [each.id for each in HAND_IN if each.query == "junit"]
    said = attest(folder, first, file, *others, COMMIT=COMMIT)
    assert said.count(" = 100 %. Record ") == len(ids) == 5
    assert len({each.evidence[0].sha256 for each in Records(folder).read()}) == 1
    listed = golive(folder, "attest", "--open", "W3", COMMIT=COMMIT).stdout
    assert "unknown  G-1: The product owner signed" in listed
    assert not any(f"  {name}: " in listed for name in ids)
    of_people = [each for each in ALL if "W3" in each.parts and each.source.is_of_people]
    left = len(of_people) - len([each for each in ids if "W3" in CRITERIA[each].parts])
    assert listed.endswith(f"{left} of {len(of_people)} are open.\n")
    found = json.loads(golive(folder, "attest", "--open", "W3", "--json", COMMIT=COMMIT).stdout)
    assert len(found) == left
    day0 = golive(folder, "attest", "--open", "day0", COMMIT=COMMIT).stdout
    assert all(f"  {name}: " in day0 for name in ("E4-12", "E4-13", "D0-menu"))


def test_evidence_that_the_pipeline_did_not_sign_is_stated_by_a_person_in_red(
    folder: Path, tmp_path: Path
) -> None:
    """Cheat 9: a hand-written load test passes, but whose word it is stands above everything."""
    file = tmp_path / "load.json"
    file.write_bytes(good_file(CRITERIA["G-4-latency"]))
    attest(folder, "G-4-latency", file, COMMIT=COMMIT)
    found = judged(folder, "G-4-latency", COMMIT=COMMIT)
    assert found["outcome"] == "pass"
    assert "G-4-latency: stated by a person, not signed by CI" in found["red"]
    sign_as_pipeline(file, Path(os.environ["GOLIVE_KEY"]).with_name(CI))
    attest(folder, "G-4-latency", file, COMMIT=COMMIT)
    found = judged(folder, "G-4-latency", COMMIT=COMMIT)
    assert found["details"].endswith("signed by ci@diva.example")
    assert not any("by a person" in each for each in found["red"])


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
    attest(folder, "G-3", file, COMMIT=later)
    assert judged(folder, "G-3", COMMIT=COMMIT)["why"] == "stale", "made on what was not installed"
    attest(folder, "G-3", file, COMMIT=COMMIT)
    found = judged(folder, "G-3", COMMIT="ab" * 20)
    assert found["outcome"] == "pass"
    assert f"G-3: on {COMMIT[:12]}; installed since: {'ab' * 6}" in found["red"]
    found = judged(folder, "G-3", COMMIT=later)
    assert f"G-3: on {COMMIT[:12]}; installed since: {later[:12]}" in found["red"], "and before"
    file.write_bytes(junit(commit=COMMIT[:7]))
    attest(folder, "G-3", file, COMMIT=COMMIT)
    found = judged(folder, "G-3", COMMIT=later)
    assert f"G-3: on {COMMIT[:7]}; installed since: {later[:12]}" in found["red"]
    assert not any("installed since" in each for each in judged(folder, "G-3", COMMIT=COMMIT)["red"])


def test_another_commit_of_the_handlers_and_a_modified_program_stand_in_red(folder: Path) -> None:
    others = f'count(pancake_build_info{{job="pancake_handlers",commit!="",commit!="{COMMIT}"}})'
    with fake_prometheus() as prometheus:
        for series, is_other in (([], False), (["2"], True)):
            prometheus.values[others] = series
            red = gate_of(folder, PROMETHEUS_URL=prometheus.url, COMMIT=COMMIT)["red"]
            assert (f"handlers run another commit than {COMMIT[:12]}" in red) is is_other
            assert "the installed program was modified" not in red
    assert "the installed program was modified" in gate_of(folder, COMMIT=f"modified {COMMIT}")["red"]


def test_a_drill_of_production_and_a_smoke_test_of_staging_are_no_evidence(
    folder: Path, tmp_path: Path, database: str
) -> None:
    """Cheat 8: each criterion names where its evidence is made."""
    given = {"DATABASE_URL": database, "COMMIT": COMMIT}
    with psycopg.connect(database) as connection:
        ((installed,),) = connection.execute(QUERIES["golive/load_installation"]).fetchall()
    for name, wave, here, elsewhere in (
        ("G-8-tier1", "W1", None, "pass"), ("D0-smoke", "day0", "pass", None), ("G-6", "W1", None, "pass"),
    ):  # fmt: skip
        for place, outcome in (
            (installed, here), ("staging@1", elsewhere), ("sandbox:diva_1@1", None),
        ):  # fmt: skip
            file = tmp_path / "result.json"
            file.write_bytes(good_file(CRITERIA[name], installation={"database": place}))
            attest(folder, name, file, **given)
            verb = ["gate", wave] if wave == "W1" else [wave]
            gate = json.loads(golive(folder, *verb, "--json", **given).stdout)
            (found,) = [each for each in gate["criteria"] if each["id"] == name]
            assert found["outcome"] == (outcome or "inconclusive"), found
            why = "which is a sandbox" if place.startswith("sandbox") else "of this gate"
            assert (why in found["reason"]) is (outcome is None)
    with mock.patch.dict(QUERIES, {"golive/load_installation": b"SELECT no_right"}):
        unknown = judged(folder, "G-8-tier1", **given)
    assert (unknown["why"], unknown["outcome"]) == ("no_data", "inconclusive"), unknown
    file.write_bytes(good_file(CRITERIA["G-8-tier1"]).replace(b"installation", b"else"))
    with pytest.raises(EvidenceError, match="it has no 'installation'"):
        read_evidence_file(CRITERIA["G-8-tier1"], file.read_bytes())


@pytest.mark.own_database
def test_a_gate_of_another_installation_than_that_of_w1_is_closed_and_shown(
    folder: Path, database: str, open_entry: None
) -> None:
    """Cheat 8: the database of a fine week in staging is not the one in which W1 began."""
    given = {
        "DATABASE_URL": database, "COMMIT": COMMIT, "PUBLIC_URL": "https://crm.example.com",
        "HASURA_URL": "http://127.0.0.1:1", "PROMETHEUS_URL": "http://lan:secret@127.0.0.1:1",
    }  # fmt: skip
    assert golive(folder, "begin", "W1", **given).exit_code == 0
    same = judged(folder, "same-installation", **given)
    assert (same["outcome"], "secret" in same["details"]) == ("pass", False), same
    for name, value, outcome, details in (
        ("PUBLIC_URL", "https://other.example.com", "fail", "edge: crm.example.com, now other.example.com"),
        ("PROMETHEUS_URL", "http://127.0.0.1:2", "fail", "prometheus: 127.0.0.1:1, now 127.0.0.1:2"),
        ("PROMETHEUS_URL", "", "inconclusive", ""),
    ):
        other = judged(folder, "same-installation", **given | {name: value})
        assert (other["outcome"], other["details"]) == (outcome, details)
    # Its admin secret lets the engine say who it is; this one does not answer.
    other = judged(folder, "same-installation", **given | {"HASURA_ADMIN_SECRET": "x" * 32})
    assert (other["outcome"], "engine" in other["reason"]) == ("inconclusive", True)
    with psycopg.connect(database) as db:
        db.execute("CREATE OR REPLACE FUNCTION pancake_event_is_held(status text) RETURNS boolean"
                   " LANGUAGE sql IMMUTABLE AS 'SELECT false'")  # fmt: skip
        db.commit()
    red = judged(folder, "same-installation", **given)["red"]
    changed = "functions, views or triggers of the database were changed since W1 began"
    assert changed in red
    assert any(each.startswith("could not be asked: which commit the handlers run (") for each in red)
    refused = ("golive/load_schema", "golive/count_early_tickets")
    with mock.patch.dict(QUERIES, dict.fromkeys(refused, b"SELECT no_right")):
        red = judged(folder, "same-installation", **given)["red"]
    assert changed not in red
    assert f"could not be asked: whether {changed}" in red
    early = 'leads that became tickets before W1 began (column "no_right" does not exist)'
    assert f"could not be asked: {early}" in red
    given["DATABASE_URL"] = f"postgresql://x@127.0.0.1:{free_port()}/x"
    red = judged(folder, "same-installation", **given)["red"]
    assert len({each for each in red if each.startswith("could not be asked: ")}) == 4


def test_a_wave_that_is_stated_later_changes_no_gate_and_no_report_of_before(
    folder: Path, database: str, tmp_path: Path
) -> None:
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    reported = now - timedelta(hours=1)
    at, given = f"{reported:%Y-%m-%dT%H:%M}", {"DATABASE_URL": database, "COMMIT": COMMIT}
    Records(folder).add(state(Kind.BEGIN, "W1", now - timedelta(days=3)))
    made = golive(folder, "report", "W1", "--at", at, "--to", str(tmp_path / "reports"), **given)
    assert made.exit_code == 1, made.output
    Records(folder).add(state(Kind.BEGIN, "W2", now, since=now - timedelta(hours=2)))
    gate = json.loads(golive(folder, "gate", "W1", "--at", at, "--json", **given).stdout)
    assert gate["period"]["until"] == reported.isoformat()
    (report,) = (tmp_path / "reports").iterdir()
    verified = golive(folder, "verify", str(report), "--reevaluate", **given)
    assert verified.exit_code == 0, verified.output


def test_a_trigger_with_another_condition_is_another_schema_and_one_refused_part_loses_no_other(
    database: str,
) -> None:
    settings = read_operator_settings(may_have=(), environment={})
    with open_session(database, "test") as db, mock.patch.dict(QUERIES):
        with db.transaction(force_rollback=True):
            before = load_installation(db, settings)
            db.execute(
                "CREATE OR REPLACE TRIGGER integration_change_record_replay"
                " AFTER UPDATE OF status ON pancake_webhook_event FOR EACH ROW WHEN (false)"
                " EXECUTE FUNCTION integration_change_record('replay', 'id', '', 'status error_code')"
            )
            after = load_installation(db, settings)
        assert (after["database"], len(after["schema"])) == (before["database"], 12)
        assert after["schema"] != before["schema"]
        QUERIES["golive/load_installation"] = b"SELECT no_right"
        assert load_installation(db, settings) == before | {"database": ""}


@pytest.mark.own_database
def test_a_month_of_a_sandbox_stands_in_red_and_opens_no_gate_of_another_installation(
    folder: Path, database: str, open_entry: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sandbox's database is marked: its records name it, and a gate of production compares."""
    given = {"DATABASE_URL": database, "COMMIT": COMMIT, "PUBLIC_URL": "https://crm.example.com"}
    given |= dict.fromkeys(("HASURA_URL", "PROMETHEUS_URL"), "http://127.0.0.1:1")
    mark = f"ALTER DATABASE {urlsplit(database).path[1:]} {{}} pancake.sandbox"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"{mark.format('SET')} = 'on'".encode())
        assert golive(folder, "begin", "W1", **given).exit_code == 0
        in_sandbox = gate_of(folder, **given)
        monkeypatch.setenv("PGOPTIONS", "-c pancake.sandbox=off")
        denied = gate_of(folder, **given)
        monkeypatch.delenv("PGOPTIONS")
        connection.execute(mark.format("RESET").encode())
    in_production = gate_of(folder, **given)
    red = "this is a sandbox: nothing of it counts for production"
    assert [red in {each["en"] for each in gate["notices"] if not each["gate"]}
            for gate in (in_sandbox, denied, in_production)] == [True, True, False]  # fmt: skip
    (changed,) = [each for each in in_production["criteria"] if each["id"] == "same-installation"]
    assert changed["outcome"] == "fail"
    assert changed["details"].startswith("database: sandbox:"), changed


def test_a_change_of_the_allowed_signers_between_gates_is_shown(
    folder: Path, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_entry: None
) -> None:
    signers = tmp_path / "allowed_signers"
    signers.write_text(Path(os.environ["GOLIVE_SIGNERS"]).read_text())
    monkeypatch.setenv("GOLIVE_SIGNERS", str(signers))
    assert golive(folder, "begin", "W1", DATABASE_URL=database).exit_code == 0
    before = judged(folder, "G-1", DATABASE_URL=database)["red"]
    assert not any("allowed signers" in each for each in before)
    signers.write_text(f"{signers.read_text()}# another person\n")
    after = judged(folder, "G-1", DATABASE_URL=database)["red"]
    assert any(each.startswith("the allowed signers were changed after W1 began: ") for each in after)


def test_a_wave_that_cannot_pass_begins_anew_with_its_reason_in_red(
    folder: Path, database: str, open_entry: None
) -> None:
    given = {"DATABASE_URL": database, "COMMIT": COMMIT}
    assert golive(folder, "begin", "W1", "--again", "x", **given).exit_code == 2, "it has not begun"
    assert golive(folder, "begin", "W1", **given).exit_code == 0
    assert "W1 began at" in golive(folder, "begin", "W1", **given).stderr
    words = ["begin", "W1", "--again", "two sources were on"]
    assert golive(folder, *words, **given).exit_code == 0
    first, anew = Records(folder).read()
    gate = gate_of(folder, **given)
    assert gate["period"]["since"] == anew.holds_at.isoformat() > first.holds_at.isoformat()
    assert gate["before"]["outcome"] == "pass", "the gate before was open when it first began"
    assert "W1 began anew, by lan@diva.example: two sources were on" in gate["red"]
    Records(folder).add(state(Kind.BEGIN, "W2", datetime.now(UTC)))
    assert "W2 has begun: W1 cannot begin anew." in golive(folder, *words, **given).stderr


def test_the_gate_of_the_entry_names_what_its_checks_lack_besides(folder: Path) -> None:
    (lacking,) = (each for each in gate_of(folder, "entry")["red"] if each.startswith("not set"))
    assert lacking.endswith(
        "PUBLIC_URL, HASURA_OTHER_ADMIN_SECRET, engine_manifest of golive.yaml, staging_url of golive.yaml"
    )


def test_a_clone_in_which_the_runbook_was_followed_is_not_modified() -> None:
    names = (
        "golive/records/x.json", "junit.xml", "golive.yaml", "reports/W1/report.html", "webhook-url.txt",
        "api-key.txt",
        *re.findall(r"(?:>|--junit) ([^ ,]+)", "\n".join(each.remediation for each in load_criteria())),
    )  # fmt: skip
    assert {"golive/four_layers.json", "golive/loadtest.json"} < set(names)
    done = subprocess.run(["git", "check-ignore", *names], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == list(names)


def test_a_changed_record_ends_the_gate(folder: Path, signed: Path) -> None:
    attest(folder, "G-1=1", signed)
    (path,) = (folder / "records").glob("*.json")
    path.write_bytes(path.read_bytes().replace(b"G-1", b"G-2"))
    result = golive(folder, "gate", "W1", "--json")
    assert (result.exit_code, json.loads(result.stdout)["exit_code"]) == (1, 1)
    assert "does not count: its hash is not its name" in " ".join(result.stderr.split())


def test_a_wave_begins_once_and_in_order(folder: Path, database: str, open_entry: None) -> None:
    now = datetime.now(UTC)
    long_ago, before, later = (f"{now + timedelta(days=days):%Y-%m-%d}" for days in (-8, -2, 2))
    for words, exit_code, said in (
        ("W2", 1, "W1 has not begun"),
        (f"W1 --since {long_ago}", 2, "--since is at most 7 days ago."),
        (f"W1 --since {later}", 2, "is in the future"),
        ("W1", 0, ""),
        ("W1", 1, "already (record "),
        (f"W2 --since {before}", 2, "when W1 began."),
        ("W2", 1, "W2 cannot begin: the gate of W1 is closed"),
    ):
        result = golive(folder, "begin", *words.split(), DATABASE_URL=database)
        assert (result.exit_code, said in result.stderr) == (exit_code, True)
        assert bool(result.stdout) is (exit_code == 0)
    assert len(Records(folder).read()) == 1


@pytest.mark.parametrize("is_confirmed", [False, True])
def test_step_14_of_the_deployment_waits_until_w1_began_or_a_person_opens_without_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, is_confirmed: bool
) -> None:
    opened: list[tuple[str, ...]] = []

    def verb(*words: str) -> Action:
        return Action(words, lambda: (opened.append(words) or 0, ""))  # type: ignore[func-returns-value]

    monkeypatch.setattr(steps, "verb", verb)
    folder.mkdir()
    row = {"members": 1, "active": ["Facebook"], "is_held": True, "is_waiting": False}
    site: Any = SimpleNamespace(
        folder=folder, journal=Journal(folder, "Lan", COMMIT), plan=PlanFile(), row=lambda _: row
    )
    step = replace(
        steps.find_step("14"), check=lambda _: Found(State.DONE if opened else State.ABSENT), wait_seconds=0
    )
    found = command.bring_forward(site, step)
    assert (found.result, opened) == ("waiting", [])
    assert "leads golive begin W1 --to reports" in found.text
    if is_confirmed:
        site.journal.write("confirmed", "14")
    else:
        Records(folder).add(state(Kind.BEGIN, "W1", datetime.now(UTC)))
    assert command.bring_forward(site, step).result == "done"
    assert [words[:3] for words in opened] == [("switch", "kill", "off")]


def test_the_beginning_of_a_wave_writes_the_report_of_the_gate_before_and_says_who_states_what(
    folder: Path, database: str, tmp_path: Path, open_entry: None
) -> None:
    to, given = tmp_path / "reports", {"DATABASE_URL": database, "COMMIT": COMMIT}
    refused = golive(folder, "begin", "W1", "--to", str(to), "--since", "2026-01-01", **given)
    assert (refused.exit_code, "--to goes without --since" in refused.stderr) == (2, True)
    begun = golive(folder, "begin", "W1", "--to", str(to), **given)
    assert begun.exit_code == 0, begun.output
    (report,) = to.iterdir()
    assert f"Report: {report / 'report.html'}, signed by lan@diva.example" in begun.stdout
    assert "Before the gate of W1, ops states: G-12\n" in begun.stdout
    assert re.search("Before the gate of W1, .* states: .*test-cases-W1", begun.stdout)
    assert "security states: " not in begun.stdout
    closed = golive(folder, "report", "W1", "--to", str(to), **given)
    assert (closed.exit_code, closed.stdout.startswith("Gate W1: CLOSED")) == (1, True)
    assert "leads golive attest telesales-survey-W1" in " ".join(closed.stdout.split())


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
    assert "Attested G-9 = 39.05 min p95" in attest(folder, "G-9", file)
    other = golive(folder, *words, "--ticket-source", "x", DATABASE_URL=database)
    assert other.exit_code == 1
    assert "There are no such tickets" in other.output
