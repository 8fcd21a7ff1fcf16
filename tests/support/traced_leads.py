"""Leads that end in many ways, each with what a person would type to ask for it."""

import json
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from leads.services.cron_work import CronRun
from leads.services.recalled_tickets import recall_tickets
from sandbox.payloads import load_samples
from tests.support.handlers import HandlerHarness
from tests.support.leads import numbered_lead

SOURCES = {"24895": "Cộng tác viên", "-5": "TikTok", "-9": "Zalo"}
"""Active sources of the samples, besides those of the harness."""
Lead = dict[str, Any]
OF_EVENT = "WHERE id = (SELECT ticket_id FROM pancake_webhook_event WHERE id = %s)"
REFUSED = "RAISE EXCEPTION 'refused by the database'"
OLD: Lead = {"name": "Tên cũ", "modified_on": "2026-11-19T02:00:00", "event_type": "insert"}
LATER: Lead = {"event_type": "update", "modified_on": "2026-11-20T05:00:00"}

Case = Callable[[HandlerHarness, Lead], Awaitable[str | None]]
"""Makes one broken lead of a lead of its own, which it may change; returns what a person would type to ask
for it, None for the lead's phone."""
NOT_PROCESSED: dict[str, Case] = {}
PROCESSED: dict[str, Case] = {}
"""The cases by their title."""


class Traced(NamedTuple):
    """A sample, and what is asked for."""

    name: str
    title: str
    text: str


async def trace_samples(harness: HandlerHarness) -> list[Traced]:
    for source, name in SOURCES.items():
        of = {"connection_id": harness.connection_id, "pancake_source_id": source}
        harness.insert("pancake_source", **of, name=name, is_active=True)
    fill_roster(harness)
    asked: list[Traced] = []
    for sample in load_samples():
        answer = await harness.deliver(sample.body)
        if answer["status"] == "received":
            await harness.process(answer["event_id"])
        try:
            body = json.loads(sample.body)
            record_id = (body.get("data") or body).get("id")
        except ValueError:
            record_id = None
        asked.append(Traced(sample.name, sample.title, record_id or str(answer["event_id"])))
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


async def _replay(harness: HandlerHarness, event_id: int, **input_: Any) -> None:
    await harness.replay(ids=[event_id], wait=False, **input_)
    await harness.fire(event_id, "UPDATE")


def _set_ticket(harness: HandlerHarness, event_id: int, values: str) -> dict[str, Any]:
    ticket_id = harness.event(event_id)["ticket_id"]
    return harness.one(f"UPDATE ticket SET {values} WHERE id = %s RETURNING *", ticket_id)


def _case(cases: dict[str, Case], title: str) -> Callable[[Case], Case]:
    def add(case: Case) -> Case:
        cases[title] = case
        return case

    return add


def _one_lead(
    cases: dict[str, Case],
    title: str,
    before: str = "SELECT",
    asked: str = "phone_number",
    settings: Mapping[str, Any] = MappingProxyType({}),
    after: str = "",
    then: Lead | None = None,
    **fields: Any,
) -> None:
    """Add a case: after a statement a lead with these fields, and `then` a version of it.

    `after`: a statement with the id of the lead's event. `asked`: what a person types, a field or a text.
    """

    async def case(harness: HandlerHarness, lead: Lead) -> str:
        harness.sql(before)
        harness.change_settings(**settings)
        event_id = await _send(harness, lead | fields)
        if after:
            harness.sql(after, event_id)
        if then is not None:
            await _send(harness, lead | fields | LATER | then)
        return str((lead | fields).get(asked, asked))

    cases[title] = case


# Leads that are not processed: without a usable phone, held, waiting, failed

_one_lead(NOT_PROCESSED, "A lead without a phone", asked="id", phone_number="")
_one_lead(NOT_PROCESSED, "A phone that is too short", phone_number="0905 11 12")
_one_lead(NOT_PROCESSED, "A phone that can be read in two ways", phone_number="396 0375 088 741 0852")
_one_lead(NOT_PROCESSED, "A source that is switched off", source=["-3"])
_one_lead(NOT_PROCESSED, "A source that sync_sources has not read yet", source=["90001"])
_one_lead(NOT_PROCESSED, "The kill switch is on", settings={"kill_switch": True})
_one_lead(NOT_PROCESSED, "Processing is paused", settings={"processing_paused": True})
_one_lead(NOT_PROCESSED, "The connection is disabled", "UPDATE pancake_connection SET status = 'disabled'")


@_case(NOT_PROCESSED, "A webhook URL without a connection")
async def unknown_connection(harness: HandlerHarness, lead: Lead) -> None:
    assert (await harness.deliver(lead, token="of another workspace"))["status"] == "unknown_token"


@_case(NOT_PROCESSED, "Pancake's test of the webhook")
async def test_webhook(harness: HandlerHarness, lead: Lead) -> str:
    return str(await _send(harness, {"test": True}))


@_case(NOT_PROCESSED, "A handler that died at work")
async def dead_handler(harness: HandlerHarness, lead: Lead) -> str:
    event_id = (await harness.deliver(lead))["event_id"]
    harness.sql(
        "UPDATE pancake_webhook_event SET status = 'ingested', claim_id = gen_random_uuid(),"
        " ingested_at = now() - interval '90 seconds', attempts = 1 WHERE id = %s",
        event_id,
    )
    return str(event_id)


@_case(NOT_PROCESSED, "The database refused the ticket once")
async def failed(harness: HandlerHarness, lead: Lead) -> None:
    harness.refuse_tickets(REFUSED, 1)
    await _send(harness, lead)


@_case(NOT_PROCESSED, "The database refused the ticket five times")
async def dead_letter(harness: HandlerHarness, lead: Lead) -> None:
    harness.refuse_tickets(REFUSED, 99)
    event_id = await _send(harness, lead)
    while harness.event(event_id)["status"] == "failed":
        harness.sql("UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", event_id)
        await harness.process(event_id)


# Leads that are processed, with a result that raises a question

_one_lead(PROCESSED, "A record of Pancake's table contact", asked="id", table_id="contact")
_one_lead(PROCESSED, "A record that was deleted in Pancake", then={"event_type": "delete"})
_one_lead(
    PROCESSED,
    "A later version after the ticket was closed",
    after=f"UPDATE ticket SET status = 'done', first_response_at = created_at + interval '12 min' {OF_EVENT}",
    then={"email": "an@example.com"},
)
_one_lead(PROCESSED, "A ticket that a person deleted", after=f"DELETE FROM ticket {OF_EVENT}", asked="id")


@_case(PROCESSED, "A ticket that a manager gave to somebody else")
async def changed_owner(harness: HandlerHarness, lead: Lead) -> str:
    manager = "assignee_id = (SELECT id FROM staff WHERE role = 'manager' ORDER BY id LIMIT 1)"
    return str(_set_ticket(harness, await _send(harness, lead), manager)["code"])


_one_lead(PROCESSED, "No one of the roster is on duty", "UPDATE staff SET on_duty = false")
_one_lead(PROCESSED, "A roster without members", "DELETE FROM pancake_assignee")
_one_lead(
    PROCESSED,
    "No owner, and no admin is active",
    "UPDATE staff SET on_duty = false, is_active = role <> 'admin'",
)
_one_lead(
    PROCESSED, "The customer's account is disabled", asked="+84 909 111 222", phone_number="0909 111 222"
)
_one_lead(PROCESSED, "An older version that arrives late", then=OLD)
_one_lead(PROCESSED, "A later version that changes nothing", then={})


@_case(PROCESSED, "An older version that was replayed with force")
async def forced_replay(harness: HandlerHarness, lead: Lead) -> None:
    await _send(harness, lead)
    await _replay(harness, await _send(harness, lead | OLD), force=True)


@_case(PROCESSED, "A phone that was corrected by a replay")
async def corrected_phone(harness: HandlerHarness, lead: Lead) -> str:
    event_id = await _send(harness, lead | {"phone_number": "0905 11 13"})
    await _replay(harness, event_id, corrected_phone="0905111399")
    return "0905.111.399"


@_case(PROCESSED, "Hasura cannot be reached to notify the owner")
async def unsent_notification(harness: HandlerHarness, lead: Lead) -> None:
    harness.hasura.failing = True
    await _send(harness, lead)


_one_lead(
    PROCESSED,
    "A notification that was given up",
    after="UPDATE pancake_webhook_event SET notified_at = NULL, notify_attempts = 20, notify_refusals = 20,"
    " notify_error = 'refused', notify_given_up_at = now() WHERE id = %s",
)
RETENTION = "SELECT pancake_empty_events(ARRAY[%s::bigint])"
_one_lead(PROCESSED, "An event that retention emptied", after=RETENTION)


@_case(PROCESSED, "A customer who returns to the former owner")
async def former_owner(harness: HandlerHarness, lead: Lead) -> str:
    harness.change_settings(former_owner="on")
    _set_ticket(harness, await _send(harness, lead), "status = 'done'")
    returned = lead | {"id": f"{lead['id']}-again"}
    await _send(harness, returned)
    return str(returned["id"])


@_case(PROCESSED, "Every member of the roster has reached the daily cap")
async def all_at_daily_cap(harness: HandlerHarness, lead: Lead) -> None:
    harness.sql("UPDATE pancake_assignee SET daily_cap = 1")
    for number in range(harness.count("pancake_assignee")):
        await _send(harness, numbered_lead(900 + number))
    await _send(harness, lead)


@_case(PROCESSED, "A ticket that was recalled")
async def recalled_ticket(harness: HandlerHarness, lead: Lead) -> None:
    harness.change_settings(recall_after_minutes=10)
    event_id = await _send(harness, lead)
    _set_ticket(harness, event_id, "created_at = created_at - interval '11 minutes'")
    now = harness.runtime.clock.now()
    await recall_tickets(harness.runtime, CronRun(0, now, now, {}, lambda: 40.0))


_one_lead(
    PROCESSED,
    "A ticket that waits over the holidays",
    settings={"business_hours": "mon-sat 08:00-17:30", "holidays": "2020-01-01..2099-12-31"},
    after=f"UPDATE ticket SET created_at = created_at - interval '9 hours 59 minutes' {OF_EVENT}",
)
