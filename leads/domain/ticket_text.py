"""The texts of a ticket, in Vietnamese, as telesales read them.

They are composed of the fields that the ticket holds, so that a field which a version does not name stays.
"""

from collections.abc import Mapping, Sequence

from leads.domain.canonical_json import JsonValue
from leads.domain.decide import Ticket
from leads.domain.digest import Digester

WRITTEN = "written"
"""The key in ticket.data.pancake of the digests of the texts that we wrote last."""
TEXT = "ticket text"
"""The purpose of these digests."""


def ticket_texts(fields: Mapping[str, JsonValue], phone: str, phones: Sequence[str]) -> dict[str, str]:
    """Return title and description of a ticket that holds these fields: a line for each that has a value.

    A lead without a name is called by its phone.
    """
    products = fields.get("interested_products")
    lines = [
        ("Điện thoại", ", ".join(phones)),
        ("Email", fields.get("email")),
        ("Địa chỉ", fields.get("address")),
        ("Quan tâm", ", ".join(str(each) for each in products) if isinstance(products, list) else None),
    ]
    return {
        "title": f"Lead Pancake: {fields.get('name') or phone}",
        "description": "\n".join(f"{label}: {value}" for label, value in lines if value),
    }


def texts_to_write(ticket: Ticket, texts: Mapping[str, str], digester: Digester) -> dict[str, str]:
    """Return those of the new texts whose present text is still what we wrote: what people typed stays."""
    present = {"title": ticket.title, "description": ticket.description or ""}
    written = written_by_us(ticket.fields, present, digester)
    return {name: text for name, text in texts.items() if name in written}


def written_by_us(
    fields: Mapping[str, JsonValue], present: Mapping[str, str], digester: Digester
) -> frozenset[str]:
    """Return the names of the present texts that we wrote and no person changed.

    A text whose digest has a key that is gone counts as changed.
    """
    digests = _digests_of(fields)
    return frozenset(
        name for name, text in present.items() if digester.matches(digests.get(name), TEXT, text)
    )


def written_digests(ticket: Ticket, texts: Mapping[str, str], digester: Digester) -> dict[str, JsonValue]:
    """Return the digests to keep with the ticket after these texts are written."""
    return {
        **_digests_of(ticket.fields),
        **{name: digester.digest(TEXT, text) for name, text in texts.items()},
    }


def _digests_of(fields: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    written = fields.get(WRITTEN)
    return written if isinstance(written, Mapping) else {}
