"""Decide what a lead changes in Diva's data: from Facts, the rows that concern the lead, to a Plan."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from leads.domain.canonical_json import JsonValue
from leads.domain.digest import PHONE
from leads.domain.fields import FIELDS, FieldName
from leads.domain.lead import Digests, Lead
from leads.domain.phone import PhoneReading
from leads.domain.versions import (
    LastApplied,
    VersionPart,
    applied_phone_first,
    changed_fields,
    is_new_request,
    is_phone_changed,
    is_unchanged,
    new_items,
)

STALE, NO_CHANGE, RECORD_DELETED = "stale", "no_change", "record_deleted"
AccountState = Literal["enabled", "disabled", "deleted"]


@dataclass(frozen=True, slots=True)
class Account:
    """An account that may be the customer's. All phones are E.164.

    `phone` is the account's own, normalized by us if the column is still empty (`normalized_phone` None);
    `phone_code` and `phone_number` are what it was normalized from. `contact_phone` is a phone of the lead
    that belongs to a contact of the account.
    """

    id: str
    phone: str | None
    state: AccountState = "enabled"
    contact_phone: str | None = None
    normalized_phone: str | None = None
    phone_code: str | None = None
    phone_number: str | None = None


@dataclass(frozen=True, slots=True)
class Ticket:
    """An open ticket that the integration made. `fields` are the mapped fields that it holds.

    `account_phone` is the phone of its account, unless that was deleted.
    """

    id: str
    account_id: str | None
    assignee_id: str | None
    account_phone: str | None = None
    assignee_is_active: bool = False
    title: str = ""
    description: str | None = None
    fields: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the database says, read under the lead's locks. Accounts: oldest first. Tickets: newest first.

    `ticket_account` is the account of the record's ticket and `applied_account` that of the version
    applied last, both also if they have another phone by now. `ticket_is_shared`: another record's version
    applied last names the record's ticket too. `admins` and `managers` are the ids of active staff.
    `roster_source_id` is None for the default roster. `source_names` are those of the event's sources by
    Pancake's id; `connection` has its workspace_id and the templates of its links.
    """

    applied: LastApplied | None
    accounts: tuple[Account, ...]
    open_tickets: tuple[Ticket, ...]
    ticket_account: Account | None
    applied_account: Account | None
    ticket_is_shared: bool
    admins: tuple[str, ...]
    managers: tuple[str, ...]
    consent_mode: str | None
    roster_source_id: str | None
    new_account_id: str
    new_ticket_id: str
    source_names: Mapping[str, str] = field(default_factory=dict)
    connection: Mapping[str, str] = field(default_factory=dict)

    def own_phones(self) -> set[str]:
        """Return the own phones of all accounts that may be the customer's."""
        return {each.phone for each in self._customers() if each.phone}

    def not_normalized_phones(self) -> set[str]:
        """Return those of them that the accounts do not have in normalized form yet."""
        return {each.phone for each in self._customers() if each.phone and not each.normalized_phone}

    def _customers(self) -> Iterator[Account]:
        known = (*self.accounts, self.ticket_account, self.applied_account)
        return (each for each in known if each and each.state != "deleted")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be written for `lead`, the part of the version that is applied.

    `account_id` is the customer's; `account` is that row, or None if it is new. `ticket` is the ticket that
    the event names; it is written only if `writes_ticket`, and its account_id is then its new one.
    `left_ticket` is the open ticket that the record had, if it gets another one: its request leaves it.
    `digests` are what the event records of the mapped fields; None keeps what it has. `changed_fields` are
    those that differ from the version applied last. `is_news`: an update is told to the ticket's owner.
    `attention` holds the reasons why a person should look at the result. `phone` is None only for a deletion.
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
    left_ticket: Ticket | None = None
    digests: Digests | None = None
    changed_fields: tuple[FieldName, ...] = ()
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


def decide(version: VersionPart, facts: Facts, *, force: bool = False) -> Plan:
    """Decide on what counts of a version (versions.part_to_apply); `force` applies it in any case.

    Raises InvalidPhone if there is no usable phone; a deletion needs none.
    """
    plan = _plan(version, facts, force=force)
    return _with_notes(_with_phone_digests(plan, facts) if plan.is_applied else plan, facts)


def _plan(version: VersionPart, facts: Facts, *, force: bool) -> Plan:
    lead, applied = version.lead, facts.applied
    if lead.is_deletion:
        return _deletion(version, facts)
    if applied is not None and version.is_stale:
        return _nothing_to_write(STALE, lead, version.phones.require_primary(), applied)
    phones = applied_phone_first(version.phones, applied)
    phone = phones.require_primary()
    is_same = applied is not None and is_unchanged(lead, applied) and not is_phone_changed(phones, applied)
    if applied is not None and is_same and not force:
        plan = _nothing_to_write(NO_CHANGE, lead, phone, applied)
        evidence = _usable_evidence(phones, applied)
        return replace(plan, digests=_merged_digests(lead, applied), evidence={"phone": evidence})
    matched_phone, account = matching_account(phones.usable, facts.accounts)
    plan = _with_customer(lead, phones, facts, matched_phone, account)
    if not lead.makes_ticket:
        return plan
    plan, own = _with_ticket(plan, phones, facts, matched_phone, force=force), ticket_of_record(facts)
    is_of_own = own is not None and plan.ticket is not None and plan.ticket.id == own.id
    # Only a forced version comes here unchanged. It is no news of the record's ticket, but of any other.
    is_quiet = is_same or _is_quiet(plan, phones, applied)
    return replace(plan, is_news=not (is_of_own and is_quiet))


def _is_quiet(plan: Plan, phones: PhoneReading, applied: LastApplied | None) -> bool:
    """Whether people are not notified of what the version changes: of certain fields, tags without a text."""
    tags = [plan.lead.tag_texts.get(tag, tag) for tag in new_items(plan.lead, applied, "tags")]
    unseen = "tags" if tags and not any(map(FIELDS["tags"].shown, tags)) else None
    is_told = any(FIELDS[name].is_told and name != unseen for name in plan.changed_fields)
    return bool(plan.changed_fields) and not (is_told or is_phone_changed(phones, applied))


def _deletion(version: VersionPart, facts: Facts) -> Plan:
    """Plan no change in Diva; the owner of the record's open ticket is notified once.

    The deletion of an unknown record is applied too: its time and its phones count for later versions.
    """
    lead, phones, applied = version.lead, version.phones, facts.applied
    if applied is None:
        plan = Plan(RECORD_DELETED, lead, phones.primary, None, writes_customer=False, digests={})
        return replace(plan, evidence={"phone": _usable_evidence(phones, None)})
    if version.is_stale:
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


def matching_account(
    phones: tuple[str, ...], accounts: tuple[Account, ...]
) -> tuple[str | None, Account | None]:
    """Take the first phone with a match; return it and the account, or None and None.

    Among its accounts (own phone before contact, oldest first) take the first enabled one, else the first.
    """
    for phone in phones:
        own = [account for account in accounts if account.phone == phone]
        known = own + [account for account in accounts if account.contact_phone == phone]
        if known:
            return phone, next((each for each in known if each.state == "enabled"), known[0])
    return None, None


def _with_customer(
    lead: Lead, phones: PhoneReading, facts: Facts, matched_phone: str | None, account: Account | None
) -> Plan:
    """Find the customer: by phone, else where a person moved the record's ticket or account to, else new."""
    applied, phone = facts.applied, phones.require_primary()
    if account is None and not is_phone_changed(phones, applied):
        known = (facts.ticket_account, facts.applied_account)
        account = next((each for each in known if each and each.state != "deleted"), None)
    account_id = account.id if account else facts.new_account_id
    known_phones = {each.phone for each in facts.accounts}
    # The winner's own phone; a contact or a person may lead to it without one.
    matched = phone if account is None else matched_phone if account.phone == matched_phone else None
    evidence = {
        **_usable_evidence(phones, applied),
        "rejected": [{"phone": phone, "reason": reason} for phone, reason in phones.rejected],
        "candidates": list(dict.fromkeys(account.id for account in facts.accounts)),
        "winner": account_id,
        "matched": matched,
    }
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
        evidence={"phone": evidence},
    )


def _with_ticket(
    plan: Plan, phones: PhoneReading, facts: Facts, matched_phone: str | None, *, force: bool
) -> Plan:
    """Update the open ticket of the record or of the customer, or open a new one.

    The record's ticket stays with the record while its phone did not change in Pancake, also if a person
    moved it. After another phone the customer's open ticket comes first; else the record's ticket is moved to
    the customer, unless another record shares it.
    """
    applied, own = facts.applied, ticket_of_record(facts)
    ticket = ticket_of_customer(plan, matched_phone, facts)
    if ticket is None and own is None and not force and asks_for_nothing_new(plan.lead, phones, applied):
        return replace(plan, ticket=ticket_applied(applied))
    if not is_phone_changed(phones, applied):
        ticket = own or ticket
        plan = _with_account_state(plan, facts)
        moves = ticket is not None and ticket.account_id is None
        return _writing_ticket(plan, ticket, facts, moves=moves)
    moves = ticket is None and own is not None and not facts.ticket_is_shared
    if own and own.account_id != plan.account_id:
        why_own_stays = "joined" if ticket else "shared"
        plan = _with_changed_phone(plan, own, facts, stays=None if moves else why_own_stays)
    return _writing_ticket(plan, own if moves else ticket, facts, moves=moves)


def ticket_of_record(facts: Facts) -> Ticket | None:
    """Return the ticket that the record's version applied last names, if it is open."""
    ticket_id = facts.applied.ticket_id if facts.applied else None
    return next((ticket for ticket in facts.open_tickets if ticket.id == ticket_id), None)


def ticket_of_customer(plan: Plan, matched_phone: str | None, facts: Facts) -> Ticket | None:
    """Return the open ticket on the customer's account, or on another account with the same phone.

    `matched_phone` is the phone of the lead that led to the customer: if an account that has it is disabled,
    the customer may be that of its contact. The record's own ticket comes first, else the newest. A new
    customer has none.
    """
    phones = {matched_phone, plan.account.phone} - {None} if plan.account else set()
    ids = {plan.account_id, *(other.id for other in facts.accounts if other.phone in phones)}
    tickets = [each for each in facts.open_tickets if each.account_id in ids or each.account_phone in phones]
    own = ticket_of_record(facts)
    return own if own in tickets else next(iter(tickets), None)


def asks_for_nothing_new(lead: Lead, phones: PhoneReading, applied: LastApplied | None) -> bool:
    """Whether the record had a ticket, open or not, and the version is no new request of the customer."""
    return applied is not None and bool(applied.ticket_id) and not is_new_request(lead, phones, applied)


def ticket_applied(applied: LastApplied | None) -> Ticket | None:
    """Return the ids of the ticket that the version applied last names: nothing is written to it."""
    return Ticket(applied.ticket_id, applied.account_id, None) if applied and applied.ticket_id else None


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


def _with_changed_phone(plan: Plan, own: Ticket, facts: Facts, *, stays: str | None) -> Plan:
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


def _writing_ticket(plan: Plan, ticket: Ticket | None, facts: Facts, *, moves: bool) -> Plan:
    own = ticket_of_record(facts)
    if own and (ticket is None or ticket.id != own.id):
        plan = replace(plan, left_ticket=own)
    if ticket is None:
        new = Ticket(facts.new_ticket_id, plan.account_id, None)
        return replace(plan, outcome="ticket_created", ticket=new, ticket_is_new=True, writes_ticket=True)
    if moves:
        ticket = replace(ticket, account_id=plan.account_id)
    return replace(plan, outcome="ticket_updated", ticket=ticket, writes_ticket=True, moves_ticket=moves)


def _nothing_to_write(outcome: str, lead: Lead, phone: str | None, applied: LastApplied) -> Plan:
    ticket = ticket_applied(applied)
    return Plan(outcome, lead, phone, applied.account_id, writes_customer=False, ticket=ticket)


def _usable_evidence(phones: PhoneReading, applied: LastApplied | None) -> dict[str, object]:
    """Return the usable phones of a version; a later version without one takes them over."""
    usable: dict[str, object] = {"usable": list(phones.usable), "typed": phones.typed}
    return {**usable, "applied_before": applied.phone} if phones.are_from_last_version and applied else usable


def _merged_digests(lead: Lead, applied: LastApplied | None) -> Digests:
    return {**((applied.digests if applied else None) or {}), **lead.digests()}


def _with_phone_digests(plan: Plan, facts: Facts) -> Plan:
    """Add digests of the phones in the evidence, which stay when retention empties the phones."""
    phone, applied, digest = plan.evidence.get("phone"), facts.applied, plan.lead.digester.digest
    if not isinstance(phone, dict):
        return plan
    usable, matched = phone.get("usable"), phone.get("matched")
    digests: Mapping[str, object] | None = {
        "primary": digest(PHONE, plan.phone) if plan.phone else None,
        "usable": [digest(PHONE, each) for each in usable] if isinstance(usable, list) else [],
        "matched": digest(PHONE, matched) if isinstance(matched, str) else None,
    }
    if plan.phone is None and applied and applied.is_phone_forgotten:
        digests = applied.phone_digests
    return replace(plan, evidence={**plan.evidence, "phone": {**phone, "digests": digests}})


def _with_notes(plan: Plan, facts: Facts) -> Plan:
    """Record which values of the body were changed. A time in the future is reported once for each record."""
    notes: dict[str, object] = {}
    attention = plan.attention
    if plan.lead.has_future_time:
        notes["future_time"] = True
        if plan.is_applied and (facts.applied is None or not facts.applied.had_future_time):
            attention = (*attention, "future_time")
    if plan.lead.cut_fields:
        notes["cut_fields"] = list(plan.lead.cut_fields)
    return replace(plan, evidence={**plan.evidence, **notes}, attention=attention)
