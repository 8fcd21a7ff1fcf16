"""The texts of a ticket, in Vietnamese, as telesales read them."""

from leads.domain.lead import Lead
from leads.domain.phone import PhoneReading


def ticket_title(lead: Lead, phone: str) -> str:
    """Return the title; a lead without a name is called by its phone."""
    return f"Lead Pancake: {lead.name or phone}"


def ticket_description(lead: Lead, phones: PhoneReading) -> str:
    """Return one line for each field that has a value."""
    lines = [
        ("Điện thoại", ", ".join(phones.usable)),
        ("Email", lead.email),
        ("Địa chỉ", lead.address),
        ("Quan tâm", ", ".join(lead.interested_products)),
    ]
    return "\n".join(f"{label}: {value}" for label, value in lines if value)
