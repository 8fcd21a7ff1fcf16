"""The texts of a ticket, in Vietnamese, as telesales read them.

They are composed of the fields that the ticket holds, so that a field which a version does not name stays.
"""

from collections.abc import Mapping, Sequence

from leads.domain.canonical_json import JsonValue, payload_hash
from leads.domain.facts import Ticket
from leads.domain.lead import DIGEST_HEX_DIGITS

WRITTEN = "written"
"""The key in ticket.data.pancake of the digests of the texts that we wrote last."""


def ticket_texts(fields: Mapping[str, JsonValue], phone: str, phones: Sequence[str]) -> dict[str, str]:
    """Return title and description of a ticket that holds these fields."""
    return {"title": _title(fields, phone), "description": _description(fields, phones)}


def texts_to_write(ticket: Ticket, texts: Mapping[str, str]) -> dict[str, str]:
    """Return those of the new texts whose present text is still what we wrote: what people typed stays."""
    digests = _digests_of(ticket)
    present = {"title": ticket.title, "description": ticket.description or ""}
    return {name: text for name, text in texts.items() if digests.get(name) == text_digest(present[name])}


def written_digests(ticket: Ticket, texts: Mapping[str, str]) -> dict[str, JsonValue]:
    """Return the digests to keep with the ticket after these texts are written."""
    return {**_digests_of(ticket), **{name: text_digest(text) for name, text in texts.items()}}


def text_digest(text: str) -> str:
    """Return a digest of a ticket's text, which shows whether a person changed it."""
    return payload_hash(text).hex()[:DIGEST_HEX_DIGITS]


def _digests_of(ticket: Ticket) -> Mapping[str, JsonValue]:
    written = ticket.fields.get(WRITTEN)
    return written if isinstance(written, Mapping) else {}


def _title(fields: Mapping[str, JsonValue], phone: str) -> str:
    """A lead without a name is called by its phone."""
    return f"Lead Pancake: {fields.get('name') or phone}"


def _description(fields: Mapping[str, JsonValue], phones: Sequence[str]) -> str:
    """One line for each field that has a value."""
    products = fields.get("interested_products")
    lines = [
        ("Điện thoại", ", ".join(phones)),
        ("Email", fields.get("email")),
        ("Địa chỉ", fields.get("address")),
        ("Quan tâm", ", ".join(str(each) for each in products) if isinstance(products, list) else None),
    ]
    return "\n".join(f"{label}: {value}" for label, value in lines if value)
