"""The installation that is deployed to: its database, engine and files; the lock against two at once."""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.clients.db_session import QUERIES, DatabaseError, DbSession, open_session
from ops.failures import CommandFailed, WrongUsage
from ops.golive.commit import CLONE, installed_commit
from ops.golive.deploy.journal import Journal
from ops.golive.deploy.plan_file import PlanFile
from ops.metadata.deploy import Deployment, open_deployment
from ops.settings import VARIABLES, OperatorSettings, read_operator_settings, read_variable

LOCK_FILE = "deploy.lock"
NEEDS = ("DATABASE_URL", "HASURA_URL", "HASURA_ADMIN_SECRET")
MAY_HAVE = ("HANDLERS_URL", "EDGE_STATUS_URL", "PUBLIC_URL")
SECRETS = (
    "DATABASE_URL", "METADATA_DATABASE_URL", "ENCRYPTION_KEYS", "HASURA_SERVICE_TOKEN", "HANDLER_SECRET",
    "EDGE_SECRET", "HASURA_ADMIN_SECRET", "HASURA_OTHER_ADMIN_SECRET", "HASURA_GRAPHQL_JWT_SECRET",
    "EDGE_STATE_KEYS",
)  # fmt: skip


class AnotherDeployment(CommandFailed):
    """Another deployment runs, here or on another machine."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What the options of the command choose. `programs` is the folder of pg_dump, None: the one on PATH."""

    folder: Path
    plan: PlanFile
    by: str
    backups: Path
    source: str
    migrations: Path
    programs: Path | None = None
    anytime: bool = False
    move_tickets: bool = False


@dataclass(frozen=True)
class Site:
    """What the steps work on."""

    settings: OperatorSettings
    db: DbSession
    deployment: Deployment
    journal: Journal
    choices: Choices

    @property
    def plan(self) -> PlanFile:
        return self.choices.plan

    @property
    def folder(self) -> Path:
        return self.choices.folder

    def row(self, name: str, **parameters: object) -> Mapping[str, Any]:
        """Return the only row of a statement of sql/golive. Raises DatabaseError."""
        found = self.db.execute(QUERIES[name], parameters).fetchone()
        assert found is not None
        return found

    def migration(self, version: str, file: str) -> Path:
        """Return a file of the migration with these last digits. Raises WrongUsage."""
        migrations = self.choices.migrations
        found = sorted(migrations.glob(f"*{version}_*/{file}"))
        if len(found) != 1:
            raise WrongUsage(f"{migrations} has no migration …{version} with {file}. Give --migrations.")
        return found[0]

    def named(self, path: Path) -> str:
        """Return a path as it stands in the clone."""
        return path.relative_to(CLONE).as_posix() if path.is_relative_to(CLONE) else str(path)


@contextmanager
def open_site(choices: Choices) -> Iterator[Site]:
    """Open database and engine under the lock of the deployment.

    Raises AnotherDeployment, DatabaseUnavailable and LoginRefused.
    """
    settings = read_operator_settings(*NEEDS, may_have=MAY_HAVE)
    choices.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    journal = Journal(choices.folder, choices.by, installed_commit(), known_secrets())
    with ExitStack() as stack:
        stack.enter_context(_file_lock(choices.folder / LOCK_FILE))
        db = stack.enter_context(open_session(settings.database_url, "golive deploy"))
        row = db.execute(QUERIES["golive/lock_deploy"]).fetchone()
        if row is None or not row["locked"]:
            raise AnotherDeployment("Another deployment runs on this database: wait until it ends.")
        deployment = stack.enter_context(open_deployment(choices.backups, choices.source))
        yield Site(settings, db, deployment, journal, choices)


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    """Hold a lock that the programs of the steps inherit: it is free when the last of them has ended."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AnotherDeployment(
                f"Another deployment, or a program that one started, runs: {path} is locked. "
                f"See which one with: fuser {path}"
            ) from error
        os.set_inheritable(descriptor, True)
        yield
    finally:
        os.close(descriptor)


def known_secrets() -> frozenset[str]:
    """Return the values of the environment that must not be written anywhere."""
    assert set(SECRETS) <= VARIABLES.keys()
    return frozenset(filter(None, (read_variable(name).strip() for name in SECRETS)))


def first_line(error: DatabaseError) -> str:
    """Return the first line of what PostgreSQL says: the others may quote rows."""
    return (str(error).splitlines() or [type(error).__name__])[0].strip()
