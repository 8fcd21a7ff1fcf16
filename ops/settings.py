"""The environment variables of the operators' command: a verb reads those that it names."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import typer

from leads.adapters import settings
from leads.adapters.secrets import KeyRing
from leads.adapters.settings import Environment, Hop

CLONE = Path(__file__).resolve().parents[1]
MIGRATIONS_FOLDER = CLONE / "hasura" / "migrations" / "default"
VARIABLES: Mapping[str, str] = {
    **settings.VARIABLES,
    "HASURA_ADMIN_SECRET": "the admin secret of the engine at HASURA_URL",
    "HASURA_OTHER_ADMIN_SECRET": "the other engine's admin secret; HASURA_ADMIN_SECRET is not sent there",
    "HASURA_GRAPHQL_JWT_SECRET": "the same value as that of the engine, a JSON object",
    "HANDLERS_URL": "the base URL of the handlers, the same value as that of Hasura",
    "EDGE_STATE_KEYS": "the same value as that of the edge, id:base64[,id:base64]",
    "EDGE_STATUS_URL": "the URL of the edge's internal listener, for example http://127.0.0.1:9145",
    "ALERTMANAGER_URL": "the base URL of Alertmanager, for example http://alertmanager.internal:9093",
    "PROMETHEUS_URL": "the base URL of Prometheus, for example http://prometheus.internal:9090",
    "PUBLIC_URL": "the URL at which Pancake reaches the edge, for example https://crm.example.com",
}
"""Those of the handlers and of the verbs that have no default, each with the value to give it."""

PLAIN_VARIABLES: Mapping[str, str] = {
    "PANCAKE_API_HOSTS": "crm.pancake.vn",
    "ALLOW_CLEAR_TEXT": "",
    "BIND": "127.0.0.1:8000",
    "OPS_BIND": "",
    "EDGE_STATE_DIR": "/var/lib/pancake-edge",
    "INGEST_CONNECTIONS": "2",
    "WORK_CONNECTIONS": "8",
    "LOG_LEVEL": "INFO",
    "VERSION": "",
    "COMMIT": "",
    "GOLIVE_SIGNERS": "/etc/pancake/allowed_signers",
    "GOLIVE_KEY": "~/.ssh/id_ed25519",
}
"""Those that may be left out, each with its default; none is a secret."""


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """The variables that one verb needs; the others are empty. Secrets never show in its repr."""

    database_url: str = field(repr=False)
    key_ring: KeyRing = field(repr=False)
    hasura_url: str
    hasura_admin_secret: str = field(repr=False)
    hasura_other_admin_secret: str = field(repr=False)
    jwt_secret: str = field(repr=False)
    edge_state_keys: KeyRing = field(repr=False)
    edge_state_dir: Path
    pancake_api_hosts: frozenset[str]
    public_url: str
    handlers_url: str
    handler_secret: str = field(repr=False)
    edge_status_url: str
    alertmanager_url: str
    hasura_service_token: str = field(repr=False)
    prometheus_url: str = field(repr=False)
    """It may hold a user and a password."""


def read_operator_settings(
    *needs: str, may_have: Collection[str] = (), environment: Mapping[str, str] | None = None
) -> OperatorSettings:
    """Read and check the variables that a verb names; those that it `may_have` are empty if not set.

    Raises SettingsError that lists every problem.
    """
    read = Environment(VARIABLES, needs, may_have, environment)
    found = OperatorSettings(
        database_url=read.database_url("DATABASE_URL"),
        hasura_url=read.base_url("HASURA_URL", "hasura"),
        key_ring=read.key_ring("ENCRYPTION_KEYS"),
        hasura_admin_secret=read.text("HASURA_ADMIN_SECRET"),
        hasura_other_admin_secret=read.text("HASURA_OTHER_ADMIN_SECRET"),
        jwt_secret=read.text("HASURA_GRAPHQL_JWT_SECRET"),
        edge_state_keys=read.key_ring("EDGE_STATE_KEYS"),
        edge_state_dir=Path(read.text("EDGE_STATE_DIR") or PLAIN_VARIABLES["EDGE_STATE_DIR"]),
        pancake_api_hosts=read.pancake_api_hosts(),
        public_url=read.text("PUBLIC_URL"),
        handlers_url=read.base_url("HANDLERS_URL", "handlers"),
        handler_secret=read.text("HANDLER_SECRET"),
        edge_status_url=read.base_url("EDGE_STATUS_URL"),
        alertmanager_url=read.base_url("ALERTMANAGER_URL"),
        hasura_service_token=read.text("HASURA_SERVICE_TOKEN"),
        prometheus_url=read.base_url("PROMETHEUS_URL"),
    )
    read.check_clear_text("PUBLIC_URL", "edge", filter(None, [found.public_url]))
    read.raise_problems()
    return found


@contextmanager
def changed_environment(values: Mapping[str, str]) -> Iterator[None]:
    """Have these variables in the environment, also of programs that are started; leave out empty ones."""
    before = dict(os.environ)
    os.environ.update({name: value for name, value in values.items() if value})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def read_variable(name: str) -> str:
    """Read a variable that an operator named, or that is not a setting; empty if it is not set."""
    return Environment({}).text(name)


def read_version() -> str:
    """Return the version of the clone, where nothing needs to be installed, or of the installed package."""
    project = CLONE / "pyproject.toml"
    if project.exists():
        return str(tomllib.loads(project.read_text("utf-8"))["project"]["version"])
    from importlib.metadata import version

    return version("pancake-diva")


def installed_commit() -> str:
    """Return the commit of what runs: COMMIT of the image or package, else of the clone, else nothing."""
    return read_variable("COMMIT") or _commit_of_clone()


def commit_origin() -> str:
    """Say where the commit is from: `image` (or package), `clone`, or nothing."""
    return "image" if read_variable("COMMIT") else "clone" if _commit_of_clone() else ""


def _commit_of_clone() -> str:
    """Return the commit; if files differ, `modified` goes first: such results are no evidence."""
    try:
        commit = _git("rev-parse", "HEAD")
        return f"modified {commit}" if _git("status", "--porcelain") else commit
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(*words: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=CLONE, capture_output=True, text=True, check=True, timeout=10.0
    )
    return done.stdout.strip()


def read_argument(text: str, label: str) -> str:
    """Return an argument; for `-` what is typed at a prompt, or the first line of stdin.

    Every user of the machine sees the arguments of a command, and its shell keeps them.
    """
    if text != "-":
        return text
    line: str = typer.prompt(label, err=True) if sys.stdin.isatty() else sys.stdin.readline()
    return line.strip()


def check_url(name: str, hop: Hop, url: str) -> None:
    """Check a URL that an option gives in place of a variable. Raises SettingsError."""
    read = Environment(VARIABLES)
    read.check_clear_text(name, hop, [url])
    read.raise_problems()
