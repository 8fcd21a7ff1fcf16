"""What a record does to Diva's data: from what is there (Situation) to what is to be written (Plan)."""

from dataclasses import dataclass, field, replace

from leads.domain.facts import Account, Applied, Situation, Ticket, Version
from leads.domain.phone import PhoneReading

NEW_LEAD = "noti_pancake_new_lead"
LEAD_UPDATED = "noti_pancake_lead_updated"
NEEDS_ATTENTION = "noti_pancake_needs_attention"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be written. `ticket` is None where no ticket is touched."""

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


def decide(version: Version, situation: Situation) -> Plan:
    """The plan for one event. Raises InvalidPhone if the record names no usable phone."""
    phone = version.phone
    applied = situation.applied
    if applied is not None and not version.force:
        if is_stale(version, applied):
            return _untouched("stale", phone, applied)
        if is_unchanged(version, applied):
            return _untouched("no_change", phone, applied)
    account = _matching_account(version.phones.usable, situation.accounts)
    account_id = account.id if account else situation.new_account_id
    evidence: dict[str, object] = {"phone": _phone_evidence(version.phones, situation.accounts, account_id)}
    plan = Plan(
        outcome="contact_updated",
        phone=phone,
        account_id=account_id,
        account_phone=account.phone if account else phone,
        account_is_new=account is None,
        records_consent=account is None and situation.consent_mode == "record",
        evidence=evidence,
    )
    return _with_ticket(plan, situation) if version.makes_tickets else plan


def is_stale(version: Version, applied: Applied) -> bool:
    """An older version than the one applied changes nothing."""
    if version.modified_on is None or applied.modified_on is None:
        return False
    return version.modified_on < applied.modified_on


def is_unchanged(version: Version, applied: Applied) -> bool:
    """Whether every mapped field that the version names is as it was applied.

    A field that the applied version did not name is news if it holds something, except in the same version:
    the list of records and the webhook do not name the same fields.
    """
    same_version = version.modified_on is not None and version.modified_on == applied.modified_on
    if applied.digests is None:
        return same_version
    before, now = applied.digests, version.lead.digests()
    return all(
        before[name] == now[name] if name in before else same_version or not value
        for name, value in version.lead.fields().items()
    )


def _with_ticket(plan: Plan, situation: Situation) -> Plan:
    """Update the customer's open ticket, else the record's own (then re-pointed), else open a new one."""
    theirs = next((t for t in situation.open_tickets if t.account_id == plan.account_id), None)
    own_id = situation.applied.ticket_id if situation.applied else None
    own = next((t for t in situation.open_tickets if t.id == own_id), None)
    ticket = theirs or own
    moved_from = own.account_id if own and own.account_id != plan.account_id else None
    evidence, attention = dict(plan.evidence), plan.attention
    if moved_from:
        evidence["phone_changed"] = {
            "account_before": moved_from,
            "phone_before": situation.applied.phone if situation.applied else None,
            "ticket_before": own_id,
        }
        attention = ("phone_changed",)
    return replace(
        plan,
        outcome="ticket_updated" if ticket else "ticket_created",
        ticket=ticket or Ticket(situation.new_ticket_id, plan.account_id, None),
        ticket_is_new=ticket is None,
        evidence=evidence,
        attention=attention,
    )


def _untouched(outcome: str, phone: str, applied: Applied) -> Plan:
    ticket = Ticket(applied.ticket_id, applied.account_id, None) if applied.ticket_id else None
    return Plan(outcome, phone, applied.account_id, writes_customer=False, ticket=ticket)


def _matching_account(phones: tuple[str, ...], accounts: tuple[Account, ...]) -> Account | None:
    """The first phone that matches decides; among its accounts the oldest enabled one, else the oldest.

    A phone that is no account's own is that of the account whose contact has it.
    """
    for phone in phones:
        matches = [account for account in accounts if account.phone == phone]
        matches = matches or [account for account in accounts if account.contact_phone == phone]
        if matches:
            return next((account for account in matches if account.enabled), matches[0])
    return None


def _phone_evidence(reading: PhoneReading, accounts: tuple[Account, ...], winner: str) -> dict[str, object]:
    return {
        "usable": list(reading.usable),
        "rejected": [{"phone": phone, "reason": reason} for phone, reason in reading.rejected],
        "candidates": list(dict.fromkeys(account.id for account in accounts)),
        "winner": winner,
    }
