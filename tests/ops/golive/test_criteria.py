"""The criteria of the go-live as data, and how what is measured or handed in for one is judged.

And the looks at day 0 and at each day after it.
"""

import json
import os
import re
from collections.abc import Container
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from math import inf, nan
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import psycopg
import pytest
from markupsafe import escape
from rich.console import Console

from leads.domain.body import ICT
from ops.checks.rights import GRANT, RIGHT, listed_rights, load_rights
from ops.clients.db_session import QUERIES, DbSession
from ops.golive import gates, measuring
from ops.golive.criterion import STAGING, Criterion, Part, Source, Window
from ops.golive.evaluation import Evaluation, cure_of, evaluate
from ops.golive.gates import finding, note
from ops.golive.judgement import (
    ON_INSTALLATION,
    READERS,
    EvidenceError,
    Measurement,
    Outcome,
    Why,
    judge,
    p95_minutes,
    read_evidence_file,
)
from ops.golive.measuring import BY_PERSON, PROBES, NoData, Sources, measure
from ops.golive.records import Handed, Kind, Record, Records
from ops.golive.report import html_page
from ops.settings import installed_commit, read_operator_settings
from proofs.chaos.frame import proof
from proofs.handed_in import CASES, COMMIT, baseline, figures, good_file, junit
from scripts.check_tree import anchors
from tests.support.golive import ALL, CRITERIA, HAND_IN, bad_file, golive, sample_evaluation, state

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "runbook" / "go-live.md"
WRITE = "WRITE_DOCS=1 scripts/test tests/ops/golive/test_criteria.py"
HEADING = "| line | what | how | criteria | target | owner |\n|---|---|---|---|---|---|\n"
GUARDS = "| guard | what | target |\n|---|---|---|\n"
HOW = {Source.FILE: "evidence", Source.PERSON: "person"}
"""Of the others a program finds the value: automatic."""
OF_CHECKLIST = {
    "E1.G-": 12, "E1.W1.": 7, "E1.W2.": 6, "E1.W3.": 7, "E1.W4.": 6, "E2.BE.": 7, "E2.FE.": 6, "E2.QA.": 5,
    "E2.OPS.": 6, "E3.BE.": 6, "E3.FE.": 5, "E3.OPS.": 5, "E4.": 14, "D0.": 7, "D7.": 6, "E5.T1.": 4,
    "E5.T2.": 3, "E5.T4.": 2, "E5.C.": 4, "E6.S.": 7, "E6.F.": 10, "E6.P.": 4, "E7.5.": 3, "E7.6.": 5,
}  # fmt: skip
"""How many lines each section of the customer's checklist has."""
OTHER_LINES = {
    *(f"E1.W{number}" for number in range(1, 5)), *(f"E2.BE.4{letter}" for letter in "abcde"), "E5.T3",
    "E7.1", "E7.2", "E7.3.9a", "E7.3.9b", "E7.4", *(f"E7.7.{number}" for number in range(7, 12)),
}  # fmt: skip
OF_STAGING = ("E1.G-3", "E1.G-6", "E2.BE.2", "E2.FE.3", "E3.BE.1", "E3.BE.2", "E3.FE.3")
"""The lines of the checklist that name staging. G-4, G-5 and the load test of W3 name no place."""
SUCCESS = CRITERIA["success-rate"]
NOW, MINUTE, DAY = timedelta(0), timedelta(minutes=1), timedelta(days=1)
RUBBISH = (b"", b"{}", b"[]", b"null", b"<a/>", b"\xff\xfe\x00", b'{"kind": 1}', b"[" * 100_000)


def test_each_criterion_can_be_measured_or_attested() -> None:
    assert len(CRITERIA) == len(ALL)
    known: dict[Source, Container[str]] = {
        Source.SQL: QUERIES, Source.FILE: READERS, Source.COMMAND: PROBES, Source.PERSON: ("",),
    }  # fmt: skip
    assert [each.id for each in ALL if each.query not in known.get(each.source, (each.query,))] == []
    assert [each.id for each in ALL if not (each.remediation or each.source is Source.CHECK)] == []
    windowed = [each for each in ALL if each.source is Source.PROMQL and each.window is not Window.NONE]
    assert [each.id for each in windowed if "job" not in each.parameters] == []
    assert [each.id for each in HAND_IN if (each.environment == "any") is (
        each.parameters.get("kind") in ON_INSTALLATION
    )] == []  # fmt: skip
    of_staging = [each for each in ALL if "staging" in each.title_en and each.source.is_of_people]
    assert [each.id for each in of_staging if each.environment != STAGING] == []
    assert [line for line in OF_STAGING if not any(
        line in each.lines and (each.environment == STAGING or each.query == "staging") for each in ALL
    )] == []  # fmt: skip
    assert [each.id for each in ALL if each.title_vi == each.title_en] == []
    assert [each.id for each in ALL if each.is_stated_of_staging and "staging" not in each.title_vi] == []
    assert [each.id for each in ALL if each.is_stated_of_staging and "staging" not in each.title_en] == []
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
        ", ".join(dict.fromkeys(HOW.get(each.source, "automatic") for each in answers)) or "absent",
        " ".join(f"`{each.id}`" for each in answers),
        "; ".join(dict.fromkeys(each.shown_rule for each in answers)),
        ", ".join(dict.fromkeys(each.owner for each in answers)),
    )
    return f"| {line} | {words} | {' | '.join(cells)} |"


def lines_of_the_checklist() -> set[str]:
    numbered = {f"{prefix}{number + 1}" for prefix, most in OF_CHECKLIST.items() for number in range(most)}
    return numbered - {"E2.BE.4"} | OTHER_LINES


def with_table(text: str, heading: str, made: list[str]) -> str:
    """The page with these rows below the heading."""
    before, _, rest = text.partition(heading)
    _, _, after = rest.partition("\n\n")
    return f"{before}{heading}{chr(10).join(made)}\n\n{after}"


def test_the_page_shows_the_criteria_of_every_line() -> None:
    """No line of the checklist is without a criterion; and what the gates ask besides it stands apart."""
    text = PAGE.read_text("utf-8")
    table, _, _ = text.partition(HEADING)[2].partition("\n\n")
    lines = dict(each.removeprefix("| ").split(" | ")[:2] for each in table.splitlines())
    assert lines.keys() == lines_of_the_checklist()
    assert lines.keys() | {"-"} == {line for each in ALL for line in each.lines}
    made = [row(*each) for each in lines.items()]
    guards = [
        f"| `{each.id}` | {each.title_en} | {each.shown_rule} |" for each in ALL if each.lines == ("-",)
    ]
    wanted = with_table(with_table(text, GUARDS, guards), HEADING, made)
    hows = [each.split(" | ")[2] for each in made]
    counts = {how: sum(how in each for each in hows) for how in ("automatic", "evidence", "person", "absent")}
    said = ", ".join(f"{how} {number}" for how, number in counts.items())
    wanted = re.sub(r"^Of \d+ lines: .*$", f"Of {len(made)} lines: {said}.", wanted, flags=re.M)
    assert counts["absent"] == 0
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
    """Cheat 6: a share of few cases is inconclusive."""
    of_people = (Source.FILE, Source.PERSON)
    shares = [each for each in ALL if each.unit == "share" and each.source not in of_people]
    assert [each.id for each in shares if not each.min_samples] == []
    for good, total, outcome in (
        (599, 599, Why.TOO_FEW), (600, 600, Outcome.PASS), (0, 0, Why.TOO_FEW), (994, 1000, Outcome.FAIL),
    ):  # fmt: skip
        with subtests.test(good=good, total=total):
            assert judged(Measurement(good / total if total else 0.0, total, total - good)) == outcome
    assert judged(Measurement(1.0)) == Why.TOO_FEW
    assert judged(Measurement(1.0, 700, 0, needed=701)) == Why.TOO_FEW
    managers = CRITERIA["managers-W4"]
    for value, total, outcome in ((13, 15, Outcome.PASS), (12, 15, Outcome.FAIL), (13, 14, Why.TOO_FEW)):
        assert judged(Measurement(value, total=total), managers) == outcome


def test_the_vietnamese_part_has_no_english_text_and_leads_to_the_english_one() -> None:
    evaluation = sample_evaluation()
    vietnamese, _, english = html_page(evaluation, [], [], "lan@diva.example").partition('<div id="en"')
    for judgement in evaluation.judgements:
        cure = cure_of(judgement) if judgement.is_blocking else ""
        for text in filter(None, (judgement.criterion.title_en, finding(judgement), note(judgement), cure)):
            assert (str(escape(text)) in vietnamese, str(escape(text)) in english) == (False, True), text
        assert f'id="en-{judgement.criterion.id}"' in english
    assert "{yesterday}" not in english


def test_a_met_target_is_shown_or_not_yet(subtests: pytest.Subtests) -> None:
    now = datetime.now(UTC)
    for total, bad, is_shown, needed in (
        (600, 1, False, 947), (600, 0, True, None), (2000, 1, True, None),
    ):  # fmt: skip
        with subtests.test(total=total, bad=bad):
            found = judge(SUCCESS, Measurement((total - bad) / total, total, bad), now, COMMIT)
            assert (found.outcome, found.is_shown, found.needed) == (Outcome.PASS, is_shown, needed)
            assert found.interval is not None
            assert found.interval[0] < (total - bad) / total <= found.interval[1]
    failed = judge(SUCCESS, Measurement(0.9, 1000, 100), now, COMMIT)
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
    waiver = Record(state(Kind.WAIVE, "success-rate", at, reason="x", until=at + timedelta(days=1)))
    ended = replace(waiver, statement=replace(waiver.statement, until=at))
    failed, passed = Measurement(0.9, 1000, 100), Measurement(1.0, 1000, 0)
    may = replace(SUCCESS, may_be_waived=True)
    assert judge(may, failed, at, COMMIT, waiver).outcome is Outcome.WAIVED
    assert judge(may, Measurement(), at, COMMIT, waiver).outcome is Outcome.WAIVED
    assert judge(may, passed, at, COMMIT, waiver).outcome is Outcome.PASS
    assert judge(may, failed, at, COMMIT, ended).outcome is Outcome.FAIL


def test_an_owner_may_sign_fewer_cases_if_they_meet_the_target() -> None:
    """Of a criterion that may not be waived; a failure, no value and a missing night stay what they are."""
    at = datetime.now(UTC)
    waiver = Record(state(Kind.WAIVE, "success-rate", at, reason="x", until=at + timedelta(days=1)))
    for measured, outcome in (
        (Measurement(1.0, 240, 0), Outcome.WAIVED), (Measurement(0.99, 240, 2), Outcome.INCONCLUSIVE),
        (Measurement(0.9, 1000, 100), Outcome.FAIL), (Measurement(), Outcome.INCONCLUSIVE),
    ):  # fmt: skip
        assert judge(SUCCESS, measured, at, COMMIT, waiver).outcome is outcome
    assert not CRITERIA["zero-miss"].may_have_fewer
    assert not CRITERIA["managers-W4"].may_have_fewer


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
    records.add(state(Kind.ATTEST, "G-9", now), files=[Handed("baseline.csv", content)])
    records.add(state(Kind.BEGIN, "W1", now, since=now))
    with Sources(read_operator_settings(), tmp_path) as sources:
        found = measure(CRITERIA["G-9"], sources, datetime.now(UTC), "W1")
    assert (found.why, found.value is None) == (why, why is Why.NO_DATA)


def test_an_outage_test_counts_the_lost_leads_of_the_file_that_a_scenario_writes() -> None:
    criterion = CRITERIA["G-5"]
    lost = figures("four_layers", sent=2000, lost=["r-1: ['received']", "r-2: []"], ok=True)
    assert read_evidence_file(criterion, lost).value == 2
    written = json.dumps(proof("four_layers", {"sent": 2000, "lost": [], "ok": True})).encode()
    found = read_evidence_file(criterion, written)
    assert (found.value, found.commit) == (0, installed_commit())
    assert found.measured_at is not None


def test_evidence_of_another_staging_than_the_first_stands_in_red(tmp_path: Path) -> None:
    """What was made in the gate's own database is no evidence of staging, also not the first one."""
    records, at = Records(tmp_path), datetime.now(UTC)
    places = {"G-6": "diva@1", "G-8-tier1": "staging@1", "G-8-tier2": "other@2", "G-8-tier3": "staging@1"}
    for name, place in places.items():
        content = good_file(CRITERIA[name], installation={"database": place})
        records.add(state(Kind.ATTEST, name, at), files=[Handed("result.json", content)])
    with Sources(read_operator_settings(), tmp_path) as sources:
        sources.installation = {"database": "diva@1"}
        now = datetime.now(UTC)
        found = {name: measure(CRITERIA[name], sources, now, "W1") for name in places}
    red = {name: each.notices[:-1] for name, each in found.items() if each.notices != (BY_PERSON,)}
    assert found["G-6"].why is Why.NO_DATA
    assert {name: [text.en for text in each] for name, each in red.items() if each} == {
        "G-8-tier2": ["another staging than at first: other@2, which was staging@1"]
    }


def test_the_commit_is_that_of_the_image_before_that_of_a_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, clone, expected in (
        (COMMIT, "f" * 40, (COMMIT, "image")), ("", "f" * 40, ("f" * 40, "clone")), ("", "", ("", "")),
    ):  # fmt: skip
        monkeypatch.setenv("COMMIT", given)
        monkeypatch.setattr("ops.settings._commit_of_clone", lambda clone=clone: clone)
        made = proof("four_layers", {})
        assert (made["commit"], made["commit_of"]) == expected
        gate = evaluate("W1", (), Mock(records=()), datetime.now(UTC))
        console = Console(record=True)
        gates.print_evaluation(gate, console)
        assert (gate.commit, gate.commit_of) == expected
        head = console.export_text().splitlines()[0]
        assert head.endswith(f" of the {expected[1]}" if expected[1] else "commit unknown")


def test_the_first_lines_of_a_gate_are_those_in_the_documentation() -> None:
    console, found = Console(record=True, width=80), sample_evaluation()
    judgements = tuple(each for each in found.judgements if each.criterion.id != "switches-off")
    gates.print_evaluation(replace(found, judgements=judgements, notices=()), console)
    page = (ROOT / "docs" / "cli.md").read_text("utf-8")
    example, end, _ = page.partition("$ leads golive gate W2\n")[2].partition("…\n")
    assert (end, console.export_text()[: len(example)]) == ("…\n", example)


AT = datetime.now(UTC)


def test_the_first_day_begins_with_w1_and_a_short_window_is_asked_in_short_steps() -> None:
    """On the day itself nothing has run for 24 hours."""
    now = datetime.now(UTC)
    criterion = next(each for each in ALL if each.window is Window.DAY)
    for hours, begins in ((2, 2), (30, 24)):
        begun = Record(state(Kind.BEGIN, "W1", now - timedelta(hours=hours)))
        assert measuring.since_of(criterion, None, now, (begun,)) == now - timedelta(hours=begins)
    asked: list[str] = []

    def query(expression: str, _: datetime) -> list[float]:
        asked.append(expression)
        return [40.0]

    for minutes, step in ((2, 3), (24 * 60, 300)):
        prometheus: Any = SimpleNamespace(query=query)
        with suppress(NoData):
            measuring.require_held(prometheus, "pancake_edge", now - timedelta(minutes=minutes), now)
        assert asked.pop().endswith(f":{step}s])")


def test_the_rights_of_the_list_are_those_that_are_granted(
    session: DbSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.execute(GRANT.read_bytes())
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
        ("ALTER TABLE staff ADD COLUMN team text; GRANT SELECT (team) ON staff TO pancake_handlers;"
         " ALTER TABLE staff DROP COLUMN team", [], []),
        ("ALTER ROLE pancake_handlers BYPASSRLS", [],
         ["pancake_handlers is a superuser, passes row security, or creates roles or databases"]),
    ],
)  # fmt: skip
def test_a_right_that_is_missing_or_too_much_is_named(
    session: DbSession, statement: str, missing: list[str], further: list[str]
) -> None:
    session.execute(GRANT.read_bytes() + b";" + statement.encode())
    row = load_rights(session)
    assert (row["missing"], row["further"]) == (missing, further)


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Stands for the evaluation; its answer is open, or the closed sample while `is_closed`."""
    found = Mock(is_closed=False)
    found.side_effect = lambda subject, *_, **__: Evaluation(
        subject, AT, "", sample_evaluation().judgements if found.is_closed else ()
    )
    monkeypatch.setattr(gates, "evaluate_parts", found)
    return found


def test_a_look_is_kept_and_a_later_one_of_the_day_replaces_it(
    looked: Mock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = golive(tmp_path, "day0", "--json")
    assert (run.exit_code, looked.call_args.args[:2]) == (0, ("day 0", [Part.DEPLOY, Part.DAY0]))
    assert json.loads((tmp_path / f"day0-{datetime.now(ICT).date()}.json").read_text()) == json.loads(
        run.stdout
    )
    for is_closed in (True, False):
        looked.is_closed = is_closed
        assert golive(tmp_path, "watch").exit_code == int(is_closed)
        (kept,) = tmp_path.glob("watch-*")
        assert json.loads(kept.read_text())["is_open"] is not is_closed
    monkeypatch.setattr(gates, "show", Mock(side_effect=BrokenPipeError))  # as by `| head`
    golive(tmp_path / "cut", "watch")
    assert (tmp_path / "cut" / kept.name).exists()


def test_the_days_count_from_the_beginning_of_w1_and_midnight_in_vietnam_divides_them(
    looked: Mock, tmp_path: Path
) -> None:
    assert "days have a result" not in golive(tmp_path, "watch").stderr
    at = datetime.now(UTC)
    today = at.astimezone(ICT).date()
    Records(tmp_path).add(state(Kind.BEGIN, "W1", at, since=at - timedelta(days=4)))
    for days_ago, is_open in ((3, True), (2, False), (5, True)):  # the last is from before the beginning
        day = today - timedelta(days=days_ago)
        (tmp_path / f"watch-{day}.json").write_text(json.dumps({"is_open": is_open}))
    said = golive(tmp_path, "watch").stderr
    assert [call.args[0] for call in looked.call_args_list] == ["watch", "day 4"]
    assert "3 of 7 days have a result, on 2 of them all passed." in said
    assert f"Without a result: {today - timedelta(days=1)}." in said
    before = datetime(2026, 6, 4, 16, 59, tzinfo=UTC)
    assert [gates._day(before + timedelta(minutes=each)).day for each in (0, 1)] == [4, 5]


def test_people_are_asked_once_the_day_of_talks_or_review_has_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Mock(return_value=Evaluation("watch", AT, "", ()))
    monkeypatch.setattr(gates, "evaluate", found)
    for day, people in ((3, ""), (4, "D7-feedback"), (6, "D7-feedback"), (7, "D7-feedback D7-review")):
        at = datetime.now(UTC)
        Records(tmp_path / f"{day}").add(state(Kind.BEGIN, "W1", at, since=at - day * DAY))
        golive(tmp_path / f"{day}", "watch")
        asked = [each.id for each in found.call_args.args[1] if each.source is Source.PERSON]
        assert asked == people.split()


def test_a_response_time_is_shown_in_business_hours_too_where_they_differ(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = datetime.now(UTC)
    for business, details in ((12.0, "in business hours 12 min"), (40.0, ""), (None, "")):
        row = {"tickets": 20, "p95_minutes": 40.0, "p95_business_minutes": business}
        monkeypatch.setattr(measuring, "read_row", lambda *_, row=row: row)
        found = measuring._from_sql(CRITERIA["E6-sla"], None, now, now)  # type: ignore[arg-type]
        assert (found.value, found.details) == (40, details)
