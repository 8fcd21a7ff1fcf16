"""The work on one claimed event, as a conversation: it asks for statements to be run, is given their rows,
and ends with what is to be written. Whoever drives it owns the transaction: processing commits it, a dry
run undoes it.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from leads.domain.assign import Choice, Member, choose
from leads.domain.decide import Plan, decide
from leads.domain.errors import Contended
from leads.domain.facts import Situation, Version, situation_of
from leads.domain.lifecycle import SKIPPED_KILL_SWITCH, SKIPPED_SOURCE_DISABLED
from leads.domain.phone import stored_digits
from leads.domain.write import (
    Intent,
    customer_columns,
    event_columns,
    notifications,
    roster_columns,
    ticket_columns,
)

CLAIM_LOST = "claim_lost"
Statement = tuple[str, Mapping[str, Any]]
"""The name of a file under sql/ and its parameters."""

Claim = Mapping[str, Any]
"""A row of sql/process_record/claim_event.sql."""


@dataclass(frozen=True, slots=True)
class Done:
    """A plan that is to be carried out."""

    claim: Claim
    version: Version
    plan: Plan
    choice: Choice | None
    intents: list[Intent]
    roster_source_id: str | None

    @property
    def result(self) -> str:
        return self.plan.outcome

    @property
    def touches(self) -> dict[str, Any]:
        """What names the rows that the plan writes: account, phone of the contact, ticket, roster."""
        return {
            "account_id": self.plan.account_id,
            "phone": self.plan.phone,
            "ticket_id": self.plan.ticket.id if self.plan.ticket else None,
            "choosing": self.choice is not None,
            "roster_source_id": self.roster_source_id,
        }

    def written(self, now: datetime) -> list[Statement]:
        """The statements that carry the plan out, in the order of the foreign keys between their tables."""
        version, plan, choice = self.version, self.plan, self.choice
        statements: list[Statement] = []
        if plan.writes_customer:
            customer = customer_columns(version, plan) | {"now": now}
            statements.append(("insert_account" if plan.account_is_new else "touch_account", customer))
            if plan.records_consent:
                statements.append(("insert_consent", customer))
            statements.append(("upsert_contact", customer))
            if plan.ticket:
                ticket = ticket_columns(version, plan, choice.staff_id if choice else None) | {"now": now}
                statements.append(("insert_ticket" if plan.ticket_is_new else "update_ticket", ticket))
        if choice and choice.changed():
            statements.append(("store_roster", roster_columns(choice)))
        event = event_columns(self.claim, version, plan, choice, self.intents) | {"now": now}
        statements.append(("finish_event", event))
        return [(f"process_record/{name}", params) for name, params in statements]


@dataclass(frozen=True, slots=True)
class Skipped:
    """Nothing to carry out: a switch is off now, or the claim is no longer ours."""

    claim: Claim
    result: str

    def written(self, now: datetime) -> list[Statement]:
        """The statement that holds the event; none if it is somebody else's by now."""
        if self.result == CLAIM_LOST:
            return []
        return [("process_record/hold_event", {"id": self.claim["id"], "status": self.result})]


Work = Generator[Sequence[Statement], Sequence[Sequence[Mapping[str, Any]]], Done | Skipped]
"""Yields statements that share a round trip; is sent the rows of each."""


def work_on(claim: Claim) -> Work:
    """The work of a claim: fence and locks, the situation, the roster last.

    Raises Final if the record cannot be processed as it is, Contended if the locks turn out to be too few.
    """
    version = Version.of(claim)
    locks = {"record_ids": [claim["record_id"]], "phones": [*version.phones.usable]}
    _, fence, _, taken = yield [
        ("process_record/set_generic_plans", {}),
        ("process_record/fence_claim", claim),
        ("process_record/lock_records", locks),
        ("process_record/lock_phones", locks),
    ]
    if not fence:
        return Skipped(claim, CLAIM_LOST)
    if not (fence[0]["switched_on"] and fence[0]["source_active"]):
        return Skipped(claim, SKIPPED_SOURCE_DISABLED if fence[0]["switched_on"] else SKIPPED_KILL_SWITCH)
    ((row,),) = yield [("process_record/load_facts", _situation_params(claim, version))]
    situation = situation_of(row)
    plan = decide(version, situation)
    if not _own_phones(row, plan) <= {phone for lock in taken for phone in lock["phones"]}:
        raise Contended("The phone's contact came to this customer while its locks were taken.")
    choice = (yield from _choose(situation)) if plan.ticket_is_new else None
    intents = notifications(version, plan, situation, choice, claim["replay_count"])
    return Done(claim, version, plan, choice, intents, situation.roster_source_id)


def _choose(
    situation: Situation,
) -> Generator[Sequence[Statement], Sequence[Sequence[Mapping[str, Any]]], Choice]:
    """Lock the roster of the event's sources, the last lock of all, and choose from it."""
    roster = {"roster_source_id": situation.roster_source_id}
    _, members = yield [("process_record/lock_roster", roster), ("process_record/load_roster", roster)]
    return choose([Member(**member) for member in members])


def _own_phones(row: Mapping[str, Any], plan: Plan) -> set[str]:
    """The phone that the customer's account is known by: whoever works on the customer holds its lock."""
    found = (item["normalized_phone"] for item in row["accounts"] if item["id"] == plan.account_id)
    return {phone for phone in found if phone}


def _situation_params(claim: Claim, version: Version) -> dict[str, Any]:
    phones = version.phones.usable
    return {
        "id": claim["id"],
        "record_id": version.lead.record_id,
        "phones": list(phones),
        "stored_digits": [digits for phone in phones for digits in stored_digits(phone)],
    }
