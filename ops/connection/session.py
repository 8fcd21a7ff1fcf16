"""A transaction with the key ring, and the choice of a connection, for the commands of `leads connection`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import typer

from leads.adapters.secrets import KeyRing
from ops.clients.db_session import DbSession
from ops.clients.db_session import open_session as open_db_session
from ops.connection.connection_secrets import ChangeRefused, ConnectionRow, list_connections
from ops.failures import CommandFailed, WrongUsage
from ops.settings import OperatorSettings, read_operator_settings

Which = Annotated[
    str | None, typer.Option("--connection", help="Id or name; needed if there are several connections.")
]
NEEDS = ("DATABASE_URL", "ENCRYPTION_KEYS")
CREATE_FIRST = "Create one with: leads connection create"


@dataclass(frozen=True)
class Session:
    """An open transaction and the key ring of the environment."""

    db: DbSession
    ring: KeyRing
    now: datetime

    def find(self, which: str | None, choose: str = "Choose one with --connection") -> ConnectionRow:
        """Return the connection of that id or name, or the only one.

        Raises WrongUsage; `choose` says in its message how to name another one.
        """
        rows = list_connections(self.db, self.now)
        found = [row for row in rows if which is None or which in (row.id, row.name)]
        if len(found) == 1:
            return found[0]
        if not rows:
            raise WrongUsage(f"There is no connection yet. {CREATE_FIRST}")
        names = ", ".join(row.name for row in rows)
        if which is None:
            raise WrongUsage(f"Ambiguous connection. {choose}: {names}")
        if found:
            ids = ", ".join(row.id for row in found)
            raise WrongUsage(f"Several connections are named {which!r}. Choose one by its id: {ids}")
        raise WrongUsage(f"There is no connection {which!r}. {choose}: {names}")


@contextmanager
def open_session(settings: OperatorSettings | None = None, command: str = "connection") -> Iterator[Session]:
    """Open one transaction of a command; it is rolled back if the command fails. Raises CommandFailed."""
    settings = settings or read_operator_settings(*NEEDS)
    try:
        with open_db_session(settings.database_url, command, autocommit=False) as db:
            yield Session(db, settings.key_ring, datetime.now(UTC))
    except ChangeRefused as error:
        raise CommandFailed(f"Refused: {error}") from error
