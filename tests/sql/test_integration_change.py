"""The history of changes: what triggers record and leave out; nothing can change it, nor delete events."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.errors import RestrictViolation
from psycopg.rows import dict_row

from leads.adapters.secrets import KeyRing
from sandbox.postgres.database import GRANTS

Db = psycopg.Connection[dict[str, Any]]
RING = KeyRing({"k1": b"1" * 32})
PLAIN = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef-plain"
ENTRIES = "SELECT * FROM integration_change ORDER BY id"
ADMIN = json.dumps({"x-hasura-role": "crm_admin", "x-hasura-user-id": "staff-1"})
ALLOW = "SET LOCAL pancake.delete_events = 'on'"


@pytest.fixture
def db(database: str) -> Iterator[Db]:
    """A session of the owner on a migrated database with a connection, whose own entry is skipped."""
    with psycopg.connect(database, autocommit=True, row_factory=dict_row, application_name="psql") as session:
        session.execute(
            "INSERT INTO pancake_connection (name, workspace_id, token_sha256, header_secret_encrypted)"
            " VALUES ('Diva', 1, sha256('t'), %s)",
            [RING.encrypt("secret", "use")],
        )
        yield session


def entries(db: Db, kind: str | None = None) -> list[dict[str, Any]]:
    return [row for row in db.execute(ENTRIES.encode()).fetchall() if kind in (None, row["kind"])]


def last(db: Db, kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    entry = entries(db, kind)[-1]
    return entry["before"], entry["after"]


def add_event(db: Db, status: str) -> int:
    (row,) = db.execute(
        "INSERT INTO pancake_webhook_event (connection_id, origin, record_id, payload_hash, payload, status,"
        " error_code, arrived_at, created_at) SELECT id, 'webhook', gen_random_uuid()::text,"
        " sha256(random()::text::bytea), '{}', %s, 'invalid_phone', now(), now() FROM pancake_connection"
        " RETURNING id",
        [status],
    ).fetchall()
    return int(row["id"])


def erase(db: Db) -> str:
    """Store what is left of an erasure; return the digest."""
    db.execute(
        "INSERT INTO customer_erasure (digest, erased_at, requested_by, run_by, reason, counts)"
        " VALUES ('k1:digest', now(), 'Lan', 'operator', 'case 12', '{\"events\": 2}')"
    )
    return "k1:digest"


def test_a_new_connection_is_recorded_without_its_secrets(db: Db) -> None:
    (entry,) = entries(db, "connection")
    assert (entry["action"], entry["name"], entry["before"]) == ("insert", "Diva", {})
    assert (entry["changed_by"], entry["database_role"]) == (db.info.user, db.info.user)
    assert (entry["application"], entry["hasura_role"]) == ("psql", None)
    assert entry["after"]["header_secret"] == "key k1"
    assert (entry["after"]["token"], "api_key" in entry["after"]) == ("set", False)


def test_a_change_is_recorded_with_the_user_of_hasura_or_without_one_by_its_role(db: Db) -> None:
    with db.transaction():
        db.execute("SELECT set_config('hasura.user', %s, true)", [ADMIN])
        db.execute(
            "UPDATE pancake_connection SET signature_mode = 'enforce', allowed_ip_ranges = '{::1/128}'"
        )
    entry = entries(db, "connection")[-1]
    assert (entry["changed_by"], entry["hasura_role"]) == ("staff-1", "crm_admin")
    assert entry["database_role"] == db.info.user
    assert entry["before"] == {"signature_mode": "off", "allowed_ip_ranges": []}
    assert entry["after"] == {"signature_mode": "enforce", "allowed_ip_ranges": ["::1/128"]}
    with db.transaction():
        db.execute("SELECT set_config('hasura.user', %s, true)", ['{"x-hasura-role": "admin"}'])
        db.execute("UPDATE pancake_connection SET name = 'other'")
    assert entries(db, "connection")[-1]["changed_by"] == "role admin"


def test_of_a_changed_secret_only_the_ids_of_the_keys_are_recorded(db: Db) -> None:
    other = KeyRing({"k2": b"2" * 32})
    db.execute(
        "UPDATE pancake_connection SET header_secret_encrypted = %s, token_sha256 = sha256('other')",
        [other.encrypt("secret", "use")],
    )
    assert last(db, "connection") == (
        {"header_secret": "key k1", "token": "set"}, {"header_secret": "key k2", "token": "set"},
    )  # fmt: skip


def test_the_end_of_a_previous_secret_is_recorded(db: Db, subtests: pytest.Subtests) -> None:
    for secret in ("token_sha256", "webhook_secret_encrypted", "header_secret_encrypted"):
        with subtests.test(secret=secret):
            ends = f"previous_{secret.rpartition('_')[0]}_expires_at"
            for year in (2998, 2999):
                change = f"UPDATE pancake_connection SET previous_{secret} = sha256('former'), {ends} = %s"
                db.execute(change.encode(), [f"{year}-01-01 00:00Z"])
            expected = [{ends: f"{year}-01-01T00:00:00+00:00"} for year in (2998, 2999)]
            assert [*last(db, "connection")] == expected


def test_text_stored_instead_of_a_ciphertext_is_not_recorded_and_a_long_value_cut(db: Db) -> None:
    for stored in (PLAIN, "x", PLAIN[::-1], " " + PLAIN, "~" * 200):
        db.execute("UPDATE pancake_connection SET api_key_encrypted = %s", [stored.encode()])
        assert last(db, "connection") == ({"api_key": None}, {"api_key": "set"})
        db.execute("UPDATE pancake_connection SET api_key_encrypted = NULL")
    db.execute("UPDATE pancake_connection SET name = repeat('x', 100000)")
    assert (len(last(db, "connection")[1]["name"]), len(entries(db)[-1]["name"])) == (1002, 200)


def test_the_switch_of_a_connection_is_a_change_and_its_other_statuses_are_findings(db: Db) -> None:
    count = len(entries(db, "connection"))
    for status in ("silent", "suspended", "active"):
        db.execute("UPDATE pancake_connection SET status = %s, status_changed_at = now()", [status])
    db.execute(
        "UPDATE pancake_connection SET poll_watermark = now(), last_poll_at = now(), updated_at = now()"
    )
    assert len(entries(db, "connection")) == count
    assert [(entry["before"]["status"], entry["after"]["status"]) for entry in entries(db, "status")] == [
        ("active", "silent"), ("silent", "suspended"), ("suspended", "active"),
    ]  # fmt: skip
    db.execute("UPDATE pancake_connection SET status = 'disabled'")
    assert last(db, "connection") == ({"status": "active"}, {"status": "disabled"})
    db.execute("UPDATE pancake_connection SET status = 'active'")
    assert last(db, "connection") == ({"status": "disabled"}, {"status": "active"})
    (row,) = db.execute("SELECT id, name FROM pancake_connection").fetchall()
    history = (
        "SELECT status_before, status_after FROM view_pancake_connection_status WHERE connection_id = %s"
    )
    found = db.execute(f"{history} ORDER BY scheduled_time".encode(), [row["id"]]).fetchall()
    assert [(each["status_before"], each["status_after"]) for each in found] == [
        ("active", "silent"), ("silent", "suspended"), ("suspended", "active"), ("active", "disabled"),
        ("disabled", "active"),
    ]  # fmt: skip
    assert {entry["name"] for entry in entries(db, "status")} == {row["name"]}


def test_what_sync_sources_and_deliveries_write_of_a_source_is_not_recorded_and_its_switch_is(db: Db) -> None:
    db.execute(
        "INSERT INTO pancake_source (connection_id, pancake_source_id, name)"
        " SELECT id, '-1', 'Facebook' FROM pancake_connection"
    )
    db.execute("UPDATE pancake_source SET name = 'Facebook', is_removed = false, synced_at = now()")
    assert entries(db, "source") == []
    db.execute("UPDATE pancake_source SET is_active = true")
    assert last(db, "source") == ({"is_active": False}, {"is_active": True})
    assert entries(db, "source")[-1]["name"] == "-1"
    db.execute("DELETE FROM pancake_source")
    entry = entries(db, "source")[-1]
    assert (entry["action"], entry["before"]["name"], entry["after"]) == ("delete", "Facebook", {})
    db.execute(
        "INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)"
        " SELECT id, '-3', 'TikTok', true FROM pancake_connection"
    )
    assert (entries(db, "source")[-1]["action"], last(db, "source")[1]["is_active"]) == ("insert", True)
    db.execute("UPDATE pancake_source SET is_active = false, name = NULL")
    (source,) = db.execute("DELETE FROM pancake_source RETURNING id::text, connection_id::text").fetchall()
    entry = entries(db, "source")[-1]
    assert (entry["action"], entry["row_id"], entry["name"]) == ("delete", source["id"], None)
    before = {"connection_id": source["connection_id"], "is_active": False}
    assert entry["before"] == before, "nothing of an id that a sender may have typed"


def test_members_of_a_roster_are_recorded_and_their_counters_are_not(db: Db) -> None:
    db.execute("INSERT INTO pancake_assignee (staff_id) SELECT id FROM staff ORDER BY id LIMIT 1")
    db.execute("UPDATE pancake_assignee SET assigned_count = 5, total_assigned = 5, last_assigned_seq = 5")
    assert [entry["action"] for entry in entries(db, "roster")] == ["insert"]
    db.execute("UPDATE pancake_assignee SET weight = 3")
    assert last(db, "roster") == ({"weight": 1}, {"weight": 3})
    db.execute("DELETE FROM pancake_assignee")
    db.execute("TRUNCATE pancake_assignee")
    assert [entry["action"] for entry in entries(db, "roster")[-2:]] == ["delete", "truncate"]


def test_settings_are_recorded_by_either_way_and_other_settings_of_diva_are_not(db: Db) -> None:
    count = len(entries(db))
    db.execute("UPDATE app_setting SET app_settings = jsonb_set(app_settings, '{company}', '\"other\"')")
    assert len(entries(db)) == count
    db.execute("UPDATE view_pancake_setting SET kill_switch = false, sla_minutes = 45")
    assert last(db, "setting") == (
        {"kill_switch": True, "sla_minutes": 30}, {"kill_switch": False, "sla_minutes": 45},
    )  # fmt: skip
    db.execute(
        "UPDATE app_setting SET app_settings ="
        " jsonb_set(app_settings, '{pancake_integration,processing_paused}', 'true')"
    )
    assert last(db, "setting") == ({"processing_paused": False}, {"processing_paused": True})
    db.execute("UPDATE app_setting SET app_settings = app_settings - 'pancake_integration'")
    before, after = last(db, "setting")
    assert (before["kill_switch"], after["kill_switch"]) == (False, None)
    db.execute("TRUNCATE app_setting")
    entry = entries(db, "setting")[-1]
    assert (entry["action"], entry["row_id"], entry["changed_by"]) == ("truncate", "all", db.info.user)


def test_a_transaction_that_says_so_removes_events_with_a_trace_and_the_next_may_not(db: Db) -> None:
    event_id, _ = add_event(db, "dead_letter"), add_event(db, "received")
    remove = f"DELETE FROM pancake_webhook_event WHERE id = {event_id}"
    for statement in (remove, "TRUNCATE pancake_webhook_event"):
        with db.transaction():
            db.execute(ALLOW)
            db.execute(statement.encode())
        assert events(db) == (1 if statement == remove else 0)
        add_event(db, "received")
        with pytest.raises(RestrictViolation):
            db.execute("DELETE FROM pancake_webhook_event")
    deleted, truncated = entries(db, "event")
    assert (deleted["action"], deleted["row_id"]) == ("delete", str(event_id))
    assert deleted["before"] == {"status": "dead_letter", "error_code": "invalid_phone"}
    assert (truncated["action"], truncated["row_id"]) == ("truncate", "all")


def test_a_replay_is_recorded_with_who_asked_for_it_and_a_retry_is_not(db: Db) -> None:
    """The entry names nothing of the customer."""
    by_hand, by_action, failed = (add_event(db, "dead_letter") for _ in range(3))
    db.execute("UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", [by_hand])
    db.execute(
        "UPDATE pancake_webhook_event SET status = 'received', replayed_by = 'staff-2',"
        " replayed_at = now() - interval '1 second' WHERE id = %s",
        [by_action],
    )
    found = [tuple(entry[key] for key in ("row_id", "name", "changed_by")) for entry in entries(db, "replay")]
    assert found == [(str(by_hand), None, db.info.user), (str(by_action), None, "staff-2")]
    assert [entry["before"] for entry in entries(db, "replay")] == [{"status": "dead_letter"}] * 2
    for status in ("received", "ingested"):
        db.execute(
            "UPDATE pancake_webhook_event SET status = %s, claim_id = gen_random_uuid(),"
            " ingested_at = now() - interval '2 minutes' WHERE id = %s",
            [status, failed],
        )
    count = len(entries(db))
    for status in ("failed", "received"):
        db.execute(
            "UPDATE pancake_webhook_event SET status = %s, next_attempt_at = now() WHERE id = %s",
            [status, failed],
        )
    assert len(entries(db)) == count


def test_not_even_the_owner_changes_history_or_erasures(db: Db, subtests: pytest.Subtests) -> None:
    erase(db)
    before = entries(db)
    for statement in (
        "UPDATE integration_change SET changed_by = 'other'",
        "UPDATE integration_change SET changed_by = 'other' WHERE false",
        "DELETE FROM integration_change",
        "TRUNCATE integration_change",
        "INSERT INTO integration_change (kind, action, row_id, changed_by, before, after)"
        " VALUES ('setting', 'update', 'all', 'other', '{}', '{}')",
        "UPDATE customer_erasure SET requested_by = 'other'",
        "UPDATE customer_erasure SET requested_by = 'other' WHERE false",
        "DELETE FROM customer_erasure",
        "TRUNCATE customer_erasure",
        "SET pancake.delete_events = 'on'; TRUNCATE pancake_connection CASCADE",
    ):
        writer = "leads erase" if "integration_change" not in statement else "triggers only"
        refused = pytest.raises(
            psycopg.errors.InsufficientPrivilege, match=f"is written by {writer}, and never"
        )
        with subtests.test(statement):
            with refused:
                db.execute(statement.encode())
            assert entries(db) == before
    assert db.execute("SELECT requested_by FROM customer_erasure").fetchall() == [{"requested_by": "Lan"}]


@pytest.mark.own_database
def test_the_handlers_leave_traces_and_may_neither_read_nor_write_them(db: Db) -> None:
    db.execute(GRANTS.read_bytes())
    event_id = add_event(db, "dead_letter")
    db.execute("SET ROLE pancake_handlers")
    db.execute(
        "UPDATE pancake_webhook_event SET status = 'received', replayed_by = 'staff-2', replayed_at = now()"
        " WHERE id = %s",
        [event_id],
    )
    for statement in (
        "SELECT id FROM integration_change",
        "DELETE FROM integration_change",
        "SELECT integration_change_add('{}', '{}', '{}')",
        "CREATE TEMP TABLE forged AS SELECT 1 AS id;"
        " CREATE TRIGGER t AFTER INSERT ON forged FOR EACH ROW"
        " EXECUTE FUNCTION integration_change_record('setting', 'id', 'id', 'id')",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute(statement.encode())
    db.execute("RESET ROLE")
    assert [entry["changed_by"] for entry in entries(db, "replay")] == ["staff-2"]


def test_an_erasure_is_recorded_with_who_asked_and_nothing_of_the_person(db: Db) -> None:
    digest = erase(db)
    (entry,) = entries(db, "erasure")
    assert (entry["action"], entry["name"], entry["before"]) == ("insert", None, {})
    assert entry["after"] == {
        "requested_by": "Lan", "run_by": "operator", "reason": "case 12", "counts": {"events": 2},
    }  # fmt: skip
    assert entry["changed_by"] == db.info.user
    assert digest not in str(entry)


def events(db: Db) -> int:
    return len(db.execute("SELECT FROM pancake_webhook_event").fetchall())


def test_events_are_not_deleted_and_the_error_says_what_to_do(db: Db, subtests: pytest.Subtests) -> None:
    """A wrong click would make Pancake's next copy of a lead a second ticket."""
    add_event(db, "received")
    for statement in (
        "DELETE FROM pancake_webhook_event",
        "TRUNCATE pancake_webhook_event",
        "TRUNCATE pancake_connection CASCADE",
    ):
        with subtests.test(statement=statement):
            with pytest.raises(RestrictViolation, match="they detect duplicates") as refused:
                db.execute(statement.encode())
            hint = str(refused.value.diag.message_hint)
            assert ("leads erase" in hint, ALLOW in hint, events(db)) == (True, True, 1)
    db.execute("DELETE FROM pancake_webhook_event WHERE id < 0")
