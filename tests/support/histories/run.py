"""One run of the product: its state after the last step, and each step compared with the reference model."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

from tests.support.histories.checks import HistoryFailed, broken_invariants, matching, mismatches, wrong_texts
from tests.support.histories.dry_run import wrong_announcements
from tests.support.histories.memory import Memory
from tests.support.histories.product import Product, Rows, Sent
from tests.support.histories.reading import read_state
from tests.support.histories.reference import Decision
from tests.support.histories.request import Request
from tests.support.histories.state import Expected, State
from tests.support.histories.story import Story
from tests.support.histories.vocabulary import SECOND
from tests.support.histories.writes import expected_results


class Run:
    """The product, emptied, and what the reference model remembers of it."""

    def __init__(self, product: Product) -> None:
        product.reset()
        self.product = product
        self.start = product.clock.now()
        self.memory = Memory()
        self.story = Story()
        self.steps = 0
        self.pancake_tickets: set[str] = set()
        self.rows = product.rows()
        self.state = self.read(self.rows)

    def edit(self, what: str, statement: str, *params: object) -> None:
        """Change rows as another program does."""
        self.begin(what)
        self.product.sql(statement, *params)
        self.take_over()

    def begin(self, what: str) -> None:
        """Begin a step: a line for people, and a second later."""
        self.steps += 1
        self.story.add(what)
        self.product.clock.time += SECOND

    def process(self, request: Request) -> None:
        """Process a received event, and check the result."""
        event, before, state = request.version.event, self.rows, self.state
        sent = len(self.product.hasura.received)
        result = self.product.process(event)
        self.take_over(is_processing=True)
        told = self.product.hasura.received[sent:]
        self.story.add_result(result, self.state.events[event], told)
        request = replace(
            request,
            new_account=next(iter(self.state.accounts.keys() - state.accounts.keys()), "new account"),
            new_ticket=next(iter(self.state.tickets.keys() - state.tickets.keys()), "new ticket"),
        )
        chosen = self.check(expected_results(Decision(self.memory, state, request)), told, before)
        phone = str(self.state.events[event].phone)
        if chosen.why == "no_change" and chosen.record is not None and phone in chosen.record.usable:
            # Of several usable phones, the event says which one counts as applied. A replay keeps its own.
            chosen.record.phone = phone
        self.memory.remember(request.version, chosen.record, is_deletion=chosen.why == "record_deleted")
        if wrong := list(wrong_texts(self.state, {str(chosen.written)}, self.memory.typed)):
            self.fail(wrong)
        if chosen.keeps_notifications:
            self._expect_kept_notifications(event, before)

    def process_as_announced(
        self, request: Request, *, corrected: str | None = None, is_replay: bool = True
    ) -> None:
        """Compare a dry run with the real run; it changes and sends nothing.

        `corrected` is the phone that this replay corrects, as typed.
        """
        event, before, sent = request.version.event, self.rows, len(self.product.hasura.received)
        replay = self.product.replay_request(event, force=request.force, corrected_phone=corrected)
        announced = self.product.dry_run(replay)
        if self.product.rows() != before or len(self.product.hasura.received) != sent:
            self.fail(["the dry run changed something"])
        if is_replay:
            self.product.replay(replay)
        self.process(request)
        if wrong := list(wrong_announcements(announced, event, before, self.rows)):
            self.fail(wrong)

    def check(self, expected: Sequence[Expected], sent: Sequence[Sent], before: Rows) -> Expected:
        """Return the allowed result that equals what happened; fail if there is none."""
        if wrong := list(broken_invariants(before, self.rows)):
            self.fail(wrong)
        keys = [each.key for each in self.product.hasura.received]
        if len(keys) > len(set(keys)):
            self.fail(["a notification was sent twice"])
        return matching(expected, self.state, sent) or self.fail(list(mismatches(expected, self.state, sent)))

    def expect(self, what: str, found: object, expected: object) -> None:
        if found != expected:
            self.fail([f"{what}: expected {expected!r}, found {found!r}"])

    def fail(self, wrong: Sequence[str]) -> NoReturn:
        raise HistoryFailed(self.story.told(wrong))

    def take_over(self, *, is_processing: bool = False) -> None:
        """Read the rows again. A ticket that appeared while an event was processed is Pancake's."""
        known = {row["id"] for row in self.rows["ticket"]}
        self.rows = self.product.rows()
        if is_processing:
            self.pancake_tickets |= {row["id"] for row in self.rows["ticket"]} - known
        self.state = self.read(self.rows)
        self.story.name_rows(self.rows)

    def read(self, rows: Rows) -> State:
        return read_state(rows, self.pancake_tickets)

    def _expect_kept_notifications(self, event: int, before: Rows) -> None:
        """A step that changes nothing keeps what was sent before."""
        old, new = (
            next(row for row in rows["pancake_webhook_event"] if row["id"] == event)
            for rows in (before, self.rows)
        )
        if old["notifications"]:
            for column in ("notifications", "notified_at"):
                self.expect(column, new[column], old[column])
