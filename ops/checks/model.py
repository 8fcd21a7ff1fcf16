"""A check, what it finds, and how checks are asked: all readers at once, under one deadline."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from enum import Flag, IntEnum, auto
from functools import partial
from typing import Any, TypeVar

from leads.domain.errors import IntegrationError
from ops.checks.services import NotSet, Services
from ops.clients.db_session import (
    QUERIES,
    DatabaseError,
    InsufficientPrivilege,
    LoginRefused,
    QueryCanceled,
    is_lost,
)
from ops.clients.hasura_admin import AccessDenied
from ops.failures import NO_REASON, CommandFailed, ExitCode, file_reason, first_line
from ops.settings import VARIABLES

LOOK_SECONDS = 2.4
"""How long a look may take: with the start of the program it ends within 3 s."""

Value = TypeVar("Value")
Reader = Callable[[Services], Value]
"""Reads one thing of the installation; what it raises says why that could not be read."""
Params = Mapping[str, str]
LOGINS = {"operators": "a member of pancake_operators", "owner": "the owner of the tables"}


class Level(IntEnum):
    """How well a part is. UNKNOWN: it could not be asked. Only GREEN passes a gate."""

    GREEN = 0
    UNKNOWN = 1
    YELLOW = 2
    RED = 3

    @property
    def word(self) -> str:
        return self.name.lower()


class When(Flag):
    """The commands that ask a check. What criteria and steps of the deployment ask, they name by its id."""

    CRITERION = 0
    STATUS = auto()
    DOCTOR = auto()
    BOTH = STATUS | DOCTOR
    APPLY = auto()
    """`leads metadata 9a` and `9b`, before they change anything."""
    VERIFY = auto()
    """`leads metadata verify`, also after 9a and 9b."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check says of its part, or of one of them, `about`.

    `cure` ends with the command that helps; empty: that of the check. `is_present` is False where nothing of
    the part is there yet, `is_read` where it could not be asked. `because_of` is the id of the check whose
    red finding explains this one.
    """

    level: Level
    text: str
    cure: str = ""
    about: str = ""
    is_present: bool = True
    is_read: bool = True
    because_of: str = ""


green = partial(Finding, Level.GREEN)
unknown = partial(Finding, Level.UNKNOWN)
yellow = partial(Finding, Level.YELLOW)
red = partial(Finding, Level.RED)


def judged(is_fine: bool, text: str) -> Finding:
    return green(text) if is_fine else red(text)


@dataclass(eq=False)
class NotRead(Exception):
    """A reader has no value.

    `variable` is not set, if that is why. `is_refused`: the service answered, and did not accept who asked;
    `is_forbidden`: it accepted the login, which has no right to that.
    """

    reason: str
    variable: str = ""
    is_refused: bool = False
    is_forbidden: bool = False


class Facts:
    """What the readers of a look read, each in a thread."""

    def __init__(self, values: Mapping[Reader[Any], Any]) -> None:
        """Take values that are known already; a NotRead stands for a reader without one."""
        self._deadlines: dict[Reader[Any], float] = {}
        self._futures: dict[Reader[Any], Future[Any]] = {}
        for reader, value in values.items():
            future = self._futures[reader] = Future[Any]()
            if isinstance(value, NotRead):
                future.set_exception(value)
            else:
                future.set_result(value)

    def start(self, readers: Mapping[Reader[Any], float], services: Services) -> None:
        """Start the readers that have no value yet, each with the seconds after which it is late."""
        for reader, seconds in readers.items():
            self._deadlines[reader] = time.monotonic() + seconds
            if reader not in self._futures:
                future = self._futures[reader] = Future[Any]()
                # A daemon: one that hangs does not keep the command from ending.
                threading.Thread(target=_run, args=(reader, services, future), daemon=True).start()

    def get(self, reader: Reader[Value]) -> Value:
        try:
            deadline = self._deadlines.get(reader, 0.0)
            value: Value = self._futures[reader].result(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            raise NotRead("it does not answer") from None
        return value

    def known(self, reader: Reader[Value]) -> Value | None:
        """Return what the reader read; None if it has no value."""
        try:
            return self.get(reader)
        except NotRead:
            return None

    def failures(self) -> Iterator[NotRead]:
        """Yield why readers that have ended have no value."""
        for future in self._futures.values():
            error = future.exception() if future.done() else None
            if isinstance(error, NotRead):
                yield error


def _run(reader: Reader[Any], services: Services, future: "Future[Any]") -> None:
    try:
        future.set_result(reader(services))
    except (CommandFailed, IntegrationError, DatabaseError) as error:
        future.set_exception(_not_read(error, services))
    except (LookupError, TypeError, ValueError, OSError) as error:
        # What others answer may have any form: that is a finding of the look, not its end.
        future.set_exception(NotRead(f"its answer cannot be used: {file_reason(error)}"))
    except BaseException as error:  # noqa: BLE001 - raised again in the thread that asks for the value
        future.set_exception(error)


def _not_read(error: CommandFailed | IntegrationError | DatabaseError, services: Services) -> NotRead:
    if isinstance(error, NotSet):
        return NotRead(str(error), variable=error.variable)
    if isinstance(error, QueryCanceled):
        return NotRead(f"a statement did not end within {services.statement_seconds:g} s")
    if isinstance(error, DatabaseError):
        is_forbidden = isinstance(error, InsufficientPrivilege)
        return NotRead(first_line(error), is_refused=not is_lost(error), is_forbidden=is_forbidden)
    text = " ".join(str(error).split()) or NO_REASON
    return NotRead(text, is_refused=isinstance(error, (AccessDenied, LoginRefused)))


@dataclass(frozen=True, slots=True)
class Check:
    """A question to the installation, as `Checks` makes it.

    `ask` yields what is not green, or a line for each part; if it yields nothing the check is `fine`. A
    NotRead that it lets pass is an UNKNOWN finding. `needs` are the ids of checks that have to be green for
    this one: a red one is its cause. `away` is the level if what it reads does not answer, `refused` the cure
    if that answers and does not accept who asks. `login` is that of DATABASE_URL, of LOGINS. `is_symptom`: it
    shows the effect of another part's fault, and is the cause of nothing. `is_result`: it says the result of
    the last leads, and is shown first.
    """

    id: str
    question: str
    when: When
    reads: tuple[Reader[Any], ...]
    ask: Callable[[Facts, Params], Iterable[Finding]]
    fine: str = ""
    cure: str = ""
    runbook: str = ""
    needs: tuple[str, ...] = ()
    login: str = "operators"
    away: Level = Level.UNKNOWN
    refused: str = ""
    is_symptom: bool = False
    is_result: bool = False
    seconds: float = LOOK_SECONDS


Ask = Callable[[Facts, Params], Iterable[Finding]]
DirectAsk = Callable[[Services], Iterable[Finding]]


class Checks(list[Check]):
    """The checks of a module, in the order in which one part needs another; its methods add them."""

    def add(
        self, id: str, question: str, when: When, *reads: Reader[Any], needs: str = "", **fields: Any  # noqa: A002
    ) -> Callable[[Ask], Ask]:  # fmt: skip
        """Add the function below, which judges what readers read; `needs` are ids, with spaces between."""

        def decorate(ask: Ask) -> Ask:
            self.append(Check(id, question, when, reads, ask, needs=tuple(needs.split()), **fields))
            return ask

        return decorate

    def add_direct(
        self, id: str, question: str, when: When = When.CRITERION, **fields: Any  # noqa: A002
    ) -> Callable[[DirectAsk], DirectAsk]:  # fmt: skip
        """Add the function below, which reads and judges what no other check reads."""

        def decorate(ask: DirectAsk) -> DirectAsk:
            def read(services: Services) -> list[Finding]:
                return list(ask(services))

            self.add(id, question, when, read, **fields)(lambda facts, _: facts.get(read))
            return ask

        return decorate

    def add_statement(
        self, id: str, question: str, statement: str, when: When = When.CRITERION, **fields: Any  # noqa: A002
    ) -> None:  # fmt: skip
        """Add a statement that judges: each of its rows is a finding, with `level` and `text`."""

        def read(services: Services) -> Iterator[Finding]:
            with services.database() as db:
                for row in db.execute(QUERIES[statement]).fetchall():
                    yield Finding(Level[row["level"].upper()], row["text"])

        self.add_direct(id, question, when, needs="database", **fields)(read)


@dataclass(frozen=True, slots=True)
class Asked:
    """A check with the parameters with which it is asked; of a criterion the name is its id.

    `is_wanted` is False of one that is asked only because others need it.
    """

    check: Check
    params: Params = field(default_factory=dict)
    name: str = ""
    is_wanted: bool = True


@dataclass(frozen=True, slots=True)
class Result:
    check: Check
    name: str
    findings: tuple[Finding, ...]
    is_wanted: bool = True

    @property
    def level(self) -> Level:
        return max(each.level for each in self.findings)


def judge(asked: Sequence[Asked], facts: Facts) -> list[Result]:
    """Ask each check, and name for what is not green the first red check that it needs."""
    causes: dict[str, str] = {}
    results = []
    for each in asked:
        check = each.check
        cause = next((causes[need] for need in check.needs if need in causes), "")
        findings = tuple(_explain(found, cause, check) for found in _ask(check, facts, each.params))
        results.append(Result(check, each.name or check.id, findings, each.is_wanted))
        level = results[-1].level
        if level is Level.RED or (cause and level is Level.UNKNOWN):
            causes.setdefault(check.id, cause or check.id)
    return results


def _explain(found: Finding, cause: str, check: Check) -> Finding:
    """Add the cure, and the cause, which makes unknown what could not be read.

    What the check itself does not know has no cause elsewhere.
    """
    if found.level is Level.GREEN:
        return found
    if found.level is Level.UNKNOWN and found.is_read:
        cause = ""
    level = Level.UNKNOWN if cause and not found.is_read else found.level
    # Of what could not be asked the text says why; the cure of the check is for what it finds.
    is_unread = level is Level.UNKNOWN and not found.is_read
    cure = found.cure or ("" if is_unread else check.cure)
    return replace(found, level=level, because_of=cause, cure=cure)


def _ask(check: Check, facts: Facts, params: Params) -> list[Finding]:
    try:
        found = list(check.ask(facts, params))
    except NotRead as error:
        if error.variable in VARIABLES:
            cure = f"Set {error.variable} to {VARIABLES[error.variable]}"
            text = f"not looked at: {error.reason}"
            return [Finding(Level.UNKNOWN, text, cure, is_present=False, is_read=False)]
        cure = check.refused if error.is_refused else ""
        is_present = check.away is not Level.RED
        login = f": it takes the login of {LOGINS[check.login]}" if error.is_forbidden else ""
        return [Finding(check.away, error.reason + login, cure, is_present=is_present, is_read=False)]
    return found or [Finding(Level.GREEN, check.fine)]


def not_green(results: Iterable[Result]) -> list[Finding]:
    """Return what is wrong, or not known, of what was wanted."""
    return [
        found
        for each in results
        for found in each.findings
        if each.is_wanted and found.level is not Level.GREEN
    ]


def worst(results: Iterable[Result]) -> Level:
    """Return the level of a look; what is not known makes it no worse."""
    levels = {found.level for each in results for found in each.findings}
    return next((level for level in (Level.RED, Level.YELLOW) if level in levels), Level.GREEN)


def exit_code(results: Sequence[Result]) -> ExitCode:
    """Return 0 if a look is green, 1 if it is yellow or red, 3 if nothing could be asked."""
    levels = {found.level for each in results for found in each.findings if each.is_wanted}
    if Level.GREEN not in levels:
        return ExitCode.UNREACHABLE
    return ExitCode.OK if worst(results) is Level.GREEN else ExitCode.FAILED


def find_cause(results: Sequence[Result]) -> tuple[Result, Finding] | None:
    """Return what a look names first: the first of the worst findings that no other check explains.

    A symptom is named only if no other check is as bad. Of a text of several lines it has the first.
    """
    level = worst(results)
    if level is Level.GREEN:
        return None
    found = [(each, finding) for each in results for finding in each.findings if finding.level is level]
    first = [(each, finding) for each, finding in found if not each.check.is_symptom]
    unexplained = [(each, finding) for each, finding in first if not finding.because_of]
    result, finding = (unexplained or first or found)[0]
    return result, replace(finding, text=finding.text.partition("\n")[0])
