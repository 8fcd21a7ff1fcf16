"""What each step finds. Nothing here changes anything."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ops.checks.read_services import look_at_edge, look_at_handlers
from ops.checks.services import REQUEST_SECONDS
from ops.clients.db_session import QUERIES, DatabaseError
from ops.clients.plain_http import NoAnswer, ask
from ops.daily.backfill_phones import Limits, Options, Report, run
from ops.golive.deploy.site import Site, first_line
from ops.golive.deploy.step import Found, State
from ops.golive.rights import load_rights
from ops.metadata.pieces import CRON
from ops.output import progress_bar

Look = TypeVar("Look")


def check_migration(site: Site, version: str) -> Found:
    """Compare what a migration creates with what is there."""
    try:
        row = site.row("golive/check_migration", migration=version)
    except DatabaseError as error:
        return Found(State.PARTIAL, f"Diva's tables are not as expected: {first_line(error)}")
    expected, missing = int(row["expected"]), int(row["missing"])
    if missing == 0:
        return Found(State.DONE, "all of it is there")
    if missing == expected:
        return Found(State.ABSENT, "nothing of it is there")
    return Found(State.PARTIAL, f"missing: {row['details']}")


def check_backfill(site: Site) -> Found:
    """Look for the index, and for accounts with a usable phone that is not normalized."""
    index = check_migration(site, "929")
    if check_migration(site, "928").state is not State.DONE:
        return Found(State.ABSENT, "account has no column normalized_phone yet")
    report = Report("dry run")
    options = Options("dry run", Limits(), 1, unusable_phones(site))
    with progress_bar() as progress:
        run(site.settings.database_url, options, report, progress)
    filled = report.counts["normalized"]
    if index.state is State.ABSENT:
        return Found(State.PARTIAL if filled else State.ABSENT, f"no index; {filled} accounts are filled")
    if report.left:
        return Found(State.PARTIAL, f"{report.left} accounts have a usable phone that is not normalized")
    return Found(State.DONE, f"{filled} accounts are filled, no usable phone is left")


def unusable_phones(site: Site) -> Path:
    """Return the file in which the backfill lists the accounts with an unusable phone."""
    return site.folder / "backfill.unusable.csv"


def check_ticket_source(site: Site) -> Found:
    """A disabled source is what the soft way back leaves, as long as tickets refer to it."""
    row = site.row("golive/load_ticket_source")
    if not row["is_there"]:
        return Found(State.ABSENT, "there is no ticket source Pancake")
    if row["is_disabled"]:
        return Found(State.ABSENT, f"it is disabled; {row['tickets']} tickets refer to it")
    return Found(State.DONE, f"it is there; {row['tickets']} tickets refer to it")


def check_roles(site: Site) -> Found:
    """Compare the rights of the two roles with those that the file of this step gives."""
    row = load_rights(site.db)
    if not row["granted"]:
        return Found(State.ABSENT, "no role has a right on a table")
    if missing := row["missing"]:
        return Found(State.PARTIAL, f"{len(missing)} rights are missing, the first: {missing[0]}")
    return Found(State.DONE, "handlers and operators have their rights")


def check_metadata(site: Site, step: str) -> Found:
    """Compare our metadata with the engine's, as `leads metadata verify` does."""
    _, _, held = site.deployment.held()
    wanted = site.deployment.wanted(step)
    own = [key for key in wanted if key in held and (step == "9a" or key[0] == CRON)]
    if not own:
        return Found(State.ABSENT, "nothing of it is on the engine")
    problems = site.deployment.verify(step)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return Found(State.PARTIAL, f"{problems[0]}{more}")
    return Found(State.DONE, f"{len(own)} pieces as in our directory")


def check_edge(site: Site) -> Found:
    """Ask the edge's internal listener."""
    look = _look("EDGE_STATUS_URL", site.settings.edge_status_url, look_at_edge)
    if isinstance(look, Found):
        return look
    if not look.is_writable:
        return Found(State.PARTIAL, "its spool cannot be written")
    return Found(State.DONE, "it answers, and its spool can be written")


def check_handlers(site: Site) -> Found:
    """Ask the handlers whether they are the wanted version, and reach what they need."""
    look = _look("HANDLERS_URL", site.settings.handlers_url, look_at_handlers)
    if isinstance(look, Found):
        return look
    told = look.health.json if isinstance(look.health.json, dict) else {}
    wanted = site.plan.service("handlers").version
    if wanted and told.get("version") != wanted:
        return Found(State.PARTIAL, f"they are version {told.get('version')}, not {wanted}")
    lacking = [name for name, is_fine in (look.ready or {}).items() if is_fine is False]
    if lacking:
        return Found(State.PARTIAL, f"/readyz says false of: {', '.join(lacking)}")
    return Found(State.DONE, f"version {told.get('version', 'unknown')} answers")


def _look(variable: str, url: str, ask_it: Callable[[str], Look]) -> Look | Found:
    """Ask edge or handlers; without an address or an answer they count as absent."""
    if not url:
        return Found(State.ABSENT, f"{variable} is not set, so it cannot be asked")
    try:
        return ask_it(url)
    except NoAnswer as error:
        return Found(State.ABSENT, str(error))


def check_front_end(site: Site) -> Found:
    """A person has to see the four tabs; where golive.yaml names an address, it has to answer too."""
    url = site.plan.service("front_end").url
    if url:
        try:
            answer = ask(url, timeout_seconds=REQUEST_SECONDS)
        except NoAnswer as error:
            return Found(State.ABSENT, str(error))
        if answer.status != 200:
            return Found(State.ABSENT, f"{url} answers {answer.status}")
    confirmed = site.journal.confirmation("12")
    if confirmed is None:
        return Found(State.ABSENT, "no person has confirmed that the four tabs are shown")
    return Found(State.DONE, f"confirmed by {confirmed['by']}, {str(confirmed['at'])[:10]}")


def check_pancake(site: Site) -> Found:
    """A connection that is not disabled, has its API key, and to which the webhook has delivered."""
    try:
        rows = site.db.execute(QUERIES["golive/load_connection"]).fetchall()
    except DatabaseError as error:
        return Found(State.ABSENT, first_line(error))
    active = [row for row in rows if not row["is_disabled"]]
    if not active:
        return Found(State.ABSENT, "there is no connection that is not disabled")
    for row in active:
        if not row["has_key"]:
            return Found(State.PARTIAL, f"connection {row['name']} has no API key")
        if not row["is_delivered"]:
            return Found(State.PARTIAL, f"nothing was delivered yet to connection {row['name']}")
    return Found(State.DONE, f"the webhook delivers to {', '.join(row['name'] for row in active)}")


def check_opening(site: Site) -> Found:
    """The switches of the pilot's start, and the first lead with a ticket."""
    try:
        row = site.row("golive/load_opening")
    except DatabaseError as error:
        return Found(State.ABSENT, first_line(error))
    active = list(row["active"])
    if row["is_held"] and not active:
        return Found(State.ABSENT, "leads are held, and no source is active")
    if row["is_held"]:
        return Found(State.PARTIAL, f"leads are held; active: {', '.join(active)}")
    if len(active) != 1:
        return Found(State.PARTIAL, f"exactly one source has to be active, and {len(active)} are")
    if not row["members"]:
        return Found(State.PARTIAL, "no roster has a member: tickets would have no owner")
    if not row["is_processed"]:
        return Found(State.PARTIAL, "open, and no lead has become a ticket yet")
    return Found(State.DONE, f"open for {active[0]}; a lead became a ticket")
