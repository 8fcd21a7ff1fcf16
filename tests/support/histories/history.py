"""A history: what happens to the product, step by step."""

from dataclasses import replace
from datetime import timedelta

from tests.support.histories.edits import Edits
from tests.support.histories.posting import Posting
from tests.support.histories.product import Product
from tests.support.histories.request import Request
from tests.support.histories.retry import retry_result
from tests.support.histories.run import Run
from tests.support.histories.state import Fields, Version
from tests.support.histories.vocabulary import PHONES

REPLAYABLE = ("processed", "dead_letter", "skipped_kill_switch", "skipped_source_disabled")
PROCESS, WAIT, HOLD = THEN = ("process", "wait", "hold")
"""What to do with a delivery: process it, let it wait, or hold it."""

LONGEST_WAIT = timedelta(minutes=6)
"""Longer than every wait after a notification that did not reach the service."""

TYPED_PHONES = tuple(text for text, number in PHONES.items() if number)


class History(Run):
    """One history on an empty product; `people` makes the edits of other programs.

    Numbers choose among what exists, counted round, so that any number fits.
    """

    def __init__(self, product: Product) -> None:
        super().__init__(product)
        self.people = Edits(self)
        self.versions: dict[int, Version] = {}
        self.delivered: dict[bytes, int] = {}
        self.corrected: dict[int, str] = {}

    def deliver(
        self,
        fields: Fields,
        *,
        record: int = 0,
        workspace: int = 0,
        table: int = 0,
        minutes: int | None = 0,
        far: bool = False,
        deletion: bool = False,
        noise: int = 0,
        then: str = PROCESS,
    ) -> None:
        """Deliver a version (see Posting), and do one of THEN with its event."""
        posting = Posting(fields, record, workspace, table, minutes, far, deletion, noise)
        if then == HOLD:
            self._switch(on=False)
        event = self._deliver(posting, "skipped_kill_switch" if then == HOLD else "received")
        if then == HOLD:
            self._switch(on=True)
        elif event and self.state.events[event].status != "received":
            return
        elif event and then == PROCESS:
            self.process(Request(self.versions[event]))

    def process_waiting(self, waiting: int = 0, *, held: bool = False) -> None:
        """Process one of the events that wait, or hold it with the kill switch."""
        event = self._pick(waiting, "received")
        if not event:
            return
        if held:
            self._switch(on=False)
        self.begin(f"process {self.story.name(event)}")
        if held:
            self.product.process(event)
            self.take_over()
            self.expect("status", self.state.events[event].status, "skipped_kill_switch")
            self._switch(on=True)
        else:
            self.process(Request(self.versions[event], corrected_phone=self.corrected.get(event)))

    def replay(self, event: int = 0, *, force: bool = False, phone: int | None = None) -> None:
        """Replay an event as an administrator does, and process it."""
        chosen = self._pick(event, *REPLAYABLE)
        if not chosen:
            return
        corrected = TYPED_PHONES[phone % len(TYPED_PHONES)] if phone is not None else None
        how = f"{' with force' if force else ''}{f' with phone {corrected}' if corrected else ''}"
        self.begin(f"replay {self.story.name(chosen)}{how}")
        replay = self.product.replay_request(chosen, force=force, corrected_phone=corrected)
        if not self.product.may_replay(replay):
            self.story.add("  refused")
            return
        if corrected:
            self.corrected[chosen] = str(PHONES[corrected])
        request = Request(self.versions[chosen], force, self.corrected.get(chosen))
        self.process(request, corrected=corrected, is_replay=True)

    def retry(self) -> None:
        """Run the retry cron: it gives tickets an owner, and sends what did not reach the service."""
        self.begin("retry cron")
        self.product.clock.time += LONGEST_WAIT
        state, sent = self.state, len(self.product.hasura.attempts)
        self.product.retry()
        self.take_over()
        self.check(retry_result(self.memory, state), self.product.hasura.attempts[sent:])
        if not self.product.hasura.failing:
            self.expect("notifications that did not come", self.owed, set())

    def connect_service(self, *, reachable: bool) -> None:
        """Let the notification service be reached again, or not."""
        self.begin(f"the notification service {'is' if reachable else 'is not'} reachable")
        self.product.hasura.failing = not reachable

    def finish(self) -> None:
        """Check that every notification comes in the end, and that no change of a row was missed."""
        if self.has_failed:
            return
        if self.owed:
            self.connect_service(reachable=True)
            self.retry()
        self.check_rows()

    def has_waiting(self) -> bool:
        return any(event.status == "received" for event in self.state.events.values())

    def has_unfinished(self) -> bool:
        """Tell whether the retry cron has notifications to send, or tickets to assign."""
        return bool(self.owed or self.memory.unassigned)

    def _switch(self, *, on: bool) -> None:
        """Turn the integration on or off with its kill switch."""
        self.edit(
            f"kill switch {'off' if on else 'on'}",
            "UPDATE app_setting SET app_settings ="
            " jsonb_set(app_settings, '{pancake_integration,kill_switch}', %s::jsonb)",
            "false" if on else "true",
        )

    def _deliver(self, posting: Posting, status: str) -> int | None:
        """Deliver, and return the new event, which has this status; None for a duplicate."""
        body = posting.body(self.start)
        self.begin(f"{posting}")
        answer = self.product.deliver(posting.key[0], body)
        event: int = self.delivered.get(body) or answer["event_id"]
        self.story.name_event(event, answer["status"])
        if body in self.delivered:
            self.expect("answer", answer["status"], "duplicate")
            return None
        self.delivered[body] = event
        version = posting.version(event, self.start, self.product.clock.now())
        earlier = [each for each in self.versions.values() if each.record == version.record]
        if earlier:
            known = max(earlier, key=lambda each: each.event).sources
            version = replace(version, known_sources=known)
        if status == "received" and not self.state.is_active(version):
            status = "skipped_source_disabled"
        self.expect("answer", answer["status"], status)
        self.versions[event] = version
        self.take_over()
        stored = self.state.events[event]
        self.expect("status", stored.status, status)
        self.expect("phone at ingest", stored.phone, next(iter(version.usable), None))
        return event

    def _pick(self, number: int, *statuses: str) -> int:
        """Return an event by its number among those with these statuses; 0 if there is none."""
        found = [key for key, event in sorted(self.state.events.items()) if event.status in statuses]
        return found[number % len(found)] if found else 0
