"""Before the first step: ask, try the answers on engine and database, fill the files in memory."""

import getpass
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt

from leads.adapters.settings import SettingsError, read_settings
from leads.domain.hosts import DEFAULT_HOSTS, host_of
from ops.clients.db_session import LoginRefused, open_session
from ops.clients.plain_http import ask
from ops.daily.token import MAX_DAYS, Role, make_token, read_configuration
from ops.failures import WrongUsage
from ops.golive.commit import MIGRATIONS_FOLDER
from ops.golive.deploy.plan_file import PlanFile
from ops.golive.deploy.site import Choices, Site, open_site
from ops.metadata.engine import Engine
from ops.settings import changed_environment
from ops.setup.answers import Answers
from ops.setup.env_files import EDGE, HANDLERS, LOGINS, OPS, EnvFiles, url_of_login
from ops.setup.steps import Setup

REQUEST_SECONDS = 10.0


def prepare(answers: Answers, files: EnvFiles, *, is_new: bool) -> Setup:
    """Ask what is not known, try it on the engine and the database, and fill the files in memory.

    Raises WrongUsage, AccessDenied, HasuraUnavailable and DatabaseUnavailable; nothing was changed then.
    """
    answers.ask("hasura_url", "admin_secret", "owner_database_url")
    with Engine(answers["hasura_url"], answers["admin_secret"], timeout_seconds=REQUEST_SECONDS) as engine:
        engine.inconsistencies()
    if not has_connection(answers["owner_database_url"]):
        answers.ask(*["api_key", "workspace"] * is_new)
    elif not files.get("ENCRYPTION_KEYS"):
        raise WrongUsage(
            f"The database has a connection already, and {files.folder} has no keys that open its secrets. "
            f"Give the installation's folder with --folder, or put ENCRYPTION_KEYS into "
            f"{files.folder / HANDLERS}."
        )
    answers.ask("handlers_url", "public_url")
    filled = files.filled(_common_values(answers), _values_of_files(answers, files))
    try:
        read_settings(filled.values[HANDLERS])
    except SettingsError as error:
        raise WrongUsage("\n".join(["The answers do not fit:", *error.problems])) from error
    return Setup(answers, files, filled)


def has_connection(url: str) -> bool:
    """Look whether a connection to Pancake is stored. Raises WrongUsage and DatabaseUnavailable."""
    try:
        with open_session(url, "setup") as db:
            found = db.execute("SELECT to_regclass('public.pancake_connection') AS name").fetchone()
            if found is None or found["name"] is None:
                return False
            return db.execute("SELECT FROM public.pancake_connection LIMIT 1").fetchone() is not None
    except LoginRefused as error:
        raise WrongUsage(
            f"The database refused the owner's login: {error}. Check OWNER_DATABASE_URL."
        ) from error


def _common_values(answers: Answers) -> Mapping[str, str]:
    host = host_of(answers["api_url"])
    if host is None:
        raise WrongUsage(f"{answers['api_url']!r} is not a base URL, for example https://crm.pancake.vn/api")
    return {
        "HASURA_URL": answers["hasura_url"], "HASURA_ADMIN_SECRET": answers["admin_secret"],
        "HANDLERS_URL": answers["handlers_url"], "PUBLIC_URL": answers["public_url"],
        "EDGE_STATUS_URL": answers["edge_status_url"],
        "METADATA_DATABASE_URL": answers["metadata_database_url"],
        "ALLOW_CLEAR_TEXT": answers["allow_clear_text"],
        "PANCAKE_API_HOSTS": "" if host in DEFAULT_HOSTS else host,
    }  # fmt: skip


def _values_of_files(answers: Answers, files: EnvFiles) -> Mapping[str, Mapping[str, str]]:
    urls = {
        file: url_of_login(
            answers["owner_database_url"], f"{answers['logins']}_{role}", secrets.token_urlsafe(24)
        )
        for file, role in LOGINS.items()
    }
    return {
        HANDLERS: {
            "DATABASE_URL": urls[HANDLERS], "HASURA_SERVICE_TOKEN": _token(answers, "pancake_service"),
        },
        EDGE: {
            "HANDLERS_URL": answers["edge_handlers_url"],
            "HASURA_EDGE_TOKEN": _token(answers, "pancake_edge"),
        },
        OPS: {"DATABASE_URL": urls[OPS]},
    }  # fmt: skip


def _token(answers: Answers, role: Role) -> str:
    """Return the token that is known, or a new one that the engine accepts. Raises WrongUsage."""
    if known := answers["service_token" if role == "pancake_service" else "edge_token"]:
        return known
    answers.ask("jwt_secret")
    now = datetime.now(UTC).replace(microsecond=0)
    key = answers["jwt_private_key"]
    try:
        configuration = read_configuration(answers["jwt_secret"])
        token = make_token(
            role, configuration, now, now + timedelta(days=MAX_DAYS), Path(key) if key else None
        )
    except (jwt.PyJWTError, OSError, ValueError, TypeError) as error:
        raise WrongUsage(f"The token of {role} could not be signed: {error}. Check jwt_secret.") from error
    answer = ask(
        f"{answers['hasura_url']}/v1/graphql", body={"query": "{ __typename }"},
        headers={"Authorization": f"Bearer {token}"}, timeout_seconds=REQUEST_SECONDS,
    )  # fmt: skip
    if "invalid-jwt" in answer.text:
        raise WrongUsage(
            "The engine refuses a token signed with this key: give jwt_secret the value of the engine's "
            "HASURA_GRAPHQL_JWT_SECRET, or two tokens of its issuer as service_token and edge_token."
        )
    return token


@contextmanager
def opened(
    setup: Setup, accept_engine: str = "", programs: Path | None = None, *, reads_only: bool = False
) -> Iterator[Site]:
    """Open the site with the environment that the steps and their verbs need."""
    answers = setup.answers
    choices = Choices(
        setup.folder, PlanFile(), getpass.getuser(), setup.folder / "metadata-backups",
        answers["source"], MIGRATIONS_FOLDER, programs, anytime=True, accept_engine=accept_engine,
    )  # fmt: skip
    environment = {
        **setup.files.values[HANDLERS], **setup.files.values[OPS],
        "DATABASE_URL": answers["owner_database_url"], "PANCAKE_API_KEY": answers["api_key"],
    }  # fmt: skip
    with changed_environment(environment), open_site(choices, reads_only=reads_only) as site:
        yield site
