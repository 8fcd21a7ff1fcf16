"""Run probes at the same time, until one deadline: what does not answer by then is a failure."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Generic, TypeVar

from leads.domain.errors import IntegrationError
from ops.clients.db_session import DatabaseError, LoginRefused, QueryCanceled, is_lost
from ops.clients.hasura_admin import AccessDenied
from ops.failures import NO_REASON, CommandFailed, file_reason

PROBE_SECONDS = 2.4
"""How long all probes of a look together may take: with the start of the program it ends within 3 s."""
REQUEST_SECONDS = 2.0
"""How long one request or statement of a probe may take."""
CONNECT_SECONDS = 2
"""The same for a connection to PostgreSQL; libpq takes no less."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a probe has no result. `is_refused`: the service answered, and did not accept who asked."""

    reason: str
    is_refused: bool = False
    is_late: bool = False


class Probe(Generic[Result]):
    """A probe that runs."""

    def __init__(self, work: Callable[[], Result], deadline: float) -> None:
        self._future: Future[Result] = Future()
        self._deadline = deadline
        # A daemon: one that hangs does not keep the command from ending.
        threading.Thread(target=self._run, args=(work,), daemon=True).start()

    def _run(self, work: Callable[[], Result]) -> None:
        try:
            self._future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that asks for the answer
            self._future.set_exception(error)

    def ends_within(self, seconds: float) -> bool:
        """Wait for the end, at most so long; say whether it came."""
        return bool(wait([self._future], seconds).done)

    def answer(self) -> Result | Failure:
        """Return the result, or why there is none by the deadline."""
        try:
            return self._future.result(max(0.0, self._deadline - time.monotonic()))
        except TimeoutError:
            return Failure("it does not answer", is_late=True)
        except (CommandFailed, IntegrationError, DatabaseError) as error:
            return _failure(error)
        except (LookupError, TypeError, ValueError) as error:
            # What others answer may have any form: that is a finding of the look, not its end.
            return Failure(f"its answer cannot be used: {file_reason(error)}")


class Probes:
    """Starts the probes of one look."""

    def __init__(self, seconds: float = PROBE_SECONDS) -> None:
        self._deadline = time.monotonic() + seconds

    def start(self, work: Callable[[], Result]) -> Probe[Result]:
        return Probe(work, self._deadline)


def _failure(error: CommandFailed | IntegrationError | DatabaseError) -> Failure:
    if isinstance(error, QueryCanceled):
        return Failure(f"a statement did not end within {REQUEST_SECONDS:g} s", is_late=True)
    if isinstance(error, DatabaseError):
        # Only the first line of PostgreSQL: DETAIL quotes values of the row.
        lines = str(error).strip().splitlines() or [NO_REASON]
        return Failure(lines[0], is_refused=not is_lost(error))
    text = " ".join(str(error).split()) or NO_REASON
    return Failure(text, is_refused=isinstance(error, (AccessDenied, LoginRefused)))
