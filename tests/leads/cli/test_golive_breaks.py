"""Each criterion that SQL or Prometheus decides: broken, it alone is red; without its source inconclusive."""

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from leads.adapters.db_session import DbSession
from leads.cli.golive.criterion import Criterion, Source
from leads.cli.golive.gates import Inputs, evaluate
from leads.cli.golive.judgement import Outcome, Why
from leads.cli.golive.load import load_criteria
from leads.cli.golive.measuring import Places, Sources
from leads.cli.golive.opening import GATE_PROBES
from leads.cli.golive.records import Kind, Record, Records, Statement
from leads.cli.golive.scans import FILE, scans_file
from leads.cli.golive.statements import read_row
from sandbox.postgres.server import Cluster
from tests.support.golive_breakages import BREAKAGES, ELSEWHERE
from tests.support.golive_breaks import BREAKS, MORE_SOURCES, ONE_ACTIVE, STARTED
from tests.support.golive_pilot import Pilot
from tests.support.golive_prometheus import ALERTS, HEALTHY, FakePrometheus, fake_prometheus

DECIDED = {each.id: each for each in load_criteria() if each.source not in (Source.PERSON, Source.FILE)}
MEASURED = {
    name: each
    for name, each in DECIDED.items()
    if each.source in (Source.SQL, Source.PROMQL) or each.query in GATE_PROBES
}
SQL = [each for each in MEASURED.values() if each.source is Source.SQL]
PROMQL = [each for each in MEASURED.values() if each.source is Source.PROMQL]
SEPARATELY = {"E7.5-locks", "E7.7-8", "seq-scans-W3"}
LARGE_TABLE = 10_001
NO_SCANS = (FILE, json.dumps({"at": datetime.now(UTC).isoformat(), "scans": {}}).encode())
ONE_LEAD = """
WITH c AS (
    INSERT INTO pancake_connection (name, workspace_id, token_sha256) VALUES ('Diva', 1, sha256('x'))
    RETURNING id
)
INSERT INTO pancake_webhook_event (connection_id, origin, payload_hash, status, arrived_at, created_at)
SELECT id, 'webhook', sha256('x'), 'received', now(), now() FROM c
"""
BEFORE = {"deploy": STARTED, "W1": ONE_ACTIVE, "W4": MORE_SOURCES}
"""What a subject needs beside the seeded pilot."""


def subject_of(criterion: Criterion) -> str:
    return criterion.waves[0] if criterion.waves else criterion.part


def criteria_of(subject: str) -> list[Criterion]:
    return [each for each in MEASURED.values() if subject in (*each.waves, each.part)]


@pytest.fixture(scope="module")
def prometheus() -> Iterator[FakePrometheus]:
    with fake_prometheus() as running:
        yield running


@pytest.fixture(scope="module")
def seeded(cluster: Cluster, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pilot]:
    """A pilot of 28 days; tests break it in transactions that they roll back."""
    name = f"{template}_golive"
    pilot = Pilot(cluster.create_database(name, template), tmp_path_factory.mktemp("records"))
    pilot.seed(reconciled_days=28)
    pilot.sql("UPDATE account SET phone_enabled = false WHERE normalized_phone IS NULL")
    records = Records(pilot.folder)
    for wave in ("W1", "W2", "W3", "W4"):
        since = datetime.now(UTC) - timedelta(days=29)
        records.add(Statement(Kind.BEGIN, wave, "Lan", "lan", datetime.now(UTC), since=since), [NO_SCANS])
    yield pilot
    cluster.drop_database(name)


@pytest.fixture
def session(seeded: Pilot) -> Iterator[DbSession]:
    """A session whose changes are rolled back, without the triggers that refuse final states."""
    with psycopg.Connection[dict[str, Any]].connect(seeded.url, row_factory=dict_row) as opened:
        opened.execute("SET LOCAL session_replication_role = replica")
        yield opened
        opened.rollback()


class OpenSources(Sources):
    """Sources whose database session is one that the test has opened."""

    def __init__(self, pilot: Pilot, session: DbSession, prometheus_url: str) -> None:
        super().__init__(Places(prometheus_url=prometheus_url), Records(pilot.folder))
        self._database = session


def outcomes(
    pilot: Pilot, session: DbSession, prometheus: FakePrometheus, criteria: list[Criterion], wave: str = "W1"
) -> Mapping[str, str]:
    with OpenSources(pilot, session, prometheus.url) as sources:
        inputs = Inputs(sources, sources.records.read(), "", GATE_PROBES)
        found = evaluate("test", criteria, inputs, datetime.now(UTC), wave)
    return {each.criterion.id: each.why or each.outcome for each in found.judgements}


def test_every_criterion_that_a_program_decides_is_broken_by_a_test() -> None:
    """Here, or in tests/leads/cli/golive/test_precheck.py: a new criterion needs its breakage."""
    assert BREAKS.keys() | SEPARATELY == MEASURED.keys()
    assert MEASURED.keys() | BREAKAGES.keys() | ELSEWHERE == DECIDED.keys()


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_condition_makes_that_criterion_red_and_no_other(
    name: str, seeded: Pilot, session: DbSession, prometheus: FakePrometheus
) -> None:
    change, criterion = BREAKS[name], MEASURED[name]
    subject = subject_of(criterion)
    for statement in (change.before or BEFORE.get(subject, "")).split(";"):
        session.execute(statement.encode()) if statement.strip() else None
    healthy = outcomes(seeded, session, prometheus, criteria_of(subject), subject)
    not_healthy = {each: outcome for each, outcome in healthy.items() if outcome != Outcome.PASS}
    assert not_healthy == {}
    if change.value:
        prometheus.values[criterion.query] = [change.value]
    if change.statement:
        session.execute(change.statement.encode())
    prometheus.alerts.pop(change.alert, None)
    try:
        broken = outcomes(seeded, session, prometheus, criteria_of(subject), subject)
    finally:
        prometheus.values.update(HEALTHY)
        prometheus.alerts.update(ALERTS)
    red = {each for each, outcome in broken.items() if outcome == Outcome.FAIL}
    assert red == {name} | change.also


def test_sessions_that_wait_for_a_lock_are_red(
    seeded: Pilot, session: DbSession, prometheus: FakePrometheus
) -> None:
    criterion = MEASURED["E7.5-locks"]
    assert outcomes(seeded, session, prometheus, [criterion]) == {criterion.id: Outcome.PASS}
    with psycopg.connect(seeded.url) as holder, psycopg.connect(seeded.url) as waiter:
        holder.execute("LOCK TABLE app_setting")
        waiting = threading.Thread(target=waiter.execute, args=("SELECT 1 FROM app_setting FOR SHARE",))
        waiting.start()
        waiting.join(1.2)  # the criterion counts waits of more than a second
        session.rollback()  # the activity of other sessions is read once in a transaction
        assert outcomes(seeded, session, prometheus, [criterion]) == {criterion.id: Outcome.FAIL}
        holder.rollback()
        waiting.join(10)


def test_an_old_server_is_red(seeded: Pilot, session: DbSession, prometheus: FakePrometheus) -> None:
    criterion = replace(MEASURED["E7.7-8"], target=1000)
    assert outcomes(seeded, session, prometheus, [criterion]) == {criterion.id: Outcome.FAIL}


def test_reads_of_large_tables_since_the_wave_began_are_compared(
    database: str, tmp_path: Path, prometheus: FakePrometheus
) -> None:
    """Without a large table nothing is known; then, once leads came, the index has to be read."""
    pilot, criterion = Pilot(database, tmp_path), MEASURED["seq-scans-W3"]
    with psycopg.Connection[dict[str, Any]].connect(
        database, row_factory=dict_row, autocommit=True
    ) as opened:

        def outcome_after(statement: str) -> str:
            opened.execute(statement.encode())
            opened.execute("SELECT pg_stat_force_next_flush()")
            return outcomes(pilot, opened, prometheus, [criterion], "W3")[criterion.id]

        now = datetime.now(UTC)
        kept = [(FILE, scans_file(opened, now))]
        Records(tmp_path).add(Statement(Kind.BEGIN, "W3", "Lan", "lan", now), kept)
        accounts = (
            "INSERT INTO account (display_name, phone_code, phone_number)"
            f" SELECT 'An', '84', '0' || n FROM generate_series(900000000, {900000000 + LARGE_TABLE}) AS n"
        )
        assert outcome_after("SELECT 1") == Why.NO_DATA
        assert outcome_after(f"{accounts}; ANALYZE account") == Outcome.PASS
        assert outcome_after(ONE_LEAD) == Outcome.FAIL
        by_index = "SELECT id FROM account WHERE normalized_phone = '+84900000000'"
        assert outcome_after(by_index) == Outcome.PASS
        read_whole = "SELECT count(display_name) FROM account;"
        assert outcome_after(read_whole * 2) == Outcome.FAIL


@pytest.mark.parametrize("values", [[], ["NaN"], ["+Inf"], ["-Inf"], ["1", "2"]], ids=str)
def test_what_is_no_value_of_a_series_is_inconclusive(
    seeded: Pilot, session: DbSession, prometheus: FakePrometheus, values: list[str]
) -> None:
    prometheus.values.update({each.query: values for each in PROMQL})
    try:
        found = outcomes(seeded, session, prometheus, PROMQL)
    finally:
        prometheus.values.update(HEALTHY)
    assert set(found.values()) == {Why.NO_DATA}


def test_an_expression_that_prometheus_refuses_stops_no_other(
    seeded: Pilot, session: DbSession, prometheus: FakePrometheus
) -> None:
    del prometheus.values[MEASURED["memory-W3"].query]
    try:
        found = outcomes(seeded, session, prometheus, criteria_of("W3"), "W3")
    finally:
        prometheus.values.update(HEALTHY)
    assert {each for each, outcome in found.items() if outcome == Why.SOURCE_DOWN} == {"memory-W3"}


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_column_without_a_value_is_inconclusive(
    seeded: Pilot, session: DbSession, prometheus: FakePrometheus, monkeypatch: pytest.MonkeyPatch, value: Any
) -> None:
    def row(session: DbSession, name: str, params: object) -> Mapping[str, Any]:
        columns = {column for each in SQL for column in (*each.samples, *each.good, *each.bad)}
        return dict.fromkeys(columns, 1000) | dict.fromkeys({each.value for each in SQL}, value)

    monkeypatch.setattr("leads.cli.golive.measuring.read_row", row)
    assert set(outcomes(seeded, session, prometheus, SQL).values()) == {Why.NO_DATA}


def test_no_row_and_a_time_out_are_inconclusive(
    seeded: Pilot, session: DbSession, prometheus: FakePrometheus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leads.cli.golive.measuring.read_row", lambda *_: None)
    assert set(outcomes(seeded, session, prometheus, SQL).values()) == {Why.NO_DATA}

    def wait(session: DbSession, name: str, params: object) -> Mapping[str, Any] | None:
        with session.transaction():
            session.execute("SET LOCAL statement_timeout = '1ms'")
            return session.execute("SELECT pg_sleep(1)").fetchone()

    monkeypatch.setattr("leads.cli.golive.measuring.read_row", wait)
    assert set(outcomes(seeded, session, prometheus, SQL).values()) == {Why.SOURCE_DOWN}


def test_switches_and_modes_are_told_as_they_were_at_a_time(database: str, tmp_path: Path) -> None:
    pilot = Pilot(database, tmp_path)
    pilot.seed()
    names = ("golive/count_active_sources", "golive/count_unenforced")
    with psycopg.Connection[dict[str, Any]].connect(
        database, row_factory=dict_row, autocommit=True
    ) as opened:
        before = datetime.now(UTC)
        opened.execute("UPDATE pancake_source SET is_active = false")
        opened.execute("UPDATE pancake_connection SET signature_mode = 'monitor'")
        then, now = (
            [dict(read_row(opened, name, {"to": to}) or {}) for name in names]
            for to in (before, datetime.now(UTC))
        )
    assert then == [{"value": 1}, {"signature": 0, "allowlist": 0}]
    assert now == [{"value": 0}, {"signature": 1, "allowlist": 0}]


def test_an_empty_database_passes_no_criterion_of_a_gate(database: str, prometheus: FakePrometheus) -> None:
    """What counts nothing must not look like a perfect result."""
    pilot = Pilot(database, Path("/nonexistent"))
    criteria = [each for each in SQL if each.waves and not each.id.startswith("sources-")]
    begun = [
        Statement(Kind.BEGIN, "W1", "Lan", "lan", datetime.now(UTC), since=datetime.now(UTC) - timedelta(1))
    ]
    with (
        psycopg.Connection[dict[str, Any]].connect(database, row_factory=dict_row) as opened,
        OpenSources(pilot, opened, prometheus.url) as sources,
    ):
        inputs = Inputs(sources, tuple(Record(1, each) for each in begun), "", {})
        found = evaluate("test", criteria, inputs, datetime.now(UTC), "W1")
    passed = {each.criterion.id for each in found.judgements if each.outcome is Outcome.PASS}
    assert passed == set()
