"""`leads trace`: what happened to a lead, and what to do; `leads tail`: a line as each arrives and rests."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from leads.domain.body import ICT
from leads.domain.errors import BadRequest
from leads.domain.event_states import AT_REST, DEAD_LETTER, FAILED, PROCESSED
from leads.domain.trace import Story, document, read_language, read_search, tell_stories
from leads.domain.trace_event import ENGLISH, TEXTS, VIETNAMESE, Step, StoredEvent, Words
from ops.clients.db_session import QUERIES, DbSession, load_rows, open_database, open_session
from ops.clients.pg_programs import reaching
from ops.failures import ExitCode, WrongUsage
from ops.output import (
    AsJson,
    one_line,
    print_in_column,
    print_indented,
    print_json,
    print_line,
    say,
    show_activity,
    yesterday,
)
from ops.settings import read_argument, read_operator_settings, read_variable
from ops.waiting import poll

POLL_SECONDS = 0.5


def trace(
    what: Annotated[
        str,
        typer.Argument(
            metavar="PHONE|RECORD_ID|TICKET_CODE|EVENT_ID",
            help="What to look for; - asks for it, or reads stdin.",
        ),
    ],
    follow: Annotated[
        bool, typer.Option("--follow", help="Wait until it has arrived and nothing more happens to it.")
    ] = False,
    timeout: Annotated[int, typer.Option(help="Seconds to follow it at most.", min=1, max=86_400)] = 60,
    lang: Annotated[str, typer.Option(help="Language: en, or vi for managers.")] = ENGLISH,
    as_json: AsJson = False,
) -> None:
    """Tell what happened to a lead, why it has a ticket or none, and what to do.

    Times are in UTC; in Vietnamese they are Vietnam's. A phone may be in any notation. Needs
    DATABASE_URL; with ENCRYPTION_KEYS it also finds leads by a phone that retention emptied.
    Exit code 0: a lead has a ticket; 1: no ticket; 2: nothing is found.
    """
    try:
        search, words = read_search(read_argument(what, "Phone or id")), Words(read_language(lang))
    except BadRequest as error:
        raise WrongUsage(str(error)) from error
    has_keys = bool(read_variable("ENCRYPTION_KEYS"))
    settings = read_operator_settings("DATABASE_URL", *(["ENCRYPTION_KEYS"] if has_keys else []))
    digester = settings.key_ring.digester() if has_keys else None
    printer = None if as_json else Printer(Console(), words)
    with open_session(settings.database_url, "trace") as db:

        def load() -> list[Story]:
            now = datetime.now(UTC)
            params = search.params(digester, now, words.language)
            stories = tell_stories(load_rows(db, StoredEvent, "trace_lead/load_events", params), now)
            return [replace(each, next=reaching(each.next, settings.database_url)) for each in stories]

        stories = _follow(load, timeout, printer) if follow else load()
        if printer:
            printer.print(stories)
    if follow and not _are_at_rest(stories):
        say(f"Stopped after {timeout} s: more may happen. Give a longer --timeout.")
    if as_json:
        print_json(document(search.text, stories))
    if not stories:
        say(words.say("lead.not_found", yesterday=yesterday(datetime.now(UTC))))
    raise typer.Exit(exit_code(stories))


def exit_code(stories: list[Story]) -> ExitCode:
    """Say whether nothing is found, a lead has a ticket, or none has one."""
    if not stories:
        return ExitCode.USAGE
    return ExitCode.OK if any(story.tickets for story in stories) else ExitCode.FAILED


class Printer:
    """Prints stories within the width of the terminal; of stories that it printed before, what is new."""

    def __init__(self, console: Console, words: Words) -> None:
        self._console = console
        self._words = words
        self._zone = ICT if words.language == VIETNAMESE else UTC
        self._kind_columns = max(len(words.say(f"kind.{kind}")) for kind in TEXTS["kind"])
        self._printed: set[tuple[str, Step]] = set()
        self._title = ""
        self._day: date | None = None

    def print(self, stories: list[Story], *, is_last: bool = True) -> None:
        """Print the steps; what the tickets are now, and what to do, only the last time."""
        for story in stories:
            steps = [step for step in story.steps if is_last or step.kind != "ticket"]
            for step in steps:
                if (self._name(story), step) not in self._printed:
                    self._print_title(story)
                    self._print_step(step)
                    self._printed.add((self._name(story), step))
            if is_last:
                self._print_title(story)
                self._line("", "next", story.next)

    def _print_title(self, story: Story) -> None:
        tickets = self._words.say("lead.no_ticket", reason=reason_in_words(story.reason, self._words))
        if story.tickets:
            tickets = self._words.say("lead.ticket", codes=", ".join(story.tickets))
        title = f"{self._name(story)}: {tickets}"
        if title != self._title:
            print_indented(one_line(title), 0, self._console)
            self._title, self._day = title, None

    def _name(self, story: Story) -> str:
        id_ = story.record_id or self._words.say("lead.without_id")
        table = self._words.word("table", story.table)
        return self._words.say("lead.name", table=table, id=id_, connection=story.connection)

    def _print_step(self, step: Step) -> None:
        at = step.at.astimezone(self._zone) if step.at else None
        if at and at.date() != self._day:
            self._day = at.date()
            print_indented(self._words.say("lead.day", day=at), 1, self._console)
        self._line(f"{at:%H:%M:%S}" if at else "", step.kind, step.text)

    def _line(self, at: str, kind: str, text: str) -> None:
        label = self._words.say(f"kind.{kind}")
        print_in_column(f"  {at:<8}  {label:<{self._kind_columns}}  ", one_line(text), self._console)


def reason_in_words(code: str, words: Words) -> str:
    """Return the reason of a story in words; in English it is the code."""
    if words.language == ENGLISH:
        return code
    table = next((name for name in ("result_name", "error", "held") if code in TEXTS[name]), "result_name")
    return words.word(table, code)


def _follow(load: Callable[[], list[Story]], timeout_seconds: int, printer: Printer | None) -> list[Story]:
    """Load the stories until something is found and all of it is at rest, or the time is up."""
    stories: list[Story] = []
    with show_activity("waiting"):
        for _ in poll(timeout_seconds, POLL_SECONDS):
            stories = load()
            if printer:
                printer.print(stories, is_last=False)
            if _are_at_rest(stories):
                break
    return stories


def _are_at_rest(stories: list[Story]) -> bool:
    return bool(stories) and all(story.is_at_rest for story in stories)


# `leads tail`

TAIL_POLL_SECONDS = 1.0
MAX_ROWS = 200
"""At most so many new events are read at once."""
OVERLAP_IDS = 100
"""Ids are given before the commit: an event may appear after one with a higher id."""
MAX_AWAITED = 1000
STYLES = {PROCESSED: "green", DEAD_LETTER: "red", FAILED: "yellow"}


@dataclass(frozen=True, slots=True)
class EventRow:
    """A row of tail/list_events."""

    id: int
    created_at: datetime
    origin: str
    status: str
    outcome: str | None
    error_code: str | None
    next_attempt_at: datetime | None
    processed_at: datetime | None
    source: str | None
    ticket: str | None
    owner: str | None


def tail(
    newest: Annotated[
        int, typer.Option("--last", help="Begin with so many of the newest leads.", min=0, max=MAX_ROWS)
    ] = 10,
    as_json: AsJson = False,
) -> None:
    """Show each lead as it arrives and as it comes to rest, until Ctrl-C.

    A line has the event's id, how it came, its source, and its ticket with the owner, or why there is none;
    nothing of the customer. With --json each line is a JSON document. Needs DATABASE_URL.
    """
    console = Console()
    with open_database("tail") as db:
        for row in follow_events(db, newest, time.sleep):
            if as_json:
                print_line(json.dumps(asdict(row), ensure_ascii=False, default=str))
            else:
                console.print(Text(describe_event(row), STYLES.get(row.status, "default")), soft_wrap=True)


def follow_events(db: DbSession, newest: int, wait: Callable[[float], object]) -> Iterator[EventRow]:
    """Return the events as they arrive or change, for ever; `wait` gets seconds. Raises DatabaseError."""
    start = db.execute(QUERIES["tail/find_start"], {"newest": newest}).fetchone()
    first = last = start["id"] if start else 0
    shown: dict[int, str] = {}
    """The states in which events were shown, in the order of their arrival."""
    awaited: list[int] = []
    while True:
        params = {"after": last - OVERLAP_IDS, "most": MAX_ROWS, "awaited": awaited}
        for row in load_rows(db, EventRow, "tail/list_events", params):
            if row.id <= first:
                continue
            state = row.status if row.status in AT_REST or row.status == FAILED else "arrived"
            if shown.get(row.id) != state:
                yield row
            shown[row.id] = state
            last = max(last, row.id)
        awaited = [event_id for event_id, state in shown.items() if state not in AT_REST][:MAX_AWAITED]
        kept = {*awaited, *range(last - OVERLAP_IDS - MAX_ROWS + 1, last + 1)}
        shown = {event_id: state for event_id, state in shown.items() if event_id in kept}
        wait(TAIL_POLL_SECONDS)


def describe_event(row: EventRow) -> str:
    time_of_state = row.processed_at if row.status == PROCESSED and row.processed_at else row.created_at
    head = f"{time_of_state.astimezone(UTC):%H:%M:%S}  {row.id:>8}  {row.origin:<9}  {row.source or '-':<15}"
    return one_line(f"{head}  {_result(row)}")


def _result(row: EventRow) -> str:
    if row.status == PROCESSED:
        seconds = (row.processed_at - row.created_at).total_seconds() if row.processed_at else 0.0
        ticket = f" {row.ticket}" if row.ticket else ""
        owner = f", {row.owner}" if row.owner else ", no owner" if row.outcome == "ticket_created" else ""
        return f"{row.outcome}{ticket}{owner} ({seconds:.1f} s)"
    if row.status == FAILED and row.next_attempt_at:
        return f"failed: {row.error_code}, again at {row.next_attempt_at.astimezone(UTC):%H:%M:%S}"
    if row.status in AT_REST:
        return f"{row.status}: {row.error_code}" if row.error_code else row.status
    return "arrived"
