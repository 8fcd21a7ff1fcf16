"""The criteria of the go-live as data, and how what is measured or handed in for one is judged.

And `leads golive`: what people state, what is refused, and the looks at day 0 and at each day after it.
"""

import json
import os
import shlex
from collections.abc import Container, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from math import inf, nan
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import psycopg
import pytest
from psycopg.rows import dict_row
from typer.testing import CliRunner, Result

from leads.domain.body import ICT
from ops.checks.rights import GRANT, RIGHT, listed_rights, load_rights
from ops.cli import app
from ops.clients.db_session import QUERIES, DbSession
from ops.golive import measuring, watching
from ops.golive.commit import commit_of_run
from ops.golive.criterion import Criterion, Part, Source, load_criteria
from ops.golive.evidence import READERS, EvidenceError, p95_minutes, read_evidence_file
from ops.golive.gates import Evaluation
from ops.golive.judgement import Measurement, Outcome, Why, judge
from ops.golive.measuring import PROBES, Sources, measure
from ops.golive.records import Kind, Records, Statement
from ops.settings import read_operator_settings
from proofs.chaos.frame import proof
from sandbox.postgres.server import free_port
from scripts.check_tree import anchors
from tests.support.golive import (
    CASES,
    COMMIT,
    bad_file,
    baseline,
    figures,
    good_file,
    junit,
    sample_evaluation,
)

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "runbook" / "go-live.md"
WRITE = "WRITE_DOCS=1 scripts/test tests/ops/golive/test_criteria.py"
HEADING = "| line | what | criteria | source | target | owner |"
ALL = load_criteria()
CRITERIA = {each.id: each for each in ALL}
SUCCESS = CRITERIA["success-rate"]
HAND_IN = [each for each in ALL if each.source is Source.FILE]
NOW, MINUTE, DAY = timedelta(0), timedelta(minutes=1), timedelta(days=1)
RUBBISH = (b"", b"{}", b"[]", b"null", b"<a/>", b"\xff\xfe\x00", b'{"kind": 1}', b"[" * 100_000)


def test_each_criterion_can_be_measured_or_attested() -> None:
    assert len(CRITERIA) == len(ALL)
    known: dict[Source, Container[str]] = {
        Source.SQL: QUERIES, Source.FILE: READERS, Source.COMMAND: PROBES, Source.PERSON: ("",),
    }  # fmt: skip
    assert [each.id for each in ALL if each.query not in known.get(each.source, (each.query,))] == []
    assert [each.id for each in ALL if not (each.remediation or each.source is Source.CHECK)] == []
    assert [each.id for each in ALL if (each.good or each.bad or each.min_samples) and not (
        each.samples or each.source is not Source.SQL
    )] == []  # fmt: skip


def test_a_statement_has_the_columns_that_its_criteria_name(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        for each in [criterion for criterion in ALL if criterion.source is Source.SQL]:
            params = {"from": None, "to": None, **each.parameters}
            found = connection.execute(QUERIES[each.query], params).description or []
            named = {each.value, *each.samples, *each.good, *each.bad}
            assert named <= {column.name for column in found}, each.id


def test_what_a_program_or_a_file_decides_has_a_place_in_a_runbook() -> None:
    assert [each.id for each in ALL if each.source is not Source.PERSON and "#" not in each.runbook] == []
    named = {each.runbook.partition("#")[::2] for each in ALL if each.runbook}
    missing = {
        (path, heading)
        for path, heading in named
        if not (ROOT / path).is_file() or (heading and heading not in anchors((ROOT / path).read_text()))
    }
    assert missing == set()


def row(line: str, words: str) -> str:
    """A line of the checklist with its criteria."""
    answers = [each for each in ALL if line in each.lines]
    cells = (
        " ".join(f"`{each.id}`" for each in answers),
        ", ".join(dict.fromkeys(each.source.value for each in answers)),
        ", ".join(dict.fromkeys(each.shown_target for each in answers)),
        ", ".join(dict.fromkeys(each.owner for each in answers)),
    )
    return f"| {line} | {words} | {' | '.join(cells)} |"


def test_the_page_shows_the_criteria_of_every_line() -> None:
    text = PAGE.read_text("utf-8")
    before, heading, rest = text.partition(f"{HEADING}\n|---|---|---|---|---|---|\n")
    table, _, after = rest.partition("\n\n")
    lines = dict(each.removeprefix("| ").split(" | ")[:2] for each in table.splitlines())
    assert lines.keys() | {"-"} == {line for each in ALL for line in each.lines}
    made = "\n".join(row(*each) for each in lines.items())
    wanted = f"{before}{heading}{made}\n\n{after}"
    if os.environ.get("WRITE_DOCS"):
        PAGE.write_text(wanted, "utf-8")
    assert text == wanted, f"make the table with: {WRITE}"


def judged(measured: Measurement, criterion: Criterion = SUCCESS, commit: str = COMMIT) -> str:
    found = judge(criterion, measured, datetime.now(UTC), commit)
    return found.why or found.outcome


def test_what_is_no_number_or_was_not_said_is_inconclusive_for_every_criterion() -> None:
    found = {
        (criterion.id, value): judged(Measurement(value, total=10_000, commit=COMMIT), criterion)
        for criterion, value in product(ALL, (None, nan, inf, -inf))
    }
    assert {key: why for key, why in found.items() if why != Why.NO_DATA} == {}
    for why in Why:
        assert judged(Measurement(1.0, total=1000, why=why, problem="x")) == why


def test_the_number_of_cases_counts(subtests: pytest.Subtests) -> None:
    for good, total, outcome in (
        (19, 19, Why.TOO_FEW), (20, 20, Outcome.PASS), (0, 0, Why.TOO_FEW), (994, 1000, Outcome.FAIL),
    ):  # fmt: skip
        with subtests.test(good=good, total=total):
            assert judged(Measurement(good / total if total else 0.0, total, total - good)) == outcome
    assert judged(Measurement(1.0)) == Why.TOO_FEW
    managers = CRITERIA["managers-W4"]
    for value, total, outcome in ((13, 15, Outcome.PASS), (12, 15, Outcome.FAIL), (13, 14, Why.TOO_FEW)):
        assert judged(Measurement(value, total=total), managers) == outcome


def test_a_met_target_is_shown_or_not_yet(subtests: pytest.Subtests) -> None:
    now = datetime.now(UTC)
    for total, bad, is_shown, needed in (
        (597, 0, False, 598), (598, 0, True, None), (300, 1, False, 947), (2000, 1, True, None),
    ):  # fmt: skip
        with subtests.test(total=total, bad=bad):
            found = judge(SUCCESS, Measurement((total - bad) / total, total, bad), now, COMMIT)
            assert (found.outcome, found.is_shown, found.needed) == (Outcome.PASS, is_shown, needed)
            assert found.interval is not None
            assert found.interval[0] < (total - bad) / total <= found.interval[1]
    failed = judge(SUCCESS, Measurement(0.9, 100, 10), now, COMMIT)
    assert (failed.outcome, failed.is_shown, failed.needed) == (Outcome.FAIL, None, None)


@pytest.mark.parametrize(
    ("age", "commit", "installed", "outcome"),
    [
        (DAY * 29, COMMIT, COMMIT, Outcome.PASS), (DAY * 31, COMMIT, COMMIT, Why.STALE),
        (-MINUTE, COMMIT, COMMIT, Outcome.PASS), (-MINUTE * 60, COMMIT, COMMIT, Why.STALE),
        (NOW, COMMIT, COMMIT[:12], Outcome.PASS), (NOW, COMMIT[:12], COMMIT, Outcome.PASS),
        (NOW, "f" * 40, COMMIT, Why.STALE), (NOW, f"modified {COMMIT}", COMMIT, Why.STALE),
        (NOW, "", COMMIT, Why.STALE), (NOW, COMMIT, "", Why.STALE), (NOW, COMMIT, "0123", Why.STALE),
    ],
)  # fmt: skip
def test_evidence_is_of_the_installed_commit_and_not_too_old(
    age: timedelta, commit: str, installed: str, outcome: str
) -> None:
    measured = Measurement(1.0, 18, 0, measured_at=datetime.now(UTC) - age, commit=commit)
    assert judged(measured, CRITERIA["G-3"], installed) == outcome


def test_a_waiver_counts_until_its_end_and_never_hides_a_pass() -> None:
    at = datetime.now(UTC)
    waiver = Statement(Kind.WAIVE, "success-rate", "Hoa", "hoa", at, until=at + timedelta(days=1))
    failed, passed = Measurement(0.9, 100, 10), Measurement(1.0, 100, 0)
    assert judge(SUCCESS, failed, at, COMMIT, waiver).outcome is Outcome.WAIVED
    assert judge(SUCCESS, Measurement(), at, COMMIT, waiver).outcome is Outcome.WAIVED
    assert judge(SUCCESS, passed, at, COMMIT, waiver).outcome is Outcome.PASS
    assert judge(SUCCESS, failed, at, COMMIT, replace(waiver, until=at)).outcome is Outcome.FAIL


def test_a_file_passes_or_fails_its_criterion_and_what_is_none_is_refused(subtests: pytest.Subtests) -> None:
    for criterion in HAND_IN:
        with subtests.test(criterion.id):
            assert judged(read_evidence_file(criterion, good_file(criterion)), criterion) == Outcome.PASS
            assert judged(read_evidence_file(criterion, bad_file(criterion)), criterion) == Outcome.FAIL
            for rubbish in RUBBISH:
                with pytest.raises(EvidenceError, match=criterion.id):
                    read_evidence_file(criterion, rubbish)
            if criterion.query == "figures":
                with pytest.raises(EvidenceError, match="ok is False, not true"):
                    read_evidence_file(criterion, good_file(criterion, ok=False))


def test_each_test_case_decides_and_a_skipped_or_missing_one_did_not_pass() -> None:
    criterion = CRITERIA["test-cases-W1"]
    for case in CASES[:10]:
        for file in (junit(failed=(case,)), junit(skipped=(case,))):
            found = read_evidence_file(criterion, file)
            assert judged(found, criterion) == Outcome.FAIL
            assert found.details == f"failed: {case}"
    assert judged(read_evidence_file(criterion, junit(failed=("TC-011",))), criterion) == Outcome.PASS
    without = junit().replace(b'value="TC-018"', b'value="TC-118"')
    found = read_evidence_file(CRITERIA["G-3"], without)
    assert (found.value, found.details) == (17 / 18, "without a test: TC-018")


def load_test(**values: object) -> bytes:
    return figures("loadtest", **{"rate": 100, "minutes": 10, **values})


WRONG_FILES = [
    ("G-3", b"<!DOCTYPE a>" + junit(), "document type"),
    ("G-3", b'<!ENTITY a "b">' + junit(), "document type"),
    ("G-4-latency", figures("chaos", rate=100, minutes=10), "its kind is 'chaos', not 'loadtest'"),
    ("G-4-latency", load_test(rate=99), "rate is 99, at least 100"),
    ("G-4-latency", load_test(minutes=9.9), "minutes is 9.9, at least 10"),
    ("G-4-latency", load_test(ok=True), "it has no 'p95_seconds'"),
    ("G-4-latency", load_test(ok=True, p95_seconds=True), "p95_seconds is no number"),
    ("G-4-latency", load_test(ok=True, p95_seconds=nan), "p95_seconds is no number"),
    ("G-4-latency", load_test(ok=True, p95_seconds="fast"), "p95_seconds is no number"),
    ("G-5", figures("four_layers", sent=200, lost=[], ok=True), "sent is 200, at least 1000"),
    *(
        (name, good_file(CRITERIA[name], tier=tier), f"tier is {tier}, {name[-1]} is needed")
        for name, tier in product(("G-8-tier1", "G-8-tier2", "G-8-tier3"), (1, 2, 3))
        if tier != int(name[-1])
    ),
    ("G-9", baseline(days=6), "6 days from the first ticket to the last, a week is needed"),
    ("G-9", baseline(tickets=0), "it has no row"),
    ("G-9", baseline(minutes=-90), "row 1: the first response is earlier"),
]


def test_a_file_has_to_be_of_the_asked_kind(subtests: pytest.Subtests) -> None:
    for name, file, reason in WRONG_FILES:
        with subtests.test(name, reason=reason), pytest.raises(EvidenceError, match=reason):
            read_evidence_file(CRITERIA[name], file)


@pytest.mark.parametrize(("days_before", "why"), [(7, None), (6, Why.NO_DATA)])
def test_the_baseline_is_the_p95_of_its_tickets_and_none_with_tickets_of_the_pilot(
    tmp_path: Path, days_before: int, why: Why | None
) -> None:
    whole = read_evidence_file(CRITERIA["G-9"], baseline(minutes=90, tickets=60))
    assert (round(whole.value or 0, 6), whole.total, p95_minutes([90])) == (90, 60, None)
    few = read_evidence_file(CRITERIA["G-9"], baseline(tickets=19))
    assert judged(few, CRITERIA["G-9"]) == Why.TOO_FEW
    now = datetime.now(UTC)
    records = Records(tmp_path)
    content = baseline(since=now - timedelta(days=days_before))
    records.add(Statement(Kind.ATTEST, "G-9", "PO", "po", now), [("baseline.csv", content)])
    records.add(Statement(Kind.BEGIN, "W1", "Lan", "lan", now, since=now))
    with Sources(read_operator_settings(), tmp_path) as sources:
        found = measure(CRITERIA["G-9"], sources, datetime.now(UTC), "W1", {})
    assert (found.why, found.value is None) == (why, why is Why.NO_DATA)


def test_an_outage_test_counts_the_lost_leads_of_the_file_that_a_scenario_writes() -> None:
    criterion = CRITERIA["G-5"]
    lost = figures("four_layers", sent=2000, lost=["r-1: ['received']", "r-2: []"], ok=True)
    assert read_evidence_file(criterion, lost).value == 2
    written = json.dumps(proof("four_layers", {"sent": 2000, "lost": [], "ok": True})).encode()
    found = read_evidence_file(criterion, written)
    assert (found.value, found.commit) == (0, commit_of_run())
    assert found.measured_at is not None


@pytest.fixture
def session(database: str) -> Iterator[DbSession]:
    """A session whose grants are rolled back."""
    with psycopg.Connection[dict[str, Any]].connect(database, row_factory=dict_row) as opened:
        opened.execute(GRANT.read_bytes())
        yield opened
        opened.rollback()


def test_the_rights_of_the_list_are_those_that_are_granted(
    session: DbSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [line for line in GRANT.read_text("utf-8").splitlines() if line.strip().startswith("('")]
    assert [line for line in lines if not RIGHT.fullmatch(line)] == []
    rights = list(listed_rights())
    assert len(rights) == len(lines)
    assert {each["role"] for each in rights} == {"pancake_handlers", "pancake_operators"}
    there = {each["name"] for each in session.execute(
        "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass(name) IS NOT NULL",
        [[each["name"] for each in rights]],
    ).fetchall()}  # fmt: skip
    row = load_rights(session)
    assert (row["missing"], row["further"]) == ([], [])
    assert row["granted"] == sum(len(each["columns"] or [None]) for each in rights if each["name"] in there)

    unknown = [dict(each) | {"role": f"{each['role']}_unknown"} for each in rights]
    monkeypatch.setattr("ops.checks.rights.listed_rights", lambda: unknown)
    without_roles = load_rights(session)
    assert without_roles["granted"] == 0
    assert len(without_roles["missing"]) >= len(unknown)


@pytest.mark.parametrize(
    ("statement", "missing", "further"),
    [
        ("REVOKE INSERT ON pancake_webhook_event FROM pancake_handlers",
         ["pancake_handlers INSERT public.pancake_webhook_event"], []),
        ("REVOKE USAGE ON SCHEMA public FROM PUBLIC, pancake_operators",
         ["pancake_operators USAGE schema public"], []),
        ("GRANT UPDATE (role) ON staff TO pancake_operators",
         [], ["pancake_operators UPDATE public.staff role"]),
        ("ALTER ROLE pancake_handlers BYPASSRLS", [],
         ["pancake_handlers is a superuser, passes row security, or creates roles or databases"]),
    ],
)  # fmt: skip
def test_a_right_that_is_missing_or_too_much_is_named(
    session: DbSession, statement: str, missing: list[str], further: list[str]
) -> None:
    session.execute(statement.encode())
    row = load_rights(session)
    assert (row["missing"], row["further"]) == (missing, further)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "golive"


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    path = tmp_path / "signed.txt"
    path.write_text("signed")
    return path


def golive(folder: Path, *words: str, **environment: str) -> Result:
    records = [] if words[0] in ("list", "baseline") else ["--records", str(folder)]
    return CliRunner().invoke(app, ["golive", *words, *records], env={"COLUMNS": "80", **environment})


def test_the_list_has_the_criteria_of_a_gate_or_all(folder: Path) -> None:
    for words, waves in (((), None), (("--gate", "W2"), "W2")):
        listed = [each["id"] for each in json.loads(golive(folder, "list", "--json", *words).stdout)]
        assert listed == [each.id for each in load_criteria() if waves is None or waves in each.parts]


def test_an_attestation_is_a_record_with_its_evidence(folder: Path, signed: Path) -> None:
    words = ["attest", "G-1", "--value", "1", "--evidence", str(signed), "--by", "Nguyễn Lan"]
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


def test_what_cannot_be_stated_is_refused(folder: Path, signed: Path, subtests: pytest.Subtests) -> None:
    for line, message in REFUSED:
        verb, *words = shlex.split(line)
        evidence = ["--evidence", str(signed)] if verb == "attest" else []
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
    file = tmp_path / "junit.xml"
    file.write_bytes(junit(commit="f" * 40))
    result = golive(folder, "attest", "test-case-TC-008", "--evidence", str(file), "--by", "Minh")
    assert "Attested test-case-TC-008 = 100 %" in result.stdout
    gate = json.loads(golive(folder, "gate", "W2", "--json", COMMIT=COMMIT).stdout)
    (why,) = [each["why"] for each in gate["criteria"] if each["id"] == "test-case-TC-008"]
    assert why == "stale", "it is of another commit"


def test_what_does_not_apply_is_named_with_its_reason(folder: Path) -> None:
    golive(folder, "not-applicable", "G-12", "--reason", "tự thiết lập", "--by", "Hoa")
    shown = golive(folder, "gate", "W1").stdout
    assert "n/a      G-12: The webhook's URL is set in Pancake" in shown
    assert "by Hoa: tự thiết lập" in shown


def test_without_any_source_every_criterion_is_inconclusive_and_nothing_passes(folder: Path) -> None:
    for wave in ("W1", "W2", "W3", "W4"):
        result = golive(folder, "gate", wave, "--json")
        found = json.loads(result.stdout)
        assert result.exit_code == 1
        assert {each["outcome"] for each in found["criteria"]} == {"inconclusive"}
        assert not found["is_open"]
    assert found["before"]["outcome"] == "inconclusive"


def test_a_broken_chain_ends_the_gate(folder: Path, signed: Path) -> None:
    golive(folder, "attest", "G-1", "--value", "1", "--evidence", str(signed), "--by", "Lan")
    path = Records(folder).path
    path.write_bytes(path.read_bytes().replace(b"Lan", b"Tom"))
    result = golive(folder, "gate", "W1", "--json")
    assert (result.exit_code, json.loads(result.stdout)["exit_code"]) == (1, 1)
    assert "does not end with the record that records.head names" in " ".join(result.stderr.split())


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
    words = ["baseline", "--since", "2026-05-18", "--until", "2026-05-24"]
    result = golive(folder, *words, DATABASE_URL=database)
    assert len(result.stdout.splitlines()) == 1 + 40, "without Pancake's tickets"
    found = json.loads(golive(folder, *words, "--json", DATABASE_URL=database).stdout)
    assert (found["tickets"], round(found["p95_minutes"], 2)) == (40, 39.05)
    file = tmp_path / "baseline.csv"
    file.write_text(result.stdout)
    attested = golive(folder, "attest", "G-9", "--evidence", str(file), "--by", "PO")
    assert "Attested G-9 = 39.05 min p95" in attested.stdout
    other = golive(folder, *words, "--ticket-source", "x", DATABASE_URL=database)
    assert other.exit_code == 1
    assert "There are no such tickets" in other.output


AT = datetime.now(UTC)
TODAY = AT.astimezone(ICT).date()


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Stands for the evaluation; its answer is open, or the closed sample while `is_closed`."""
    found = Mock(is_closed=False)
    found.side_effect = lambda subject, *_: Evaluation(
        subject, AT, "", sample_evaluation().judgements if found.is_closed else ()
    )
    monkeypatch.setattr(watching, "evaluate_parts", found)
    return found


def test_a_look_is_kept_and_a_later_one_of_the_day_replaces_it(looked: Mock, tmp_path: Path) -> None:
    run = golive(tmp_path, "day0", "--json")
    assert (run.exit_code, looked.call_args.args[:2]) == (0, ("day 0", [Part.DEPLOY, Part.DAY0]))
    assert json.loads((tmp_path / f"day0-{TODAY}.json").read_text()) == json.loads(run.stdout)
    for is_closed in (True, False):
        looked.is_closed = is_closed
        assert golive(tmp_path, "watch").exit_code == int(is_closed)
        (kept,) = tmp_path.glob("watch-*")
        assert json.loads(kept.read_text())["is_open"] is not is_closed


def test_the_days_count_from_the_beginning_of_w1_and_midnight_in_vietnam_divides_them(
    looked: Mock, tmp_path: Path
) -> None:
    assert "days have a result" not in golive(tmp_path, "watch").stderr
    since = AT - timedelta(days=4)
    Records(tmp_path).add(Statement(Kind.BEGIN, "W1", "Lan", "lan", AT, since=since))
    for days_ago, is_open in ((3, True), (2, False), (5, True)):  # the last is from before the beginning
        day = TODAY - timedelta(days=days_ago)
        (tmp_path / f"watch-{day}.json").write_text(json.dumps({"is_open": is_open}))
    said = golive(tmp_path, "watch").stderr
    assert [call.args[0] for call in looked.call_args_list] == ["watch", "day 4"]
    assert "3 of 7 days have a result, on 2 of them all passed." in said
    assert f"Without a result: {TODAY - timedelta(days=1)}." in said
    before = datetime(2026, 6, 4, 16, 59, tzinfo=UTC)
    assert [watching._day(before + timedelta(minutes=each)).day for each in (0, 1)] == [4, 5]


def test_a_response_time_is_shown_in_business_hours_too_where_they_differ(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = datetime.now(UTC)
    for business, details in ((12.0, "in business hours 12 min"), (40.0, ""), (None, "")):
        row = {"tickets": 20, "p95_minutes": 40.0, "p95_business_minutes": business}
        monkeypatch.setattr(measuring, "read_row", lambda *_, row=row: row)
        found = measuring._from_sql(CRITERIA["E6-sla"], None, now, now)  # type: ignore[arg-type]
        assert (found.value, found.details) == (40, details)
