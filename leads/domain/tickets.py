"""Which of the open tickets that the integration made are a record's and a customer's."""

from leads.domain.facts import Account, Applied, Facts, Ticket
from leads.domain.lead import Lead
from leads.domain.phone import PhoneReading
from leads.domain.versions import is_new_request


def ticket_of_record(facts: Facts) -> Ticket | None:
    """The open ticket that the record's version applied last names."""
    ticket_id = facts.applied.ticket_id if facts.applied else None
    return next((ticket for ticket in facts.open_tickets if ticket.id == ticket_id), None)


def ticket_of_customer(
    account: Account | None, account_id: str | None, matched_phone: str | None, facts: Facts
) -> Ticket | None:
    """The open ticket on the customer's account, or on another account with the same phone.

    `matched_phone` is the phone of the lead that led to the customer: if an account that has it is disabled,
    the customer may be that of its contact. The record's own ticket comes first, else the newest. An
    `account` of None is a new customer's, who has none.
    """
    phones = {matched_phone, account.phone} - {None} if account else set()
    ids = {account_id, *(other.id for other in facts.accounts if other.phone in phones)}
    tickets = [each for each in facts.open_tickets if each.account_id in ids or each.account_phone in phones]
    own = ticket_of_record(facts)
    return own if own in tickets else next(iter(tickets), None)


def ticket_applied(applied: Applied | None) -> Ticket | None:
    """The ticket that the version applied last names, as a name only: nothing is written to it."""
    return Ticket(applied.ticket_id, applied.account_id, None) if applied and applied.ticket_id else None


def is_closed(lead: Lead, phones: PhoneReading, applied: Applied | None) -> bool:
    """Whether the record had its ticket, which is no longer open, and the version asks for nothing new."""
    return applied is not None and bool(applied.ticket_id) and not is_new_request(lead, phones, applied)
