"""Values of the domain with defaults, for tests that set only what matters to them."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from leads.domain.assign import Member
from leads.domain.decide import Account, Facts, Plan, decide
from leads.domain.digest import Digester
from leads.domain.lead import Lead, read_stored_lead
from leads.domain.phone import PhoneReading
from leads.domain.trace_event import Step, StoredEvent
from leads.domain.versions import LastApplied, part_to_apply, with_capped_time
from leads.services.process_record import Claim
from tests.support.leads import PHONE

DIGESTER = Digester({"test": bytes(32)})
NOW = datetime(2026, 5, 14, 2, 35, 56, tzinfo=UTC)
EMPTY = Facts(
    applied=None, accounts=(), open_tickets=(), ticket_account=None, applied_account=None,
    ticket_is_shared=False, admins=("admin-1",), managers=("manager-1",), consent_mode="off",
    roster_source_id=None, new_account_id="new-account", new_ticket_id="new-ticket",
)  # fmt: skip


class LeadCase(NamedTuple):
    """A lead as processing sees it: its fields, its phones, whether it is forced, when it arrived."""

    lead: Lead
    phones: PhoneReading
    force: bool
    arrived_at: datetime


def lead_case(
    table_name: str | None = "lead",
    modified_on: datetime | None = NOW,
    corrected_phone: str | None = None,
    force: bool = False,
    arrived_at: datetime = NOW,
    **fields: Any,
) -> LeadCase:
    record = {"id": "r-1", "name": "An", "phone_number": "0905111222"} | fields
    lead, phones = read_stored_lead(
        json.dumps(record), corrected_phone=corrected_phone, modified_on=modified_on, table_name=table_name,
        digester=DIGESTER,
    )  # fmt: skip
    return LeadCase(with_capped_time(lead, arrived_at), phones, force, arrived_at)


def decide_on(case: LeadCase, facts: Facts) -> Plan:
    part = part_to_apply(case.lead, case.phones, case.arrived_at, facts.applied, force=case.force)
    return decide(part, facts, force=case.force)


def applied(of: LeadCase, **changes: Any) -> LastApplied:
    """What is known of a record whose only applied version is this case."""
    time = of.lead.modified_on
    before = LastApplied(
        newest_modified_on=time, newest_arrived_at=of.arrived_at, last_arrived_at=of.arrived_at,
        untimed_arrived_at=None if time else of.arrived_at, had_future_time=of.lead.has_future_time,
        outcome="ticket_created", digests=of.lead.digests(), ticket_id="ticket-1", account_id="account-1",
        phone=of.phones.primary, usable_phones=of.phones.usable,
    )  # fmt: skip
    return replace(before, **changes)


def account(name: str, phone: str = PHONE, enabled: bool = True) -> Account:
    return Account(name, phone, "enabled" if enabled else "disabled")


CLAIM = Claim(
    id=7, claim_id=UUID(int=12), origin="webhook", connection_id=UUID(int=1), record_id="r-1",
    table_name=None, modified_on=None, payload=None, arrived_at=NOW, attempts=1, replay_count=0,
    created_at=NOW, was_held_or_replayed=False, unsent=[], corrected_phone=None, force=False,
)  # fmt: skip


def member(number: int, **changes: object) -> Member:
    """An available member of a roster, with weight 1 and no ticket yet."""
    fields = Member(
        assignee_id=f"a-{number}", staff_id=f"s-{number}", is_active=True, staff_active=True, on_duty=True,
        weight=1, assigned_count=0, last_assigned_seq=0, was_available=True,
    )  # fmt: skip
    return replace(fields, **changes)  # type: ignore[arg-type]


TRACED_AT = datetime(2026, 11, 26, 3, tzinfo=UTC)
STORED_TICKET: dict[str, Any] = {
    "code": "TK000017", "status": "new", "is_open": True, "owner_id": "s-1",
    "created_at": TRACED_AT.isoformat(), "first_response_at": None, "business_minutes": None,
}  # fmt: skip
STORED_EVENT = StoredEvent(
    id=17, newest_id=17, table_name="lead", connection="Diva", connection_status="active", record_id="r-1",
    origin="webhook", status="processed", outcome="ticket_created", error_code=None, error_detail=None,
    attempts=1, next_attempt_at=None, arrived_at=TRACED_AT, created_at=TRACED_AT, received_at=TRACED_AT,
    ingested_at=TRACED_AT, processed_at=TRACED_AT, held_at=None, normalized_phone="+84905111222",
    body='{"id": "r-1", "phone_number": "0905 111 222"}', has_no_body=False, has_raw=False, evidence={},
    notifications=[], notified_at=TRACED_AT, notify_attempts=0, notify_error=None, notify_next_at=None,
    notify_given_up_at=None, notify_sent=None, replay_count=0, replayed_by=None, replayed_at=None,
    owner_id="s-1", ticket_id="t-1", sources=["Facebook"], has_active_source=True, ticket=STORED_TICKET,
    account={"name": "Trang", "is_enabled": True, "is_deleted": False},
    names={"s-1": "Hạnh", "s-2": "Khoa", "s-3": "Lan"}, kill_switch=False, processing_paused=False,
    sla_minutes=30, fault="integration", language="en",
)  # fmt: skip


def text_of(kind: str, steps: list[Step]) -> str:
    (text,) = [step.text for step in steps if step.kind == kind]
    return text
