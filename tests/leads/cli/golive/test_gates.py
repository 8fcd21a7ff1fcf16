"""The gates of a pilot: each broken condition closes its gate, and people open one after the other."""

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
from typer.testing import CliRunner

from leads.adapters.db_session import DbSession
from leads.cli.__main__ import app
from leads.cli.golive.criterion import Criterion, Source
from leads.cli.golive.gates import Inputs, evaluate
from leads.cli.golive.judgement import Outcome, Why
from leads.cli.golive.load import load_criteria
from leads.cli.golive.measuring import Places, Sources
from leads.cli.golive.opening import GATE_PROBES
from leads.cli.golive.records import Kind, Record, Records, Statement
from leads.cli.golive.scans import FILE, scans_file
from leads.cli.golive.statements import read_row
from sandbox.incidents.prometheus import missing_monitoring
from sandbox.postgres.server import Cluster
from tests.support.golive_breakages import BEFORE, GATE_BREAKAGES, OLDER, dead
from tests.support.golive_evidence import attest_all
from tests.support.golive_pilot import Pilot, write_keys
from tests.support.golive_prometheus import FakePrometheus, fake_prometheus, genuine_prometheus
from tests.support.golive_site import GoLiveSite
from tests.support.monitoring import needs_monitoring
from tests.support.waiting import eventually

MEASURED = {
    each.id: each
    for each in load_criteria()
    if each.source in (Source.SQL, Source.PROMQL) or each.query in GATE_PROBES
}
SQL, PROMQL = (
    [each for each in MEASURED.values() if each.source is source] for source in (Source.SQL, Source.PROMQL)
)
SEPARATELY = {"E7.5-locks", "E7.7-8", "seq-scans-W3"}
"""They have a test of their own below."""
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


def subject_of(criterion: Criterion) -> str:
    return criterion.waves[0] if criterion.waves else criterion.part


def criteria_of(subject: str) -> list[Criterion]:
    return [each for each in MEASURED.values() if subject in (*each.waves, each.part)]


def open_session(url: str, *, autocommit: bool = False) -> psycopg.Connection[dict[str, Any]]:
    return psycopg.Connection[dict[str, Any]].connect(url, row_factory=dict_row, autocommit=autocommit)


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
    records, now = Records(pilot.folder), datetime.now(UTC)
    for wave in ("W1", "W2", "W3", "W4"):
        records.add(
            Statement(Kind.BEGIN, wave, "Lan", "lan", now, since=now - timedelta(days=29)), [NO_SCANS]
        )
    yield pilot
    cluster.drop_database(name)


@pytest.fixture
def session(seeded: Pilot) -> Iterator[DbSession]:
    """A session whose changes are rolled back, without the triggers that refuse final states."""
    with open_session(seeded.url) as opened:
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


def test_a_broken_condition_makes_its_criteria_red_and_no_other(
    seeded: Pilot, session: DbSession, prometheus: FakePrometheus, subtests: pytest.Subtests
) -> None:
    """Every criterion that SQL or Prometheus decides has its breakage."""
    assert {name for each in GATE_BREAKAGES for name in each.criteria.split()} | SEPARATELY == MEASURED.keys()
    for breakage in GATE_BREAKAGES:
        named = [MEASURED[name] for name in breakage.criteria.split()]
        expressions = [each.query for each in named] if breakage.value else []
        for subject in {subject_of(each): None for each in named}:
            criteria = criteria_of(subject)
            with (
                subtests.test(f"{breakage.criteria} in {subject}"),
                session.transaction(force_rollback=True),
            ):
                session.execute((breakage.before or BEFORE.get(subject, "")).encode())
                healthy = outcomes(seeded, session, prometheus, criteria, subject)
                assert set(healthy.values()) == {Outcome.PASS}, healthy
                session.execute(breakage.statement.encode())
                with prometheus.broken(expressions, [breakage.value], breakage.alert):
                    found = outcomes(seeded, session, prometheus, criteria, subject)
                red = {name for name, outcome in found.items() if outcome == Outcome.FAIL}
                assert red == {each.id for each in named if each in criteria}


def test_sessions_that_wait_for_a_lock_are_red(
    seeded: Pilot, session: DbSession, prometheus: FakePrometheus
) -> None:
    criterion = MEASURED["E7.5-locks"]

    def is_red() -> bool:
        session.rollback()  # the activity of other sessions is read once in a transaction
        return outcomes(seeded, session, prometheus, [criterion]) == {criterion.id: Outcome.FAIL}

    assert outcomes(seeded, session, prometheus, [criterion]) == {criterion.id: Outcome.PASS}
    with psycopg.connect(seeded.url) as holder, psycopg.connect(seeded.url) as waiter:
        holder.execute("LOCK TABLE app_setting")
        waiting = threading.Thread(target=waiter.execute, args=("SELECT 1 FROM app_setting FOR SHARE",))
        waiting.start()
        eventually(is_red, 10)  # it counts waits of more than a second
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
    with open_session(database, autocommit=True) as opened:

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
        monkeypatch.setattr("leads.cli.golive.measuring.read_row", lambda *_, row=row: row)
        assert set(outcomes(seeded, session, prometheus, SQL).values()) == {Why.NO_DATA}

    def wait(session: DbSession, name: str, params: object) -> Mapping[str, Any] | None:
        with session.transaction():
            session.execute("SET LOCAL statement_timeout = '1ms'")
            return session.execute("SELECT pg_sleep(1)").fetchone()

    monkeypatch.setattr("leads.cli.golive.measuring.read_row", wait)
    assert set(outcomes(seeded, session, prometheus, SQL).values()) == {Why.SOURCE_DOWN}


def test_switches_and_modes_are_told_as_they_were_at_a_time(database: str, tmp_path: Path) -> None:
    Pilot(database, tmp_path).seed()
    names = ("golive/count_active_sources", "golive/count_unenforced")
    with open_session(database, autocommit=True) as opened:
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
    pilot, now = Pilot(database, Path("/nonexistent")), datetime.now(UTC)
    criteria = [each for each in SQL if each.waves and not each.id.startswith("sources-")]
    begun = Statement(Kind.BEGIN, "W1", "Lan", "lan", now, since=now - timedelta(1))
    with open_session(database) as opened, OpenSources(pilot, opened, prometheus.url) as sources:
        inputs = Inputs(sources, (Record(1, begun),), "", {})
        found = evaluate("test", criteria, inputs, datetime.now(UTC), "W1")
    assert {each.criterion.id for each in found.judgements if each.outcome is Outcome.PASS} == set()


def manual(wave: str) -> set[str]:
    """What a gate asks of people."""
    sources = (Source.PERSON, Source.FILE)
    return {each.id for each in load_criteria() if wave in each.waves and each.source in sources}


def open_waves(pilot: Pilot, folder: Path, sources_of: Mapping[str, int]) -> None:
    """People alone keep each gate closed; they attest, then it is open, and its report verifies.

    `sources_of` has the number of sources that each wave activates.
    """
    attested: set[str] = set()
    for number, (wave, sources) in enumerate(sources_of.items()):
        begun = pilot.begin(wave, pilot.since + timedelta(hours=number, minutes=5))
        assert begun.exit_code == 0, begun.output
        pilot.activate_sources(sources)

        closed = pilot.gate(wave)
        keeps_closed = {each["id"] for each in closed["criteria"] if each["outcome"] != "pass"}
        assert keeps_closed == manual(wave) - attested, wave
        assert {each["outcome"] for each in closed["criteria"]} == {"pass", "inconclusive"}
        assert not closed["is_open"]

        attested |= set(attest_all(pilot, wave, folder))
        is_open = pilot.gate(wave)
        assert {each["outcome"] for each in is_open["criteria"]} == {"pass"}, wave
        assert is_open["is_open"]
        check_report(pilot, wave, folder)
    check_sign_off(pilot, folder)


def check_sign_off(pilot: Pilot, folder: Path) -> None:
    """After W4 only the signatures, and what only a longer pilot shows, are missing."""
    closed = pilot.gate("sign-off")
    assert closed["before"] == {"gate": "W4", "outcome": "pass", "reason": "It is open."}
    too_few = {each["id"] for each in closed["criteria"] if each["why"] == "too_few"}
    assert too_few == {"E6-zero-miss", "E6-missing"}, "seven days of reconciliations; twenty are needed"
    for name in too_few:
        until = f"{pilot.now + timedelta(days=2):%Y-%m-%d}"
        words = ["--reason", "nén thời gian", "--until", until, "--by", "Sếp"]
        assert pilot.golive("waive", name, *words).exit_code == 0
    attest_all(pilot, "sign-off", folder)
    signed = pilot.gate("sign-off")
    assert signed["is_open"]
    assert signed["counts"]["waived"] == 2
    check_report(pilot, "sign-off", folder)


def check_report(pilot: Pilot, wave: str, folder: Path) -> None:
    """Write the report of an open gate, and verify it, also by the sources."""
    keys = folder / f"{wave}-keys"
    keys.mkdir()
    private, public = write_keys(keys)
    result = pilot.golive("report", wave, "--key", str(private), "--to", str(folder / wave))
    assert result.exit_code == 0, result.output
    (made,) = (folder / wave).iterdir()
    words = ["verify", str(made / "report.dsse.json"), "--public-key", str(public), "--reevaluate"]
    verified = pilot.golive(*words)
    assert verified.exit_code == 0, verified.output
    assert f"The report is what was signed: gate {wave} was open at" in verified.stdout


@pytest.fixture
def prometheus_url(tmp_path: Path) -> Iterator[str]:
    """A genuine Prometheus where one is installed."""
    folder = tmp_path / "prometheus"
    folder.mkdir()
    if missing_monitoring():
        with fake_prometheus() as running:
            yield running.url
    else:
        with genuine_prometheus(folder, timedelta(days=8)) as url:
            yield url


def test_four_waves_are_opened_by_their_people_one_after_the_other(
    database: str, tmp_path: Path, prometheus_url: str
) -> None:
    """A compressed pilot. What changes in its data later is named when the sources are asked again."""
    pilot = Pilot(database, tmp_path / "records", prometheus_url)
    pilot.seed()
    open_waves(pilot, tmp_path, {"W1": 1, "W2": 5, "W3": 15, "W4": 41})
    pilot.sql(dead(10, OLDER))
    (made,) = (tmp_path / "W1").iterdir()
    words = ["verify", str(made / "report.dsse.json"), "--public-key", str(tmp_path / "W1-keys/golive.pub")]
    result = pilot.golive(*words, "--reevaluate", "--json")
    assert result.exit_code == 1
    differing = {each["name"] for each in json.loads(result.stdout)["checks"] if each["problem"]}
    assert differing == {"again: success-rate"}


LEADS = 120
SPREAD = """
WITH spread AS (
    SELECT id, ticket_id, processed_at - arrived_at AS took,
        %(since)s + row_number() OVER (ORDER BY id) * (%(until)s - %(since)s) / (count(*) OVER () + 1) AS at
    FROM pancake_webhook_event
), tickets AS (
    UPDATE ticket AS t SET created_at = s.at, first_response_at = s.at + interval '12 minutes'
    FROM spread AS s
    WHERE s.ticket_id = t.id
)
UPDATE pancake_webhook_event AS e
SET created_at = s.at, arrived_at = s.at, received_at = s.at, ingested_at = s.at, processed_at = s.at + s.took
FROM spread AS s
WHERE s.id = e.id
"""


@needs_monitoring
@pytest.mark.full("leads pass a whole sandbox")
def test_a_compressed_week_of_a_sandbox_opens_the_gates(site: GoLiveSite, tmp_path: Path) -> None:
    """Edge, engine, handlers, database and Prometheus run.

    Made up are: the clock (the leads of a minute are spread over a week), the answers of the telesales, the
    runs of the daily crons, and Prometheus' past.
    """

    def deploy(*words: str, code: int = 0) -> None:
        run = CliRunner().invoke(app, ["golive", "deploy", "--anytime", *words])
        assert run.exit_code == code, run.output

    deploy("--confirm", "12", code=1)
    assert site.deliver(1) == "skipped_kill_switch"
    deploy()
    for number in range(2, LEADS + 1):
        assert site.deliver(number) == "received"
    count = "SELECT count(*) FROM pancake_webhook_event WHERE outcome = 'ticket_created'"
    eventually(lambda: site.query(count) == [(LEADS,)], seconds=120)

    folder = tmp_path / "prometheus"
    folder.mkdir()
    with genuine_prometheus(folder, timedelta(days=8)) as url:
        pilot = Pilot(site.database_url, tmp_path / "records", url)
        pilot.sql("ALTER TABLE pancake_webhook_event DISABLE TRIGGER USER")
        pilot.sql(SPREAD, since=pilot.since, until=pilot.now)
        pilot.seed_contacts()
        pilot.seed_runs()
        pilot.enforce()
        open_waves(pilot, tmp_path, {"W1": 0, "W2": 4, "W3": 14, "W4": 40})  # besides the one of step 14
