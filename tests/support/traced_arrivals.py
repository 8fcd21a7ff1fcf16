"""Leads that are not processed: without a usable phone, held, waiting, failed."""

from tests.support.handlers import HandlerHarness
from tests.support.traced_leads import Case, Lead, send


async def no_phone(harness: HandlerHarness, lead: Lead) -> str:
    lead |= {"phone_number": ""}
    await send(harness, lead)
    return str(lead["id"])


async def short_phone(harness: HandlerHarness, lead: Lead) -> str:
    await send(harness, lead | {"phone_number": "0905 11 12"})
    return "0905 11 12"


async def two_readings(harness: HandlerHarness, lead: Lead) -> str:
    await send(harness, lead | {"phone_number": "396 0375 088 741 0852"})
    return "396 0375 088 741 0852"


async def inactive_source(harness: HandlerHarness, lead: Lead) -> str:
    lead |= {"source": ["-3"]}
    await send(harness, lead, process=False)
    return str(lead["phone_number"])


async def unknown_source(harness: HandlerHarness, lead: Lead) -> str:
    harness.sql("UPDATE pancake_connection SET signature_mode = 'off'")
    lead |= {"source": ["90001"]}
    await send(harness, lead, process=False)
    return str(lead["phone_number"])


async def kill_switch(harness: HandlerHarness, lead: Lead) -> str:
    harness.change_settings(kill_switch=True)
    await send(harness, lead, process=False)
    return str(lead["phone_number"])


async def paused(harness: HandlerHarness, lead: Lead) -> str:
    harness.change_settings(processing_paused=True)
    await send(harness, lead)
    return str(lead["phone_number"])


async def disabled_connection(harness: HandlerHarness, lead: Lead) -> str:
    harness.sql("UPDATE pancake_connection SET status = 'disabled'")
    await send(harness, lead, process=False)
    return str(lead["phone_number"])


async def unknown_connection(harness: HandlerHarness, lead: Lead) -> str:
    answer = await harness.deliver(lead, token="the token of another workspace")
    assert answer["status"] == "unknown_token"
    return str(lead["phone_number"])


async def test_webhook(harness: HandlerHarness, lead: Lead) -> str:
    return str(await send(harness, {"test": True}, process=False))


async def dead_handler(harness: HandlerHarness, lead: Lead) -> str:
    event_id = await send(harness, lead, process=False)
    harness.sql(
        "UPDATE pancake_webhook_event SET status = 'ingested', claim_id = gen_random_uuid(),"
        " ingested_at = now() - interval '90 seconds', attempts = 1 WHERE id = %s",
        event_id,
    )
    return str(event_id)


async def failed(harness: HandlerHarness, lead: Lead) -> str:
    harness.refuse_tickets("RAISE EXCEPTION 'refused by the database'", 1)
    await send(harness, lead)
    return str(lead["phone_number"])


async def dead_letter(harness: HandlerHarness, lead: Lead) -> str:
    harness.refuse_tickets("RAISE EXCEPTION 'refused by the database'", 99)
    event_id = await send(harness, lead)
    while harness.event(event_id)["status"] == "failed":
        harness.sql("UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", event_id)
        await harness.process(event_id)
    return str(lead["phone_number"])


CASES: dict[str, Case] = {
    "A lead without a phone": no_phone,
    "A phone that is too short": short_phone,
    "A phone that can be read in two ways": two_readings,
    "A source that is switched off": inactive_source,
    "A source that sync_sources has not read yet": unknown_source,
    "The kill switch is on": kill_switch,
    "Processing is paused": paused,
    "The connection is disabled": disabled_connection,
    "A webhook URL without a connection": unknown_connection,
    "Pancake's test of the webhook": test_webhook,
    "A handler that died at work": dead_handler,
    "The database refused the ticket once": failed,
    "The database refused the ticket five times": dead_letter,
}
