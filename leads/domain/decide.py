"""Decide what a lead changes in Diva's data: from Facts to a Plan."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from leads.domain.customer import matching_account, phone_digests, phone_evidence, usable_evidence
from leads.domain.facts import Account, Applied, Facts, Ticket
from leads.domain.lead import Digests, Lead
from leads.domain.phone import PhoneReading
from leads.domain.tickets import is_closed, ticket_applied, ticket_of_customer, ticket_of_record
from leads.domain.versions import (
    applied_phone_first,
    changed_fields,
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
    differ from the version applied last. `is_news`: an update is told to the ticket's owner. `attention`
    holds the reasons why a person should look at the result. `phone` is None only for a deletion.
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
    is_news: bool = True
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
    if phones.are_from_last_version:
        lead = lead.naming(lead.named_fields - {"phones"})
    plan = _plan(lead, phones, facts, arrived_at, force=force)
    return _with_notes(_with_phone_digests(plan, facts) if plan.is_applied else plan, facts)


def _plan(lead: Lead, phones: PhoneReading, facts: Facts, arrived_at: datetime, *, force: bool) -> Plan:
    applied = facts.applied
    if lead.is_deletion:
        return _deletion(lead, phones, facts, arrived_at, force=force)
    phone = phones.require_primary()
    if applied is not None and not force:
        part = not_stale_part(lead, arrived_at, applied)
        if part is None:
            return _nothing_to_write(STALE, lead, phone, applied)
        if part is not lead:
            lead, phones = part, phones_of_part(part, phones, applied)
    phones = applied_phone_first(phones, applied)
    phone = phones.require_primary()
    is_same = applied is not None and is_unchanged(lead, applied) and not is_phone_changed(phones, applied)
    if applied is not None and is_same and not force:
        plan = _nothing_to_write(NO_CHANGE, lead, phone, applied)
        evidence = usable_evidence(phones, applied)
        return replace(plan, digests=_merged_digests(lead, applied), evidence={"phone": evidence})
    plan = _with_customer(lead, phone, phones, facts)
    if not lead.makes_ticket:
        return plan
    plan, own = _with_ticket(plan, phones, facts, force=force), ticket_of_record(facts)
    # Only a forced version comes here unchanged. It is no news of the record's ticket, but of any other.
    return replace(plan, is_news=not (is_same and own and plan.ticket and plan.ticket.id == own.id))


def _with_notes(plan: Plan, facts: Facts) -> Plan:
    """Record what of the body was not taken as it is.

    A time in the future is told once for each record, by a version that is applied.
    """
    notes: dict[str, object] = {}
    attention = plan.attention
    if plan.lead.has_future_time:
        notes["future_time"] = True
        if plan.is_applied and (facts.applied is None or not facts.applied.had_future_time):
            attention = (*attention, "future_time")
    if plan.lead.cut_fields:
        notes["cut_fields"] = list(plan.lead.cut_fields)
    return replace(plan, evidence={**plan.evidence, **notes}, attention=attention)


def _with_phone_digests(plan: Plan, facts: Facts) -> Plan:
    """Add what is left of the phones after retention."""
    phone, applied = plan.evidence.get("phone"), facts.applied
    if not isinstance(phone, dict):
        return plan
    digests: Mapping[str, object] | None = phone_digests(phone, plan.phone, plan.lead.digester)
    if plan.phone is None and applied and applied.is_phone_forgotten:
        digests = applied.phone_digests
    return replace(plan, evidence={**plan.evidence, "phone": {**phone, "digests": digests}})


def _deletion(lead: Lead, phones: PhoneReading, facts: Facts, arrived_at: datetime, *, force: bool) -> Plan:
    """A deletion changes nothing of Diva's; the owner of the record's open ticket is told, once.

    That of an unknown record counts with its time and its phones.
    """
    applied = facts.applied
    if applied is None:
        plan = Plan(RECORD_DELETED, lead, phones.primary, None, writes_customer=False, digests={})
        return replace(plan, evidence={"phone": usable_evidence(phones, None)})
    if not force and not_stale_part(lead.naming(frozenset()), arrived_at, applied) is None:
        return _nothing_to_write(STALE, lead, applied.phone, applied)
    plan = _nothing_to_write(RECORD_DELETED, lead, applied.phone, applied)
    evidence: dict[str, object] = {
        "phone": {"usable": list(applied.usable_phones), "typed": applied.typed_phones}
    }
    plan = replace(plan, digests=applied.digests, evidence=evidence)
    ticket = ticket_of_record(facts)
    if ticket is None or applied.outcome == RECORD_DELETED:
        return plan
    return replace(plan, ticket=ticket, attention=("record_deleted",))


def _with_customer(lead: Lead, phone: str, phones: PhoneReading, facts: Facts) -> Plan:
    """Find the customer: by phone, else where a person moved the record's ticket or account to, else new."""
    applied = facts.applied
    matched_phone, account = matching_account(phones.usable, facts.accounts)
    if account is None and not is_phone_changed(phones, applied):
        known = (facts.ticket_account, facts.applied_account)
        account = next((each for each in known if each and each.state != "deleted"), None)
    account_id = account.id if account else facts.new_account_id
    known_phones = {each.phone for each in facts.accounts}
    matched = phone if account is None else matched_phone if account.phone == matched_phone else None
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
        evidence={"phone": phone_evidence(phones, facts, account_id, matched)},
    )


def _with_ticket(plan: Plan, phones: PhoneReading, facts: Facts, *, force: bool) -> Plan:
    """Update the open ticket of the record or of the customer, or open a new one.

    The record's ticket stays with the record while its phone did not change in Pancake, also if a person
    moved it. After another phone the customer's open ticket comes first; else the record's ticket is moved to
    the customer, unless another record shares it.
    """
    applied, own = facts.applied, ticket_of_record(facts)
    matched_phone, _ = matching_account(phones.usable, facts.accounts)
    ticket = ticket_of_customer(plan.account, plan.account_id, matched_phone, facts)
    if ticket is None and own is None and not force and is_closed(plan.lead, phones, applied):
        return replace(plan, ticket=ticket_applied(applied))
    if not is_phone_changed(phones, applied):
        ticket = own or ticket
        plan = _with_account_state(plan, facts)
        moves = ticket is not None and ticket.account_id is None
        return _writing_ticket(plan, ticket, facts, moves=moves)
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
    ticket = ticket_applied(applied)
    return Plan(outcome, lead, phone, applied.account_id, writes_customer=False, ticket=ticket)


def _merged_digests(lead: Lead, applied: Applied | None) -> Digests:
    return {**((applied.digests if applied else None) or {}), **lead.digests()}
