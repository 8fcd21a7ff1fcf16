"""The steps of section E4 of the checklist: what each finds, does and undoes. Checks change nothing."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Lock

from leads.domain.errors import DatabaseUnavailable
from ops.checks.model import Asked, Level, not_green
from ops.checks.read_golive import GRANT
from ops.checks.services import REQUEST_SECONDS, Services
from ops.checks.table import BY_ID, look_at
from ops.clients.db_session import QUERIES, DatabaseError, DbSession
from ops.clients.pg_programs import PgProgramFailed, dump_tables, list_dumped_tables
from ops.clients.plain_http import NoAnswer, ask
from ops.failures import CommandFailed, WrongUsage
from ops.files import digest_of_file
from ops.golive.commit import CLONE
from ops.golive.deploy.plan_file import ServiceName
from ops.golive.deploy.site import Journal, Site
from ops.golive.deploy.step import Action, Found, State, Step, Task, function, program, verb
from ops.golive.measuring import first_line
from ops.metadata.pieces import CRON
from ops.switches import list_switches

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
REASON = "go-live, step 14"
BACK = "go-live rolled back"
READY_SECONDS = 60.0
CHECK_SECONDS = 30.0
"""How long the checks of a step may take, but for the backfill's."""
FIRST_LEAD_SECONDS = 60.0
SCHEDULE_SECONDS = 90.0
"""The engine creates the events of a new cron trigger within a minute."""
ENTER_URL = (
    "In Pancake: Settings, Tools, Webhook: enter the URL of webhook-url.txt, under Request Headers its "
    "second line, press \"Test webhook\" (Pancake shows 200) or change a lead. Then run this again."
)  # fmt: skip


def all_steps() -> list[Step]:
    """Return every step in the order of the checklist, the snapshot first."""
    return [snapshot_step(), *database_steps(), *service_steps()]


def find_step(number: str) -> Step:
    """Return the step of that number."""
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


def snapshot_step() -> Step:
    """The snapshot comes before everything else."""
    return Step(
        SNAPSHOT, "Snapshot of the tables that the steps change", "DevOps", "1 h",
        _check_snapshot,
        do=(Task(
            ("pg_dump --format custom, tables: " + " ".join(OF_DIVA),),
            lambda site: [take_snapshot(site, "before", OF_DIVA)],
        ),),
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
        digest = digest_of_file(path)
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
    if look_for(site, "migrations", migration="928").state is State.ABSENT:
        if found.is_undone_since:
            return Found(State.ABSENT, f"{text}, is of a deployment that was rolled back")
        if datetime.now(UTC) - found.at > MAX_AGE:
            return Found(State.ABSENT, f"{text}, is older than 24 hours")
    return Found(State.DONE, text)


def newest_snapshot(folder: Path) -> Snapshot | None:
    """Return the newest snapshot from before the deployment that is there as the journal notes it."""
    found = None
    for entry in Journal(folder, "", "").entries("snapshot", "undone"):
        if entry["event"] == "undone":
            found = found and replace(found, is_undone_since=True)
        elif entry["when"] == "before":
            path = folder / str(entry["file"])
            if path.is_file() and digest_of_file(path) == entry["sha256"]:
                found = Snapshot(path, datetime.fromisoformat(entry["at"]), is_undone_since=False)
    return found


def _execute(site: Site, path: Path) -> Action:
    """Execute a file of SQL in one transaction, as `psql -1 -f` does."""

    def work() -> str:
        try:
            with site.db.transaction():
                site.db.execute(path.read_bytes())
        except DatabaseError as error:
            # Only the first line: DETAIL quotes the values of the row.
            raise CommandFailed(first_line(error)) from error
        return ""

    shown = path.relative_to(CLONE) if path.is_relative_to(CLONE) else path
    return function(("execute", str(shown)), work)


def _migrate(site: Site, version: str, name: str) -> Action:
    return _execute(site, site.migration(version, name))


def _migration_file(version: str, name: str) -> Task:
    shown = f"execute hasura/migrations/default/…{version}_…/{name}"
    return Task((shown,), lambda site: [_migrate(site, version, name)])


def _file(path: Path) -> Task:
    return Task((f"execute {path.relative_to(CLONE)}",), lambda site: [_execute(site, path)])


def _migration(number: str, version: str, title: str) -> Step:
    return Step(
        number, title, "BE", STATEMENT_LIMIT,
        lambda site: look_for(site, "migrations", migration=version),
        do=(_migration_file(version, "up.sql"),), undo=(_migration_file(version, "down.sql"),),
        fix="Read the message; the file changed nothing. docs/runbook/install.md, step 4",
    )  # fmt: skip


def _ticket_source(step: Step) -> Step:
    """Tickets that refer to the source keep it: it is disabled, or --move-tickets moves them before."""

    def undo(site: Site) -> Sequence[Action]:
        if not site.row("golive/load_ticket_source")["tickets"]:
            return [_migrate(site, "932", "down.sql")]
        if site.choices.move_tickets:
            return [verb("tickets", "move"), _migrate(site, "932", "down.sql")]
        return [_migrate(site, "932", "down-soft.sql")]

    task = Task(("execute …932_…/down.sql, with tickets of the source down-soft.sql",), undo)
    return replace(step, check=lambda site: look_for(site, "ticket-source"), undo=(task,))


def _backfill() -> Step:
    def words(site: Site, *more: str) -> Action:
        return verb("backfill-phones", "--unusable", str(unusable_phones(site)), *more)

    do = Task(("leads backfill-phones",), lambda site: [words(site, *["--anytime"] * site.choices.anytime)])
    undo = Task(
        ("leads backfill-phones --undo --anytime",), lambda site: [words(site, "--undo", "--anytime")]
    )
    return Step(
        "2", "Normalized phones of the accounts", "BE", "4 h, the night's window",
        lambda site: look_for(site, "backfill"),
        do=(_migration_file("929", "up.sql"), do), undo=(undo, _migration_file("929", "down.sql")),
        fix="It runs from 02:00 to 06:00 ICT: run this again then, or give --anytime.",
    )  # fmt: skip


def _roles() -> Step:
    return Step(
        "8b", "Rights of handlers and operators", "BE", "10 s",
        lambda site: look_for(site, "role-rights"), do=(_file(GRANT),), undo=(_file(REVOKE),),
        fix="Run this as the owner of Diva's and Hasura's tables.",
    )  # fmt: skip


def service_steps() -> list[Step]:
    """Return the steps 9a to 14, in their order: the crons come after the services that they call."""
    return [
        _metadata("9a", "Metadata without cron triggers"),
        _service(
            "10", "edge", "Edge: the webhook's service",
            lambda site: look_for(site, "edge", "edge-policy"),
            "Start the edge (deploy/nginx/README.md), set EDGE_STATUS_URL, then run this again.",
        ),
        _service(
            "11", "handlers", "Handlers: events, actions, crons", check_handlers,
            "Start the handlers' image (docs/runbook/install.md, step 6), then run this again.",
        ),
        _metadata("9b", "Cron triggers"),
        _service(
            "12", "front_end", "Settings screens of Diva's front end", check_front_end,
            "Deploy the front end, log in as an administrator, look for Settings/Pancake with its four tabs, "
            "then run this again with --confirm 12.",
        ),
        _pancake(),
        _opening(),
    ]  # fmt: skip


def _metadata(step: str, title: str) -> Step:
    def task(*words: str) -> Task:
        def actions(site: Site) -> Sequence[Action]:
            backups, source = str(site.choices.backups), site.choices.source
            return [verb("metadata", *words, "--backups", backups, "--source", source)]

        return Task((f"leads metadata {' '.join(words)}",), actions)

    return Step(
        step, title, "BE", "130 s", partial(check_metadata, step=step), do=(task(step),),
        undo=(task("remove", step),), wait_seconds=SCHEDULE_SECONDS if step == "9b" else 0.0,
        fix=f"leads metadata diff {step} shows the places; docs/runbook/metadata.md",
    )  # fmt: skip


def _service(number: str, name: ServiceName, title: str, look: Callable[[Site], Found], by_hand: str) -> Step:
    def task(word: str) -> Task:
        def actions(site: Site) -> Sequence[Action]:
            command = getattr(site.plan.service(name), word)
            return [program(command)] if command else []

        return Task((f"golive.yaml, services.{name}.{word}",), actions)

    return Step(
        number, title, "DevOps", f"{READY_SECONDS:.0f} s after the command", look,
        do=(task("do"),), undo=(task("undo"),), wait_seconds=READY_SECONDS, do_by_hand=by_hand,
        undo_by_hand=f"Bring back the former build of {name}, then run this again with --confirm {number}.",
        is_confirmed_by_person=name == "front_end", has_other_undo=True, fix=by_hand,
    )  # fmt: skip


def _pancake() -> Step:
    def do(site: Site) -> Sequence[Action]:
        rows = site.db.execute(QUERIES["golive/load_connection"]).fetchall()
        if disabled := [row["name"] for row in rows if row["is_disabled"]]:
            return tuple(verb("connection", "enable", name) for name in disabled)
        given = site.plan.pancake
        if rows or given is None:
            return ()
        url = Path(given.webhook_url_file)
        return (
            # A creation that was stopped left the file and no connection: its URL is of no use.
            *[function(("rm", str(url)), partial(_forget, url))] * url.exists(),
            verb(
                "connection", "create", "--name", given.name, "--workspace", str(given.workspace),
                "--api-url", given.api_url, "--key-file", given.key_file, "--out", given.webhook_url_file,
            ),
            verb("connection", "test"),
        )  # fmt: skip

    def undo(site: Site) -> Sequence[Action]:
        rows = site.db.execute(QUERIES["golive/load_connection"]).fetchall()
        return tuple(verb("connection", "disable", row["name"], "--reason", BACK) for row in rows)

    return Step(
        "13", "Pancake: API key and webhook", "Ops", "as long as a person takes",
        lambda site: look_for(site, "deliveries", "edge-tokens"),
        do=(
            Task(("leads connection create", "leads connection test"), do),
            Task(("by hand: enter the URL in Pancake",)),
        ),
        undo=(
            Task(("leads connection disable",), undo), Task(("by hand: disable the webhook in Pancake",)),
        ),
        do_by_hand=ENTER_URL, fix=f"leads connection test; {ENTER_URL}",
    )  # fmt: skip


def _forget(url: Path) -> str:
    url.unlink()
    return f"{url} was of a connection that does not exist; removed"


def _opening() -> Step:
    def do(site: Site) -> Sequence[Action]:
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
            actions.append(verb("replay", "--status", "skipped_kill_switch", "--drain"))
        return actions

    def undo(site: Site) -> Sequence[Action]:
        active = site.row("golive/load_opening")["active"]
        sources = (verb("switch", "source", "--reason", BACK, name, "off") for name in active)
        return verb("switch", "kill", "on", "--reason", BACK), *sources

    return Step(
        "14", "Start of the pilot: kill switch off, one source", "PO + Ops",
        f"{FIRST_LEAD_SECONDS:.0f} s after the first lead",
        lambda site: look_for(site, "opening", step="14"),
        do=(Task(("leads switch source SOURCE on", "leads switch kill off", "leads replay --drain"), do),),
        undo=(Task(("leads switch kill on", "leads switch source SOURCE off"), undo),),
        wait_seconds=FIRST_LEAD_SECONDS,
        do_by_hand="Choose the source of W1 and its roster, in golive.yaml (source, roster) or in Settings; "
        "change a lead of it in Pancake. Then run this again.",
        fix="leads status names what stops leads; docs/runbook/tickets-and-switches.md",
    )  # fmt: skip


def _is_listed(site: Site) -> bool:
    """Whether the source of golive.yaml is stored already: the cron brings new ones every 15 minutes."""
    wanted = site.plan.source
    return any(wanted in (each.name, each.pancake_source_id, each.row_id) for each in list_switches(site.db))


def _fill_roster(site: Site) -> str:
    added = site.db.execute(QUERIES["golive/insert_roster"], {"role": site.plan.roster}).rowcount
    if not added:
        raise WrongUsage(f"No active staff has the role {site.plan.roster!r}. Correct roster in golive.yaml.")
    return f"{added} members joined the default roster"


def look_for(site: Site, *names: str, **params: str) -> Found:
    """Ask checks of the table; one that is red because of another part is not of this step."""
    asked = [Asked(BY_ID[name], params) for name in names]
    with SiteServices(site) as services:
        results, _ = look_at(asked, services, seconds=CHECK_SECONDS)
    problems = [
        found
        for found in not_green(results)
        if not found.because_of and (found.level is not Level.UNKNOWN or not found.is_read)
    ]
    if site.db.closed:
        raise DatabaseUnavailable("The session of the deployment was lost")
    if not problems:
        fine = (found.text for each in results if each.is_wanted for found in each.findings)
        return Found(State.DONE, next(fine))
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    is_absent = any(not found.is_present for found in problems)
    return Found(State.ABSENT if is_absent else State.PARTIAL, f"{problems[0].text}{more}")


class SiteServices(Services):
    """The services of a deployment, whose readers share its session."""

    def __init__(self, site: Site) -> None:
        super().__init__(
            site.settings, "golive deploy", site.choices.source, plan=site.plan, folder=site.folder,
            engine=site.deployment.engine, own=site.deployment.own, request_seconds=REQUEST_SECONDS,
        )  # fmt: skip
        self._db = site.db
        self._one = Lock()

    @contextmanager
    def database(self) -> Iterator[DbSession]:
        with self._one:
            yield self._db


def check_metadata(site: Site, step: str) -> Found:
    """Compare our metadata with the engine's, as `leads metadata verify` does."""
    held = site.deployment.held().pieces
    wanted = site.deployment.wanted(step)
    own = [key for key in wanted if key in held and (step == "9a" or key[0] == CRON)]
    if not own:
        return Found(State.ABSENT, "nothing of it is on the engine")
    problems = not_green(site.deployment.verify(step))
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return Found(State.PARTIAL, f"{problems[0].text}{more}")
    return Found(State.DONE, f"{len(own)} pieces as in our directory")


def unusable_phones(site: Site) -> Path:
    """Return the file in which the backfill lists the accounts with an unusable phone."""
    return site.folder / "backfill.unusable.csv"


def check_handlers(site: Site) -> Found:
    """Ask the handlers whether they are the wanted version, and reach what they need."""
    version = site.plan.service("handlers").version
    params = {"version": version} if version else {}
    return look_for(site, "readiness", "edge-policy", "handlers", **params)


def check_front_end(site: Site) -> Found:
    """A person has to see the four tabs; where golive.yaml names an address, it has to answer too."""
    url = site.plan.service("front_end").url
    if url and (answer := ask(url, timeout_seconds=REQUEST_SECONDS)).status != 200:
        return Found(State.ABSENT, f"{url} answers {answer.status}")
    confirmed = site.journal.confirmation("12")
    if confirmed is None:
        return Found(State.ABSENT, "no person has confirmed that the four tabs are shown")
    return Found(State.DONE, f"confirmed by {confirmed['by']}, {str(confirmed['at'])[:10]}")
