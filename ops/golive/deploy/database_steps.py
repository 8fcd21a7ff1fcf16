"""Steps 1 to 8 of the checklist: the migrations, the backfill and the rights."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from ops.clients.pg_programs import PgProgramFailed, dump_tables, list_dumped_tables
from ops.golive.commit import CLONE
from ops.golive.deploy import checks
from ops.golive.deploy.actions import function, sql_file, verb
from ops.golive.deploy.journal import Journal, sha256_of
from ops.golive.deploy.site import Site
from ops.golive.deploy.step import Action, Found, State, Step
from ops.golive.rights import GRANT

SNAPSHOT = "snapshot"
MAX_AGE = timedelta(hours=24)
"""As long as the criterion database-snapshot allows."""

OF_DIVA = (
    "account", "contact_book", "crm_master_data", "module_permission_action", "notification_template",
    "app_setting",
)  # fmt: skip
"""Diva's tables that the steps change."""

OWN_TABLES = ("pancake_*", "customer_erasure", "integration_change")
REVOKE = CLONE / "deploy" / "postgres" / "revoke_roles.sql"
STATEMENT_LIMIT = "60 s"
"""statement_timeout of the migrations."""

MIGRATIONS = {
    "1": ("928", "Columns normalized_phone and pancake_metadata of account"),
    "3": ("930", "Column primary_phone of contact_book, with its keys"),
    "4": ("931", "The pancake_ tables"),
    "5": ("932", "Ticket source Pancake"),
    "6": ("933", "Permissions of the module for administrators"),
    "7": ("934", "Three notification templates"),
    "8": ("935", "Settings of the integration, with the kill switch on"),
    "8a": ("938", "History of changes"),
}
"""By the number of the step; 8a and 8b are not in the checklist, and go before its step 9."""

MIGRATED = frozenset({*MIGRATIONS, "2"})
"""The steps whose undo drops or empties something."""

FIX_MIGRATION = "Read the message; the file changed nothing. docs/runbook/install.md, step 4"


def snapshot_step() -> Step:
    """The snapshot comes before everything else."""
    return Step(
        SNAPSHOT, "Snapshot of the tables that the steps change", "DevOps", "1 h",
        shown=("pg_dump --format custom, tables: " + " ".join(OF_DIVA),), shown_undo=(),
        check=_check_snapshot, do=lambda site: (take_snapshot(site, "before", OF_DIVA),),
        fix="Install PostgreSQL's client programs of the server's version, or give --programs.",
    )  # fmt: skip


def database_steps() -> list[Step]:
    """Return the steps 1 to 8b, in their order."""
    steps = {number: _migration(number, version, title) for number, (version, title) in MIGRATIONS.items()}
    return [
        steps["1"], _backfill(), steps["3"], steps["4"], _ticket_source(steps["5"]), steps["6"], steps["7"],
        steps["8"], steps["8a"], _roles(),
    ]  # fmt: skip


def take_snapshot(
    site: Site, when: str, tables: Sequence[str], if_there: Sequence[str] = ()
) -> Action:  # fmt: skip
    """Dump tables with their rows into a new file of the folder, and note its digest."""
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{when}.dump"

    def dump() -> str:
        path = site.folder / name
        wanted = tuple(f"public.{table}" for table in tables)
        more = tuple(f"public.{table}" for table in if_there)
        dump_tables(site.settings.database_url, wanted + more, path, site.choices.programs)
        held = list_dumped_tables(path, site.choices.programs)
        if missing := [each for each in wanted if each not in held]:
            raise PgProgramFailed(f"{path} does not hold {', '.join(missing)}")
        digest = sha256_of(path)
        site.journal.write("snapshot", SNAPSHOT, file=name, sha256=digest, when=when, tables=sorted(held))
        return f"{len(held)} tables are in {path}"

    return function(("pg_dump", "--format", "custom", "--file", name), dump)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A dump from before the deployment; `is_undone_since`: a step was undone after it was taken."""

    path: Path
    at: datetime
    is_undone_since: bool


def _check_snapshot(site: Site) -> Found:
    """The file has to be there with the digest that the journal names.

    Before the first step it also has to be of this deployment: later a new one would hold what the steps did.
    """
    found = newest_snapshot(site.folder)
    if found is None:
        return Found(State.ABSENT, "there is no snapshot with the digest that the journal names")
    text = f"{found.path}, of {found.at:%Y-%m-%d %H:%M} UTC"
    if checks.check_migration(site, "928").state is State.ABSENT:
        if found.is_undone_since:
            return Found(State.ABSENT, f"{text}, is of a deployment that was rolled back")
        if datetime.now(UTC) - found.at > MAX_AGE:
            return Found(State.ABSENT, f"{text}, is older than 24 hours")
    return Found(State.DONE, text)


def newest_snapshot(folder: Path) -> Snapshot | None:
    """Return the newest snapshot from before the deployment that is there as the journal notes it."""
    found = None
    for entry in Journal(folder, "", "").entries():
        if entry["event"] == "snapshot" and entry.get("when") == "before":
            path = folder / str(entry["file"])
            if path.is_file() and sha256_of(path) == entry["sha256"]:
                found = Snapshot(path, datetime.fromisoformat(entry["at"]), is_undone_since=False)
        elif entry["event"] == "undone" and found is not None:
            found = replace(found, is_undone_since=True)
    return found


def _file(site: Site, version: str, name: str) -> Action:
    path = site.migration(version, name)
    return sql_file(site.db, path, site.named(path))


def _files(version: str, name: str, site: Site) -> Sequence[Action]:
    return (_file(site, version, name),)


def _migration(number: str, version: str, title: str) -> Step:
    return Step(
        number, title, "BE", STATEMENT_LIMIT,
        shown=(f"execute hasura/migrations/default/…{version}_…/up.sql",),
        shown_undo=(f"execute hasura/migrations/default/…{version}_…/down.sql",),
        check=partial(checks.check_migration, version=version),
        do=partial(_files, version, "up.sql"), undo=partial(_files, version, "down.sql"), fix=FIX_MIGRATION,
    )  # fmt: skip


def _ticket_source(step: Step) -> Step:
    """Tickets that refer to the source keep it: it is disabled, or --move-tickets moves them before."""

    def undo(site: Site) -> Sequence[Action]:
        if not site.row("golive/load_ticket_source")["tickets"]:
            return (_file(site, "932", "down.sql"),)
        if site.choices.move_tickets:
            return (verb("tickets", "move"), _file(site, "932", "down.sql"))
        return (_file(site, "932", "down-soft.sql"),)

    return Step(
        step.id, step.title, step.owner, step.at_most, step.shown,
        ("execute …932_…/down.sql, with tickets of the source down-soft.sql",),
        check=checks.check_ticket_source, do=step.do, undo=undo, fix=step.fix,
    )  # fmt: skip


def _backfill() -> Step:
    def words(site: Site, *more: str) -> Action:
        unusable = str(checks.unusable_phones(site))
        return verb("backfill-phones", "--unusable", unusable, *more)

    def do(site: Site) -> Sequence[Action]:
        return _file(site, "929", "up.sql"), words(site, *(["--anytime"] if site.choices.anytime else []))

    def undo(site: Site) -> Sequence[Action]:
        return words(site, "--undo", "--anytime"), _file(site, "929", "down.sql")

    return Step(
        "2", "Normalized phones of the accounts", "BE", "4 h, the night's window",
        shown=("execute hasura/migrations/default/…929_…/up.sql", "leads backfill-phones"),
        shown_undo=("leads backfill-phones --undo --anytime", "execute …929_…/down.sql"),
        check=checks.check_backfill, do=do, undo=undo,
        fix="It runs from 02:00 to 06:00 ICT: run this again then, or give --anytime.",
    )  # fmt: skip


def _roles() -> Step:
    def run(path: Path, site: Site) -> Sequence[Action]:
        return (sql_file(site.db, path, site.named(path)),)

    return Step(
        "8b", "Rights of handlers and operators", "BE", "10 s",
        shown=("execute deploy/postgres/grant_roles.sql",),
        shown_undo=("execute deploy/postgres/revoke_roles.sql",),
        check=checks.check_roles, do=partial(run, GRANT), undo=partial(run, REVOKE),
        fix="Run this as the owner of Diva's and Hasura's tables.",
    )  # fmt: skip
