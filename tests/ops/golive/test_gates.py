"""The gates of a pilot: each broken condition closes its gate, and people open one after the other."""

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest
import yaml
from psycopg.rows import dict_row
from rich.console import Console

from ops.checks.database import LOCK_WAIT
from ops.clients.db_session import DbSession
from ops.golive.criterion import Criterion, Source, load_criteria
from ops.golive.evaluation import evaluate
from ops.golive.gates import print_evaluation
from ops.golive.judgement import Outcome, Why
from ops.golive.measuring import (
    ANSWERED_BY_EDGE,
    CONNECTIONS_OF_EDGE,
    SCANS_FILE,
    STORED,
    Sources,
    read_row,
    scans_file,
)
from ops.golive.records import Handed, Kind, Record, Records
from ops.settings import read_operator_settings
from proofs.incidents.faults import Break, Installation, by_sql, change_setting
from sandbox.processes import ROOT
from tests.support.breakages import BREAKAGES
from tests.support.databases import STATEMENTS
from tests.support.fake_services import HELD, FakePrometheus, fake_prometheus
from tests.support.golive import CHECKS_AT_GATES, NO_SCANS, Pilot, add_change, add_source, state
from tests.support.waiting import eventually

MEASURED = {
    each.id: replace(each, min_samples=each.min_samples and min(each.min_samples, 60))
    for each in load_criteria()
    if each.source in (Source.SQL, Source.PROMQL) or each.query in CHECKS_AT_GATES
}
SQL, PROMQL = (
    [each for each in MEASURED.values() if each.source is source] for source in (Source.SQL, Source.PROMQL)
)
SEPARATELY = {"E7.5-locks", "E7.7-8", "clocks", "rows-dead-letters", "seq-scans-W3", "wave-length"}
"""Another test below has them, and test_waves.py the dead letters."""
BREAKAGES_OF_GATES = ROOT / "tests" / "support" / "gate_breakages.yaml"
LARGE_TABLE = 10_001
MORE_SOURCES = (
    "INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)"
    " SELECT id, 'more-' || n, 'more', true FROM pancake_connection, generate_series(1, 50) AS n"
)
ONE_ACTIVE = "UPDATE pancake_source SET is_active = pancake_source_id = 'source-1'"
TRUE = "'true'"
SWITCH_ON, SWITCH_OFF = (change_setting("kill_switch", value) for value in (TRUE, "'false'"))
BEFORE = {"deploy": ONE_ACTIVE, "W1": ONE_ACTIVE, "W4": MORE_SOURCES}
"""By the subject (a wave or a part of the checklist): what it needs beside the pilot and the kill switch."""


NO_FAULT = by_sql("", "")


@dataclass(frozen=True)
class GateBreakage:
    """A statement that makes these criteria red, the `value` of their series, or an `alert` that is missing.

    Rows of weeks that no other check reads, in a transaction that is rolled back: so they are no Breakage.
    `fault`: that of a Breakage instead, which status and alerts name too.
    `before` brings the database into the state in which they pass, if BEFORE does not.
    """

    criteria: str
    statement: str = ""
    value: str = ""
    alert: str = ""
    before: str = ""
    fault: Break = NO_FAULT


GATE_BREAKAGES = (
    *(GateBreakage(**each) for each in yaml.safe_load(BREAKAGES_OF_GATES.read_text("utf-8"))),
    *(GateBreakage(each.gates, fault=each.broken) for each in BREAKAGES if each.gates),
)


def criteria_of(subject: str) -> list[Criterion]:
    return [each for each in MEASURED.values() if subject in each.parts]


def open_session(url: str, *, autocommit: bool = False) -> psycopg.Connection[dict[str, Any]]:
    return psycopg.Connection[dict[str, Any]].connect(url, row_factory=dict_row, autocommit=autocommit)


@pytest.fixture(scope="module")
def prometheus() -> Iterator[FakePrometheus]:
    with fake_prometheus() as running:
        yield running


@pytest.fixture(scope="module")
def seeded(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Pilot:
    """A pilot of 28 days; tests break it in transactions that they roll back."""
    pilot = Pilot(module_database, tmp_path_factory.mktemp("records"), days=29)
    pilot.seed()
    # Digits alone make no phone: for the backfill they are unusable, so nothing is left to fill.
    pilot.sql("UPDATE account SET phone_number = '00000000000' WHERE normalized_phone IS NULL")
    records, now = Records(pilot.folder), datetime.now(UTC)
    for wave in ("W1", "W2", "W3", "W4"):
        records.add(state(Kind.BEGIN, wave, now - timedelta(days=29)), files=[NO_SCANS])
    return pilot


@pytest.fixture
def session(seeded: Pilot) -> Iterator[DbSession]:
    """A session whose changes are rolled back, without the triggers that refuse final states."""
    with open_session(seeded.url) as opened:
        opened.execute("SET LOCAL session_replication_role = replica")
        yield opened
        opened.rollback()


class OpenSources(Sources):
    """Sources whose readers share the test's database session, one after the other."""

    def __init__(self, session: DbSession, folder: Path, prometheus_url: str) -> None:
        given = {"PROMETHEUS_URL": prometheus_url}
        super().__init__(read_operator_settings(may_have=given, environment=given), folder)
        self.session, self._one = session, threading.Lock()

    @contextmanager
    def database(self) -> Iterator[DbSession]:
        with self._one, self.session.transaction():
            yield self.session


def outcomes(
    pilot: Pilot, session: DbSession, prometheus: FakePrometheus, criteria: list[Criterion], wave: str = "W1",
    at: datetime | None = None,
) -> Mapping[str, str]:  # fmt: skip
    with OpenSources(session, pilot.folder, prometheus.url) as sources:
        found = evaluate("test", criteria, sources, at or datetime.now(UTC), wave)
    return {each.criterion.id: each.why or each.outcome for each in found.judgements}


def test_a_broken_condition_makes_its_criteria_red_and_no_other(
    seeded: Pilot, session: DbSession, prometheus: FakePrometheus, subtests: pytest.Subtests
) -> None:
    """Every criterion that SQL or Prometheus decides has its breakage."""
    assert {name for each in GATE_BREAKAGES for name in each.criteria.split()} | SEPARATELY == MEASURED.keys()
    healthy: dict[tuple[str, str], Mapping[str, str]] = {}
    for breakage in GATE_BREAKAGES:
        named = [MEASURED[name] for name in breakage.criteria.split()]
        expressions = [each.query for each in named] if breakage.value else []
        for subject in {each.parts[0]: None for each in named}:
            criteria = criteria_of(subject)
            with subtests.test(f"{breakage.criteria} in {subject}"), session.transaction(force_rollback=True):
                kill = SWITCH_ON if subject == "database" else SWITCH_OFF  # on until the pilot is open
                session.execute((before := f"{kill}; {breakage.before or BEFORE.get(subject, '')}").encode())
                if (subject, before) not in healthy:
                    healthy[subject, before] = outcomes(seeded, session, prometheus, criteria, subject)
                assert set(healthy[subject, before].values()) == {Outcome.PASS}
                session.execute(breakage.statement.encode())
                system = cast(Installation, SimpleNamespace(sql=lambda text: session.execute(text.encode())))
                broken = prometheus.broken(expressions, [breakage.value], breakage.alert)
                with broken, breakage.fault(system):
                    found = outcomes(seeded, session, prometheus, criteria, subject)
                red = {name for name, outcome in found.items() if outcome == Outcome.FAIL}
                assert red == {each.id for each in named if each in criteria}


def test_a_pause_is_red_at_a_gate_with_since_when_and_by_whom(
    seeded: Pilot, session: DbSession, prometheus: FakePrometheus
) -> None:
    """`leads status` shows it yellow."""
    with_history = f"{SWITCH_OFF}; SET LOCAL session_replication_role = origin;"
    session.execute(f"{with_history} {change_setting('processing_paused', TRUE)}".encode())
    with OpenSources(session, seeded.folder, prometheus.url) as sources:
        found = evaluate("W1", [MEASURED["switches-off"]], sources, datetime.now(UTC), "W1")
    console = Console(record=True, width=100)
    print_evaluation(found, console)
    lines = r"1 red, 0 unknown.*\nred +switches-off: .*?\n +processing is paused since .*? by "
    assert re.search(lines, console.export_text(), re.DOTALL)


def test_sessions_that_wait_for_a_lock_are_red(
    seeded: Pilot, session: DbSession, prometheus: FakePrometheus
) -> None:
    criterion = MEASURED["E7.5-locks"]

    def is_red() -> bool:
        try:
            session.rollback()  # the activity of other sessions is read once in a transaction
        except psycopg.ProgrammingError:
            return False  # a reader that this criterion does not wait for is still at work
        return outcomes(seeded, session, prometheus, [criterion]) == {criterion.id: Outcome.FAIL}

    assert outcomes(seeded, session, prometheus, [criterion]) == {criterion.id: Outcome.PASS}
    with psycopg.connect(seeded.url) as holder, psycopg.connect(seeded.url) as waiter:
        lock = "SELECT pg_advisory_xact_lock(1)"  # not a table: the check would wait for it itself
        holder.execute(lock)
        threading.Thread(target=waiter.execute, args=(lock,)).start()
        try:
            eventually(is_red)
            assert timedelta(seconds=1) >= LOCK_WAIT, "E7.5.3 of the checklist"
        finally:
            holder.rollback()


@pytest.mark.parametrize(
    ("name", "limit", "value"),
    [
        ("E7.7-8", "ops.checks.deployment.MIN_POSTGRESQL", 1000),
        ("clocks", "ops.checks.edge.MAX_CLOCK_DIFFERENCE", timedelta(seconds=-1)),
    ],
)
def test_an_old_server_and_one_with_another_clock_are_red(
    seeded: Pilot, session: DbSession, prometheus: FakePrometheus, monkeypatch: pytest.MonkeyPatch,
    name: str, limit: str, value: object,
) -> None:  # fmt: skip
    """Cheat 13: the clocks of database and machine are compared."""
    assert outcomes(seeded, session, prometheus, [MEASURED[name]]) == {name: Outcome.PASS}
    monkeypatch.setattr(limit, value)
    assert outcomes(seeded, session, prometheus, [MEASURED[name]]) == {name: Outcome.FAIL}


def test_a_missing_night_or_check_is_inconclusive_and_a_night_made_up_is_marked(
    seeded: Pilot, session: DbSession, prometheus: FakePrometheus
) -> None:
    """Cheat 5: each night and each connection; and nine of ten checks."""
    names = {"zero-miss", "no-suspension", "rows-event-log"}
    criteria = [MEASURED[name] for name in sorted(names)]
    nights = {
        name: session.execute(
            "SELECT id FROM pancake_cron_run WHERE name = %s ORDER BY id LIMIT 1 OFFSET 9", [name]
        ).fetchall()[0]["id"]
        for name in ("reconcile_daily", "purge_events")
    }
    night = f"WHERE id = {nights['reconcile_daily']}"
    report = "UPDATE pancake_cron_run SET report = jsonb_set(report, '{days,0,error}', 'true')"
    for missing, statement in (
        ("zero-miss", f"DELETE FROM pancake_cron_run {night}"),
        ("zero-miss", f"{report} {night}"),
        (
            "zero-miss no-suspension",
            "INSERT INTO pancake_connection (name, workspace_id, token_sha256, created_at)"
            " VALUES ('Other', 2, sha256('y'), now() - interval '2 days')",
        ),
        ("no-suspension", "DELETE FROM pancake_cron_run WHERE name = 'check_connection' AND id % 8 = 0"),
        ("rows-event-log", f"DELETE FROM pancake_cron_run WHERE id = {nights['purge_events'] + 10}"),
    ):
        with session.transaction(force_rollback=True):
            session.execute(statement.encode())
            found = outcomes(seeded, session, prometheus, criteria)
        few = {name for name, outcome in found.items() if outcome in (Why.TOO_FEW, Why.NO_DATA)}
        assert few == set(missing.split()), statement
        assert {outcome for name, outcome in found.items() if name not in few} <= {Outcome.PASS}
    session.execute(
        f"UPDATE pancake_cron_run SET started_at = started_at + interval '3 days' {night}".encode()
    )
    with OpenSources(session, seeded.folder, prometheus.url) as sources:
        evaluation = evaluate("test", criteria, sources, datetime.now(UTC), "W1")
    (zero_miss,) = [each for each in evaluation.judgements if each.criterion.id == "zero-miss"]
    assert zero_miss.outcome is Outcome.PASS
    assert re.fullmatch(r"made up later: [-0-9]+ Diva", zero_miss.measurement.details)


def test_leads_that_arrive_during_a_pause_count_as_held(
    seeded: Pilot, session: DbSession, prometheus: FakePrometheus
) -> None:
    """Cheat 3, also after the pause has ended: the history of the settings knows when it was."""
    criterion = MEASURED["held-share"]
    assert outcomes(seeded, session, prometheus, [criterion]) == {criterion.id: Outcome.PASS}
    for days, states in ((3, (False, True)), (2, (True, False))):
        at = datetime.now(UTC) - timedelta(days=days)
        add_change(session, "setting", "all", at, "processing_paused", *states)
    assert outcomes(seeded, session, prometheus, [criterion]) == {criterion.id: Outcome.FAIL}


def test_a_wave_lasts_a_week_and_its_most_sources_count(
    seeded: Pilot, session: DbSession, prometheus: FakePrometheus
) -> None:
    """Not how many are on at the end; W4 needs forty for six days. An hour to mend a mistake is given."""
    names = ("wave-length", "sources-W1", "sources-W4")
    criteria = [MEASURED[name] for name in names]
    change = (
        "INSERT INTO integration_change (changed_at, changed_by, kind, action, row_id, before, after)"
        " SELECT {}, 'x', 'source', 'update', s.id::text, '{{\"is_active\": {}}}', '{{\"is_active\": {}}}'"
        " FROM pancake_source AS s WHERE s.name = 'more'"
    )

    def found() -> tuple[str, ...]:
        return tuple(outcomes(seeded, session, prometheus, criteria).values())

    session.execute(f"{MORE_SOURCES}; {ONE_ACTIVE}".encode())
    session.execute(change.format("now() - interval '40 days'", "true", "false").encode())
    assert found() == (Outcome.PASS, Outcome.PASS, Outcome.FAIL)
    for minutes, outcome in ((50, Outcome.PASS), (70, Outcome.FAIL)):
        on, off = (f"now() - interval '3 days' + interval '{each} minutes'" for each in (0, minutes))
        with session.transaction(force_rollback=True):
            session.execute(change.format(on, "false", "true").encode())
            session.execute(change.format(off, "true", "false").encode())
            assert found() == (Outcome.PASS, outcome, Outcome.FAIL), minutes
    session.execute(b"UPDATE pancake_source SET is_active = true")
    session.execute(change.format("now() - interval '1 day'", "false", "true").encode())
    early = seeded.since + timedelta(days=6, hours=23)
    assert Outcome.FAIL in outcomes(seeded, session, prometheus, criteria[:1], at=early).values()
    assert found() == (Outcome.PASS, Outcome.FAIL, Outcome.FAIL)


@pytest.mark.own_database
def test_reads_of_large_tables_since_the_wave_began_are_compared(
    database: str, tmp_path: Path, prometheus: FakePrometheus
) -> None:
    """Without a large table nothing is known; then, once leads came, the index has to be read."""
    pilot, criterion = Pilot(database, tmp_path), MEASURED["seq-scans-W3"]
    with open_session(database, autocommit=True) as opened:

        def outcome_after(statement: str) -> str:
            opened.execute(statement.encode())
            opened.execute("SELECT pg_stat_force_next_flush()")
            return outcomes(pilot, opened, prometheus, [criterion], "W3")[criterion.id]

        now = datetime.now(UTC)
        kept = [Handed(SCANS_FILE, scans_file(opened, now))]
        Records(tmp_path).add(state(Kind.BEGIN, "W3", now), files=kept)
        accounts = (
            "INSERT INTO account (display_name, phone_code, phone_number)"
            f" SELECT 'An', '84', '0' || n FROM generate_series(900000000, {900000000 + LARGE_TABLE}) AS n"
        )
        assert outcome_after("SELECT 1") == Why.NO_DATA
        assert outcome_after(f"{accounts}; ANALYZE account") == Outcome.PASS
        assert outcome_after(STATEMENTS["pilot/insert_lead"]) == Outcome.FAIL
        by_index = "SELECT id FROM account WHERE normalized_phone = '+84900000000'"
        assert outcome_after(by_index) == Outcome.PASS
        read_whole = "SELECT count(display_name) FROM account;"
        assert outcome_after(read_whole * 2) == Outcome.FAIL


def test_what_is_no_value_of_a_series_is_inconclusive_and_a_refused_expression_stops_no_other(
    seeded: Pilot, session: DbSession, prometheus: FakePrometheus
) -> None:
    for values in ([], ["NaN"], ["+Inf"], ["-Inf"], ["1", "2"]):
        with prometheus.broken([each.query for each in PROMQL], values):
            found = outcomes(seeded, session, prometheus, PROMQL)
        assert set(found.values()) == {Why.NO_DATA}, values
    with prometheus.broken([], []):
        del prometheus.values[MEASURED["memory-W3"].query]
        found = outcomes(seeded, session, prometheus, criteria_of("W3"), "W3")
    assert {each for each, outcome in found.items() if outcome == Why.SOURCE_DOWN} == {"memory-W3"}


def test_a_statement_without_a_row_or_a_value_or_in_time_is_inconclusive(
    seeded: Pilot, session: DbSession, prometheus: FakePrometheus, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {column for each in SQL for column in (*each.samples, *each.good, *each.bad)}
    values = {each.value for each in SQL}
    empty = [
        dict.fromkeys(columns, 1000) | dict.fromkeys(values, value)
        for value in (None, float("nan"), float("inf"))
    ]
    for row in (None, *empty):
        monkeypatch.setattr("ops.golive.measuring.read_row", lambda *_, row=row: row)
        assert set(outcomes(seeded, session, prometheus, SQL).values()) == {Why.NO_DATA}

    def wait(session: DbSession, name: str, params: object) -> Mapping[str, Any] | None:
        with session.transaction():
            session.execute("SET LOCAL statement_timeout = '1ms'")
            return session.execute("SELECT pg_sleep(1)").fetchone()

    monkeypatch.setattr("ops.golive.measuring.read_row", wait)
    assert set(outcomes(seeded, session, prometheus, SQL).values()) == {Why.SOURCE_DOWN}


@pytest.mark.own_database
def test_switches_and_modes_are_shown_as_they_were_at_a_time(database: str, tmp_path: Path) -> None:
    Pilot(database, tmp_path).seed()
    names = ("golive/load_sources", "golive/count_unenforced")
    with open_session(database, autocommit=True) as opened:
        before = datetime.now(UTC)
        opened.execute("UPDATE pancake_source SET is_active = false")
        opened.execute("UPDATE pancake_connection SET signature_mode = 'monitor'")
        then, now = (
            [
                dict(read_row(opened, name, {"from": to - timedelta(hours=2), "to": to}) or {})
                for name in names
            ]
            for to in (before, datetime.now(UTC) + timedelta(hours=3))
        )
    sources, modes = zip(then, now, strict=True)
    assert [(each["most"], each["steady"]) for each in sources] == [(1, 1), (0, 0)]
    assert modes == ({"signature": 0, "allowlist": 0}, {"signature": 1, "allowlist": 0})


def test_a_source_that_is_toggled_deleted_or_on_at_two_moments_only_counts_as_it_was(
    seeded: Pilot, session: DbSession
) -> None:
    """Cheat 4, by a person who knows the statement: the hour that is allowed counts in total."""
    window = {"from": seeded.since, "to": seeded.now}

    def found() -> tuple[int, int]:
        row = read_row(session, "golive/load_sources", window) or {}
        return row["most"], row["steady"]

    def switch(name: str, *hours: float) -> None:
        """Turn a source on, off, on … so many hours before the end."""
        (connection,) = session.execute("SELECT id::text FROM pancake_connection").fetchall()
        source = add_source(session, connection["id"], name, bool(len(hours) % 2))
        for number, each in enumerate(hours):
            at, is_on = seeded.now - timedelta(hours=each), not number % 2
            add_change(session, "source", source, at, "is_active", not is_on, is_on)

    assert found() == (1, 1)
    switch("toggled", 50, 49.2, 49, 48.2)
    assert found() == (2, 1), "twice 48 minutes"
    switch("at two moments", 6 * 24 + 1, 6 * 24 - 1, 3)
    assert found() == (2, 1)
    session.execute("SET LOCAL session_replication_role = origin")
    both = "pancake_source_id IN ('toggled', 'at two moments')"
    session.execute(f"UPDATE pancake_source SET name = NULL, is_active = false WHERE {both}".encode())
    session.execute(f"DELETE FROM pancake_source WHERE {both}".encode())
    session.execute("SET LOCAL session_replication_role = replica")
    assert found() == (2, 1), "its history knows it, without a name too"


def test_a_prometheus_without_an_edge_of_another_installation_or_of_a_short_time_is_inconclusive(
    seeded: Pilot, session: DbSession, prometheus: FakePrometheus
) -> None:
    """Cheat 12: the slow edge is not scraped, or the edge of staging is scraped instead."""
    for name, expression, values, outcome in (
        ("rows-edge", ANSWERED_BY_EDGE % STORED, ["600"], Why.NO_DATA),
        ("rows-edge", CONNECTIONS_OF_EDGE, [], Why.NO_DATA),
        ("rows-edge", ANSWERED_BY_EDGE % STORED, ["690"], Outcome.PASS),
        ("rows-edge", HELD % "pancake_edge", ["40"], Why.NO_DATA),
        ("rows-dead-letters", HELD % "pancake_handlers", ["40"], Why.NO_DATA),
    ):
        with prometheus.broken([expression], values):
            found = outcomes(seeded, session, prometheus, [MEASURED[name]])
        assert found == {name: outcome}, expression


def test_an_empty_database_passes_no_criterion_of_a_gate(database: str, prometheus: FakePrometheus) -> None:
    """What counts nothing must not look like a perfect result."""
    now = datetime.now(UTC)
    criteria = [
        each for each in SQL
        if "W" in each.parts[0] and not each.id.startswith("sources-") and each.id != "wave-length"
    ]  # fmt: skip
    begun = state(Kind.BEGIN, "W1", now, since=now - timedelta(1))
    with (
        open_session(database) as opened,
        OpenSources(opened, Path("/nonexistent"), prometheus.url) as sources,
    ):
        sources.records = (Record(begun),)
        found = evaluate("test", criteria, sources, datetime.now(UTC), "W1")
    assert {each.criterion.id for each in found.judgements if each.outcome is Outcome.PASS} == set()
