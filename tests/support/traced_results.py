"""Leads that are processed, with a result that raises a question."""

from leads.services.cron_work import CronRun
from leads.services.recalled_tickets import recall_tickets
from tests.support.handlers import HandlerHarness
from tests.support.leads import numbered_lead
from tests.support.traced_leads import Case, Lead, again, send


async def contact_record(harness: HandlerHarness, lead: Lead) -> str:
    lead |= {"table_id": "contact"}
    await send(harness, lead)
    return str(lead["id"])


async def deleted_record(harness: HandlerHarness, lead: Lead) -> str:
    await send(harness, lead)
    await again(harness, lead, event_type="delete")
    return str(lead["phone_number"])


async def closed_ticket(harness: HandlerHarness, lead: Lead) -> str:
    event_id = await send(harness, lead)
    harness.sql(
        "UPDATE ticket SET status = 'done', first_response_at = created_at + interval '12 minutes'"
        " WHERE id = %s",
        harness.event(event_id)["ticket_id"],
    )
    await again(harness, lead, email="an@example.com")
    return str(lead["phone_number"])


async def deleted_ticket(harness: HandlerHarness, lead: Lead) -> str:
    event_id = await send(harness, lead)
    harness.sql("DELETE FROM ticket WHERE id = %s", harness.event(event_id)["ticket_id"])
    return str(lead["id"])


async def changed_owner(harness: HandlerHarness, lead: Lead) -> str:
    event_id = await send(harness, lead)
    harness.sql(
        "UPDATE ticket SET assignee_id = (SELECT id FROM staff WHERE role = 'manager' ORDER BY id LIMIT 1)"
        " WHERE id = %s",
        harness.event(event_id)["ticket_id"],
    )
    code = harness.one("SELECT code FROM ticket WHERE id = %s", harness.event(event_id)["ticket_id"])
    return str(code["code"])


async def off_duty(harness: HandlerHarness, lead: Lead) -> str:
    harness.sql("UPDATE staff SET on_duty = false WHERE role = 'telesale'")
    await send(harness, lead)
    return str(lead["phone_number"])


async def former_owner(harness: HandlerHarness, lead: Lead) -> str:
    harness.change_settings(former_owner="on")
    event_id = await send(harness, lead)
    harness.sql("UPDATE ticket SET status = 'done' WHERE id = %s", harness.event(event_id)["ticket_id"])
    returned = lead | {"id": f"{lead['id']}-again"}
    await send(harness, returned)
    return str(returned["id"])


async def all_at_daily_cap(harness: HandlerHarness, lead: Lead) -> str:
    harness.sql("UPDATE pancake_assignee SET daily_cap = 1")
    for number in range(harness.count("pancake_assignee")):
        await send(harness, numbered_lead(900 + number))
    await send(harness, lead)
    return str(lead["phone_number"])


async def recalled_ticket(harness: HandlerHarness, lead: Lead) -> str:
    harness.change_settings(recall_after_minutes=10)
    event_id = await send(harness, lead)
    harness.sql(
        "UPDATE ticket SET created_at = created_at - interval '11 minutes' WHERE id = %s",
        harness.event(event_id)["ticket_id"],
    )
    now = harness.runtime.clock.now()
    await recall_tickets(harness.runtime, CronRun(0, now, now, {}, lambda: 40.0))
    return str(lead["phone_number"])


async def empty_roster(harness: HandlerHarness, lead: Lead) -> str:
    harness.sql("DELETE FROM pancake_assignee")
    await send(harness, lead)
    return str(lead["phone_number"])


async def no_admin(harness: HandlerHarness, lead: Lead) -> str:
    harness.sql("UPDATE staff SET on_duty = false, is_active = role <> 'admin'")
    await send(harness, lead)
    return str(lead["phone_number"])


async def disabled_account(harness: HandlerHarness, lead: Lead) -> str:
    await send(harness, lead | {"phone_number": "0909 111 222"})
    return "+84 909 111 222"


async def stale_version(harness: HandlerHarness, lead: Lead) -> str:
    await send(harness, lead)
    await send(harness, lead | {"name": "Tên cũ", "modified_on": "2026-11-19T02:00:00"})
    return str(lead["phone_number"])


async def no_change(harness: HandlerHarness, lead: Lead) -> str:
    await send(harness, lead)
    await again(harness, lead)
    return str(lead["phone_number"])


async def forced_replay(harness: HandlerHarness, lead: Lead) -> str:
    await send(harness, lead)
    old = await send(harness, lead | {"name": "Tên cũ", "modified_on": "2026-11-19T02:00:00"})
    await harness.replay(ids=[old], force=True, wait=False)
    await harness.fire(old, "UPDATE")
    return str(lead["phone_number"])


async def corrected_phone(harness: HandlerHarness, lead: Lead) -> str:
    lead |= {"phone_number": "0905 11 13"}
    event_id = await send(harness, lead)
    await harness.replay(ids=[event_id], corrected_phone="0905111399", wait=False)
    await harness.fire(event_id, "UPDATE")
    return "0905.111.399"


async def unsent_notification(harness: HandlerHarness, lead: Lead) -> str:
    harness.hasura.failing = True
    await send(harness, lead)
    return str(lead["phone_number"])


async def given_up_notification(harness: HandlerHarness, lead: Lead) -> str:
    event_id = await send(harness, lead)
    harness.sql(
        "UPDATE pancake_webhook_event SET notified_at = NULL, notify_attempts = 20, notify_refusals = 20,"
        " notify_error = 'refused', notify_given_up_at = now() WHERE id = %s",
        event_id,
    )
    return str(lead["phone_number"])


async def emptied(harness: HandlerHarness, lead: Lead) -> str:
    event_id = await send(harness, lead)
    harness.sql("SELECT pancake_empty_events(ARRAY[%s::bigint])", event_id)
    return str(lead["phone_number"])


async def in_holidays(harness: HandlerHarness, lead: Lead) -> str:
    harness.change_settings(business_hours="mon-sat 08:00-17:30", holidays="2020-01-01..2099-12-31")
    event_id = await send(harness, lead)
    harness.sql(
        "UPDATE ticket SET created_at = created_at - interval '9 hours 59 minutes' WHERE id = %s",
        harness.event(event_id)["ticket_id"],
    )
    return str(lead["phone_number"])


CASES: dict[str, Case] = {
    "A record of Pancake's table contact": contact_record,
    "A record that was deleted in Pancake": deleted_record,
    "A later version after the ticket was closed": closed_ticket,
    "A ticket that a person deleted": deleted_ticket,
    "A ticket that a manager gave to somebody else": changed_owner,
    "No one of the roster is on duty": off_duty,
    "A roster without members": empty_roster,
    "No owner, and no admin is active": no_admin,
    "The customer's account is disabled": disabled_account,
    "An older version that arrives late": stale_version,
    "A later version that changes nothing": no_change,
    "An older version that was replayed with force": forced_replay,
    "A phone that was corrected by a replay": corrected_phone,
    "Hasura cannot be reached to notify the owner": unsent_notification,
    "A notification that was given up": given_up_notification,
    "An event that retention emptied": emptied,
    "A customer who returns to the former owner": former_owner,
    "Every member of the roster has reached the daily cap": all_at_daily_cap,
    "A ticket that was recalled": recalled_ticket,
    "A ticket that waits over the holidays": in_holidays,
}
