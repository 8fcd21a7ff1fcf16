"""`leads trace` says why a lead has a ticket or none, `leads tail` how far each lead came.

docs/runbook/why-no-ticket.md has the output of `leads trace` for each reason.
"""

import json
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import fill
from typing import Any

import psycopg
import pytest
import yaml
from psycopg.rows import dict_row
from typer.testing import Result

from cron.retry_failed import recall_tickets
from leads.adapters.secrets import KeyRing
from leads.domain.body import ICT
from leads.domain.day_ledger import is_over
from leads.services.cron_work import CronRun
from ops.daily.trace import EventRow, describe_event, follow_events
from sandbox.payloads import Sample, load_samples
from sandbox.postgres.database import operators_url
from tests.support.fakes import FakeHasura
from tests.support.handlers import HandlerHarness, running_handlers, seed_connection
from tests.support.leads import numbered_lead
from tests.support.operators import leads
from tests.support.postgres import run_as_owner
from tests.support.settings import handler_settings

GOLDEN = Path(__file__).parent / "golden" / "vi" / "trace.txt"
SOURCES = {"24895": "Cộng tác viên", "-5": "TikTok", "-9": "Zalo"}
"""Active sources of the samples, besides those of the harness."""
Lead = dict[str, Any]
OF_EVENT = "WHERE id = (SELECT ticket_id FROM pancake_webhook_event WHERE id = %s)"
REFUSED = "RAISE EXCEPTION 'refused by the database'"
LATER: Lead = {"event_type": "update", "modified_on": "2026-11-20T05:00:00"}


async def process_samples(harness: HandlerHarness) -> list[tuple[Sample, str]]:
    """Process the samples; return with each what a person would type to ask for it."""
    for source, name in SOURCES.items():
        of = {"connection_id": harness.connection_id, "pancake_source_id": source}
        harness.insert("pancake_source", **of, name=name, is_active=True)
    fill_roster(harness)
    asked: list[tuple[Sample, str]] = []
    for sample in load_samples():
        answer = await harness.deliver(sample.body)
        if answer["status"] == "received":
            await harness.process(answer["event_id"])
        try:
            body = json.loads(sample.body)
            record_id = (body.get("data") or body).get("id")
        except ValueError:
            record_id = None
        asked.append((sample, record_id or str(answer["event_id"])))
    return asked


def fill_roster(harness: HandlerHarness) -> None:
    """Add all telesale staff to the default roster, in the order of their ids."""
    harness.sql(
        "INSERT INTO pancake_assignee (id, staff_id) SELECT id, id FROM staff WHERE role = 'telesale'"
    )


def restore(harness: HandlerHarness) -> None:
    """Undo what a case changed of switches, staff, roster, triggers and notifications."""
    harness.change_settings(
        kill_switch=False, processing_paused=False, former_owner="off", recall_after_minutes=0,
        business_hours="always", holidays="none",
    )  # fmt: skip
    harness.sql("UPDATE pancake_connection SET status = 'active' WHERE status <> 'active'")
    harness.sql("UPDATE staff SET is_active = true, on_duty = full_name <> 'Dương Thị Quế'")
    harness.stop_disturbing()
    harness.sql("UPDATE pancake_assignee SET daily_cap = NULL")
    if not harness.count("pancake_assignee"):
        fill_roster(harness)
    harness.hasura.failing = False


async def _send(harness: HandlerHarness, lead: Lead) -> int:
    """Deliver the lead, process it unless it is held, and return the id of its event."""
    answer = await harness.deliver(lead)
    if answer["status"] == "received":
        await harness.fire(answer["event_id"])
    return int(answer["event_id"])


def _set_ticket(harness: HandlerHarness, event_id: int, values: str) -> dict[str, Any]:
    ticket_id = harness.event(event_id)["ticket_id"]
    return harness.one(f"UPDATE ticket SET {values} WHERE id = %s RETURNING *", ticket_id)


# Leads that need more than statements and fields. A function returns what a person types, None for the phone.


async def unknown_connection(harness: HandlerHarness, lead: Lead) -> None:
    assert (await harness.deliver(lead, token="of another workspace"))["status"] == "unknown_token"


async def webhook_test(harness: HandlerHarness, lead: Lead) -> str:
    return str(await _send(harness, {"test": True}))


async def dead_handler(harness: HandlerHarness, lead: Lead) -> str:
    event_id = (await harness.deliver(lead))["event_id"]
    harness.sql(
        "UPDATE pancake_webhook_event SET status = 'ingested', claim_id = gen_random_uuid(),"
        " ingested_at = now() - interval '90 seconds', attempts = 1 WHERE id = %s",
        event_id,
    )
    return str(event_id)


async def failed(harness: HandlerHarness, lead: Lead) -> None:
    harness.refuse_tickets(REFUSED, 1)
    await _send(harness, lead)


async def dead_letter(harness: HandlerHarness, lead: Lead) -> None:
    harness.refuse_tickets(REFUSED, 99)
    event_id = await _send(harness, lead)
    while harness.event(event_id)["status"] == "failed":
        harness.sql("UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", event_id)
        await harness.process(event_id)


async def changed_owner(harness: HandlerHarness, lead: Lead) -> str:
    manager = "assignee_id = (SELECT id FROM staff WHERE role = 'manager' ORDER BY id LIMIT 1)"
    return str(_set_ticket(harness, await _send(harness, lead), manager)["code"])


async def unsent_notification(harness: HandlerHarness, lead: Lead) -> None:
    harness.hasura.failing = True
    await _send(harness, lead)


async def former_owner(harness: HandlerHarness, lead: Lead) -> str:
    harness.change_settings(former_owner="on")
    _set_ticket(harness, await _send(harness, lead), "status = 'done'")
    returned = lead | {"id": f"{lead['id']}-again"}
    await _send(harness, returned)
    return str(returned["id"])


async def all_at_daily_cap(harness: HandlerHarness, lead: Lead) -> None:
    harness.sql("UPDATE pancake_assignee SET daily_cap = 1")
    for number in range(harness.count("pancake_assignee")):
        await _send(harness, numbered_lead(900 + number))
    await _send(harness, lead)


async def recalled_ticket(harness: HandlerHarness, lead: Lead) -> None:
    harness.change_settings(recall_after_minutes=10)
    event_id = await _send(harness, lead)
    _set_ticket(harness, event_id, "created_at = created_at - interval '11 minutes'")
    now = harness.runtime.clock.now()
    await recall_tickets(harness.runtime, CronRun(0, now, now, {}, lambda: 40.0))


MADE_BY: dict[str, Callable[[HandlerHarness, Lead], Awaitable[str | None]]] = {
    function.__name__: function
    for function in (
        unknown_connection, webhook_test, dead_handler, failed, dead_letter, changed_owner,
        unsent_notification, former_owner, all_at_daily_cap, recalled_ticket,
    )
}  # fmt: skip


async def make(harness: HandlerHarness, case: Mapping[str, Any], lead: Lead) -> str:
    """Make a case of CASES with a new lead; return what a person would type to ask for it."""
    if name := case.get("made_by"):
        return await MADE_BY[name](harness, lead) or str(lead["phone_number"])
    harness.sql(case.get("before", "SELECT"))
    harness.change_settings(**case.get("settings", {}))
    lead |= case.get("lead", {})
    event_id = await _send(harness, lead)
    if after := case.get("after"):
        harness.sql(after.replace("{of_event}", OF_EVENT), event_id)
    if "then" in case:
        event_id = await _send(harness, lead | LATER | case["then"])
    if replayed := case.get("replayed"):
        await harness.replay(ids=[event_id], wait=False, **replayed)
        await harness.fire(event_id, "UPDATE")
    asked = case.get("asked", "phone_number")
    return str(lead.get(asked, asked))


PAGE = Path(__file__).parents[2] / "docs" / "runbook" / "why-no-ticket.md"
FIRST_HEADING = "## The samples\n"
CASES: dict[str, list[dict[str, Any]]] = yaml.safe_load(
    GOLDEN.parent.with_name("broken_leads.yaml").read_text("utf-8")
)
WRITE = "WRITE_DOCS=1 scripts/test tests/ops/test_trace.py"
WIDTH = 80
NOTATIONS = ("0905111222", "+84 905 111 222", "84905111222", "0905.111.222", "(0905) 111-222", "905111222")
UNREADABLE: dict[str, dict[str, Any]] = {
    "0905 11 12": {"phone_number": "0905 11 12"},
    "0905.11.13": {"phone_number": None, "secondary_phone_number": "0905.11.13"},
    "90511122": {"phone_number": 90511122},
    "123-456": {"phone_number": "", "pancake_customer_obj": {"phone_numbers": ["123-456"]}},
}
PHONE = "+84905111222"
AT = datetime(2026, 5, 14, 9, 30, tzinfo=UTC)


@pytest.fixture
async def harness(database: str, connection_id: str, key_ring: KeyRing) -> AsyncIterator[HandlerHarness]:
    async with running_handlers(handler_settings(database, key_ring), connection_id, FakeHasura()) as started:
        yield started


def run(harness: HandlerHarness, *arguments: str, typed: str | None = None, **variables: str) -> Result:
    """Run the command with the rights of the operators."""
    environment = {"DATABASE_URL": operators_url(harness.database_url), "COLUMNS": str(WIDTH)} | variables
    return leads("trace", *arguments, typed=typed, **environment)


def shown(heading: str, text: str, result: Result) -> str:
    """One case of the page. Times, days and the digest of an error differ with each run."""
    assert result.exit_code in (0, 1, 2), (result.output, result.exception)
    lines = result.stdout + result.stderr
    assert max(map(len, lines.splitlines())) <= WIDTH
    lines = re.sub(r"\d{4}-\d\d-\d\d(?= UTC|\n| \d\d:| --dry-run)", "2026-11-26", lines)
    lines = re.sub(r"\d\d:\d\d:\d\d", "03:00:00", lines)
    lines = re.sub(r"digest\s+[0-9a-f]+", "digest 0a1b2c3d", lines)
    lines = re.sub(r"in \d+ min", "in 29 min", lines)
    argument = f"'{text}'" if " " in text else text
    return f"{heading}\n\n```console\n$ leads trace {argument}\n{lines}$ echo $?\n{result.exit_code}\n```\n"


def in_vietnamese(title: str, text: str, result: Result) -> str:
    """One case as managers read it."""
    lines = re.sub(r"\d\d/\d\d/\d{4}", "26/11/2026", result.stdout + result.stderr)
    lines = re.sub(r"\d{4}-\d\d-\d\d(?= --dry-run)", "2026-11-26", lines)
    lines = re.sub(r"\d\d:\d\d:\d\d", "10:00:00", lines)
    lines = re.sub(r"\d\d:\d\d(?=\s+26/11)", "10:30", lines)
    lines = re.sub(r"(còn\s+)\d+(\s+phút)", r"\g<1>29\2", lines)
    return f"# {title}: {text}\n\n{lines}"


async def test_the_page_shows_the_output_of_each_sample_and_broken_lead(harness: HandlerHarness) -> None:
    """And its golden file the same in Vietnamese: read it as a sales manager would."""
    parts, vietnamese = [FIRST_HEADING], []
    asked = await process_samples(harness)
    for sample, text in asked:
        heading = f"### {sample.name}\n\n{fill(sample.title, 100)}"
        before = next(other for other, others_text in asked if others_text == text)
        if before is sample:
            parts.append(shown(heading, text, run(harness, text)))
            vietnamese.append(in_vietnamese(sample.name, text, run(harness, text, "--lang", "vi")))
        else:
            parts.append(f"{heading}.\nThe output is the same as for {before.name}.\n")
    for start, (heading, cases) in zip((100, 200), CASES.items(), strict=True):
        parts.append(f"## {heading}\n")
        for number, case in enumerate(cases, start):
            title, text = case["title"], await make(harness, case, numbered_lead(number))
            parts.append(shown(f"### {title}", text, run(harness, text)))
            vietnamese.append(in_vietnamese(title, text, run(harness, text, "--lang", "vi")))
            restore(harness)
    page = "\n".join(parts)
    if os.environ.get("WRITE_DOCS"):
        GOLDEN.write_text("\n".join(vietnamese), "utf-8")
    assert GOLDEN.read_text("utf-8") == "\n".join(vietnamese)
    introduction, _, rest = PAGE.read_text("utf-8").partition(FIRST_HEADING)
    if os.environ.get("WRITE_DOCS"):
        PAGE.write_text(introduction + page, "utf-8")
    else:
        assert FIRST_HEADING + rest == page, f"write it with: {WRITE}"
    assert (len(asked), sum(map(len, CASES.values()))) == (11, 33)


async def test_json_has_the_story_in_parts_and_the_exit_code_is_the_same(harness: HandlerHarness) -> None:
    harness.sql("INSERT INTO pancake_assignee (staff_id) SELECT id FROM staff WHERE role = 'telesale'")
    lead = numbered_lead(300)
    event_id = (await harness.deliver(lead))["event_id"]
    await harness.process(event_id)
    result = run(harness, "-", "--json", typed="0900.000.300\n")
    assert (result.exit_code, result.stderr) == (0, "")
    document: dict[str, Any] = json.loads(result.stdout)
    (story,) = document.pop("leads")
    assert document == {"text": "0900.000.300", "has_ticket": True}
    steps = story.pop("steps")
    code = harness.one("SELECT code FROM ticket WHERE source_id = 'ticket_source_pancake'")["code"]
    ended = {"tickets": [code], "reason": "ticket_created", "is_at_rest": True, "next": "nothing to do"}
    assert story == {"connection": "test", "table": "lead", "record_id": lead["id"], **ended}
    kinds = ["webhook", "result", "customer", "owner", "roster", "told", "ticket"]
    assert [step["kind"] for step in steps] == kinds
    assert {step["event_id"] for step in steps[:-1]} == {event_id}
    nothing = run(harness, "no-such-record", "--json")
    assert (nothing.exit_code, json.loads(nothing.stdout)["leads"]) == (2, [])
    over = datetime.now(UTC).astimezone(ICT).date() - timedelta(days=1)
    assert is_over(over, datetime.now(UTC)), "else the printed command is refused"
    assert f"Compare yesterday with Pancake: leads reconcile --day {over} --dry-run\n" in nothing.stderr


async def test_what_a_lead_says_adds_no_line(harness: HandlerHarness) -> None:
    forged = "r-1\n  12:00:00  ticket    TK999999"
    await harness.process((await harness.deliver(numbered_lead(301, id=forged)))["event_id"])
    printed = run(harness, forged).stdout
    assert "TK999999" in printed.partition("\n")[0]
    assert "\n  12:00:00  ticket    TK999999" not in printed


async def test_a_phone_is_found_in_each_notation(harness: HandlerHarness, subtests: pytest.Subtests) -> None:
    for number, table in ((1, "lead"), (2, "lead"), (3, "contact")):
        lead = numbered_lead(number, "0905 111 222", table_id=table)
        await harness.process((await harness.deliver(lead))["event_id"])
    for text in NOTATIONS:
        with subtests.test(text):
            result = run(harness, text, "--json")
            found = [(story["table"], story["record_id"]) for story in json.loads(result.stdout)["leads"]]
            assert found == [("contact", "lead-000003"), ("lead", "lead-000002"), ("lead", "lead-000001")]


async def test_a_second_phone_and_an_emptied_one_are_found(harness: HandlerHarness) -> None:
    lead = numbered_lead(310, secondary_phone_number="0283 822 9999")
    event_id = (await harness.deliver(lead))["event_id"]
    await harness.process(event_id)
    assert run(harness, "02838229999").exit_code == 0
    harness.sql("SELECT pancake_empty_events(ARRAY[%s::bigint])", event_id)
    assert run(harness, "0900000310").exit_code == 0
    harness.sql("UPDATE pancake_webhook_event SET ticket_id = NULL")
    assert run(harness, "0900000310").exit_code == 2
    assert run(harness, "0900000310", ENCRYPTION_KEYS=f"test:{'A' * 43}=").exit_code == 1


async def test_unusable_phones_are_found_as_typed(harness: HandlerHarness, subtests: pytest.Subtests) -> None:
    for number, (text, fields) in enumerate(UNREADABLE.items()):
        with subtests.test(text):
            plain, wrapped = (numbered_lead(2 * number + nth, **fields) for nth in (0, 1))
            for count, body in enumerate((plain, {"data": wrapped}), 1):
                await harness.process((await harness.deliver(body))["event_id"])
                result = run(harness, text)
                assert (result.exit_code, result.stdout.count("of test:")) == (1, count)
    assert run(harness, "0905 11 99").exit_code == 2


def insert(db: psycopg.Connection[Any], record: str) -> None:
    db.execute(
        "INSERT INTO pancake_webhook_event (connection_id, origin, record_id, payload_hash, payload, status,"
        " normalized_phone, source_ids, arrived_at, created_at)"
        " SELECT c.id, 'webhook', %s, sha256(%s::text::bytea), '{}', 'received', %s, '{-1}', now(), now()"
        " FROM pancake_connection AS c",
        [record, record, PHONE],
    )


@pytest.mark.own_database
def test_the_next_step_names_server_and_file_of_a_call_of_psql(
    database: str, db: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(db, "a")
    ((event_id,),) = db.execute(
        "UPDATE pancake_webhook_event SET status = 'failed', next_attempt_at = now(),"
        " error_code = 'internal', error_detail = 'InsufficientPrivilege, digest 0' RETURNING id"
    )
    monkeypatch.chdir(tmp_path)
    result = leads("trace", str(event_id), "--json", DATABASE_URL=operators_url(database))
    (story,) = json.loads(result.stdout)["leads"]
    command, is_more, _ = story["next"].removeprefix("as the owner: ").partition("; ")
    assert is_more
    run_as_owner(database, command)


def interrupt(seconds: float) -> None:
    raise KeyboardInterrupt


async def test_it_follows_a_lead_until_it_is_at_rest_or_the_time_is_over(
    harness: HandlerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two questions the lead arrives, then it is processed; each line is printed once."""
    waited: list[float] = []

    def go_on(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 1:
            insert(harness.session, "a")
        elif len(waited) == 3:
            rejected = "status = 'dead_letter', error_code = 'invalid_phone'"
            harness.sql(f"UPDATE pancake_webhook_event SET {rejected}")

    with monkeypatch.context() as patched:
        patched.setattr("time.sleep", go_on)
        result = run(harness, PHONE, "--follow")
    assert (result.exit_code, len(waited)) == (1, 3)
    kinds = [line.split()[1] for line in result.stdout.splitlines() if re.match(r"  \d\d:", line)]
    assert kinds == ["webhook", "waits", "dead_letter"]
    assert result.stdout.splitlines()[-1].split()[0] == "next"

    harness.change_settings(processing_paused=True)
    await harness.deliver(numbered_lead(330))
    result = run(harness, "0900000330", "--follow", "--timeout", "1")
    assert result.exit_code == 1
    assert "received: processing is paused" in result.stdout
    assert "Stopped after 1 s" in result.stderr
    monkeypatch.setattr("time.sleep", interrupt)
    result = run(harness, "0900000330", "--follow")
    assert (result.exit_code, result.stderr) == (130, "Interrupted.\n")


@pytest.fixture
def db(database: str) -> Iterator[psycopg.Connection]:
    """A session of the database's owner, in which no trigger interferes."""
    seed_connection(database)
    with psycopg.connect(database, autocommit=True) as session:
        session.execute("SET session_replication_role = replica")
        yield session


def test_arrival_and_rest_are_one_line_each(database: str, db: psycopg.Connection) -> None:
    insert(db, "old")
    finished = "status = 'processed', outcome = 'stale', processed_at = now()"
    finish = f"UPDATE pancake_webhook_event SET {finished} WHERE record_id = 'a'".encode()
    steps: list[Callable[[], object]] = [
        lambda: insert(db, "a"), lambda: None, lambda: db.execute(finish), lambda: insert(db, "b"),
    ]  # fmt: skip

    def wait(seconds: float) -> None:
        if not steps:
            raise KeyboardInterrupt
        steps.pop(0)()

    seen: list[tuple[int, str]] = []
    with psycopg.connect(operators_url(database), autocommit=True, row_factory=dict_row) as session:
        rows = follow_events(session, 0, wait)
        with suppress(KeyboardInterrupt):
            seen += ((row.id, row.status) for row in rows)
    assert seen == [(2, "received"), (2, "processed"), (3, "received")]


def test_the_newest_leads_come_first_and_ctrl_c_ends_it(
    database: str, db: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", interrupt)
    for record in ("a", "b", "c"):
        insert(db, record)
    result = leads("tail", "--last", "2", "--json", DATABASE_URL=operators_url(database))
    assert (result.exit_code, result.stderr) == (130, "Interrupted.\n")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(row["id"], row["source"]) for row in rows] == [(2, "Facebook"), (3, "Facebook")]
    assert PHONE not in result.stdout


def test_a_line_says_how_far_the_lead_came(subtests: pytest.Subtests) -> None:
    created = {
        "id": 17, "created_at": AT, "processed_at": AT + timedelta(seconds=2), "origin": "webhook",
        "status": "processed", "outcome": "ticket_created", "error_code": None, "next_attempt_at": None,
        "source": "Face\nbook", "ticket": "TK000002", "owner": None,
    }  # fmt: skip
    failed = {"error_code": "internal", "next_attempt_at": AT + timedelta(minutes=1)}
    for status, fields, result in (
        ("received", {}, "arrived"),
        ("processed", {"owner": "Đỗ Văn Minh"}, "ticket_created TK000002, Đỗ Văn Minh (2.0 s)"),
        ("processed", {}, "ticket_created TK000002, no owner (2.0 s)"),
        ("dead_letter", {"error_code": "invalid_phone"}, "dead_letter: invalid_phone"),
        ("failed", failed, "failed: internal, again at 09:31:00"),
        ("skipped_kill_switch", {}, "skipped_kill_switch"),
    ):
        is_processed = status == "processed"
        unfinished = {} if is_processed else dict.fromkeys(("outcome", "processed_at", "ticket"))
        row: dict[str, Any] = created | unfinished | {"status": status} | fields
        with subtests.test(result):
            at = f"09:30:{'02' if is_processed else '00'}"
            line = f"{at}        17  webhook    Face\\nbook        {result}"
            assert describe_event(EventRow(**row)) == line
