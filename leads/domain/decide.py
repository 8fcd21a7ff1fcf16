"""Decide what a lead changes in Diva's data: from Facts to a Plan."""

from dataclasses import dataclass, field, replace

from leads.domain.facts import Account, Applied, Facts, Ticket
from leads.domain.lead import Lead
from leads.domain.phone import PhoneReading


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be written. `ticket` is None if no ticket is written.

    `attention` holds the reasons why a person should look at the result.
    """

    outcome: str
    phone: str
    account_id: str | None
    account_phone: str | None = None
    account_is_new: bool = False
    writes_customer: bool = True
    records_consent: bool = False
    ticket: Ticket | None = None
    ticket_is_new: bool = False
    evidence: dict[str, object] = field(default_factory=dict)
    attention: tuple[str, ...] = ()


def decide(lead: Lead, phones: PhoneReading, facts: Facts, *, force: bool = False) -> Plan:
    """Decide on one lead; `force` skips the comparison with the applied version.

    Raises InvalidPhone if the lead has no usable phone.
    """
    phone = phones.require_primary()
    applied = facts.applied
    if applied is not None and not force:
        if is_stale(lead, applied):
            return _nothing_to_write("stale", phone, applied)
        if is_unchanged(lead, applied):
            return _nothing_to_write("no_change", phone, applied)
    account = _matching_account(phones.usable, facts.accounts)
    account_id = account.id if account else facts.new_account_id
    evidence: dict[str, object] = {"phone": _phone_evidence(phones, facts.accounts, account_id)}
    plan = Plan(
        outcome="contact_updated",
        phone=phone,
        account_id=account_id,
        account_phone=account.phone if account else phone,
        account_is_new=account is None,
        records_consent=account is None and facts.consent_mode == "record",
        evidence=evidence,
    )
    return _with_ticket(plan, facts) if lead.makes_ticket else plan


def is_stale(lead: Lead, applied: Applied) -> bool:
    """An older version than the one applied changes nothing."""
    if lead.modified_on is None or applied.modified_on is None:
        return False
    return lead.modified_on < applied.modified_on


def is_unchanged(lead: Lead, applied: Applied) -> bool:
    """Whether every mapped field that the lead names is as it was applied.

    A field that the applied version did not name is a change if it has a value, except in the same version:
    list and webhook do not name the same fields.
    """
    same_version = lead.modified_on is not None and lead.modified_on == applied.modified_on
    if applied.digests is None:
        return same_version
    before, now = applied.digests, lead.digests()
    return all(
        before[name] == now[name] if name in before else same_version or not value
        for name, value in lead.fields().items()
    )


def _with_ticket(plan: Plan, facts: Facts) -> Plan:
    """Update the customer's open ticket, else the record's own (then re-pointed), else open a new one."""
    customers_ticket = next((t for t in facts.open_tickets if t.account_id == plan.account_id), None)
    records_ticket_id = facts.applied.ticket_id if facts.applied else None
    records_ticket = next((t for t in facts.open_tickets if t.id == records_ticket_id), None)
    ticket = customers_ticket or records_ticket
    evidence, attention = dict(plan.evidence), plan.attention
    if records_ticket and records_ticket.account_id and records_ticket.account_id != plan.account_id:
        evidence["phone_changed"] = {
            "account_before": records_ticket.account_id,
            "phone_before": facts.applied.phone if facts.applied else None,
            "ticket_before": records_ticket_id,
        }
        attention = ("phone_changed",)
    return replace(
        plan,
        outcome="ticket_updated" if ticket else "ticket_created",
        ticket=ticket or Ticket(facts.new_ticket_id, plan.account_id, None),
        ticket_is_new=ticket is None,
        evidence=evidence,
        attention=attention,
    )


def _nothing_to_write(outcome: str, phone: str, applied: Applied) -> Plan:
    ticket = Ticket(applied.ticket_id, applied.account_id, None) if applied.ticket_id else None
    return Plan(outcome, phone, applied.account_id, writes_customer=False, ticket=ticket)


def _matching_account(phones: tuple[str, ...], accounts: tuple[Account, ...]) -> Account | None:
    """The first phone with a match decides; among its accounts the oldest enabled one, else the oldest.

    A phone that is not an account's own leads to the account whose contact has it.
    """
    for phone in phones:
        matches = [account for account in accounts if account.phone == phone]
        matches = matches or [account for account in accounts if account.contact_phone == phone]
        if matches:
            return next((account for account in matches if account.is_enabled), matches[0])
    return None


def _phone_evidence(phones: PhoneReading, accounts: tuple[Account, ...], winner: str) -> dict[str, object]:
    return {
        "usable": list(phones.usable),
        "rejected": [{"phone": phone, "reason": reason} for phone, reason in phones.rejected],
        "candidates": list(dict.fromkeys(account.id for account in accounts)),
        "winner": winner,
    }
