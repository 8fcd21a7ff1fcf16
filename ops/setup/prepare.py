"""Before the first step: ask, try the answers on engine and database, fill the files in memory."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import jwt

from leads.adapters.settings import SettingsError, read_settings
from leads.domain.errors import DatabaseUnavailable
from leads.domain.hosts import DEFAULT_HOSTS, host_of
from ops.checks.handlers import refusal_of
from ops.clients.db_session import LoginRefused, OwnerUnavailable, login_name, open_session
from ops.clients.hasura_admin import Engine
from ops.daily.token import ASYMMETRIC, MAX_DAYS, SYMMETRIC, Role, make_token, read_configuration
from ops.failures import WrongUsage
from ops.golive.deploy.site import MAY_HAVE, NEEDS, Choices, PlanFile, Site, open_site
from ops.settings import MIGRATIONS_FOLDER, changed_environment, read_operator_settings
from ops.setup.answers import QUESTIONS, Answers, Way
from ops.setup.env_files import EDGE, HANDLERS, LOGINS, OPS, EnvFiles, url_of_login
from ops.setup.steps import Setup
from ops.setup.values import check_folder, value_files

REQUEST_SECONDS = 10.0
ANSWERS_OF = {
    **{each.variable: each.name for each in QUESTIONS.values() if each.variable},
    "DATABASE_URL": "owner_database_url", "PANCAKE_API_HOSTS": "api_url",
}  # fmt: skip
"""The answer from which a variable comes."""


def prepare(answers: Answers, files: EnvFiles, *, is_new: bool) -> Setup:
    """Ask what is not known, try it on the engine and the database, and fill the files in memory.

    Raises WrongUsage, AccessDenied, HasuraUnavailable and DatabaseUnavailable; nothing was changed then.
    """
    answers.check_given()
    if is_new:
        check_folder(answers, files.folder)
    answers.ask("hasura_url", "admin_secret", "owner_database_url")
    answers.until_accepted(
        partial(_try_engine, answers),
        # One that is refused, or cannot be sent.
        lambda error: "admin_secret" if "admin secret" in str(error) else "hasura_url",
    )
    is_connected = answers.until_accepted(
        lambda: has_connection(answers["owner_database_url"]), lambda _: "owner_database_url"
    )
    if not is_connected:
        answers.ask(*["api_key", "workspace"] * is_new)
    elif not files.get("ENCRYPTION_KEYS"):
        raise WrongUsage(
            f"The database has a connection already, and {files.folder} has no keys that open its secrets. "
            f"Give the installation's folder with --folder, or put ENCRYPTION_KEYS into "
            f"{files.folder / HANDLERS}."
        )
    answers.ask("handlers_url", "public_url", "api_url")
    if is_new and not files.values:
        answers.offer("way", "project", "prometheus_url")
    if answers["way"] == Way.KUBERNETES and is_new:
        answers.ask("images", "engine_namespace", "engine_app")
    value_files(answers, files.folder)
    filled = files.filled(_common_values(answers), _values_of_files(answers))
    try:
        read_settings(filled.values[HANDLERS])
        read_operator_settings(*NEEDS, may_have=MAY_HAVE, environment=filled.values[OPS])
    except SettingsError as error:
        problems = (_with_answer(each) for each in error.problems)
        raise WrongUsage("\n".join(["The answers do not fit:", *problems])) from error
    return Setup(answers, files, filled)


def _try_engine(answers: Answers) -> None:
    with Engine(answers["hasura_url"], answers["admin_secret"], timeout_seconds=REQUEST_SECONDS) as engine:
        engine.inconsistencies()


def has_connection(url: str) -> bool:
    """Look whether a connection to Pancake is stored. Raises WrongUsage and OwnerUnavailable."""
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
    except DatabaseUnavailable as error:
        raise OwnerUnavailable(str(error)) from error


def _with_answer(problem: str) -> str:
    """Put the answer's name before a problem of a variable that comes from it."""
    name = ANSWERS_OF.get(problem.partition(" ")[0])
    return f"{name}: {problem}" if name else problem


def _common_values(answers: Answers) -> Mapping[str, str]:
    host = host_of(answers["api_url"])
    assert host is not None, "Answers.ask has checked it"
    asked = (each for each in QUESTIONS.values() if each.file and each.variable)
    of_files = {each.variable: answers[each.name] for each in asked}
    return of_files | {"PANCAKE_API_HOSTS": "" if host in DEFAULT_HOSTS else host}


def _values_of_files(answers: Answers) -> Mapping[str, Mapping[str, str]]:
    urls = {
        file: url_of_login(
            answers["owner_database_url"], f"{answers['logins']}_{role}", secrets.token_urlsafe(24)
        )
        for file, role in LOGINS.items()
    }
    service_token = _token(answers, "service_token", "pancake_service")
    return {
        HANDLERS: {"DATABASE_URL": urls[HANDLERS], "HASURA_SERVICE_TOKEN": service_token},
        EDGE: {
            "HANDLERS_URL": answers["edge_handlers_url"],
            "HASURA_EDGE_TOKEN": _token(answers, "edge_token", "pancake_edge"),
        },
        OPS: {"DATABASE_URL": urls[OPS], "HASURA_SERVICE_TOKEN": service_token},
    }  # fmt: skip


def _token(answers: Answers, name: str, role: Role) -> str:
    """Return the token of the answer `name`, or a new one; the engine accepts it. Raises WrongUsage."""

    def blamed(_: Exception) -> str:
        kind = "" if answers[name] else read_configuration(answers["jwt_secret"]).get("type")
        return "jwt_secret" if kind in SYMMETRIC else "jwt_private_key" if kind in ASYMMETRIC else name

    return answers.until_accepted(partial(_try_token, answers, name, role), blamed)


def _try_token(answers: Answers, name: str, role: Role) -> str:
    refuses = partial(refusal_of, answers["hasura_url"], role=role, seconds=REQUEST_SECONDS)
    if known := answers[name]:
        if not answers.is_of_file(name) and (refusal := refuses(known)):
            raise WrongUsage(
                f"The engine refuses {name} for the role {role}: {refusal}. Ask its issuer for a token with "
                f"{role} as x-hasura-default-role and in x-hasura-allowed-roles."
            )
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
    if refusal := refuses(token):
        raise WrongUsage(
            f"The engine refuses a token signed with this key ({refusal}): give jwt_secret the value of the "
            "engine's HASURA_GRAPHQL_JWT_SECRET, or two tokens of its issuer as service_token and edge_token."
        )
    return token


@contextmanager
def opened(
    setup: Setup, accept_engine: str = "", programs: Path | None = None, *, reads_only: bool = False
) -> Iterator[Site]:
    """Open the site with the environment that the steps and their verbs need."""
    answers = setup.answers
    choices = Choices(
        setup.folder, PlanFile(), login_name(), setup.folder / "metadata-backups",
        answers["source"], MIGRATIONS_FOLDER, programs, anytime=True, accept_engine=accept_engine,
    )  # fmt: skip
    environment = {
        **setup.files.values[HANDLERS], **setup.files.values[OPS],
        "DATABASE_URL": answers["owner_database_url"], "PANCAKE_API_KEY": answers["api_key"],
    }  # fmt: skip
    with changed_environment(environment), open_site(choices, reads_only=reads_only) as site:
        yield site
