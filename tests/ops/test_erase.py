"""`leads erase`: nothing of the customer is left in any store or log, and old versions do not come back."""

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from leads.domain.listing import read_listed_leads
from leads.services.connections import load_connections
from leads.services.missing_leads import store_missing
from sandbox.postgres.database import operators_url
from sandbox.postgres.server import RUN_ID, Cluster
from tests.support.crons import CronHarness
from tests.support.leads import LATER
from tests.support.logs import captured_logs
from tests.support.operators import leads
from tests.support.postgres import PHONE_LOCK, wait_for_lock_waiter
from tests.support.stored_rows import (
    BYSTANDER,
    EDGE_KEYS,
    KEYS,
    PERSON,
    WRITTEN,
    dump,
    found_in,
    read_files,
    run_erase,
    store_customer,
    write_files,
)

PHONE = ("--phone", "84 905 111 222")
CONFIRMED = (*PHONE, "--yes", "--json")
ROLE = f"owner_without_log_{RUN_ID}"
LOG_SETTINGS = ["log_parameter_max_length", "log_error_verbosity"]
RIGHTS = (
    "USAGE ON SCHEMA {}", "ALL ON ALL TABLES IN SCHEMA {}", "ALL ON ALL SEQUENCES IN SCHEMA {}",
    "EXECUTE ON ALL FUNCTIONS IN SCHEMA {}",
)  # fmt: skip


@pytest.fixture
def harness(cron_harness: CronHarness) -> CronHarness:
    cron_harness.sql("UPDATE ticket SET data = '{}'")
    return cron_harness


def erase(harness: CronHarness, folder: Path, *arguments: str) -> dict[str, Any]:
    result = run_erase(harness, folder, *arguments, "--json")
    assert result.exit_code == 0, result.output
    assert found_in([result.output]) == set()
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def traced(harness: CronHarness) -> str:
    return leads("trace", PERSON["id"], "--json", DATABASE_URL=operators_url(harness.database_url)).output


async def test_nothing_of_the_customer_is_left_in_any_store(harness: CronHarness, tmp_path: Path) -> None:
    """And a second run finds nothing, but names again what is left to Diva."""
    await store_customer(harness)
    write_files(tmp_path)
    assert found_in([*dump(harness).values(), *read_files(tmp_path)]) == set(WRITTEN)
    assert "Bích Hạnh" in found_in([traced(harness)])
    bystander = harness.sql("SELECT * FROM pancake_webhook_event WHERE record_id = 'bystander'")
    with captured_logs() as logs:
        report = erase(harness, tmp_path, *PHONE, "--yes", "--by", "Lan", "--reason", "case 12")
    assert report["counts"] == {
        "events": 7, "sources": 0, "accounts": 1, "contacts": 3, "tickets": 1, "cron_runs": 1,
        "engine_logs": 15, "digests": 8, "deliveries": 4, "unusable_phones": 1,
    }  # fmt: skip
    (account,) = report["diva_accounts"]
    # What the command says that Diva has to erase.
    harness.sql("UPDATE account SET display_name = NULL, phone_number = NULL WHERE id = %s", account)
    left = {table: found_in([text]) for table, text in dump(harness).items()}
    assert {table: found for table, found in left.items() if found} == {}
    assert found_in([*read_files(tmp_path), *logs]) == set()
    assert "b,84,1,too_short" in "".join(read_files(tmp_path))
    assert len(read_files(tmp_path)) == 4, "the bystander's, and the list without the customer"
    assert harness.sql("SELECT * FROM pancake_webhook_event WHERE record_id = 'bystander'") == bystander
    assert (found_in([traced(harness)]), "ticket_created TK" in traced(harness)) == (set(), True)
    before = dump(harness)
    again = erase(harness, tmp_path, *PHONE, "--yes")
    assert (set(again["counts"].values()), again["diva_accounts"]) == ({0}, [account])
    assert dump(harness) == before


async def test_a_sources_text_and_an_id_with_the_phone_are_erased(
    harness: CronHarness, tmp_path: Path
) -> None:
    """What a sender wrote where ids belong. Sources that Pancake lists stay: figures count by them."""
    ids, sources = "chat 0905.111.222", ["-1", "Bích Hạnh", "+84 905111222"]
    event_id = (await harness.deliver(PERSON | {"id": ids, "source": sources}))["event_id"]
    assert erase(harness, tmp_path, *PHONE, "--yes")["counts"]["events"] == 1
    (event,) = harness.sql("SELECT * FROM pancake_webhook_event WHERE id = %s", event_id)
    assert (event["record_id"], event["source_ids"]) == (None, ["-1"])
    left = {table: found_in([text]) for table, text in dump(harness).items()}
    assert {table: found for table, found in left.items() if found} == {}
    assert set(erase(harness, tmp_path, *PHONE, "--yes")["counts"].values()) == {0}


async def test_a_source_that_a_signed_delivery_typed_is_erased(harness: CronHarness, tmp_path: Path) -> None:
    """One that other events name stays, and the history has no id of the erased one."""
    harness.sql(
        "UPDATE pancake_connection"
        " SET signature_mode = 'enforce', webhook_secret_encrypted = api_key_encrypted"
    )
    await harness.deliver(PERSON | {"source": ["Bích Hạnh", "gọi 0905 111 222", "Hội chợ"]})
    await harness.deliver(BYSTANDER | {"source": ["Hội chợ", "gọi 0905 111 222"]})
    assert harness.count("pancake_source", "name IS NULL AND pancake_source_id <> '(none)'") == 3
    assert erase(harness, tmp_path, *PHONE, "--yes")["counts"]["sources"] == 2
    assert harness.count("pancake_source", "pancake_source_id = 'Hội chợ'") == 1
    tables = dump(harness)
    assert found_in([tables["public.pancake_source"], tables["public.integration_change"]]) == set()


@pytest.mark.parametrize("by", ["record", "second phone"])
async def test_a_second_run_by_the_phone_names_the_same_accounts(
    harness: CronHarness, tmp_path: Path, by: str
) -> None:
    await harness.process_lead(**PERSON)
    record = ("--record", f"{harness.connection_id}/lead/{PERSON['id']}")
    first = record if by == "record" else ("--phone", PERSON["secondary_phone_number"])
    (account,) = erase(harness, tmp_path, *first, "--yes")["diva_accounts"]
    harness.sql("UPDATE account SET display_name = NULL, phone_number = NULL WHERE id = %s", account)
    for again in (PHONE, ("--phone", PERSON["secondary_phone_number"]), record):
        assert erase(harness, tmp_path, *again, "--yes")["diva_accounts"] == [account], again


async def test_a_dry_run_says_the_same_and_changes_nothing(harness: CronHarness, tmp_path: Path) -> None:
    await store_customer(harness)
    write_files(tmp_path)
    before = dump(harness), read_files(tmp_path)
    planned = erase(harness, tmp_path, *PHONE, "--dry-run")
    typed = run_erase(harness, tmp_path, "--phone", "-", "--dry-run", "--json", typed=f"{PHONE[1]}\n")
    assert json.loads(typed.stdout)["counts"] == planned["counts"], "a phone need not be an argument"
    page = run_erase(harness, tmp_path, *PHONE, "--dry-run").stdout
    assert (dump(harness), read_files(tmp_path)) == before
    (account,) = harness.sql("SELECT id FROM account WHERE normalized_phone = '+84905111222'")
    assert f"account {account['id']}: display_name, phone_number" in page
    assert "Pancake has to erase: its record" in page
    assert "a later change of that record makes a new customer" in page
    done = erase(harness, tmp_path, *PHONE, "--yes")
    assert planned | {"dry_run": False, "erased_at": done["erased_at"]} == done


async def test_the_request_is_recorded_and_a_later_lead_is_new(harness: CronHarness, tmp_path: Path) -> None:
    """Who asked, when and why."""
    await harness.process_lead(**PERSON)
    harness.sql("UPDATE ticket SET status = 'done'")
    receipt = run_erase(harness, tmp_path, *PHONE, "--yes", "--by", "Lan", "--reason", "case 12").stdout
    assert re.match(
        r"Receipt of an erasure, [0-9-]+ [0-9:]+ UTC\nAsked for by Lan, run by \S+, reason: case 12\n",
        receipt,
    )
    assert "  contacts: 2 (contact_book: name, e-mail, address, phone)" in receipt
    rows = harness.sql("SELECT * FROM customer_erasure ORDER BY id")
    stored = {(row["requested_by"], row["reason"], row["run_by"] != "") for row in rows}
    assert (stored, rows[0]["counts"]["events"]) == ({("Lan", "case 12", True)}, 1)
    entries = harness.sql("SELECT * FROM integration_change WHERE kind = 'erasure' ORDER BY id")
    names = ("requested_by", "run_by", "reason", "counts")
    kept = [{name: row[name] for name in names} | {"id": str(row["id"])} for row in rows]
    assert [entry["after"] | {"id": entry["row_id"]} for entry in entries] == kept
    assert {entry["application"] for entry in entries} == {f"leads erase by {rows[0]['run_by']}"}
    assert not [row["digest"] for row in rows if row["digest"] in str(entries)]
    assert run_erase(harness, tmp_path, *PHONE, "--yes", "--reason", "calls from 0905.111.222").exit_code == 2
    later = (datetime.now(UTC) + timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%S")
    _, result = await harness.process_lead(**PERSON | {"modified_on": later})
    assert result == "ticket_created"


@pytest.mark.parametrize("origin", ["webhook", "poll", "reconcile"])
@pytest.mark.parametrize("by", ["phone", "record"])
async def test_old_versions_stay_away(harness: CronHarness, tmp_path: Path, origin: Any, by: str) -> None:
    await harness.process_lead(**PERSON)
    record = ("--record", f"{harness.connection_id}/lead/{PERSON['id']}")
    erase(harness, tmp_path, *(PHONE if by == "phone" else record), "--yes")
    old = PERSON | {"modified_on": LATER, "note": "as Pancake lists it"}
    if origin == "webhook":
        answer = await harness.deliver(old)
        assert (answer["status"], answer["error_code"]) == ("dead_letter", "erased")
    else:
        (connection,) = await load_connections(harness.runtime.db, harness.runtime.settings.key_ring)
        listed = read_listed_leads([old], "lead", UTC)
        now, digester = datetime.now(UTC), harness.runtime.digester
        ((_, stored),) = await store_missing(harness.runtime.db, connection, listed, origin, now, digester)
        assert (stored.status, stored.error_code) == ("dead_letter", "erased")
        assert await store_missing(harness.runtime.db, connection, listed, origin, now, digester) == []
    assert found_in([dump(harness)["public.pancake_webhook_event"]]) == set()


async def test_a_version_with_a_later_phone_is_erased(harness: CronHarness, tmp_path: Path) -> None:
    erase(harness, tmp_path, *PHONE, "--yes")
    phones = {"phone_number": "0977000111", "secondary_phone_number": "0905111222"}
    event, result = await harness.process_lead(id="other", name="Hạnh", **phones)
    assert result == "dead_letter"
    row = harness.event(event)
    assert (row["status"], row["error_code"], row["payload"]) == ("dead_letter", "erased", None)
    # No failure, as in the figures of the database.
    assert harness.value("pancake_events_total", result="invalid") == 1
    assert harness.value("pancake_events_total", result="dead_letter") == 0
    assert found_in([dump(harness)["public.pancake_webhook_event"]]) == set()
    await harness.replay(ids=[event], corrected_phone=None)
    assert await harness.process(event) in ("dead_letter", "already_dead_letter")
    assert harness.count("ticket", "source_id = 'ticket_source_pancake'") == 0


async def test_a_record_with_the_phone_in_a_text_is_only_named(harness: CronHarness, tmp_path: Path) -> None:
    event, _ = await harness.process_lead(id="wife", phone_number="0912345678", note="chồng: 0905 111 222")
    report = erase(harness, tmp_path, *PHONE, "--yes")
    assert (report["mentions"], report["event_ids"]) == ([event], [])
    assert harness.event(event)["payload"] is not None


async def test_what_cannot_be_read_ends_it_before_an_erasure(harness: CronHarness, tmp_path: Path) -> None:
    await harness.process_lead(**PERSON)
    await harness.deliver("not JSON")
    before = dump(harness)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ops.daily.erase.MAX_BODIES", 1)
        result = run_erase(harness, tmp_path, *PHONE, "--yes")
        assert (result.exit_code, "nothing was erased" in result.stderr) == (1, True)
    state = tmp_path / "edge"
    state.mkdir()
    (state / "spool").write_text("no folder")
    environment = {
        "DATABASE_URL": harness.database_url, "ENCRYPTION_KEYS": KEYS,
        "EDGE_STATE_DIR": str(state), "EDGE_STATE_KEYS": EDGE_KEYS,
    }  # fmt: skip
    result = leads("erase", *PHONE, "--edge", "--yes", **environment)
    assert result.exit_code == 2
    assert "run this as root or pancake-edge." in " ".join(result.stderr.split())
    assert dump(harness) == before


def test_wrong_usage_is_refused(subtests: pytest.Subtests) -> None:
    for arguments in ([], ["--phone", "1"], ["--record", "x"], ["--phone", "0905111222", "--json"]):
        with subtests.test(arguments=arguments):
            assert leads("erase", *arguments).exit_code == 2


async def test_it_waits_for_the_phone_and_sees_what_came_then(harness: CronHarness, tmp_path: Path) -> None:
    await harness.process_lead(**PERSON)
    with psycopg.connect(harness.database_url) as processing:
        processing.execute("SELECT pg_advisory_xact_lock(2, hashtext('+84905111222'))")
        erasing = asyncio.create_task(asyncio.to_thread(run_erase, harness, tmp_path, *CONFIRMED))
        await wait_for_lock_waiter(harness, erasing, PHONE_LOCK)
        await harness.deliver(PERSON | {"id": "meanwhile"})
        assert not erasing.done()
    result = await erasing
    assert result.exit_code == 0, result.output
    assert '"events": 2' in result.stdout
    assert found_in([dump(harness)["public.pancake_webhook_event"]]) == set()


async def test_a_claimed_event_that_waited_for_the_erasure_is_erased(harness: CronHarness) -> None:
    """It was claimed before the erasure began, and takes the lock of the phone after it."""
    answer = await harness.deliver(PERSON)
    with psycopg.connect(harness.database_url) as erasing:
        erasing.execute("SELECT pg_advisory_xact_lock(2, hashtext('+84905111222'))")
        processing = asyncio.create_task(harness.process(answer["event_id"]))
        await wait_for_lock_waiter(harness, processing, PHONE_LOCK)
        insert = "INSERT INTO customer_erasure (digest, erased_at, requested_by, run_by, counts)"
        digest = harness.runtime.digester.digest("erased phone", "+84905111222")
        erasing.execute(f"{insert} VALUES (%s, now(), 'a', 'a', '{{}}')".encode(), [digest])
    assert await processing == "dead_letter"
    assert harness.count("account", "normalized_phone = '+84905111222'") == 0


async def test_after_retention_all_contacts_are_found(harness: CronHarness, tmp_path: Path) -> None:
    await harness.process_lead(**PERSON)
    await harness.run("purge_events", days=91)
    assert run_erase(harness, tmp_path, *CONFIRMED).exit_code == 0
    harness.sql("UPDATE account SET display_name = NULL, phone_number = NULL")
    assert {table: found for table, text in dump(harness).items() if (found := found_in([text]))} == {}


async def test_while_it_waits_for_an_event_that_is_worked_on_it_holds_no_phone(
    harness: CronHarness, tmp_path: Path
) -> None:
    """Processing has its event and takes the phone after it: in the other order both would wait."""
    event_id, _ = await harness.process_lead(**PERSON)
    with psycopg.connect(harness.database_url) as processing:
        processing.execute("SELECT FROM pancake_webhook_event WHERE id = %s FOR UPDATE", [event_id])
        erasing = asyncio.create_task(asyncio.to_thread(run_erase, harness, tmp_path, *CONFIRMED))
        await wait_for_lock_waiter(harness, erasing)
        locked = processing.execute("SELECT pg_try_advisory_xact_lock(2, hashtext('+84905111222'))")
        is_free = locked.fetchone()
    result = await erasing
    assert (is_free, result.exit_code) == ((True,), 0), result.output


async def test_a_text_that_a_person_changes_meanwhile_is_left_to_diva(
    harness: CronHarness, tmp_path: Path
) -> None:
    await harness.process_lead(**PERSON)
    text = "UPDATE ticket SET description = 'gọi sau 17h' WHERE source_id = 'ticket_source_pancake'"
    with psycopg.connect(harness.database_url) as person:
        person.execute(text.encode())
        erasing = asyncio.create_task(asyncio.to_thread(run_erase, harness, tmp_path, *CONFIRMED))
        await wait_for_lock_waiter(harness, erasing)
    result = await erasing
    assert result.exit_code == 0, result.output
    (ticket,) = harness.sql("SELECT * FROM ticket WHERE source_id = 'ticket_source_pancake'")
    assert (ticket["title"], ticket["description"]) == ("Lead Pancake: (đã xóa)", "gọi sau 17h")
    assert json.loads(result.stdout)["diva_tickets"] == [ticket["code"]]


async def test_a_note_beside_the_block_stays_and_is_named_for_diva(
    harness: CronHarness, tmp_path: Path
) -> None:
    await harness.process_lead(**PERSON)
    ours = "source_id = 'ticket_source_pancake'"
    harness.sql(
        f"UPDATE ticket SET description = 'gấp' || E'\\n' || description || ' gọi sau 17h' WHERE {ours}"
    )
    report = erase(harness, tmp_path, *PHONE, "--yes")
    ticket = harness.one(f"SELECT code, description, data FROM ticket WHERE {ours}")
    assert (ticket["description"], ticket["data"]) == ("gấp gọi sau 17h", {})
    assert report["diva_tickets"] == [ticket["code"]]


async def test_the_ticket_of_another_record_too_loses_the_requests_only(
    harness: CronHarness, tmp_path: Path
) -> None:
    await harness.process_lead(**PERSON, interested_product=["Gói A"])
    await harness.process_lead(id="friend", name="Bình", interested_product=["Gói B"], modified_on=LATER)
    record = f"{harness.connection_id}/lead/{PERSON['id']}"
    report = erase(harness, tmp_path, "--record", record, "--yes")
    ticket = harness.one("SELECT * FROM ticket WHERE source_id = 'ticket_source_pancake'")
    assert (report["counts"]["tickets"], report["diva_tickets"]) == (1, [ticket["code"]])
    assert ticket["title"] == "Lead Pancake: Bình – Gói B"
    assert [*ticket["data"]["pancake"]["requests"]] == [f"{harness.connection_id}/friend"]
    assert "Gói B" in ticket["description"]
    left = found_in([json.dumps(ticket["data"]), ticket["description"]])
    assert not [text for text in left if "905" not in text], "the phone is the other record's too"


async def test_requests_of_another_record_stay_where_the_customers_version_was_the_last(
    harness: CronHarness, tmp_path: Path
) -> None:
    """The ticket's name, address and phones were the customer's then; the phone of both stays."""
    await harness.process_lead(
        id="friend", name="Bình", phone_number="0905111222", interested_product=["Gói B"]
    )
    await harness.process_lead(**PERSON | {"interested_product": ["Gói A"], "modified_on": LATER})
    record = ("--record", f"{harness.connection_id}/lead/{PERSON['id']}")
    planned = run_erase(harness, tmp_path, *record, "--dry-run").stdout
    report = erase(harness, tmp_path, *record, "--yes")
    ticket = harness.one("SELECT * FROM ticket WHERE source_id = 'ticket_source_pancake'")
    assert f"ticket {ticket['code']}: it is another record's too, whose requests stay" in planned
    assert report["shared_tickets"] == report["diva_tickets"] == [ticket["code"]]
    fields = ticket["data"]["pancake"]
    assert [*fields["requests"]] == [f"{harness.connection_id}/friend"]
    assert (fields["phones"], "record_id" in fields) == (["090.511.1222"], False)
    assert ticket["title"] == "Lead Pancake: 0905 111 222 – Gói B"
    assert ("Gói B" in ticket["description"], "Gói A" in ticket["description"]) == (True, False)
    left = found_in([json.dumps(ticket["data"], ensure_ascii=False), ticket["title"], ticket["description"]])
    digits = {re.sub(r"\D", "", text) for text in left}
    assert digits <= {"0905111222", "905111222"}, "the phone is the other record's too"
    again = erase(harness, tmp_path, *record, "--yes")
    assert set(again["counts"].values()) == {0}
    await harness.process_lead(
        id="friend", name="Bình", phone_number="0905111222", interested_product=["Gói B", "Gói C"],
        modified_on=(datetime.now(UTC) + timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%S"),
    )  # fmt: skip
    ticket = harness.one("SELECT * FROM ticket WHERE source_id = 'ticket_source_pancake'")
    assert ticket["title"] == "Lead Pancake: Bình – Gói B, Gói C"


@pytest.fixture
def as_role(harness: CronHarness) -> Iterator[CronHarness]:
    """The same database as a role with the owner's rights on rows that is no superuser."""
    parts = urlsplit(harness.database_url)
    host = parts.netloc.rpartition("@")[2]
    harness.sql(f"CREATE ROLE {ROLE} LOGIN PASSWORD 'secret'")
    try:
        for schema, right in product(("public", "hdb_catalog"), RIGHTS):
            harness.sql(f"GRANT {right.format(schema)} TO {ROLE}")
        yield replace(harness, database_url=urlunsplit(parts._replace(netloc=f"{ROLE}:secret@{host}")))
    finally:
        harness.sql(f"DROP OWNED BY {ROLE}")
        harness.sql(f"DROP ROLE {ROLE}")


@pytest.mark.own_database
async def test_no_statement_logs_the_phone(cluster: Cluster, harness: CronHarness, tmp_path: Path) -> None:
    if not cluster.is_embedded:
        pytest.skip("reads the server's log, which only an embedded server has here")
    await harness.process_lead(**PERSON)
    database = harness.session.info.dbname
    harness.sql(f'ALTER DATABASE "{database}" SET log_min_duration_statement = 0')
    before = len(cluster.log.read_text())
    result = run_erase(harness, tmp_path, *CONFIRMED)
    assert result.exit_code == 0, result.output
    logged = cluster.log.read_text()[before:]
    assert "pancake_erase_events" in logged
    assert found_in([logged]) == set()
    assert (json.loads(result.stdout)["unset_log_settings"], result.stderr) == ([], "")


@pytest.mark.own_database
async def test_a_role_that_may_not_keep_it_out_is_warned_until_it_has_the_right(
    as_role: CronHarness, harness: CronHarness, tmp_path: Path
) -> None:
    names = ", ".join(LOG_SETTINGS)
    warning = f"PostgreSQL's log may hold the phone: the role of DATABASE_URL may not set {names}."
    await as_role.process_lead(**PERSON)
    planned = run_erase(as_role, tmp_path, *PHONE, "--dry-run", "--json")
    assert json.loads(planned.stdout)["unset_log_settings"] == LOG_SETTINGS
    assert warning in " ".join(planned.stderr.split())
    result = run_erase(as_role, tmp_path, *CONFIRMED)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["counts"]["events"] == 1
    harness.sql(f"GRANT SET ON PARAMETER {names} TO {ROLE}")
    result = run_erase(as_role, tmp_path, *CONFIRMED)
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout)["unset_log_settings"] == []
