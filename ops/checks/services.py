"""The services that readers ask, by the settings of the command; each is opened when it is first asked."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ops.clients.db_session import QUERIES, DbSession, open_session
from ops.clients.hasura_admin import Engine
from ops.clients.monitoring import PrometheusApi
from ops.clients.plain_http import NoAnswer
from ops.failures import CommandFailed, ExitCode, WrongUsage
from ops.metadata.directory import DIRECTORY, DirectoryError, read_directory
from ops.settings import OperatorSettings
from ops.waiting import poll

if TYPE_CHECKING:
    from ops.golive.deploy.site import PlanFile

HasuraSource = Annotated[
    str, typer.Option("--hasura-source", help="Name of the source of Hasura that has our tables.")
]
REQUEST_SECONDS = 2.0
"""How long one request or statement of a look may take."""
RESTART_SECONDS, RESTART_PAUSE_SECONDS = 1.9, 0.1
"""A part that answers again after so long restarted during the look, and is not down."""
CONNECT_SECONDS = 2
"""The same for a connection to PostgreSQL; libpq takes no less."""
MAX_SESSIONS = 4
"""So many sessions read at the same time: the server's connections are for the handlers."""
NEEDED = ("DATABASE_URL", "HASURA_URL", "HASURA_ADMIN_SECRET")
"""The variables without which little is known of an installation."""


class NotSet(CommandFailed):
    """Variables are not set, so what they name is not asked; `variable` is the first of them."""

    exit_code = ExitCode.USAGE

    def __init__(self, *variables: str) -> None:
        super().__init__(f"{' and '.join(variables)} {'is' if len(variables) == 1 else 'are'} not set")
        self.variable = variables[0]


Look = TypeVar("Look")


def through_restart(look: Callable[[], Look]) -> Look:
    """Look, and again while there is no answer, for RESTART_SECONDS. Raises NoAnswer."""
    for _ in poll(RESTART_SECONDS, RESTART_PAUSE_SECONDS):
        try:
            return look()
        except NoAnswer as error:
            unanswered = error
    raise unanswered


@cache
def own_metadata() -> dict[str, Any]:
    try:
        return read_directory(DIRECTORY)
    except DirectoryError as error:
        raise WrongUsage(f"{error}. It belongs to the installation of leads.") from error


class Services(ExitStack):
    """What readers ask. It closes what it opened; each property raises NotSet without its variables."""

    def __init__(
        self,
        settings: OperatorSettings,
        command: str,
        source: str = "default",
        *,
        own: dict[str, Any] | None = None,
        plan: "PlanFile | None" = None,
        folder: Path = Path(),
        engine: Engine | None = None,
        request_seconds: float = REQUEST_SECONDS,
        statement_seconds: float = REQUEST_SECONDS,
    ) -> None:
        """The database sees the command; `source` is the engine's that has our tables.

        `folder` has the records of the go-live, and of the deployment.
        """
        super().__init__()
        self.settings, self.command, self.source, self.folder = settings, command, source, folder
        self.own = own_metadata() if own is None else own
        self.request_seconds, self.statement_seconds = request_seconds, statement_seconds
        self._plan, self._engine = plan, engine
        self.unset = set[str]()
        """What was needed so far, and is not set."""
        self.state_is_read = threading.Event()
        """Set when the statements of the state have ended; see `read_blocker`."""
        self._sessions = threading.BoundedSemaphore(MAX_SESSIONS)
        self._lock = threading.RLock()

    def need(self, variable: str) -> str:
        (value,) = self.need_all(variable)
        return value

    def need_all(self, *variables: str) -> list[str]:
        """Return the values of variables, and of fields of golive.yaml, whose names are in lower case."""
        values = {
            name if name.isupper() else f"{name} of golive.yaml":
            str(getattr(self.settings if name.isupper() else self.plan, name.lower()))
            for name in variables
        }  # fmt: skip
        if unset := [name for name, value in values.items() if not value]:
            self.unset.update(unset)
            raise NotSet(*unset)
        return list(values.values())

    @contextmanager
    def database(self) -> Iterator[DbSession]:
        url = self.need("DATABASE_URL")
        with self._sessions, open_limited(url, self.command, self.statement_seconds) as db:
            yield db

    @property
    def plan(self) -> "PlanFile":
        """Return golive.yaml, which only the commands of the go-live read."""
        assert self._plan is not None
        return self._plan

    @property
    def prometheus(self) -> PrometheusApi:
        return PrometheusApi(self.need("PROMETHEUS_URL"))

    @property
    def engine(self) -> Engine:
        with self._lock:
            self._engine = self._engine or self.open_engine()
            return self._engine

    def open_engine(self, **headers: str) -> Engine:
        """Open a client of the engine of HASURA_URL, which is closed with these services."""
        url, secret = self.need_all("HASURA_URL", "HASURA_ADMIN_SECRET")
        client = Engine(url, secret, headers, timeout_seconds=self.request_seconds)
        with self._lock:
            return self.enter_context(client)


@contextmanager
def open_limited(url: str, command: str, seconds: float = REQUEST_SECONDS) -> Iterator[DbSession]:
    """Open a session that only reads, and whose statements end in time.

    Raises DatabaseUnavailable and LoginRefused.
    """
    with open_session(url, command, autocommit=False, connect_seconds=CONNECT_SECONDS) as db:
        with db.pipeline():  # with the BEGIN in one round trip
            db.execute(QUERIES["probes/set_limits"], {"timeout": f"{seconds:g}s"})
        yield db
