"""Hot statements use indexes: on large tables, on fresh ones, whatever the statistics say of a backlog."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count, takewhile
from typing import Any

import psycopg
import pytest

from leads.adapters.database import SQL_FOLDER, split
from leads.domain.event_states import CLAIM_LIMITS
from ops.clients.db_session import QUERIES
from sandbox.postgres.database import migrate, run_file
from sandbox.postgres.plans import Plan, custom_plan, explain_prepared, generic_plan, indexes, nodes, scanned
from sandbox.postgres.server import Cluster
from tests.support.crons import HDB_CATALOG
from tests.support.postgres import CONNECTION, fill_tables, insert_events
from tests.support.stored_rows import FROM, TO, insert_tickets

Db = psycopg.Connection[Any]
_numbers = count(1)
EVENT, RUN = "pancake_webhook_event", "pancake_cron_run"
NOW = "2026-05-14T00:00:00Z"
BOTH = ("generic", "custom")
FOLDERS = {"process_record", "ingest_record", "outbox", "retry_failed", "pancake_lists", "poll_records"}
FOLDERS |= {"check_connection", "check_sla", "reconcile_daily", "cron_runs", "run_notices"}
FOLDERS |= {"late_owners", "reconcile", "status", "tail", "trace_lead"}
HOT = [name for name in QUERIES if name.split("/")[0] in FOLDERS]
OF_FIGURES = sorted({n for n in QUERIES if n.split("/")[0] in ("kpi", "report")} - {"kpi/load_zero_miss"})
ALONE = ["process_record/claim_event", "process_record/fail_event", "process_record/fence_claim"]
"""Those that come before the fence has chosen how the others are planned, the fence included."""
OF_LARGE_TABLES = re.compile(
    r"\b(?:\w+_pancake_webhook_event\w*|(?:account|ticket)_\w*(?:pkey|idx|key)|uq_contact_book_primary_phone"
    r"|uq_pancake_cron_run_tick|ix_customer_erasure_digest)\b"
)
"""The names of indexes in the comment of a statement; a small table is read without its index."""
ANOTHER_PLAN = {
    "backfill_phones/create_index", "backfill_phones/drop_index", "connection_secrets/list_erasure_keys",
    "erase/clear_events", "golive/load_opening", "metrics/count_rows_of_counters",
    "process_record/erase_event", "replay_events/find_rows",
}  # fmt: skip
"""Statements that have no plan, or whose generic plan on these rows has another index than they name."""
UNNAMED = {
    "late_owners/set_owner": "ticket_pkey",
    "process_record/load_facts": "ticket_account_id_idx",
    "process_record/merge_account": "account_pkey",
    "process_record/update_ticket": "ticket_pkey",
    "trace_lead/load_events": "ix_phone_digest ix_ticket ix_held ticket_code_key ticket_account_id_idx",
}
"""Indexes that a statement uses and its comment does not name: those of Diva, or of a view."""


TEXTS = dict(each for path in SQL_FOLDER.rglob("*.sql") for each in split(path.read_text("utf-8")))
"""The statements with their comments."""


def named_indexes(name: str) -> set[str]:
    comment = " ".join(takewhile(lambda line: line.startswith("--"), TEXTS[name].splitlines()))
    return {*OF_LARGE_TABLES.findall(comment), *map(of_events, UNNAMED.get(name, "").split())}


def of_events(index: str) -> str:
    """The full name of an index: `pk` and `ix_held` are those of the events."""
    kind, _, rest = index.partition("_")
    return "_".join(filter(None, (kind, EVENT, rest))) if kind in ("pk", "ix", "uq") else index


def executed_plan(db: Db, name: str, params: dict[str, Any], kind: str) -> Plan:
    """Execute a prepared statement with a `generic` or `custom` plan, undo it, and return the plan."""
    with db.transaction(force_rollback=True):
        return explain_prepared(db, name, params, "ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON", kind)


def index_scans(plan: Plan, table: str) -> set[str]:
    """Return the indexes through which a table is read; bitmap scans count too."""
    names = {
        node["Index Name"] for node in plan if node.get("Relation Name") == table and "Index Name" in node
    }
    return names | {node["Index Name"] for node in plan if node["Node Type"] == "Bitmap Index Scan"}


def shared_buffers(plan: Plan) -> int:
    """Return the shared buffers that the execution read, its most expensive node with all below it."""
    return max(int(node["Shared Hit Blocks"]) + int(node["Shared Read Blocks"]) for node in plan)


def check_few_pages(plan: Plan, table: str, used: set[str], buffers: int = 120) -> None:
    """Only these indexes are read of a table, and few pages: an index look-up, a new row and its entries.

    A search through the backlog reads thousands.
    """
    assert index_scans(plan, table) == used
    assert scanned(plan) == set()
    assert shared_buffers(plan) <= buffers


# On tables with 40,000 accounts and 40,000 events
@pytest.fixture(scope="module")
def filled(migrated: Db) -> Db:
    """The migrated database with 40,000 accounts and events; half of the accounts are not normalised yet."""
    fill_tables(migrated)
    return migrated


def test_no_hot_statement_scans_a_large_table_sequentially(filled: Db, subtests: pytest.Subtests) -> None:
    for name in HOT:
        with subtests.test(name):
            assert scanned(generic_plan(filled, name)) == set()


def test_a_statement_uses_the_indexes_that_it_names(filled: Db, subtests: pytest.Subtests) -> None:
    named = {name: found for name in QUERIES.keys() - ANOTHER_PLAN if (found := named_indexes(name))}
    assert len(named) > 80
    for name, expected in named.items():
        with subtests.test(name):
            plan = generic_plan(filled, name)
            arbiters = {arbiter for node in plan for arbiter in node.get("Conflict Arbiter Indexes", [])}
            assert expected <= indexes(plan) | arbiters


def test_the_counted_rows_are_estimated_by_their_times(filled: Db) -> None:
    """A third of the table would be expected of times that the planner does not know: it scans it then."""
    params = {"now": datetime.now(UTC) + timedelta(days=30), "names": ["check_sla"]}
    plan = custom_plan(filled, "metrics/count_rows_of_counters", params)
    expected = [node["Plan Rows"] for node in plan if node.get("Relation Name") == EVENT]
    assert len(expected) == 2
    assert max(expected) < 1000


def test_a_claim_looks_for_an_active_source_once(filled: Db) -> None:
    """Merged into the UPDATE, the search stands in the plan once for each column that depends on it."""
    found = generic_plan(filled, "process_record/claim_event")
    assert [node.get("Relation Name") for node in found].count("pancake_source") == 1


def test_a_metric_reads_no_large_table_whole(filled: Db, subtests: pytest.Subtests) -> None:
    """Its session is new at each scrape, so each plan is a custom one."""
    params = {"now": "2026-03-10T12:00:00Z", "names": ["poll_records"], "logs": ["event_log"]}
    for name in QUERIES:
        if name.split("/")[0] == "metrics":
            with subtests.test(name):
                assert scanned(custom_plan(filled, name, params)) == set()


def test_a_figure_reads_only_the_events_of_its_window(filled: Db, subtests: pytest.Subtests) -> None:
    window = {"from": NOW, "to": "2026-05-14T01:00:00Z"}
    for name in OF_FIGURES:
        with subtests.test(name):
            plan = custom_plan(filled, name, window)
            assert of_events("ix_created_at") in indexes(plan)
            assert scanned(plan) == set()


def test_a_change_of_status_or_of_a_claim_updates_no_column_of_an_index(filled: Db) -> None:
    """So that it stays a HOT update; one index of the status has held rows only."""
    found = filled.execute(
        "SELECT a.attname FROM pg_index AS x JOIN pg_attribute AS a ON a.attrelid = x.indrelid"
        " AND a.attnum = ANY (x.indkey) WHERE x.indrelid = 'pancake_webhook_event'::regclass"
        " AND x.indexrelid <> 'ix_pancake_webhook_event_held'::regclass"
    ).fetchall()
    changed = {"status", "attempts", "claim_id", "ingested_at"}
    claimed = {"notify_claimed_at", "notify_attempts", "notify_unknowns", "notify_unsent_since"}
    assert {name for (name,) in found} & (changed | claimed) == set()


@pytest.mark.parametrize(
    ("order", "index"),
    [({"states": ["dead_letter", "skipped_kill_switch"]}, "ix_held"), ({"states": ["failed"]}, "ix_retry"),
     ({"ids": [1, 2, 3]}, "pk"), ({}, "ix_held")],
    ids=str,
)  # fmt: skip
def test_a_replay_finds_its_rows_by_index(filled: Db, order: dict[str, Any], index: str) -> None:
    unset = dict.fromkeys(("ids", "error_code", "sources", "created_from", "created_to"))
    unset |= {"corrected": False, "most": 100_000}
    params = {**unset, "states": ["skipped_kill_switch"], **order}
    plan = custom_plan(filled, "replay_events/find_rows", params)
    assert of_events(index) in indexes(plan)
    assert scanned(plan) == set()


@pytest.mark.parametrize("view", ["view_pancake_report_source", "view_pancake_report_owner"])
def test_the_report_of_a_week_reads_the_events_of_that_week_once(filled: Db, view: str) -> None:
    query = (
        f"SELECT * FROM {view} WHERE week = date_trunc('week', now() AT TIME ZONE 'Asia/Ho_Chi_Minh')::date"
    )
    ((found,),) = filled.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}".encode()).fetchall()
    plan = list(nodes(found[0]["Plan"]))
    assert scanned(plan) == set()
    calls = [node for node in plan if str(node.get("Function Name", "")).startswith("pancake_report_")] or [
        node for node in plan if node.get("Index Name") == of_events("ix_created_at")
    ]
    assert calls
    assert max(node["Actual Loops"] for node in calls) == 1


def test_a_roster_is_read_by_its_source(filled: Db) -> None:
    """Not the members of all rosters."""
    with filled.transaction(force_rollback=True):
        for statement in (
            "INSERT INTO pancake_source (connection_id, pancake_source_id, name) SELECT c.id, '-8' || n,"
            " 'Source ' || n FROM pancake_connection AS c, generate_series(1, 40) AS n",
            "INSERT INTO staff (full_name, role)"
            " SELECT 'Telesale ' || n, 'telesale' FROM generate_series(1, 60) AS n",
            "INSERT INTO pancake_assignee (source_id, staff_id)"
            " SELECT p.id, s.id FROM pancake_source AS p, staff AS s WHERE s.full_name LIKE 'Telesale %'",
            "ANALYZE pancake_assignee, staff",
            "SET LOCAL enable_seqscan = off",  # as in the sessions that process
        ):
            filled.execute(statement.encode())
        found = generic_plan(filled, "process_record/load_roster")
    nodes_of_source = [node for node in found if node.get("Index Name") == "uq_pancake_assignee"]
    conditions = sorted(node["Index Cond"].rstrip(" $0123456789)") for node in nodes_of_source)
    assert conditions == ["(source_id =", "(source_id IS NULL"]


# On tables of which PostgreSQL has no statistics, or wrong ones


@contextmanager
def cloned(cluster: Cluster, template: str) -> Iterator[Db]:
    """A session on a new migrated database without autovacuum."""
    database = f"{template}_plans_{next(_numbers)}"
    with psycopg.connect(cluster.create_database(database, template), autocommit=True) as db:
        for table in (EVENT, RUN, "ticket"):
            db.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)".encode())
        yield db
    cluster.drop_database(database)


def test_the_migrations_leave_no_statistics_of_an_empty_event_table(cluster: Cluster, template: str) -> None:
    """The planner assumes ten pages of a table never analysed, but not of one analysed while empty."""
    with cloned(cluster, template) as db:
        insert_events(db, "received", 5)
        found = {name: index_scans(generic_plan(db, name), EVENT) for name in ALONE}
    assert found == {name: {of_events("pk")} for name in ALONE}


def test_the_migrations_collect_statistics_of_what_they_add_to_divas_tables(diva_database: str) -> None:
    with psycopg.connect(diva_database, autocommit=True) as db:
        db.execute(
            "INSERT INTO account (id, phone_code, phone_number)"
            " SELECT md5('a' || n)::uuid, '84', '0' || (900000000 + n) FROM generate_series(1, 100) AS n"
        )
        db.execute("INSERT INTO contact_book (account_id) SELECT id FROM account")
        migrate(diva_database)
        found = db.execute(
            "SELECT tablename, attname FROM pg_stats WHERE schemaname = 'public'"
            " AND (attname IN ('normalized_phone', 'primary_phone') OR tablename LIKE 'account_phone%')"
        ).fetchall()
    assert set(found) == {
        ("account", "normalized_phone"),
        ("account_phone_not_normalized_idx", "regexp_replace"),
        ("contact_book", "primary_phone"),
    }


PARAMS: dict[str, dict[str, Any]] = {
    "process_record/claim_event": {**CLAIM_LIMITS},
    "process_record/fence_claim": {},
    "process_record/fail_event": {
        "next_attempt_at": None, "error_code": "internal", "error_detail": "x", "evidence": "{}",
    },
    "process_record/hold_event": {"status": "skipped_kill_switch"},
    "process_record/set_table": {"table_name": None},
    "process_record/finish_event": {
        "now": NOW, "phone": "+84905111222", "changes": True, "outcome": "ticket_created",
        "account_id": None, "ticket_id": None, "assignee_id": None, "evidence": "{}", "notifications": "[]",
    },
    "replay_events/replay_rows": {"by": "x", "now": NOW, "evidence": "{}"},
}  # fmt: skip
BY_KEY = [
    *((name, "ingested") for name in PARAMS if name.startswith("process_record/")),
    ("process_record/claim_event", "received"),
    ("process_record/load_turn", "received"),
    ("replay_events/count_waiting", "received"),
    ("replay_events/count_waiting", "ingested"),
    ("replay_events/load_results", "skipped_kill_switch"),
    ("replay_events/replay_rows", "failed"),
    ("replay_events/replay_rows", "skipped_kill_switch"),
]
"""Statements that find events by id, and the status of the event."""


@pytest.fixture(scope="module", params=["empty table", "no backlog"])
def backlog(request: pytest.FixtureRequest, cluster: Cluster, template: str) -> Iterator[Db]:
    """40,000 waiting, 8,000 failed and 8,000 held events that no statistics know of.

    The statistics are those of an empty table, or of a table with processed events only.
    """
    with cloned(cluster, template) as db:
        db.execute("SET session_replication_role = replica")
        if request.param == "no backlog":
            insert_events(db, "processed", 20_000)
        db.execute("ANALYZE pancake_webhook_event")
        for status, count in (
            ("received", 20_000), ("ingested", 20_000), ("failed", 8_000), ("skipped_kill_switch", 8_000),
        ):  # fmt: skip
            insert_events(db, status, count)
        yield db


def test_an_event_of_an_unknown_backlog_is_found_by_its_key(backlog: Db, subtests: pytest.Subtests) -> None:
    """It is the last event of its status: a scan in the order of an index finds it last."""
    for name, status in BY_KEY:
        newest = f"SELECT id, claim_id::text FROM {EVENT} WHERE status = %s ORDER BY id DESC LIMIT 1"
        event_id, claim_id = backlog.execute(newest.encode(), [status]).fetchone() or (None, None)
        keys = {"id": event_id, "claim_id": claim_id, "ids": [event_id], "states": [status]}
        for kind in BOTH:
            with subtests.test(name, status=status, kind=kind):
                found = executed_plan(backlog, name, keys | PARAMS.get(name, {}), kind)
                check_few_pages(found, EVENT, {of_events("pk")})


LOCKED = 20
LOG = """
INSERT INTO hdb_catalog.event_log (trigger_name, delivered, locked, payload)
SELECT 'pancake_webhook_event_status_update', e.status <> 'received',
    CASE WHEN e.record_id ~ '^received[12][0-9]$' THEN now() - interval '1 hour' END,
    jsonb_build_object('data', jsonb_build_object('new', to_jsonb(e)))
FROM pancake_webhook_event AS e
"""


@pytest.mark.parametrize("kind", BOTH)
def test_the_events_of_a_dead_engine_are_unlocked_by_look_ups(backlog: Db, kind: str) -> None:
    """Among 20,000 that wait and 36,000 that are finished, whatever the statistics of both tables say."""
    with backlog.transaction(force_rollback=True):
        run_file(backlog, HDB_CATALOG)
        backlog.execute("ANALYZE hdb_catalog.event_log")
        backlog.execute(LOG.encode())
        for analyze in ("SELECT", f"ANALYZE {EVENT}, hdb_catalog.event_log"):
            backlog.execute(analyze.encode())
            found = executed_plan(backlog, "retry_failed/unlock_events", {"lease": "60 seconds"}, kind)
            assert shared_buffers(found) <= 40 * LOCKED, analyze


@pytest.mark.parametrize("kind", BOTH)
def test_a_held_event_of_an_unknown_backlog_is_found_by_its_record(backlog: Db, kind: str) -> None:
    delivery = {
        "ordinal": 0, "connection_id": "00000000-0000-4000-8000-000000000001",
        "record_id": "skipped_kill_switch8000", "payload_hash": "00" * 32, "payload": "{}",
    }  # fmt: skip
    params = {"origin": "poll", "now": NOW, "deliveries": json.dumps([delivery])}
    found = executed_plan(backlog, "pancake_lists/restore_emptied_held", params, kind)
    assert index_scans(found, EVENT) == {of_events("pk"), of_events("uq_identity")}
    assert shared_buffers(found) <= 120


ROWS = 8_000
"""Of each kind: never tried, due again, waiting, given up."""
UNSENT_STATES = """
    CASE n %% 4 WHEN 1 THEN t.now - n * interval '1 ms' WHEN 2 THEN t.now + interval '1 hour' END,
    CASE n %% 4 WHEN 3 THEN t.now - interval '2 days' END, CASE WHEN n %% 4 > 0 THEN 'refused' END
    FROM generate_series(1, 4 * %(rows)s) AS n CROSS JOIN LATERAL (
        SELECT %(now)s::timestamptz AS now, timestamptz '2020-01-01Z' + n * interval '1 s' AS at
    ) AS t
"""
UNSENT = (
    "INSERT INTO pancake_webhook_event (connection_id, origin, record_id, payload_hash, status, arrived_at,"
    " created_at, notifications, notify_next_at, notify_given_up_at, notify_error)"
    " SELECT '00000000-0000-4000-8000-000000000001', 'webhook', 'unsent' || n,"
    " sha256(('unsent' || n)::bytea), 'skipped_source_disabled', t.now, t.now,"
    ' \'[{"name": "x", "recipient_ids": ["y"]}]\',' + UNSENT_STATES,
    "INSERT INTO pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome, report,"
    " notify_next_at, notify_given_up_at, notify_error) SELECT 'sync_sources', t.at, t.at, t.at, 'succeeded',"
    ' \'{"notifications": [{"idempotency_key": "x"}]}\',' + UNSENT_STATES,
)
DUE = {"now": NOW, "lease": "60 seconds", "every": "1 hour", "limit": 500}
CLAIMED = {
    "ids": [4],
    "claimed_ats": [NOW],
    "results": f'[{{"id": 4, "claimed_at": "{NOW}", "attempts": 1, "refusals": 0, "unknowns": 0}}]',
}


@pytest.fixture(scope="module", params=["empty tables", "nothing unsent", "analysed"])
def unsent(request: pytest.FixtureRequest, cluster: Cluster, template: str) -> Iterator[Db]:
    """A large backlog of unsent notifications.

    The statistics are those of empty tables, of tables without unsent rows, or of the backlog.
    """
    with cloned(cluster, template) as db:
        db.execute(CONNECTION)
        if request.param == "nothing unsent":
            insert_events(db, "processed", ROWS)
            db.execute(
                "INSERT INTO pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome)"
                " SELECT 'check_sla', t, t, t, 'succeeded' FROM generate_series(1, %s) AS n,"
                " LATERAL (SELECT timestamptz '2020-01-01Z' + n * interval '1 s' AS t) AS x",
                (ROWS,),
            )
        if request.param != "analysed":
            db.execute("ANALYZE pancake_webhook_event, pancake_cron_run")
        for statement in UNSENT:
            db.execute(statement.encode(), {"rows": ROWS, "now": NOW})
        if request.param == "analysed":
            db.execute("ANALYZE pancake_webhook_event, pancake_cron_run")
        yield db


@pytest.mark.parametrize("kind", BOTH)
def test_due_rows_are_listed_without_reading_the_backlog(
    unsent: Db, kind: str, subtests: pytest.Subtests
) -> None:
    for name, table in (("outbox/list_unnotified", EVENT), ("run_notices/list_unnotified", RUN)):
        with subtests.test(name=name, table=table):
            found = executed_plan(unsent, name, DUE, kind)
            assert not {"Seq Scan", "Sort", "Bitmap Heap Scan"} & {node["Node Type"] for node in found}
            assert found[0]["Actual Rows"] == 1_000
            check_few_pages(found, table, {f"ix_{table}_unnotified"}, buffers=2_500)


@pytest.mark.parametrize("kind", BOTH)
def test_a_row_of_the_backlog_is_found_by_its_key_without_those_given_up(unsent: Db, kind: str) -> None:
    for table, names in (
        (EVENT, ("outbox/claim_notifications", "outbox/mark_notified", "outbox/mark_unsent")),
        (RUN, ("run_notices/claim_notifications", "run_notices/mark_notified", "run_notices/mark_unsent")),
    ):
        for name in names:
            check_few_pages(executed_plan(unsent, name, DUE | CLAIMED, kind), table, {f"pk_{table}"})
    found = executed_plan(unsent, "retry_failed/count_given_up", DUE, kind)
    assert scanned(found) == set()
    assert shared_buffers(found) <= 120


UNASSIGNED = 20
MAX_BUFFERS = 20 * UNASSIGNED
"""A few pages for each unassigned ticket. The tables have thousands of pages."""
SEARCH_PARAMS: dict[str, Any] = {"now": "2026-05-15T00:00:00Z", "limit": 500, "most": None}
OWNER = "c0000000-0000-4000-8000-000000000001"


@pytest.fixture(scope="module", params=["empty tables", "all unassigned", "true statistics"])
def tickets(request: pytest.FixtureRequest, cluster: Cluster, template: str) -> Iterator[Db]:
    """20 unassigned tickets among 40,000 others, which have owners or are settled.

    The statistics are those of empty tables, of tables in which no ticket had an owner, or true.
    """
    with cloned(cluster, template) as db:
        db.execute("SET session_replication_role = replica")
        db.execute(CONNECTION)
        if request.param == "all unassigned":
            insert_tickets(db, "old", 2_000)
        db.execute("ANALYZE pancake_webhook_event, ticket")
        db.execute("UPDATE pancake_webhook_event SET assignee_id = %s", [OWNER])
        db.execute("UPDATE ticket SET assignee_id = %s", [OWNER])
        insert_tickets(db, "owned", 30_000, owner=OWNER)
        insert_tickets(db, "settled", 10_000, evidence='{"assignment": {"settled": {}}}')
        insert_tickets(db, "night", UNASSIGNED)
        db.execute("INSERT INTO pancake_assignee (staff_id) VALUES (%s)", [OWNER])
        db.execute(
            "UPDATE app_setting SET app_settings ="
            " jsonb_set(app_settings, '{pancake_integration,kill_switch}', 'false')"
        )
        # The pages of entries that were removed are read until the table is vacuumed.
        true = request.param == "true statistics"
        db.execute("ANALYZE pancake_webhook_event, ticket" if true else "VACUUM pancake_webhook_event")
        yield db


@pytest.mark.parametrize("kind", BOTH)
def test_a_search_reads_the_unassigned_tickets_alone(
    tickets: Db, kind: str, subtests: pytest.Subtests
) -> None:
    """The rule is inlined into the index: a change of an owner alone is seen by the index."""
    for search in ("late_owners/list_assignable", "late_owners/mark_settled", "late_owners/count_unassigned"):
        with subtests.test(search=search):
            found = executed_plan(tickets, search, SEARCH_PARAMS, kind)
            assert scanned(found) == set()
            assert {"ticket_pkey", of_events("ix_unassigned")} <= indexes(found)
            assert shared_buffers(found) <= MAX_BUFFERS
    assert "pancake_event_is_unassigned" not in str(found)
    (row,) = [node for node in found if node.get("Relation Name") == EVENT]
    assert row["Actual Rows"] == UNASSIGNED


WATCH = "UPDATE pancake_webhook_event SET ticket_watched_at = created_at"
OF_THE_NIGHT = "WHERE record_id LIKE 'night%'"
RECALL = (
    "UPDATE app_setting SET app_settings ="
    " jsonb_set(app_settings, '{pancake_integration,recall_after_minutes}', '10')"
)
OF_WATCHED: dict[str, tuple[str, tuple[str, ...]]] = {
    **dict.fromkeys(
        ("check_sla/flag_late_tickets", "check_sla/stop_watching", "late_owners/list_recallable"),
        ("ix_watched", (f"{WATCH} {OF_THE_NIGHT}", RECALL)),
    ),
    "late_owners/store_summaries": (
        "ix_told_later",
        (WATCH, f"UPDATE pancake_webhook_event SET evidence = '{{\"told_later\": true}}' {OF_THE_NIGHT}"),
    ),
}
"""Searches among the tickets that are watched: the index that each reads, and what is so before."""


@pytest.mark.parametrize("kind", BOTH)
def test_a_search_among_watched_tickets_reads_its_own_alone(
    tickets: Db, kind: str, subtests: pytest.Subtests
) -> None:
    """Not all of the last days, or of years; for old leads to tell of not all that are watched."""
    params = SEARCH_PARAMS | {"lease": "60 seconds"}
    for search, (index, changes) in OF_WATCHED.items():
        with subtests.test(search=search), tickets.transaction(force_rollback=True):
            for change in changes:
                tickets.execute(change.encode())
            found = executed_plan(tickets, search, params, kind)
            assert scanned(found) == set()
            assert of_events(index) in indexes(found)
            assert shared_buffers(found) <= 100 * UNASSIGNED


@pytest.mark.parametrize("kind", BOTH)
def test_many_late_tickets_are_flagged_by_look_ups_as_far_as_the_limit(tickets: Db, kind: str) -> None:
    with tickets.transaction(force_rollback=True):
        tickets.execute(
            "UPDATE pancake_webhook_event SET ticket_watched_at = created_at WHERE id %% 10 = 0", []
        )
        tickets.execute("ANALYZE pancake_webhook_event, ticket")
        params = SEARCH_PARAMS | {"lease": "60 seconds", "limit": UNASSIGNED}
        found = executed_plan(tickets, "check_sla/flag_late_tickets", params, kind)
    assert scanned(found) == set()
    (row,) = [node for node in found if node.get("Relation Name") == "ticket"]
    assert row["Actual Loops"] == UNASSIGNED


def test_status_counts_the_usual_tickets_without_reading_all_events(tickets: Db) -> None:
    found = executed_plan(tickets, "status/count_tickets", SEARCH_PARAMS | {"most": 100}, "custom")
    assert scanned(found) == set()


@pytest.mark.parametrize("kind", BOTH)
def test_no_report_is_read_on_a_tick_without_a_morning_message(tickets: Db, kind: str) -> None:
    found = executed_plan(tickets, "check_sla/load_morning_message", SEARCH_PARAMS, kind)
    assert shared_buffers(found) <= 10


@pytest.mark.parametrize("is_recall", [False, True], ids=["first owner", "recall"])
@pytest.mark.parametrize("kind", BOTH)
def test_a_ticket_is_locked_by_its_keys(tickets: Db, kind: str, is_recall: bool) -> None:
    ((newest,),) = tickets.execute("SELECT max(id) FROM pancake_webhook_event").fetchall()
    params = {"id": newest, "lease": "60 seconds", "now": "2026-03-04T05:06:07Z", "is_recall": is_recall}
    found = executed_plan(tickets, "late_owners/lock_ticket", params, kind)
    assert scanned(found) <= {"contact_book"}, "it has one row here"
    assert "ticket_pkey" in indexes(found)
    assert shared_buffers(found) <= MAX_BUFFERS


@pytest.mark.parametrize("table_name", ["lead", None])
def test_a_long_list_is_compared_quickly(database: str, connection_id: str, table_name: str | None) -> None:
    """Also when PostgreSQL knows how long the list is."""
    now, listed, stored = datetime.now(UTC), 150_000, 2_000
    with psycopg.connect(database, autocommit=True, options="-c statement_timeout=8s") as db:
        db.execute(
            "INSERT INTO pancake_webhook_event (connection_id, origin, record_id, table_name, modified_on,"
            " payload_hash, payload, status, arrived_at, created_at) SELECT %s, 'reconcile', 'r-' || n, %s,"
            " %s, sha256(n::text::bytea), '{}', 'received', now(), now()"
            " FROM generate_series(%s::int, %s::int) AS n",
            (connection_id, table_name, now, listed - stored + 2, listed + 1),
        )
        params = {
            "connection_id": connection_id,
            "tables": ["lead"],
            "window_from": now - timedelta(hours=1),
            "window_to": now,
            "seen": json.dumps({"lead": [f"r-{n}" for n in range(1, listed + 1)]}),
            "max_future": timedelta(hours=48),
        }
        row = db.execute(QUERIES["reconcile_daily/compare_day"], params).fetchone()
    assert row == (0, [{"record_id": f"r-{listed + 1}", "table_name": table_name}])


# Work that is done once, and not for each row


def test_the_settings_are_checked_once_and_not_for_each_ticket(migrated: Db) -> None:
    """For the 30,000 tickets of a day it took nine tenths of the time of this figure."""
    statement = b"EXPLAIN (VERBOSE, COSTS OFF) " + QUERIES["kpi/load_response"]
    plan = [line for (line,) in migrated.execute(statement, {"from": FROM, "to": TO}).fetchall()]
    checks = [number for number, line in enumerate(plan) if "^(always|" in line]
    (cte,) = [number for number, line in enumerate(plan) if line.strip() == "CTE s"]
    (scan,) = [number for number, line in enumerate(plan) if "CTE Scan on s" in line]
    assert checks
    assert all(cte < number < scan for number in checks)


def test_no_function_is_called_for_each_ticket_before_the_hours_are_looked_at(migrated: Db) -> None:
    """PostgreSQL inlines no function with a subquery: the figure of a day called it for each ticket."""
    plan = migrated.execute(
        "EXPLAIN (VERBOSE, COSTS OFF)"
        " SELECT pancake_business_minutes(t.created_at, t.updated_at, s.hours, s.days)"
        " FROM ticket AS t, (VALUES ('always', 'none')) AS s (hours, days)"
    ).fetchall()
    assert "pancake_business_minutes" not in str(plan)
