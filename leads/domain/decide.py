"""Decide what a lead changes in Diva's data: from Facts to a Plan."""

from dataclasses import dataclass, field, replace
from datetime import datetime

from leads.domain.customer import matching_account, phone_evidence, usable_evidence
from leads.domain.facts import Account, Applied, Facts, Ticket
from leads.domain.lead import Digests, Lead
from leads.domain.phone import PhoneReading
from leads.domain.versions import (
    changed_fields,
    is_new_request,
    is_phone_changed,
    is_unchanged,
    not_stale_part,
    phones_of_part,
)

STALE, NO_CHANGE, RECORD_DELETED = "stale", "no_change", "record_deleted"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be written for `lead`, the part of the version that is applied.

    `account_id` is the customer's; `account` is that row, or None if it is new. `ticket` is the ticket that
    the event names; it is written only if `writes_ticket`, and its account_id is then its new one. `digests`
    are what the event records of the mapped fields; None keeps what it has. `changed_fields` are those that
    differ from the version applied last. `attention` holds the reasons why
    a person should look at the result. `phone` is None only for a deletion.
    """

    outcome: str
    lead: Lead
    phone: str | None
    account_id: str | None
    account: Account | None = None
    writes_customer: bool = True
    records_consent: bool = False
    other_phones: tuple[str, ...] = ()
    ticket: Ticket | None = None
    ticket_is_new: bool = False
    writes_ticket: bool = False
    moves_ticket: bool = False
    digests: Digests | None = None
    changed_fields: tuple[str, ...] = ()
    evidence: dict[str, object] = field(default_factory=dict)
    attention: tuple[str, ...] = ()

    @property
    def is_applied(self) -> bool:
        """Whether the version is now the one that Diva's data shows."""
        return self.outcome != STALE

    @property
    def changes(self) -> bool:
        """Whether the event has a result other than that of an earlier one."""
        return self.outcome not in (STALE, NO_CHANGE)


def decide(
    lead: Lead, phones: PhoneReading, facts: Facts, arrived_at: datetime, *, force: bool = False
) -> Plan:
    """Decide on one lead; `force` applies it whatever was applied before.

    `phones` are those of the version (versions.phones_of_version). Raises InvalidPhone if there is no usable
    one; a deletion needs none.
    """
    if phones.are_applied:
        lead = lead.naming(lead.named_fields - {"phones"})
    plan = _plan(lead, phones, facts, arrived_at, force=force)
    return _with_notes(plan, facts) if plan.is_applied else plan


def _plan(lead: Lead, phones: PhoneReading, facts: Facts, arrived_at: datetime, *, force: bool) -> Plan:
    applied = facts.applied
    if lead.is_deletion:
        return _deletion(lead, facts, arrived_at, force=force)
    phone = phones.require_primary()
    if applied is not None and not force:
        part = not_stale_part(lead, arrived_at, applied)
        if part is None:
            return _nothing_to_write(STALE, lead, phone, applied)
        if part is not lead:
            lead, phones = part, phones_of_part(part, phones, applied)
            phone = phones.require_primary()
        if is_unchanged(lead, applied) and not is_phone_changed(phones, applied):
            plan = _nothing_to_write(NO_CHANGE, lead, phone, applied)
            evidence = usable_evidence(phones, applied)
            return replace(plan, digests=_merged_digests(lead, applied), evidence={"phone": evidence})
    plan = _with_customer(lead, phone, phones, facts)
    return _with_ticket(plan, phones, facts, force=force) if lead.makes_ticket else plan


def _with_notes(plan: Plan, facts: Facts) -> Plan:
    """Record what of the body was not taken as it is. A time in the future is told once for each record."""
    notes: dict[str, object] = {}
    attention = plan.attention
    if plan.lead.has_future_time:
        notes["future_time"] = True
        if facts.applied is None or not facts.applied.had_future_time:
            attention = (*attention, "future_time")
    if plan.lead.cut_fields:
        notes["cut_fields"] = list(plan.lead.cut_fields)
    return replace(plan, evidence={**plan.evidence, **notes}, attention=attention)


def _deletion(lead: Lead, facts: Facts, arrived_at: datetime, *, force: bool) -> Plan:
    """A deletion changes nothing of Diva's; the owner of the record's open ticket is told, once."""
    applied = facts.applied
    if applied is None:
        return Plan(RECORD_DELETED, lead, None, None, writes_customer=False, digests={})
    if not force and not_stale_part(lead.naming(frozenset()), arrived_at, applied) is None:
        return _nothing_to_write(STALE, lead, applied.phone, applied)
    plan = _nothing_to_write(RECORD_DELETED, lead, applied.phone, applied)
    evidence: dict[str, object] = {"phone": {"usable": list(applied.usable_phones)}}
    plan = replace(plan, digests=applied.digests, evidence=evidence)
    ticket = _ticket_of_record(facts)
    if ticket is None or applied.outcome == RECORD_DELETED:
        return plan
    return replace(plan, ticket=ticket, attention=("record_deleted",))


def _with_customer(lead: Lead, phone: str, phones: PhoneReading, facts: Facts) -> Plan:
    """Find the customer: by phone, else where a person moved the record's ticket or account to, else new."""
    applied = facts.applied
    matched, account = matching_account(phones.usable, facts.accounts)
    if account is None and not is_phone_changed(phones, applied):
        known = (facts.ticket_account, facts.applied_account)
        account = next((each for each in known if each and each.state != "deleted"), None)
    account_id = account.id if account else facts.new_account_id
    known_phones = {each.phone for each in facts.accounts}
    return Plan(
        outcome="contact_updated",
        lead=lead,
        phone=phone,
        account_id=account_id,
        account=account,
        records_consent=account is None and facts.consent_mode == "record",
        other_phones=tuple(other for other in phones.usable if other not in {phone, *known_phones}),
        digests=_merged_digests(lead, applied),
        changed_fields=changed_fields(lead, applied),
        evidence={"phone": phone_evidence(phones, facts, account_id, matched if account else phone)},
    )


def _with_ticket(plan: Plan, phones: PhoneReading, facts: Facts, *, force: bool) -> Plan:
    """Update the open ticket of the record or of the customer, or open a new one.

    The record's ticket stays with the record while its phone did not change in Pancake, also if a person
    moved it. After another phone the customer's open ticket comes first; else the record's ticket is moved to
    the customer, unless another record shares it.
    """
    applied, own = facts.applied, _ticket_of_record(facts)
    if not is_phone_changed(phones, applied):
        ticket = own or _ticket_of_customer(plan, facts)
        if ticket is None and not force and _is_closed(plan.lead, phones, applied):
            return replace(plan, ticket=_ticket_applied(applied))
        plan = _with_account_state(plan, facts)
        moves = ticket is not None and ticket.account_id is None
        return _writing_ticket(plan, ticket, facts, moves=moves)
    ticket = _ticket_of_customer(plan, facts)
    moves = ticket is None and own is not None and not facts.ticket_is_shared
    if own and own.account_id != plan.account_id:
        plan = _with_changed_phone(
            plan, own, facts, stays="" if moves else "shared" if not ticket else "joined"
        )
    return _writing_ticket(plan, own if moves else ticket, facts, moves=moves)


def _writing_ticket(plan: Plan, ticket: Ticket | None, facts: Facts, *, moves: bool) -> Plan:
    if ticket is None:
        new = Ticket(facts.new_ticket_id, plan.account_id, None)
        return replace(plan, outcome="ticket_created", ticket=new, ticket_is_new=True, writes_ticket=True)
    if moves:
        ticket = replace(ticket, account_id=plan.account_id)
    return replace(plan, outcome="ticket_updated", ticket=ticket, writes_ticket=True, moves_ticket=moves)


def _ticket_of_record(facts: Facts) -> Ticket | None:
    """The open ticket that the record's version applied last names."""
    ticket_id = facts.applied.ticket_id if facts.applied else None
    return next((ticket for ticket in facts.open_tickets if ticket.id == ticket_id), None)


def _ticket_of_customer(plan: Plan, facts: Facts) -> Ticket | None:
    """The newest open ticket on the customer's account or on another account with the same phone."""
    phone = plan.account.phone if plan.account else plan.phone
    ids = {plan.account_id}
    if phone:
        ids |= {account.id for account in facts.accounts if account.phone == phone}
        ids |= {ticket.account_id for ticket in facts.open_tickets if ticket.account_phone == phone}
    return next((ticket for ticket in facts.open_tickets if ticket.account_id in ids), None)


def _with_account_state(plan: Plan, facts: Facts) -> Plan:
    """Record that the account of the record's open ticket, or of its last version, was disabled or deleted.

    The ticket stays there.
    """
    states: dict[str, object] = {}
    known = {"ticket_account": facts.ticket_account, "applied_account": facts.applied_account}
    for name, account in known.items():
        if account and account.state != "enabled":
            states[name] = {"account_id": account.id, "state": account.state}
    return replace(plan, evidence={**plan.evidence, **states})


def _with_changed_phone(plan: Plan, own: Ticket, facts: Facts, *, stays: str) -> Plan:
    """Record that the record has another phone, and why its former ticket stays, if it does."""
    changed: dict[str, object] = {
        "account_before": own.account_id,
        "phone_before": facts.applied.phone if facts.applied else None,
        "ticket_before": own.id,
    }
    if stays:
        changed["ticket_stays"] = stays
    evidence = {**plan.evidence, "phone_changed": changed}
    return replace(plan, evidence=evidence, attention=(*plan.attention, "phone_changed"))


def _nothing_to_write(outcome: str, lead: Lead, phone: str | None, applied: Applied) -> Plan:
    ticket = _ticket_applied(applied)
    return Plan(outcome, lead, phone, applied.account_id, writes_customer=False, ticket=ticket)


def _is_closed(lead: Lead, phones: PhoneReading, applied: Applied | None) -> bool:
    """Whether the record had its ticket, which is no longer open, and the version asks for nothing new."""
    return applied is not None and bool(applied.ticket_id) and not is_new_request(lead, phones, applied)


def _ticket_applied(applied: Applied | None) -> Ticket | None:
    """The ticket that the version applied last names, as a name only: nothing is written to it."""
    return Ticket(applied.ticket_id, applied.account_id, None) if applied and applied.ticket_id else None


def _merged_digests(lead: Lead, applied: Applied | None) -> Digests:
    return {**((applied.digests if applied else None) or {}), **lead.digests()}
