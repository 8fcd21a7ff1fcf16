"""The installation that is deployed to: what golive.yaml says of it, database, engine, journal and lock."""

import fcntl
import json
import os
import shlex
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, Literal

import pydantic.dataclasses
import typer
import yaml
from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError

from ops.checks.services import REQUEST_SECONDS, Services
from ops.clients.db_session import DbSession, load_row, login_name, open_session
from ops.failures import CommandFailed, WrongUsage, file_reason
from ops.files import append_line, private
from ops.metadata.deploy import Deployment, open_deployment
from ops.settings import VARIABLES, OperatorSettings, installed_commit, read_operator_settings, read_variable

PLAN = Path("golive.yaml")
PlanOption = Annotated[Path, typer.Option("--file", help="What is special to your installation.")]
STRICT = ConfigDict(extra="forbid", coerce_numbers_to_str=True, defer_build=True)


def _words(given: Any) -> tuple[str, ...]:
    return given if isinstance(given, tuple) else tuple(shlex.split(str(given)))


Command = Annotated[tuple[str, ...], BeforeValidator(_words)]
"""A command without a shell; in the file it is one text."""
ServiceName = Literal["edge", "handlers", "front_end"]


@pydantic.dataclasses.dataclass(frozen=True, slots=True, config=STRICT)
class Service:
    """How a service is deployed and taken back, and what it answers afterwards.

    `back` brings the former version back, for the drill of tier 2. /healthz of the handlers has to name
    `version`, and after `back` `former_version`; at `url` the front end answers 200.
    """

    do: Command = ()
    undo: Command = ()
    back: Command = ()
    version: str = ""
    former_version: str = ""
    url: str = ""


@pydantic.dataclasses.dataclass(frozen=True, slots=True, config=STRICT)
class Pancake:
    """The connection that step 13 creates, as the options of `leads connection create`."""

    name: str
    workspace: int
    key_file: str
    webhook_url_file: str = "webhook-url.txt"
    api_url: str = "https://crm.pancake.vn/api"


@pydantic.dataclasses.dataclass(frozen=True, slots=True, config=STRICT)
class PlanFile:
    """The content of golive.yaml; all of it may be missing, then a person does these parts.

    Step 14 switches only `source` on, a name or Pancake's id, and lets the active members of `roster`, a
    staff role, join the default roster. `golive precheck` reads `engine_manifest`, the engine's Deployment or
    compose service, and compares the metadata of the engine at `staging_url`. The command `tell` tells people
    of a rollback: it gets channel, audience and text as arguments.
    """

    services: Mapping[ServiceName, Service] = field(default_factory=dict)
    pancake: Pancake | None = None
    source: str = ""
    roster: str = ""
    engine_manifest: str = ""
    staging_url: str = ""
    handler_processes: int = 1
    tell: Command = ()

    def service(self, name: ServiceName) -> Service:
        return self.services.get(name, Service())


def read_plan_file(path: Path) -> PlanFile:
    try:
        document = yaml.safe_load(path.read_text("utf-8"))
        return TypeAdapter(PlanFile).validate_python(_without_empty(document or {}))
    except FileNotFoundError:
        return PlanFile()
    except OSError as error:
        raise WrongUsage(f"{path} cannot be read: {file_reason(error)}") from error
    except ValidationError as error:
        fault = error.errors()[0]
        reason = f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
    except (UnicodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
    raise WrongUsage(f"{path} is not a plan: {reason}. docs/runbook/go-live.md has an example.")


def _without_empty(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: _without_empty(each) for name, each in value.items() if each is not None}


JOURNAL = "deploy.jsonl"
LOCK_FILE = "deploy.lock"
NEEDS = ("DATABASE_URL", "HASURA_URL", "HASURA_ADMIN_SECRET")
MAY_HAVE = ("HANDLERS_URL", "EDGE_STATUS_URL", "PUBLIC_URL", "ENCRYPTION_KEYS")
SECRETS = (
    "DATABASE_URL", "METADATA_DATABASE_URL", "ENCRYPTION_KEYS", "HASURA_SERVICE_TOKEN", "HANDLER_SECRET",
    "EDGE_SECRET", "HASURA_ADMIN_SECRET", "HASURA_OTHER_ADMIN_SECRET", "HASURA_GRAPHQL_JWT_SECRET",
    "EDGE_STATE_KEYS",
)  # fmt: skip
HIDDEN = "(hidden)"
MIN_SECRET_CHARACTERS = 6
"""A shorter value would hide parts of ordinary words."""


@dataclass
class Journal:
    """What was done: one JSON object a line, on disk before the next action begins.

    `secrets` never get into it, wherever they stand.
    """

    folder: Path
    by: str
    commit: str
    secrets: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def path(self) -> Path:
        return self.folder / JOURNAL

    def write(self, event: str, step: str, **details: Any) -> None:
        entry = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, "step": step,
            "by": self.by, "login": login_name(), "host": socket.gethostname(), "commit": self.commit,
            **details,
        }  # fmt: skip
        line = json.dumps(entry, ensure_ascii=False)
        for secret in sorted(self.secrets, key=len, reverse=True):
            if len(secret) >= MIN_SECRET_CHARACTERS:
                line = line.replace(json.dumps(secret, ensure_ascii=False)[1:-1], HIDDEN)
        append_line(self.path, line.encode())

    def entries(self, *events: str, step: str = "") -> list[Mapping[str, Any]]:
        """Return the entries of these events and that step (or of all), the oldest first.

        One that was cut off by a stop is left out.
        """
        found = []
        for line in self.path.read_bytes().splitlines() if self.path.exists() else ():
            with suppress(ValueError):
                entry = json.loads(line)
                if (not events or entry["event"] in events) and (not step or entry["step"] == step):
                    found.append(entry)
        return found

    def confirmation(self, step: str) -> Mapping[str, Any] | None:
        found = self.entries("confirmed", "undone", step=step)
        return found[-1] if found and found[-1]["event"] == "confirmed" else None

    def is_undone(self, step: str, *also: str) -> bool:
        """Whether the last thing done to a step was its undo; with `begin` no action began since either."""
        found = self.entries("verify", "confirmed", "undone", *also, step=step)
        return bool(found) and found[-1]["event"] == "undone"

    def interrupted(self) -> Mapping[str, Any] | None:
        found = self.entries("begin", "end")
        return found[-1] if found and found[-1]["event"] == "begin" else None


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
    accept_engine: str = ""


class Site(Services):
    """What the steps work on. Its readers share its session."""

    def __init__(
        self, settings: OperatorSettings, db: DbSession, deployment: Deployment, journal: Journal,
        choices: Choices,
    ) -> None:  # fmt: skip
        super().__init__(
            settings, "golive deploy", choices.source, plan=choices.plan, folder=choices.folder,
            engine=deployment.engine, own=deployment.own, request_seconds=REQUEST_SECONDS,
        )  # fmt: skip
        self.db, self.deployment, self.journal, self.choices = db, deployment, journal, choices
        self._one = Lock()

    @contextmanager
    def database(self) -> Iterator[DbSession]:
        with self._one:
            yield self.db

    def row(self, name: str, **parameters: object) -> Mapping[str, Any]:
        return load_row(self.db, name, parameters)

    def migration(self, version: str, file: str) -> Path:
        migrations = self.choices.migrations
        found = sorted(migrations.glob(f"*{version}_*/{file}"))
        if len(found) != 1:
            raise WrongUsage(f"{migrations} has no migration …{version} with {file}. Give --migrations.")
        return found[0]


@contextmanager
def open_site(choices: Choices, *, reads_only: bool = False) -> Iterator[Site]:
    """Open database and engine under the lock of the deployment; one that `reads_only` writes no file.

    Raises CommandFailed if another deployment runs, DatabaseUnavailable and LoginRefused.
    """
    settings = read_operator_settings(*NEEDS, may_have=MAY_HAVE)
    journal = Journal(choices.folder, choices.by, installed_commit(), known_secrets())
    with ExitStack() as stack:
        if not reads_only:
            choices.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            stack.enter_context(_file_lock(choices.folder / LOCK_FILE))
        db = stack.enter_context(open_session(settings.database_url, "golive deploy"))
        if not load_row(db, "golive/lock_deploy")["locked"]:
            raise CommandFailed("Another deployment runs on this database: wait until it ends.")
        deployment = stack.enter_context(open_deployment(choices.backups, choices.source))
        yield stack.enter_context(Site(settings, db, deployment, journal, choices))


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    """Hold a lock that the programs of the steps inherit: it is free when the last of them has ended."""
    with open(path, "a", opener=private) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CommandFailed(
                f"Another deployment, or a program that one started, runs: {path} is locked. "
                f"See which one with: fuser {path}"
            ) from error
        os.set_inheritable(file.fileno(), True)
        yield


def known_secrets() -> frozenset[str]:
    assert set(SECRETS) <= VARIABLES.keys()
    return frozenset(filter(None, (read_variable(name).strip() for name in SECRETS)))
