"""Characters that are not seen stay in the payload and go nowhere else."""

import pytest

from leads.domain.visible_text import without_unseen
from tests.support.handlers import HandlerHarness

pytestmark = pytest.mark.anyio

NAME = "\u202eNguy\u200bễn\x1b[31m Văn\nA"
SEEN = "Nguyễn[31m Văn A"


async def test_account_contact_ticket_and_notification_show_what_is_seen(harness: HandlerHarness) -> None:
    event_id, result = await harness.process_lead(name=NAME, full_address=f"1 Lê Lợi {NAME}")
    assert result == "ticket_created"
    assert harness.event(event_id)["payload"]["name"] == NAME
    (account,) = harness.sql(
        "SELECT display_name AS name FROM account WHERE normalized_phone = '+84905111222'"
    )
    (contact,) = harness.sql("SELECT name, address FROM contact_book WHERE name = %s", SEEN)
    (ticket,) = harness.sql(
        "SELECT title, description, data::text FROM ticket WHERE id = %s",
        harness.event(event_id)["ticket_id"],
    )
    assert account["name"] == contact["name"] == SEEN
    assert contact["address"] == f"1 Lê Lợi {SEEN}"
    assert ticket["title"].endswith(SEEN)
    (sent,) = harness.hasura.sent.values()
    for text in (ticket["title"], *ticket["description"].split("\n"), ticket["data"], str(sent)):
        assert without_unseen(text) == text
