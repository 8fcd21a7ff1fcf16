"""What an installation needs beside the steps of the deployment: files, logins, the engine, a project."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from leads.domain.errors import DatabaseUnavailable
from ops.clients.db_session import QUERIES, DatabaseError, LoginRefused, open_session
from ops.clients.plain_http import NoAnswer, ask
from ops.daily.backfill_phones import build_index, count_accounts, has_index
from ops.failures import CommandFailed, first_line
from ops.files import write_file
from ops.golive.deploy.site import Site
from ops.golive.deploy.step import GOES_ON, Action, Actions, Found, State, Step, function, verb
from ops.golive.deploy.steps import ROLES, all_steps, forget_webhook, look_for
from ops.metadata.directory import DIRECTORY, parse
from ops.metadata.merge import (
    OurPart,
    find_layout,
    find_our_part,
    find_problems,
    plan_merge,
    plan_unmerge,
    write_plan,
)
from ops.output import say
from ops.setup.answers import Answers
from ops.setup.env_files import (
    ENGINE,
    FILES,
    KEYS,
    LOGINS,
    MADE,
    EnvFiles,
    login_of,
    read_env_files,
    url_of_login,
)
from ops.setup.values import value_steps

TEXTS = parse(Path(__file__).with_name("steps.yaml"))
WEBHOOK_FILE = "webhook-url.txt"
REQUEST_SECONDS = 5.0
FOR_THE_DBA = "for-the-dba.sql"
SECRET = "HANDLER_SECRET"  # noqa: S105 - the name of a variable
SHOWN_BY = ("HASURA_GRAPHQL_DEV_MODE", "HASURA_GRAPHQL_ADMIN_INTERNAL_ERRORS")
NOT_ASKED = (
    "no API of an engine tells the values of HASURA_GRAPHQL_ENABLED_LOG_TYPES and HASURA_GRAPHQL_REDACT_…: "
    f"compare them with {ENGINE}"
)
FIT = (
    "database", "postgresql", "diva-columns", "hasura", "engine-version", "metadata-read", "naming",
    "catalog", "diva-action",
)  # fmt: skip
"""The checks of what the setup cannot change."""
TABLES_OF_DIVA = (
    "account", "app_setting", "contact_book", "crm_master_data", "customer_consent",
    "module_permission_action", "notification_template", "staff", "ticket",
)  # fmt: skip
AT_ONCE = 20_000
"""So many accounts are filled at once; more wait for the night, so that no other session waits for a row."""
AT_NIGHT = "the service backfill fills them from 02:00 to 06:00 ICT (docs/production.md)"
OPTIONS_OF_MEMBERS = 160_000
"""From this version of PostgreSQL on a GRANT says whether a member has the rights of the role by itself."""
QUIET = ("log_parameter_max_length = 0", "log_error_verbosity = terse")
"""With these PostgreSQL's log holds no values of a customer; only a superuser may set them."""


@dataclass(frozen=True)
class Setup:
    """What the steps need beside the site: the answers, the files as they were, and as they have to be."""

    answers: Answers
    former: EnvFiles
    files: EnvFiles

    @property
    def folder(self) -> Path:
        return self.files.folder

    def logins(self) -> dict[str, tuple[str, str]]:
        """Return the role and the password of each login, as the files name it."""
        found = {}
        for file, role in LOGINS.items():
            login, password = login_of(self.files.get("DATABASE_URL", file))
            found[login] = (f"pancake_{role}", password)
        return found


def setup_steps(setup: Setup) -> list[Step]:
    """Return what is done before the services start, in order."""
    steps = []
    for step in all_steps():
        if step.id == "10":
            break
        if step.id == ROLES:
            steps.append(_logins_step(setup))
        if step.id == "2":
            step = replace(step, check=_check_phones, do=_phones(step))
        elif step.id == "9a":
            steps += [*project_steps(setup, "9a"), _engine_step(setup)]
            step = replace(step, check=partial(_check_metadata, step))
        steps.append(step)
    values = value_steps(setup.answers, setup.folder)
    fit = Step("fit", check=partial(_check_fit, setup), **TEXTS["fit"])
    return [fit, _files_step(setup), *values, *steps, _connection_step(setup)]


def _check_fit(setup: Setup, site: Site) -> Found:
    if problem := _find_misfit(setup, site):
        return Found(State.ABSENT, problem)
    found = look_for(site, *FIT, accepted=site.choices.accept_engine)
    if found.state in GOES_ON and (missing := _missing_rights(site)):
        return Found(State.ABSENT, missing)
    return found


def _find_misfit(setup: Setup, site: Site) -> str:
    """Say what is wrong with the database and the login of the setup; empty: nothing."""
    owner = site.row("setup/load_owner", tables=list(TABLES_OF_DIVA))
    login = owner["login"]
    if not owner["has_any"]:
        text = "has none of Diva's tables: is it another database than the engine's? It is in"
        return f"the database {owner['database']} {text} OWNER_DATABASE_URL"
    if owner["not_owned"]:
        tables = ", ".join(owner["not_owned"])
        return f"{login} does not own Diva's tables {tables}: give the database URL of their owner"
    if not owner["may_create"]:
        grant = f"GRANT CREATE ON SCHEMA public TO {login}"
        return f"{login} may not create tables: as the owner of the schema, {grant}"
    taken = [row["login"] for row in _list_logins(setup, site) if row["is_there"]]
    if taken and not setup.former.get("DATABASE_URL"):
        return f"{', '.join(taken)}: there are such roles; choose other names with --logins NAME"
    return ""


def _missing_rights(site: Site) -> str:
    """Say which rights the login lacks on Hasura's tables, and Hasura on those that the login makes.

    Hasura makes its event log only with our metadata; by then it is too late to ask the DBA.
    """
    ((name,),) = site.engine.run_sql("engine/load_login", site.choices.source)
    row = site.row("setup/load_engine_rights", engine=name)
    login, engine, owner = row["login"], row["engine"], row["owner"]
    statements = []
    if owner and row["covers_login"]:
        return (
            f"{login} has no rights on Hasura's tables, which {owner} owns: give the database URL of "
            f"{owner}, which has the rights of {login} too"
        )
    if owner and row["version"] >= OPTIONS_OF_MEMBERS:
        statements.append(f"GRANT {owner} TO {login} WITH INHERIT TRUE")
    elif owner:
        statements += [f"ALTER ROLE {login} INHERIT"] * (not row["inherits"]) + [f"GRANT {owner} TO {login}"]
    if not row["has_tables"]:
        statements.append(
            f"ALTER DEFAULT PRIVILEGES FOR ROLE {login} IN SCHEMA public GRANT ALL ON TABLES TO {engine}"
        )
    if not statements:
        return ""
    return (
        f"{login} and the engine's login {engine} need rights on each other's tables. Let the DBA run: "
        f"{'; '.join(statements)}"
    )


def _files_step(setup: Setup) -> Step:
    def check(_: Site) -> Found:
        found = read_env_files(setup.folder)
        if missing := found.missing():
            state = State.PARTIAL if found.values else State.ABSENT
            return Found(state, f"{len(missing)} values are missing, the first is {missing[0]}")
        return Found(State.DONE, f"{', '.join(FILES)} are in {setup.folder}, and have every value")

    def write() -> str:
        if read_env_files(setup.folder).values != setup.former.values:
            raise CommandFailed(f"{setup.folder} was changed by another run meanwhile: run this again.")
        changed = setup.files.write(setup.former)
        setup.answers.remember()
        return f"wrote {', '.join(changed)}; no value that was there is changed"

    paths = [str(setup.folder / file) for file in FILES]
    return Step(
        "files", check=check, do=lambda _: [function(("write", *paths), write)],
        does=tuple(f"write {path}, mode 600" for path in paths), **TEXTS["files"],
    )  # fmt: skip


def _check_phones(site: Site) -> Found:
    """Many accounts wait for the night, and nothing but the gate that asks for them waits for that."""
    found = look_for(site, "migrations", migration="929")
    if found.state not in GOES_ON:
        return found
    waiting = count_accounts(site.db)["open"]
    if waiting <= AT_ONCE:
        return look_for(site, "backfill")
    if not has_index(site.db):
        return Found(State.PARTIAL, "the index of accounts without a normalized phone is missing")
    return Found(State.DONE, f"{waiting} accounts wait: {AT_NIGHT}")


def _check_metadata(step: Step, site: Site) -> Found:
    """In an upgrade the metadata come after the handlers: new actions and crons call their new routes."""
    found = step.check(site)
    if found.state is State.PARTIAL and is_answering(site.settings.handlers_url):
        return Found(State.DONE, f"{found.text}; after the new handlers have started: leads setup --finish")
    return found


def is_answering(url: str) -> bool:
    """Whether a service is there at all."""
    try:
        ask(f"{url}/healthz", timeout_seconds=REQUEST_SECONDS)
    except NoAnswer:
        return False
    return True


def _phones(step: Step) -> Actions:
    def do(site: Site) -> Sequence[Action]:
        migrate, *fill = step.do(site)
        if count_accounts(site.db)["open"] <= AT_ONCE:
            return [migrate, *fill]
        # The service has the login of the operators, and only the owner may build the index.
        return [migrate, function(("build", "account_phone_not_normalized_idx"), partial(_build_index, site))]

    return do


def _build_index(site: Site) -> str:
    try:
        build_index(site.db)
    except DatabaseError as error:
        raise CommandFailed(first_line(error)) from error
    return ""


def _logins_step(setup: Setup) -> Step:
    script, logins = setup.folder / FOR_THE_DBA, setup.logins()
    absent = {"has_role": False, "is_there": False}
    return Step(
        "logins", check=partial(_check_logins, setup), **TEXTS["logins"],
        do=partial(_make_logins, setup), undo=partial(_drop_logins, setup),
        does=(
            "execute what is due of:",
            *(
                f"  {statement}" for login, (role, _) in logins.items()
                for statement in _statements_of(absent | {"login": login, "role": role}, "…", is_quiet=True)
            ),
        ),
        undoes=tuple(f"DROP ROLE {login}" for login in logins),
        do_by_hand=f"Ask the DBA to run {script} (psql -f), then run this again.", has_other_undo=True,
    )  # fmt: skip


def _list_logins(setup: Setup, site: Site) -> list[Mapping[str, Any]]:
    logins = setup.logins()
    params = {"logins": list(logins), "roles": [role for role, _ in logins.values()]}
    rows = site.db.execute(QUERIES["setup/list_logins"], params).fetchall()
    return [row | {"password": logins[row["login"]][1]} for row in rows]


def _check_logins(setup: Setup, site: Site) -> Found:
    rows = _list_logins(setup, site)
    if not any(row["is_there"] for row in rows):
        return Found(State.ABSENT, "none of the logins is there")
    for row in rows:
        if not row["is_member"]:
            return Found(State.PARTIAL, f"{row['login']} is no login of the role {row['role']}")
        try:
            url = url_of_login(site.settings.database_url, row["login"], row["password"])
            open_session(url, "setup").close()
        except (DatabaseUnavailable, LoginRefused) as error:
            return Found(State.PARTIAL, f"{row['login']} cannot log in: {error}")
    return Found(State.DONE, f"{' and '.join(row['login'] for row in rows)} can log in")


def _statements(setup: Setup, site: Site, *, is_quiet: bool) -> list[str]:
    """Return what makes the logins. A password is in it as PostgreSQL stores it, never as it is."""
    made = []
    for row in _list_logins(setup, site):
        password, login = row["password"].encode(), row["login"].encode()
        verifier = site.db.pgconn.encrypt_password(password, login, b"scram-sha-256")
        made += _statements_of(row, verifier.decode(), is_quiet=is_quiet)
    return made


def _statements_of(row: Mapping[str, Any], verifier: str, *, is_quiet: bool) -> list[str]:
    name, role = _identifier(row["login"]), row["role"]
    made = [] if row["has_role"] else [f"CREATE ROLE {role} NOLOGIN"]
    if row["is_there"]:
        made += [f"ALTER ROLE {name} LOGIN PASSWORD '{verifier}'", f"GRANT {role} TO {name}"]
    else:
        made.append(f"CREATE ROLE {name} LOGIN PASSWORD '{verifier}' IN ROLE {role}")
    return made + [f"ALTER ROLE {name} SET {setting}" for setting in QUIET if is_quiet]


def _identifier(login: str) -> str:
    return '"' + login.replace('"', '""') + '"'


def _make_logins(setup: Setup, site: Site) -> Sequence[Action]:
    owner = site.row("setup/load_owner", tables=[])
    if not owner["may_create_roles"]:
        statements = _statements(setup, site, is_quiet=True)
        path = setup.folder / FOR_THE_DBA

        def write() -> str:
            write_file(path, "".join(f"{statement};\n" for statement in statements))
            return f"{owner['login']} may not create roles: {path} has the statements for the DBA"

        return [function(("write", str(path)), write)]
    return [_execute_all(site, "CREATE ROLE", _statements(setup, site, is_quiet=owner["is_superuser"]))]


def _drop_logins(setup: Setup, site: Site) -> Sequence[Action]:
    if not site.row("setup/load_owner", tables=[])["may_create_roles"]:
        return [function(("leave", *setup.logins()), lambda: "ask the DBA to drop these logins")]
    statements = [f"DROP ROLE IF EXISTS {_identifier(login)}" for login in setup.logins()]
    return [_execute_all(site, "DROP ROLE", statements)]


def _execute_all(site: Site, title: str, statements: Sequence[str]) -> Action:
    def work() -> str:
        try:
            with site.db.transaction():
                for statement in statements:
                    site.db.execute(statement.encode())
        except DatabaseError as error:
            raise CommandFailed(first_line(error)) from error
        return ""

    return function(("execute", title), work)


def project_steps(setup: Setup, step: str) -> list[Step]:
    """Return the step that puts our part into the customer's project, if one was named."""
    if not setup.answers["project"]:
        return []
    root = Path(setup.answers["project"])

    def part(of_step: str) -> OurPart:
        return find_our_part(find_layout(root, setup.answers["source"]), of_step, DIRECTORY)

    def check(_: Site) -> Found:
        found = part(step)
        problems = find_problems(found)
        if not problems:
            return Found(State.DONE, f"our metadata and migrations are in {root}: commit it")
        is_absent = len(problems) >= len(found.pieces)
        return Found(State.ABSENT if is_absent else State.PARTIAL, problems[0])

    def merge() -> str:
        plan = plan_merge(part(step))
        write_plan(plan)
        return f"changed {', '.join(map(plan.layout.name, plan.changes))}"

    def unmerge() -> str:
        write_plan(plan_unmerge(part("9b")))
        return f"{root} has its bytes from before"

    return [
        Step(
            f"project-{step}", f"Our part of {step} in the project of the Hasura CLI", check,
            do=lambda _: [function(("merge", str(root)), merge)],
            undo=lambda _: [function(("unmerge", str(root)), unmerge)],
            does=(f"leads metadata merge --into {root} --step {step}",),
            undoes=(f"leads metadata unmerge {root}",), fix="docs/runbook/metadata.md",
        )
    ]  # fmt: skip


def _engine_step(setup: Setup) -> Step:
    """The engine's environment is the customer's; nothing but its answers shows what it has."""
    names = KEYS[ENGINE]
    is_of_before: bool | None = None
    """Whether the engine had a secret before these files had theirs; what it has later no API tells."""

    def check(site: Site) -> Found:
        nonlocal is_of_before
        missing = site.engine.missing_variables(names)
        if is_of_before is None:
            is_of_before = SECRET not in missing and not setup.former.get(SECRET, ENGINE)
        if is_of_before:
            text = (
                f"the engine's {SECRET} is of an installation before: {setup.folder / ENGINE} has a new one"
            )
            return Found(State.PARTIAL, text)
        if missing:
            state = State.ABSENT if len(missing) == len(names) else State.PARTIAL
            return Found(state, f"the engine's environment lacks {', '.join(missing)}")
        if site.engine.shows_internal_errors(site.choices.source):
            shown_by = " or ".join(SHOWN_BY)
            return Found(State.PARTIAL, f"the engine's errors quote what was sent: {shown_by} is not false")
        return Found(
            State.DONE,
            f"the engine has all {len(names)} variables, and its errors quote nothing; {NOT_ASKED}",
        )

    def lines(shown: Sequence[str]) -> list[str]:
        values = setup.files.values[ENGINE]
        return [f"  {name}={'…' if name in MADE else values[name]}" for name in shown]

    def show(site: Site) -> Sequence[Action]:
        """Print what to add; the secret is read from its file."""
        missing = [*site.engine.missing_variables(names), *[SECRET] * bool(is_of_before)]
        for line in lines(missing or SHOWN_BY):
            say(line)
        return ()

    return Step(
        "engine", check=check, do=show, **TEXTS["engine"],
        does=(f"by hand: add {setup.folder / ENGINE} to the engine's environment:", *lines(names)),
        do_by_hand=f"Add the lines of {setup.folder / ENGINE} to the engine's environment, restart it, "
        "then run this again.",
    )  # fmt: skip


def _connection_step(setup: Setup) -> Step:
    url = setup.folder / WEBHOOK_FILE

    def check(site: Site) -> Found:
        rows = site.db.execute(QUERIES["golive/load_connection"]).fetchall()
        if not rows:
            return Found(State.ABSENT, "there is no connection yet")
        return look_for(site, "connection", "api-key")

    def do(site: Site) -> Sequence[Action]:
        answers = setup.answers
        if site.db.execute(QUERIES["golive/load_connection"]).fetchall():
            change = verb("connection", "set-api-key", "--variable", "PANCAKE_API_KEY")
            return [change] if answers["api_key"] else []
        return [
            *forget_webhook(url),
            verb(
                "connection", "create", "--name", answers["connection"], "--workspace", answers["workspace"],
                "--api-url", answers["api_url"], "--key-variable", "PANCAKE_API_KEY", "--out", str(url),
            ),
        ]  # fmt: skip

    return Step("connection", check=check, do=do, **TEXTS["connection"])
