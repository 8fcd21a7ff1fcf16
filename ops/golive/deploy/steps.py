"""The steps of section E4 of the checklist: what each finds, does and undoes. Checks change nothing."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from leads.domain.errors import DatabaseUnavailable
from ops.checks.model import Asked, Finding, Level, Result, not_green
from ops.checks.rights import GRANT
from ops.checks.services import REQUEST_SECONDS
from ops.checks.table import BY_ID, look_at
from ops.clients.db_session import QUERIES, DatabaseError, DeadlockDetected
from ops.clients.pg_programs import PgProgramFailed, dump_tables, list_dumped_tables
from ops.clients.plain_http import NoAnswer, ask
from ops.failures import CommandFailed, WrongUsage, first_line
from ops.files import digest_of_file
from ops.golive.deploy.site import Journal, ServiceName, Site
from ops.golive.deploy.step import (
    Action,
    Actions,
    Found,
    PersonNeeded,
    State,
    Step,
    function,
    nothing,
    program,
    verb,
)
from ops.golive.records import Kind, Records, newest
from ops.metadata.directory import parse
from ops.metadata.pieces import CRON
from ops.output import times
from ops.settings import CLONE, MIGRATIONS_FOLDER
from ops.switches import list_switches, match_sources

TEXTS = Path(__file__).with_name("steps.yaml")
STEP = TypeAdapter(Step)
SNAPSHOT, ROLES, PILOT = "snapshot", "8b", "14"
MAX_AGE = timedelta(hours=24)
"""As long as the criterion database-snapshot allows."""
OF_DIVA = (
    "account", "contact_book", "crm_master_data", "module_permission_action", "notification_template",
    "app_setting",
)  # fmt: skip
"""Diva's tables that the steps change."""
OWN_TABLES = ("pancake_*", "customer_erasure", "integration_change")
REVOKE = CLONE / "deploy" / "postgres" / "revoke_roles.sql"
LAST_OF_CHECKLIST = "1777870069938"
REASON, BACK = "go-live, step 14", "go-live rolled back"
CHECK_SECONDS = 30.0
"""How long the checks of a step may take, but for the backfill's."""
MAX_TRIES = 5
"""How often a file of SQL is executed at most, if PostgreSQL ends it for deadlocks."""
UP_AND_DOWN = ("up", "down")
MIGRATION = {
    "owner": "BE", "at_most": "60 s",
    "fix": "Read the message; the file changed nothing. docs/runbook/install.md, step 4",
}  # fmt: skip
"""What people read of each step that applies a migration, unless steps.yaml says otherwise."""


class Parts(NamedTuple):
    check: Callable[[Site], Found]
    do: Actions = nothing
    undo: Actions = nothing


@cache
def all_steps() -> tuple[Step, ...]:
    """Return every step in the order of the checklist, the snapshot first.

    Migrations that came after those of the checklist go before the rights; their ids are their last digits.
    """
    newer = [
        {"id": version[-3:], "migration": version[-3:], "title": name.replace("_", " ").capitalize()}
        for version, name in versions_of(MIGRATIONS_FOLDER).items()
        if version > LAST_OF_CHECKLIST
    ]
    given = parse(TEXTS)
    place = [each["id"] for each in given].index(ROLES)
    return tuple(map(_make_step, [*given[:place], *newer, *given[place:]]))


def _make_step(texts: dict[str, Any]) -> Step:
    number, version = texts["id"], texts.get("migration")
    if version is None:
        return STEP.validate_python(texts | PARTS[number]._asdict())
    does, undoes = ([f"execute hasura/migrations/default/…{version}_…/{name}.sql"] for name in UP_AND_DOWN)
    parts = PARTS.get(number) or Parts(
        _look("migrations", migration=version), *(_run(version, name) for name in UP_AND_DOWN)
    )
    return STEP.validate_python(MIGRATION | {"does": does, "undoes": undoes} | texts | parts._asdict())


def migration_ids() -> list[str]:
    """Return the ids of the steps that apply a migration, in order: their undo drops or empties something."""
    return [step.id for step in all_steps() if step.migration]


def versions_of(folder: Path) -> dict[str, str]:
    found = (path.parent.name.partition("_") for path in folder.glob("*_*/up.sql"))
    return dict(sorted((version, name) for version, _, name in found))


def find_step(number: str) -> Step:
    return next(step for step in all_steps() if step.id == number)


def check(site: Site, step: Step) -> Found:
    """Check a step; a service that does not answer is absent, a lost database ends the run."""
    try:
        return step.check(site)
    except NoAnswer as error:
        return Found(State.ABSENT, str(error))
    except DatabaseError as error:
        if site.db.closed:
            raise
        return Found(State.PARTIAL, first_line(error))


def look_for(site: Site, *names: str, **params: str) -> Found:
    """Ask checks of the table. If all that is red has its cause in other parts, the step is blocked."""
    asked = [Asked(BY_ID[name], params) for name in names]
    results = look_at(asked, site, seconds=CHECK_SECONDS)
    problems = find_problems(results)
    if site.db.closed:
        raise DatabaseUnavailable("The session of the deployment was lost")
    if problems:
        is_absent = any(not found.is_present for found in problems)
        return Found(State.ABSENT if is_absent else State.PARTIAL, first_of(problems))
    if explained := [found for found in not_green(results) if found.because_of]:
        return Found(State.BLOCKED, first_of(explained))
    fine = (found.text for each in results if each.is_wanted for found in each.findings)
    return Found(State.DONE, next(fine))


def find_problems(results: Iterable[Result]) -> list[Finding]:
    """Return what is not green and has to be mended; what another explains only if nothing of it is there."""
    return [
        found
        for found in not_green(results)
        if not (found.because_of and found.is_present)
        and (found.level is not Level.UNKNOWN or not found.is_read)
    ]


def first_of(problems: Sequence[Finding]) -> str:
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{problems[0].text}{more}"


def _look(*names: str, **params: str) -> Callable[[Site], Found]:
    return lambda site: look_for(site, *names, **params)


def take_snapshot(site: Site, when: str, tables: Sequence[str], if_there: Sequence[str] = ()) -> Action:
    """Dump tables with their rows into a new file of the folder, and note its digest."""
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{when}.dump"

    def dump() -> str:
        path = site.folder / name
        wanted, more = (tuple(f"public.{table}" for table in each) for each in (tables, if_there))
        dump_tables(site.settings.database_url, wanted + more, path, site.choices.programs)
        held = list_dumped_tables(path, site.choices.programs)
        if missing := [each for each in wanted if each not in held]:
            raise PgProgramFailed(f"{path} does not hold {', '.join(missing)}")
        digest = digest_of_file(path)
        site.journal.write("snapshot", SNAPSHOT, file=name, sha256=digest, when=when, tables=sorted(held))
        return f"{len(held)} tables are in {path}"

    return function(("pg_dump", "--format", "custom", "--file", name), dump)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A dump from before the deployment; `is_undone_since`: a step was undone after it was taken.

    `used_at` is when a step began after it: that may be a later one than step 1, which was done before.
    """

    path: Path
    at: datetime
    is_undone_since: bool = False
    used_at: datetime | None = None


def _check_snapshot(site: Site) -> Found:
    """The file has to be there with the digest that the journal names.

    Before the first step it also has to be of this deployment: later a new one would hold what the steps did.
    """
    found = newest_snapshot(site.folder)
    if found is None:
        return Found(State.ABSENT, "there is no snapshot with the digest that the journal names")
    text = f"{found.path}, of {found.at:%Y-%m-%d %H:%M} UTC"
    if look_for(site, "migrations", migration="928").state is State.ABSENT:
        if found.is_undone_since:
            return Found(State.ABSENT, f"{text}, is of a deployment that was rolled back")
        if datetime.now(UTC) - found.at > MAX_AGE:
            return Found(State.ABSENT, f"{text}, is older than 24 hours")
    return Found(State.DONE, text)


def newest_snapshot(folder: Path) -> Snapshot | None:
    """Return the newest snapshot from before the deployment that is there as the journal notes it."""
    found = None
    for entry in Journal(folder, "", "").entries("snapshot", "undone", "begin"):
        if entry["event"] == "undone":
            found = found and replace(found, is_undone_since=True)
        elif entry["event"] == "begin":
            if found and entry["step"] != SNAPSHOT and not found.used_at:
                found = replace(found, used_at=datetime.fromisoformat(entry["at"]))
        elif entry["when"] == "before":
            path = folder / str(entry["file"])
            if path.is_file() and digest_of_file(path) == entry["sha256"]:
                found = Snapshot(path, datetime.fromisoformat(entry["at"]))
    return found


def execute(site: Site, path: Path, *, names_locks: bool = False) -> Action:
    """Execute a file of SQL in one transaction, as `psql -1 -f` does; name the tables that it locked.

    Deliveries lock the same tables in another order, also without rights on them, and PostgreSQL may end
    either session for the deadlock: the file is executed again, MAX_TRIES times in all.
    """

    def run_once() -> str:
        started = time.monotonic()
        with site.db.transaction():
            oids = site.row("golive/list_tables")["oids"] if names_locks else []
            site.db.execute(path.read_bytes())
            locks = site.db.execute(QUERIES["golive/list_locks"], {"oids": oids}).fetchall()
        seconds = time.monotonic() - started
        tables = ", ".join(row["name"] + " (readers too)" * row["blocks_readers"] for row in locks)
        return f"locked for writers for at most {seconds:.2f} s: {tables}" if tables else ""

    def work() -> str:
        tries = 1
        while True:
            try:
                text = run_once()
                told = f"executed {tries} times because of deadlocks" if tries > 1 else ""
                return "; ".join(filter(None, [told, text]))
            except DatabaseError as error:
                if not isinstance(error, DeadlockDetected) or tries == MAX_TRIES:
                    raise CommandFailed(first_line(error)) from error
                tries += 1

    shown = path.relative_to(CLONE) if path.is_relative_to(CLONE) else path
    return function(("execute", str(shown)), work)


def _migrate(site: Site, version: str, name: str) -> Action:
    return execute(site, site.migration(version, f"{name}.sql"), names_locks=True)


def _run(version: str, name: str) -> Actions:
    return lambda site: [_migrate(site, version, name)]


def _remove_ticket_source(site: Site) -> list[Action]:
    """Tickets that refer to the source keep it: it is disabled, or --move-tickets moves them before."""
    if not site.row("golive/load_ticket_source")["tickets"]:
        return [_migrate(site, "932", "down")]
    if site.choices.move_tickets:
        return [verb("tickets", "move"), _migrate(site, "932", "down")]
    return [_migrate(site, "932", "down-soft")]


def _backfill(site: Site, *words: str) -> Action:
    return verb("backfill-phones", "--unusable", str(site.folder / "backfill.unusable.csv"), *words)


def _fill_phones(site: Site) -> list[Action]:
    return [_migrate(site, "929", "up"), _backfill(site, *["--anytime"] * site.choices.anytime)]


def _empty_phones(site: Site) -> list[Action]:
    return [_backfill(site, "--undo", "--anytime"), _migrate(site, "929", "down")]


def _metadata(site: Site, *words: str, more: Sequence[str] = ()) -> Action:
    options = ("--backups", str(site.choices.backups), "--hasura-source", site.choices.source)
    return verb("metadata", *words, *options, *more)


def check_metadata(site: Site, step: str) -> Found:
    held = site.deployment.held().pieces
    wanted = site.deployment.wanted(step)
    own = [key for key in wanted if key in held and (step == "9a" or key[0] == CRON)]
    if not own:
        return Found(State.ABSENT, "nothing of it is on the engine")
    if problems := not_green(site.deployment.verify(step)):
        return Found(State.PARTIAL, first_of(problems))
    return Found(State.DONE, f"{len(own)} pieces as in our directory")


def _check_9a(site: Site) -> Found:
    """Hasura makes its event log with its first event trigger: the rights on it can only come then."""
    found = check_metadata(site, "9a")
    if found.state is not State.DONE:
        return found
    rights = look_for(site, "role-rights")
    return found if rights.state is State.DONE else Found(State.PARTIAL, rights.text)


def _apply_9a(site: Site) -> list[Action]:
    accepted = site.choices.accept_engine
    more = ("--accept-engine", accepted) if accepted else ()
    return [_metadata(site, "9a", "--rights-follow", more=more), execute(site, GRANT)]


def _check_record(site: Site) -> Found:
    """The Hasura CLI applies what it has no record of, and takes back the newest of its record."""
    own = versions_of(site.choices.migrations)
    recorded = site.engine.recorded_migrations(site.choices.source)
    if missing := [version for version in own if version not in recorded]:
        state = State.ABSENT if len(missing) == len(own) else State.PARTIAL
        return Found(state, f"{len(missing)} of our {len(own)} migrations are not recorded")
    return Found(State.DONE, f"the CLI has our {len(own)} migrations as applied")


def _change_record(site: Site, *, is_applied: bool) -> list[Action]:
    versions = list(versions_of(site.choices.migrations))

    def work() -> str:
        site.engine.record_migrations(site.choices.source, versions, is_applied=is_applied)
        return ""

    return [function(("record", "migrations", f"{versions[0]}…{versions[-1]}"), work)]


def _service(name: ServiceName, look: Callable[[Site], Found]) -> Parts:
    def actions(word: str) -> Actions:
        return lambda site: [program(words) for words in [getattr(site.plan.service(name), word)] if words]

    return Parts(look, actions("do"), actions("undo"))


def _check_handlers(site: Site) -> Found:
    version = site.plan.service("handlers").version
    params = {"version": version} if version else {}
    return look_for(site, "readiness", "edge-policy", "handlers", **params)


def _check_front_end(site: Site) -> Found:
    """A person has to see the four tabs; where golive.yaml names an address, it has to answer too."""
    url = site.plan.service("front_end").url
    if url and (answer := ask(url, timeout_seconds=REQUEST_SECONDS)).status != 200:
        return Found(State.ABSENT, f"{url} answers {answer.status}")
    confirmed = site.journal.confirmation("12")
    if confirmed is None:
        return Found(State.ABSENT, "no person has confirmed that the four tabs are shown")
    return Found(State.DONE, f"confirmed by {confirmed['by']}, {str(confirmed['at'])[:10]}")


def _connect(site: Site) -> list[Action]:
    rows = site.db.execute(QUERIES["golive/load_connection"]).fetchall()
    if disabled := [row["name"] for row in rows if row["is_disabled"]]:
        return [verb("connection", "enable", name) for name in disabled]
    given = site.plan.pancake
    if rows or given is None:
        return []
    url = Path(given.webhook_url_file)

    return [
        *forget_webhook(url),
        verb(
            "connection", "create", "--name", given.name, "--workspace", str(given.workspace),
            "--api-url", given.api_url, "--key-file", given.key_file, "--out", given.webhook_url_file,
        ),
        verb("connection", "test"),
    ]  # fmt: skip


def forget_webhook(url: Path) -> list[Action]:
    """Return what removes the file of a creation that was stopped: its URL is of no connection."""

    def forget() -> str:
        url.unlink()
        return f"{url} was of a connection that does not exist; removed"

    return [function(("rm", str(url)), forget)] * url.exists()


def _disconnect(site: Site) -> list[Action]:
    rows = site.db.execute(QUERIES["golive/load_connection"]).fetchall()
    return [verb("connection", "disable", row["name"], "--reason", BACK) for row in rows]


def _open_pilot_of_w1(site: Site) -> list[Action]:
    """Raises PersonNeeded before the record that W1 began; where there is none a person may confirm it."""
    actions = open_pilot(site)
    if not actions or site.journal.confirmation(PILOT):
        return actions
    if newest(Records(site.folder).read(), Kind.BEGIN, "W1", datetime.now(UTC)) is None:
        raise PersonNeeded(
            f"No record in {site.folder} says that W1 began: leads golive begin W1 --to reports. "
            "Then run this again. Where no wave begins (staging): leads golive deploy --confirm 14"
        )
    return actions


def open_pilot(site: Site) -> list[Action]:
    """Return what step 14 does: fill the roster, switch the source on and the kill switch off, replay."""
    row = site.row("golive/load_opening")
    actions: list[Action] = []
    if site.plan.roster and not row["members"]:
        actions.append(function(("insert", "roster", site.plan.roster), partial(_fill_roster, site)))
    if site.plan.source and not row["active"]:
        if not _is_listed(site):
            actions.append(verb("cron", "run", "sync_sources"))
        # The options go first: Pancake's ids of sources begin with a minus.
        actions.append(verb("switch", "source", "--reason", REASON, site.plan.source, "on"))
    if row["is_held"] and (row["active"] or site.plan.source):  # turned off last, and never for no source
        actions.append(verb("switch", "kill", "off", "--reason", REASON))
    if row["is_waiting"]:
        # What another source brought is held again: it is not waited for.
        actions.append(verb("replay", "--status", "skipped_kill_switch", "--drain", "--no-wait"))
    return actions


def _close_pilot(site: Site) -> list[Action]:
    active = site.row("golive/load_opening")["active"]
    sources = (verb("switch", "source", "--reason", BACK, name, "off") for name in active)
    return [verb("switch", "kill", "on", "--reason", BACK), *sources]


def _is_listed(site: Site) -> bool:
    """Whether the source of golive.yaml is stored already: the cron brings new ones every 15 minutes."""
    return bool(match_sources(list_switches(site.db), site.plan.source))


def _fill_roster(site: Site) -> str:
    added = site.db.execute(QUERIES["golive/insert_roster"], {"role": site.plan.roster}).rowcount
    if not added:
        raise WrongUsage(f"No active staff has the role {site.plan.roster!r}. Correct roster in golive.yaml.")
    return f"{times(added, 'member')} joined the default roster"


PARTS: Mapping[str, Parts] = {
    SNAPSHOT: Parts(_check_snapshot, lambda site: [take_snapshot(site, "before", OF_DIVA)]),
    "2": Parts(_look("backfill"), _fill_phones, _empty_phones),
    "5": Parts(_look("ticket-source"), _run("932", "up"), _remove_ticket_source),
    ROLES: Parts(
        _look("role-rights"), lambda site: [execute(site, GRANT)], lambda site: [execute(site, REVOKE)]
    ),
    "8c": Parts(
        _check_record, partial(_change_record, is_applied=True), partial(_change_record, is_applied=False)
    ),
    "9a": Parts(_check_9a, _apply_9a, lambda site: [_metadata(site, "remove", "9a")]),
    "10": _service("edge", _look("edge", "edge-policy")),
    "11": _service("handlers", _check_handlers),
    "9b": Parts(
        partial(check_metadata, step="9b"), lambda site: [_metadata(site, "9b")],
        lambda site: [_metadata(site, "remove", "9b")],
    ),
    "12": _service("front_end", _check_front_end),
    "13": Parts(_look("deliveries", "edge-tokens"), _connect, _disconnect),
    PILOT: Parts(_look("opening", step="14"), _open_pilot_of_w1, _close_pilot),
}  # fmt: skip
"""The functions of the steps, but for those of a migration that have no others."""
