"""A state machine that makes random histories: each rule is a step."""

from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from tests.support.histories.edits import NOTES, OF_ACCOUNTS, OF_CONTACTS, OF_STAFF, OF_TICKETS
from tests.support.histories.history import HOLD, PROCESS, WAIT, History
from tests.support.histories.product import Product
from tests.support.histories.state import Fields
from tests.support.histories.vocabulary import (
    ADDRESSES,
    BIRTHDAYS,
    CAMPAIGNS,
    CHAT_PHONE,
    EMAILS,
    NAMES,
    PHONES,
    PRODUCTS,
    SECOND_PHONE,
    SOURCE_LISTS,
    TAGS,
    UNTOLD,
)

STEPS_PER_HISTORY = 50
STEPS = "steps of random histories"
"""The name of a test's report section that holds how many there were."""

one_phone = st.sampled_from(list(PHONES))
phones = st.lists(one_phone, max_size=2, unique=True).map(tuple)
values = {
    "name": st.sampled_from(NAMES),
    "phones": phones,
    "email": st.sampled_from(EMAILS),
    "address": st.sampled_from(ADDRESSES),
    "sources": st.sampled_from(SOURCE_LISTS),
    "tags": st.sampled_from(TAGS),
    "interested_products": st.sampled_from(PRODUCTS),
    "utm_campaign": st.sampled_from(CAMPAIGNS),
    "birthday": st.sampled_from(BIRTHDAYS),
}
second_phone = st.lists(one_phone, max_size=1).map(tuple)
values_and_other_phones = values | {SECOND_PHONE: second_phone, CHAT_PHONE: second_phone}
some_fields = st.fixed_dictionaries({}, optional=values_and_other_phones)
a_phone_and_some_fields = st.fixed_dictionaries(
    {"phones": st.lists(one_phone, min_size=1, max_size=2, unique=True).map(tuple)},
    optional={key: value for key, value in values_and_other_phones.items() if key != "phones"},
)
small_changes = st.fixed_dictionaries(
    {}, optional={key: values[key] for key in ("name", "email", "address", "tags", *sorted(UNTOLD))}
)
times = st.none() | st.integers(0, 4)
numbers = st.integers(0, 5)
flags = st.booleans()
rarely = st.integers(0, 9).map(lambda number: number == 9)
mostly_leads = st.sampled_from([0, 0, 0, 0, 1, 2])
mostly_on = st.sampled_from([True, True, False])
sometimes = st.integers(0, 4).map(lambda number: number == 4)
mostly_processed = st.sampled_from([PROCESS] * 8 + [WAIT, HOLD])


class RandomHistory(RuleBasedStateMachine):
    """Each rule is a step. About half of them deliver something, so that edits meet many versions."""

    product: ClassVar[Product]
    steps: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.history = History(self.product)

    @rule(
        fields=a_phone_and_some_fields | some_fields,
        record=st.integers(0, 2),
        workspace=st.integers(0, 1),
        table=mostly_leads,
        minutes=times,
        far=sometimes,
        deletion=rarely,
        noise=st.integers(0, 1),
        then=mostly_processed,
    )
    def deliver(self, fields: Fields, **posting: Any) -> None:
        self.history.deliver(fields, **posting)

    @rule(fields=a_phone_and_some_fields, record=st.integers(0, 2), minutes=times, then=mostly_processed)
    def deliver_lead(self, fields: Fields, **posting: Any) -> None:
        """Deliver a lead of one workspace, so that records share a phone."""
        self.history.deliver(fields, **posting)

    @rule(fields=some_fields, record=st.integers(0, 1), minutes=times, noise=st.integers(0, 3))
    def deliver_later_version(self, fields: Fields, **posting: Any) -> None:
        """Deliver to one of two records, so that their histories grow long."""
        self.history.deliver(fields, **posting)

    @rule(fields=small_changes, record=st.integers(0, 1), minutes=times, then=mostly_processed)
    def deliver_small_change(self, fields: Fields, **posting: Any) -> None:
        """Deliver what is no new request, for tickets that are closed."""
        self.history.deliver(fields, **posting)

    @precondition(lambda self: self.history.versions)
    @rule(event=st.integers(0, 15), force=flags, phone=st.none() | st.integers(0, 3))
    def replay(self, event: int, **how: Any) -> None:
        self.history.replay(event, **how)

    @precondition(lambda self: self.history.has_waiting())
    @rule(waiting=numbers, held=rarely)
    def process_waiting(self, waiting: int, held: bool) -> None:
        self.history.process_waiting(waiting, held=held)

    @precondition(lambda self: self.history.state.tickets)
    @rule(edit=st.sampled_from(OF_TICKETS), ticket=numbers, choice=numbers)
    def edit_ticket(self, edit: str, ticket: int, choice: int) -> None:
        self.history.people.edit(edit, ticket, choice)

    @precondition(lambda self: self.history.state.tickets)
    @rule(ticket=numbers)
    def close_ticket(self, ticket: int) -> None:
        self.history.people.set_status(ticket)

    @precondition(lambda self: self.history.state.tickets)
    @rule(ticket=numbers, column=st.sampled_from(["retype_title", *NOTES]), text=numbers)
    def retype(self, ticket: int, column: str, text: int) -> None:
        self.history.people.edit(column, ticket, text)

    @precondition(lambda self: self.history.state.contacts)
    @rule(edit=st.sampled_from(OF_CONTACTS), contact=numbers, text=numbers)
    def correct_contact(self, edit: str, contact: int, text: int) -> None:
        self.history.people.edit(edit, contact, text)

    @precondition(lambda self: self.history.state.accounts)
    @rule(edit=st.sampled_from(OF_ACCOUNTS), account=numbers, choice=numbers)
    def edit_account(self, edit: str, account: int, choice: int) -> None:
        self.history.people.edit(edit, account, choice)

    @rule(edit=st.sampled_from(OF_STAFF), staff=st.integers(0, 7), choice=st.integers(0, 1))
    def edit_staff(self, edit: str, staff: int, choice: int) -> None:
        self.history.people.edit(edit, staff, choice)

    @rule(source=st.none() | numbers, is_on=mostly_on)
    def switch(self, source: int | None, is_on: bool) -> None:
        """Switch a source, or the notification service if no source is given."""
        if source is None:
            self.history.connect_service(reachable=self.history.product.hasura.failing)
        else:
            self.history.people.set_source(source, int(not is_on))

    @precondition(lambda self: self.history.has_unfinished())
    @rule()
    def retry(self) -> None:
        self.history.retry()

    def teardown(self) -> None:
        self.history.finish()
        type(self).steps += self.history.steps


def run_histories(product: Product, number: int, histories: int, *, shrinks: bool = True) -> int:
    """Run random histories, the same ones for the same number; return how many steps they had.

    Raises HistoryFailed with the shortest failing history that Hypothesis finds.
    """
    RandomHistory.product, RandomHistory.steps = product, 0
    run_state_machine_as_test(
        seed(number)(RandomHistory),
        settings=settings(
            max_examples=histories,
            stateful_step_count=STEPS_PER_HISTORY,
            deadline=None,
            database=None,
            phases=[Phase.generate, *([Phase.shrink] if shrinks else [])],
            suppress_health_check=list(HealthCheck),
            print_blob=False,
            report_multiple_bugs=False,
        ),
    )
    return RandomHistory.steps
