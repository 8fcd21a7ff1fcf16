"""Plan what an event writes: the decision, the owner of a new ticket, the notifications."""

from dataclasses import dataclass
from datetime import datetime

from leads.adapters.database import Transaction
from leads.domain.assign import Choice
from leads.domain.decide import Plan, decide
from leads.domain.digest import Digester
from leads.domain.errors import Contended
from leads.domain.notifications import Notification, notifications_of
from leads.domain.phone import PhoneReading
from leads.services.process_record.claim import Claim
from leads.services.process_record.load import LoadedEvent, NotProcessed, load_event
from leads.services.process_record.roster import OwnerRequest, choose_owner


@dataclass(frozen=True, slots=True)
class PlannedEvent:
    """A claimed event with everything that is to be written.

    `choice` is None unless an owner was to be chosen; `owner` is the ticket's owner after the plan. `dropped`
    names notifications that have no recipient.
    """

    claim: Claim
    phones: PhoneReading
    plan: Plan
    choice: Choice | None
    owner: str | None
    notifications: list[Notification]
    dropped: list[str]
    roster_source_id: str | None


async def load_and_decide(
    transaction: Transaction, claim: Claim, digester: Digester, now: datetime
) -> PlannedEvent | NotProcessed:
    """Load the facts and decide: what processing and the dry run have in common.

    Raises InvalidBody or InvalidPhone if the event cannot be processed as it is, Contended if the transaction
    lost against another one.
    """
    loaded = await load_event(transaction, claim, digester)
    if isinstance(loaded, NotProcessed):
        return loaded
    return await _decide(transaction, loaded, now)


async def _decide(transaction: Transaction, loaded: LoadedEvent, now: datetime) -> PlannedEvent:
    """Decide, then choose the owner of a new ticket from the roster; only that needs a round trip."""
    claim, lead, phones, facts = loaded.claim, loaded.lead, loaded.phones, loaded.facts
    plan = decide(lead, phones, facts, claim.arrived_at, force=claim.force)
    if not _customer_phones(plan) <= loaded.locked_phones:
        raise Contended("The phone's contact came to this customer while its locks were taken.")
    if plan.ticket_is_new:
        account_id = plan.account.id if plan.account else None
        choice = await choose_owner(transaction, OwnerRequest(facts.roster_source_id, account_id, now))
        owner = choice.staff_id
    else:
        choice = None
        owner = plan.ticket.assignee_id if plan.ticket else None
    sent, dropped = notifications_of(plan, facts, owner, claim.replay_count)
    return PlannedEvent(claim, phones, plan, choice, owner, sent, dropped, facts.roster_source_id)


def _customer_phones(plan: Plan) -> set[str]:
    """The phone of the customer's account: every event of the customer holds its lock."""
    phone = plan.account.normalized_phone if plan.account else None
    return {phone} if phone else set()
