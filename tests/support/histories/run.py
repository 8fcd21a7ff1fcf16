"""One run of the product: its state after the last step, and each step compared with the reference model."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

from tests.support.histories.checks import (
    HistoryFailed,
    broken_invariants,
    mismatches,
    second_tickets,
    wrong_texts,
)
from tests.support.histories.dry_run import wrong_changes, wrong_notifications, wrong_result
from tests.support.histories.memory import Memory
from tests.support.histories.product import Product, Rows, Sent
from tests.support.histories.reading import read_state
from tests.support.histories.reference import Decision
from tests.support.histories.request import Request
from tests.support.histories.state import Expected, Notice, State
from tests.support.histories.story import Story
from tests.support.histories.vocabulary import SECOND
from tests.support.histories.writes import expected_result

STEPS_PER_WHOLE_READING = 20
"""Otherwise those rows are read that a step wrote."""


class Run:
    """The product, emptied, and what the reference model remembers of it.

    `owed` holds the keys of notifications that did not reach the service; they must come later.
    """

    def __init__(self, product: Product) -> None:
        product.reset()
        self.product = product
        self.start = product.clock.now()
        self.memory = Memory()
        self.story = Story()
        self.steps = 0
        self.has_failed = False
        self.owed: set[str] = set()
        self.pancake_tickets: set[str] = set()
        self.rows = product.rows()
        self.state = self.read(self.rows)

    def edit(self, what: str, statement: str, *params: object) -> None:
        """Change rows as another program does."""
        self.begin(what)
        self.product.sql(statement, *params)
        self.take_over(is_edit=True)

    def begin(self, what: str) -> None:
        """Begin a step: a line for people, and a second later."""
        self.steps += 1
        self.story.add(what)
        self.product.clock.time += SECOND

    def process(self, request: Request, *, corrected: str | None = None, is_replay: bool = False) -> None:
        """Process a received event, or replay one, after a dry run; check the result against both.

        Rows are not read between them: what a dry run changed or sent would make the real run another one.
        `corrected` is the phone that this replay corrects, as typed.
        """
        event, before, state = request.version.event, self.rows, self.state
        sent = len(self.product.hasura.attempts)
        is_owed = any(key.startswith(f"{event}:") for key in self.owed)
        replay = self.product.replay_request(event, force=request.force, corrected_phone=corrected)
        announced = self.product.dry_run(replay)
        if is_replay:
            self.product.replay(replay)
        result = self.product.process(event)
        self.take_over(is_processing=True)
        attempts = self.product.hasura.attempts[sent:]
        self.story.add_result(result, self.state.events[event], attempts)
        request = replace(
            request,
            new_account=next(iter(self.state.accounts.keys() - state.accounts.keys()), "new account"),
            new_ticket=next(iter(self.state.tickets.keys() - state.tickets.keys()), "new ticket"),
        )
        expected = expected_result(Decision(self.memory, state, request))
        owed = self.owed
        self.check(expected, attempts)
        new = [each for each in attempts if each.key not in owed]
        if wrong := [
            *wrong_result(announced, result, event, self.rows),
            *wrong_changes(announced, before, self.rows),
            *wrong_notifications(announced, new),
        ]:
            self.fail(wrong)
        self.memory.remember(request.version, expected)
        if wrong := list(wrong_texts(self.state, {str(expected.written), str(expected.left)}, self.memory)):
            self.fail(wrong)
        if expected.keeps_notifications and not is_owed:
            self._expect_kept_notifications(event, before)

    def check(self, expected: Expected, sent: Sequence[Sent]) -> None:
        """Fail if what happened is not what is expected."""
        keys = [each.key for each in self.product.hasura.received]
        if len(keys) > len(set(keys)):
            self.fail(["a notification was sent twice"])
        notices = [Notice(each.template, each.recipients) for each in sent if each.key not in self.owed]
        tried = {each.key for each in sent}
        self.owed = self.owed | tried if self.product.hasura.failing else self.owed - tried
        if wrong := mismatches(expected, self.state, notices):
            self.fail(wrong)

    def check_rows(self) -> None:
        """Fail if a row changed or went without being read."""
        if self.product.all_rows() != self.rows:
            self.fail(["the rows are not those that were read step by step"])

    def expect(self, what: str, found: object, expected: object) -> None:
        if found != expected:
            self.fail([f"{what}: expected {expected!r}, found {found!r}"])

    def fail(self, wrong: Sequence[str]) -> NoReturn:
        self.has_failed = True
        raise HistoryFailed(self.story.failure(wrong))

    def take_over(self, *, is_processing: bool = False, is_edit: bool = False) -> None:
        """Read the rows again, and check what must hold after every step.

        A ticket that appeared while an event was processed is Pancake's. People may open a second one.
        """
        before, state = self.rows, self.state
        self.rows = self.product.rows()
        if is_processing:
            self.pancake_tickets |= self.rows["ticket"].keys() - before["ticket"].keys()
        self.state = self.read(self.rows)
        self.story.name_rows(self.rows)
        if self.steps % STEPS_PER_WHOLE_READING == 0:
            self.check_rows()
        wrong = list(broken_invariants(before, self.rows))
        if not is_edit:
            wrong += second_tickets(state, self.state)
        if wrong:
            self.fail(wrong)

    def read(self, rows: Rows) -> State:
        return read_state(rows, self.pancake_tickets)

    def _expect_kept_notifications(self, event: int, before: Rows) -> None:
        """A step that changes nothing keeps what was sent before."""
        old, new = (rows["pancake_webhook_event"][event] for rows in (before, self.rows))
        if old["notifications"]:
            for column in ("notifications", "notified_at"):
                self.expect(column, new[column], old[column])
