"""Process an event: claim it, load the facts, decide, apply, in at most six round trips.

The claim commits alone, and its `claim_id` fences the work that follows. A conflict with a concurrent
transaction is retried twice at once; after that, and for any other error, the event is marked failed or
dead_letter, the answer to Hasura is 200, and only the cron retry_failed brings the event back. The dry run of
leads/services/replay_events.py calls the same functions and rolls back.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar
from uuid import UUID

from leads.adapters.clock import Clock
from leads.adapters.database import Database, Params, Row, Statement, Transaction, retry_contended
from leads.adapters.logs import LOGGER, bind, describe, loggable_record_id, summarize
from leads.adapters.pancake_api import PancakeApi
from leads.adapters.secrets import KeyRing
from leads.domain.assign import Choice, Member, Rules, choose
from leads.domain.decide import Facts, Plan, Ticket, decide
from leads.domain.digest import Digester, erasure_digests
from leads.domain.errors import (
    Contended,
    Final,
    IntegrationError,
    InvalidPhone,
    ProcessingPaused,
    code_of,
)
from leads.domain.event_states import CLAIM_LIMITS, DEAD_LETTER, HELD, INGESTED, delay_after
from leads.domain.fields import FieldName
from leads.domain.lead import read_stored_lead
from leads.domain.notifications import Notification, notifications_of
from leads.domain.phone import PhoneReading, national_parts
from leads.domain.ticket_text import (
    TicketContent,
    content_with_request,
    content_without_request,
    request_key,
)
from leads.domain.versions import part_to_apply, with_capped_time
from leads.services.find_table import NAME_TIMEOUT_SECONDS, find_table
from leads.services.load_facts import (
    RecordKey,
    load_facts,
    lock_phones_statement,
    lock_records_statement,
    phones_of,
    read_applied,
)
from leads.services.outbox import UnsentRow

Result = TypeVar("Result")
WORK_TIMEOUT_SECONDS = 20.0
"""For all tries together: less than the 30 s that Hasura waits and the lease of a claim."""
CONTACT_FIELDS: tuple[FieldName, ...] = ("name", "email", "address")
"""The fields that are columns of contact_book."""
OLD_LEAD_AFTER = timedelta(days=1)
"""The owner of a lead that becomes a ticket so late is told of all such tickets at once."""
TOLD_LATER = "told_later"
"""The key of the evidence of such an event, until then."""
CLAIM_LOST = "claim_lost"
ERASED = "erased"
_json = json.JSONEncoder(ensure_ascii=False, check_circular=False).encode  # json.dumps builds one per call


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """The result of an event that a delivery claimed or held, and what the delivery has to send.

    `result` is an outcome, `failed`, `dead_letter`, the status that holds the event, or `claim_lost`.
    `is_invalid`: a dead letter because of what it holds, which is no failure of the integration. `dropped`
    names notifications that have no recipient. `created_at` is None unless the event's age at `finished_at`
    says how fast events are processed.
    """

    result: str
    error_code: str | None = None
    is_invalid: bool = False
    unsent: UnsentRow | None = None
    dropped: Sequence[str] = ()
    created_at: datetime | None = None
    finished_at: datetime | None = None


async def process_event(
    db: Database, clock: Clock, pancake: PancakeApi, key_ring: KeyRing, digester: Digester, event_id: int
) -> DeliveryResult | None:
    """Claim and process an event; None if it cannot be claimed.

    Raises ProcessingPaused if nothing was claimed, DatabaseUnavailable also if a failure could not be marked:
    then the event returns when its lease ends.
    """
    claim = await claim_event(db, event_id)
    if not isinstance(claim, Claim):
        return claim
    try:
        if claim.lacks_table:
            look_up = partial(_with_table, db, pancake, key_ring, claim)
            claim = await _in_time(NAME_TIMEOUT_SECONDS, look_up)
        return await _in_time(WORK_TIMEOUT_SECONDS, partial(process_claim, db, clock, digester, claim))
    except Exception as error:  # noqa: BLE001 - the event is marked failed, the trace is logged
        return await mark_failed(db, clock, claim, error)


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on an event, and what the work needs of it.

    `unsent` holds the notifications that the event has not sent yet. `was_held_or_replayed`: its age then
    says nothing about the speed of processing.
    """

    id: int
    claim_id: UUID
    connection_id: UUID
    origin: str
    record_id: str | None
    table_name: str | None
    modified_on: datetime | None
    payload: str | None
    arrived_at: datetime
    attempts: int
    replay_count: int
    created_at: datetime
    was_held_or_replayed: bool
    unsent: list[Notification]
    corrected_phone: str | None
    force: bool

    @property
    def lacks_table(self) -> bool:
        """Whether the body named no table, and its connection had several when it was stored."""
        return self.table_name is None and self.record_id is not None

    def brings_old_lead(self, now: datetime) -> bool:
        """Whether the webhook brought this version long ago, or another layer one that was made long ago."""
        made_at = self.arrived_at if self.origin == "webhook" else self.modified_on or self.arrived_at
        return now - made_at > OLD_LEAD_AFTER


async def claim_event(db: Database, event_id: int) -> Claim | DeliveryResult | None:
    """Claim an event that is received or whose claim expired, or hold it and return how; None for any other.

    Raises ProcessingPaused: nothing was changed.
    """
    (row,) = await db.fetch_all(*claim_statement(event_id))
    if row["id"] is not None:
        bind(record_id=loggable_record_id(row["record_id"]))
    return read_claim(row)


def claim_statement(event_id: int) -> Statement:
    return "process_record/claim_event", {"id": event_id, **CLAIM_LIMITS}


def read_claim(row: Row) -> Claim | DeliveryResult | None:
    """Read the row of process_record/claim_event. Raises ProcessingPaused."""
    if row["paused"]:
        raise ProcessingPaused
    if row["id"] is None:
        return None
    if row["status"] != INGESTED:
        return DeliveryResult(row["status"])
    return Claim(**{name: value for name, value in row.items() if name not in ("paused", "status")})


async def _in_time(seconds: float, work: Callable[[], Awaitable[Result]]) -> Result:
    """Do the work, and again after a conflict. Raises Contended, also after that time, and what it raises."""
    try:
        async with asyncio.timeout(seconds):
            return await retry_contended(work)
    except TimeoutError as error:
        raise Contended(f"The work took longer than {seconds:g} s.") from error


async def _with_table(db: Database, pancake: PancakeApi, key_ring: KeyRing, claim: Claim) -> Claim:
    """Return the claim with the table of its record, and store it in the event.

    If Pancake cannot tell, the table stays unknown: the record is processed as a lead, and the event says so.
    Raises DatabaseUnavailable.
    """
    table_name = await find_table(db, pancake, key_ring, str(claim.connection_id), claim.record_id)
    params = {"id": claim.id, "claim_id": claim.claim_id, "table_name": table_name}
    await db.fetch_all("process_record/set_table", params)
    return replace(claim, table_name=table_name)


async def process_claim(db: Database, clock: Clock, digester: Digester, claim: Claim) -> DeliveryResult:
    """Load, decide, apply in one transaction, which commits with its last statement."""
    async with db.transaction() as transaction:
        planned = await load_and_decide(transaction, claim, digester, clock.now())
        if isinstance(planned, DeliveryResult):
            if planned.result in HELD:
                hold: Params = {"id": claim.id, "status": planned.result}
                await transaction.run(("process_record/hold_event", hold), commit=True)
            elif planned.error_code == ERASED:
                await transaction.run(("process_record/erase_event", {"id": claim.id}), commit=True)
            return planned
        now = clock.now()  # read again: the time for which the locks were waited for counts
        unsent = await apply_plan(transaction, planned, now)
    created_at = None if claim.was_held_or_replayed else claim.created_at
    return DeliveryResult(
        planned.plan.outcome, unsent=unsent, dropped=planned.dropped, created_at=created_at, finished_at=now
    )


@dataclass(frozen=True, slots=True)
class PlannedEvent:
    """A claimed event with everything that is to be written, and the facts that it was decided on.

    `choice` is None unless an owner was to be chosen; `owner` is the ticket's owner after the plan. `dropped`
    names notifications that have no recipient. `has_old_ticket`: its owner is told later.
    """

    claim: Claim
    phones: PhoneReading
    plan: Plan
    choice: Choice | None
    owner: str | None
    notifications: list[Notification]
    dropped: list[str]
    facts: Facts
    has_old_ticket: bool = False


async def load_and_decide(
    transaction: Transaction, claim: Claim, digester: Digester, now: datetime
) -> PlannedEvent | DeliveryResult:
    """Take the locks, load the facts, decide: what processing and the dry run have in common.

    Returns a DeliveryResult if the event is not to be processed: it is to be held or erased, or its claim is
    lost. Raises InvalidBody or InvalidPhone if it cannot be processed as it is, Contended if the transaction
    lost against another one.
    """
    lead, read = read_stored_lead(
        claim.payload,
        corrected_phone=claim.corrected_phone,
        modified_on=claim.modified_on,
        table_name=claim.table_name,
        digester=digester,
    )
    lead = with_capped_time(lead, claim.arrived_at)
    # The column, not the body: jsonb writes a number like 1e2 as 100, and polling locks what is stored.
    record = RecordKey(claim.connection_id, claim.table_name, claim.record_id or lead.record_id)
    erasure = erasure_digests(digester, read.usable, record.record_id)
    fences, _, locks, past = await transaction.run(
        ("process_record/fence_claim", {"id": claim.id, "claim_id": claim.claim_id}),
        lock_records_statement([record.record_id]),
        lock_phones_statement([record], read.usable),
        ("process_record/load_applied", {**record._asdict(), "id": claim.id, "erasure_digests": erasure}),
    )
    if not fences:
        return DeliveryResult(CLAIM_LOST)
    if held_as := fences[0]["held_as"]:
        return DeliveryResult(held_as)
    if past[0]["is_erased"]:
        return DeliveryResult(DEAD_LETTER, ERASED, is_invalid=True)
    applied = read_applied(past[0], lead, read)
    version = part_to_apply(
        lead, read, claim.arrived_at, applied, is_corrected=bool(claim.corrected_phone), force=claim.force
    )
    facts, locked = await load_facts(
        transaction, claim.id, record, version.phones, applied, digester, phones_of(locks)
    )
    plan = decide(version, facts, force=claim.force)
    phone = plan.account.normalized_phone if plan.account else None
    if phone and phone not in locked:  # every event of the customer holds the lock of its account's phone
        raise Contended("The phone's contact came to this customer while its locks were taken.")
    choice, owner = None, plan.ticket.assignee_id if plan.ticket else None
    if plan.ticket_is_new:
        account_id = plan.account.id if plan.account else None
        choice = await choose_owner(transaction, facts.roster_source_id, account_id, now)
        owner = choice.staff_id
    is_told_later = is_old = plan.ticket_is_new and claim.brings_old_lead(now)
    if plan.ticket_is_new and owner is None:
        is_told_later = not await _is_first_waiting(transaction, claim)
    sent, dropped = notifications_of(plan, facts, owner, claim.replay_count, is_told_later=is_told_later)
    return PlannedEvent(claim, version.phones, plan, choice, owner, sent, dropped, facts, is_old)


async def _is_first_waiting(transaction: Transaction, claim: Claim) -> bool:
    """Return whether no other ticket waits for an owner; retry_failed tells of further ones."""
    ((row,),) = await transaction.run(("process_record/find_waiting", {"id": claim.id}))
    return bool(row["is_first"])


async def choose_owner(
    transaction: Transaction,
    roster_source_id: str | None,
    account_id: str | None,
    now: datetime,
    *,
    not_again: frozenset[str] = frozenset(),
    shares: Mapping[str, int] | None = None,
) -> Choice:
    """Lock the roster, the last of all locks that a transaction takes, and choose, in one round trip.

    `roster_source_id` is None for the default roster, `account_id` for a new customer. `not_again` are the
    staff ids of those who had the ticket before. `shares` has how many tickets are kept for members, by
    assignee id; None if the ticket has not waited for an owner.
    """
    roster = {"roster_source_id": roster_source_id}
    facts: Params = {**roster, "account_id": account_id, "now": now, "is_waiting": shares is not None}
    _, rows = await transaction.run(
        ("process_record/lock_roster", roster), ("process_record/load_roster", facts)
    )
    if not rows:
        return choose([])
    rules = Rules(rows[0]["former_owner"], not_again, rows[0]["max_tickets_ahead"])
    of_all = ("former_owner", "max_tickets_ahead")
    kept = shares or {}
    members = [
        Member(
            **{key: value for key, value in row.items() if key not in of_all},
            share=kept.get(row["assignee_id"], 0),
        )
        for row in rows
    ]
    return choose(members, rules)


async def apply_plan(transaction: Transaction, planned: PlannedEvent, now: datetime) -> UnsentRow:
    """Write the plan and commit in one round trip; return the notifications to send. Raises Contended."""
    rows = await transaction.run(*plan_statements(planned, now), commit=True)
    (finished,) = rows[-1]
    return UnsentRow(
        id=planned.claim.id,
        notifications=planned.claim.unsent + planned.notifications,
        notify_claimed_at=finished["notify_claimed_at"],
    )


def plan_statements(planned: PlannedEvent, now: datetime) -> list[Statement]:
    """Return the statements of a plan, in the order of the foreign keys between their tables."""
    plan, choice = planned.plan, planned.choice
    statements: list[Statement] = []
    if plan.writes_customer:
        customer = customer_params(planned, now)
        name = "process_record/merge_account" if plan.account else "process_record/insert_account"
        statements.append((name, customer))
        if plan.records_consent:
            statements.append(("process_record/insert_consent", customer))
        statements.append(("process_record/upsert_contact", customer))
        if plan.other_phones:
            other = {**customer, "phones": list(plan.other_phones)}
            statements.append(("process_record/insert_other_contacts", other))
    if plan.writes_ticket:
        statements += ticket_statements(planned, now)
    if choice and choice.changed():
        statements.append(store_roster_statement(choice, now))
    statements.append(("process_record/finish_event", event_params(planned, now)))
    return statements


def customer_params(planned: PlannedEvent, now: datetime) -> Params:
    """Parameters of the statements that write account, consent and contacts."""
    plan, applied = planned.plan, planned.facts.applied
    lead, account, phone = plan.lead, plan.account, plan.phone or ""
    phone_code, national = national_parts(phone)
    return {
        "account_id": plan.account_id,
        "account_phone": account.phone if account else phone,
        "read_phone_code": account.phone_code if account else None,
        "read_phone_number": account.phone_number if account else None,
        "phone": phone,
        "phone_code": phone_code,
        "phone_number": national,
        "display_name": lead.text("name") or phone,
        **{name: lead.text(name) for name in CONTACT_FIELDS},
        **{f"changed_{name}": _changed_text(plan, name) for name in CONTACT_FIELDS},
        "is_first": not (applied and applied.digests),
        "metadata": _json(lead.metadata()),
        "now": now,
    }


def _changed_text(plan: Plan, name: FieldName) -> str | None:
    """Return a text only if the version changed it: a person may have corrected one that it repeats."""
    return plan.lead.text(name) if name in plan.changed_fields else None


def ticket_statements(planned: PlannedEvent, now: datetime) -> list[Statement]:
    """Return the statements that write the plan's ticket, and the open one that the record leaves for it."""
    plan, claim, facts = planned.plan, planned.claim, planned.facts
    ticket, left = plan.ticket, plan.left_ticket
    assert ticket is not None
    key = request_key(claim.connection_id, claim.record_id or plan.lead.record_id)
    content = content_with_request(plan, facts, key, claim.arrived_at, planned.phones.usable)
    owner = planned.choice.staff_id if planned.choice else None
    params = {**ticket_params(ticket, content, now), "phone": plan.phone or "", "assignee_id": owner}
    name = "process_record/insert_ticket" if plan.ticket_is_new else "process_record/update_ticket"
    statements: list[Statement] = [(name, {**params, "moves": plan.moves_ticket})]
    if left and (without := content_without_request(plan, facts, key)):
        stays = {"phone": None, "moves": False}
        statements.append(("process_record/update_ticket", {**ticket_params(left, without, now), **stays}))
    return statements


def ticket_params(ticket: Ticket, content: TicketContent, now: datetime) -> Params:
    """Parameters that insert_ticket and update_ticket share. A title that is None keeps a person's."""
    return {
        "ticket_id": ticket.id,
        "account_id": ticket.account_id,
        "title": content.title,
        "description": content.description,
        "data": _json({"pancake": content.fields}),
        "now": now,
    }


def store_roster_statement(choice: Choice, now: datetime) -> Statement:
    """Return the statement that stores the members whose counters a choice changed."""
    members = choice.changed()
    return (
        "process_record/store_roster",
        {
            "chosen": choice.chosen.assignee_id if choice.chosen else None,
            "assignee_ids": [member.assignee_id for member in members],
            "assigned_counts": [member.assigned_count for member in members],
            "last_assigned_seqs": [member.last_assigned_seq for member in members],
            "was_available": [member.was_available for member in members],
            "now": now,
        },
    )


def event_params(planned: PlannedEvent, now: datetime) -> Params:
    """Parameters of finish_event."""
    plan, choice = planned.plan, planned.choice
    evidence: dict[str, object] = {
        **plan.evidence,
        "result": plan.outcome,  # also of a replay that changes nothing and keeps the row's outcome
    }
    if plan.digests is not None:
        evidence["digests"] = plan.digests
    if choice:
        evidence["assignment"] = choice.evidence()
    if planned.has_old_ticket:
        evidence[TOLD_LATER] = True
    if planned.dropped:
        evidence["dropped"] = planned.dropped
    return {
        "id": planned.claim.id,
        "outcome": plan.outcome,
        "changes": plan.changes,
        "is_applied": plan.is_applied,
        "phone": plan.phone,
        "account_id": plan.account_id,
        "ticket_id": plan.ticket.id if plan.ticket else None,
        "assignee_id": planned.owner,
        "evidence": _json(evidence),
        "notifications": _json(planned.notifications),
        "now": now,
    }


async def mark_failed(db: Database, clock: Clock, claim: Claim, error: Exception) -> DeliveryResult:
    """Mark a claimed event failed, with its next attempt, or dead_letter; nothing if the claim is lost.

    Raises DatabaseUnavailable.
    """
    log_internal_error(error, claim.id)
    delay = None if isinstance(error, Final) else delay_after(claim.attempts, clock.jitter())
    code = code_of(error)
    described: dict[str, object] = {} if isinstance(error, IntegrationError) else {**describe(error)}
    if isinstance(error, InvalidPhone) and error.is_missing:
        described = {"no_phone": True}
    marked = await db.fetch_one(
        "process_record/fail_event",
        {
            "id": claim.id,
            "claim_id": claim.claim_id,
            "next_attempt_at": clock.now() + delay if delay else None,
            "error_code": code,
            "error_detail": summarize(error),
            "evidence": _json({"error": described}),
        },
    )
    return DeliveryResult(error_code=code, **marked) if marked else DeliveryResult(CLAIM_LOST)


def log_internal_error(error: Exception, event_id: int | None) -> None:
    if not isinstance(error, IntegrationError):
        fields = {"event_id": event_id}
        LOGGER.error("processing failed: internal error", exc_info=error, extra={"fields": fields})
