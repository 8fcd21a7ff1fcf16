"""`leads setup --undo`: show what will go, dump it, ask, take it back."""

import typer

from ops.clients.plain_http import NoAnswer, ask
from ops.failures import CommandFailed, WrongUsage
from ops.golive.deploy.command import Outcome, roll_back, survey
from ops.golive.deploy.site import Site
from ops.golive.deploy.step import State
from ops.golive.deploy.steps import SNAPSHOT, all_steps, look_for
from ops.output import say
from ops.setup.env_files import ENGINE, FILES, HANDLERS, LOGINS, login_of
from ops.setup.steps import REQUEST_SECONDS, WEBHOOK_FILE, Setup, answers, setup_steps
from ops.setup.values import WAYS

DUMP, EVENTS = "before-rollback", "public.pancake_webhook_event"
OF_EDGE = ("method_not_allowed", "not_found", "rate_limited")
"""What the edge answers a GET of the way of the webhooks, depending on how many strangers ask."""
KEPT = {"fit", "files", "values", "engine", "connection", SNAPSHOT}
"""Steps that change nothing that is taken back: the tables of a connection go with their migration."""


def undo(setup: Setup, site: Site, *, is_confirmed: bool, is_dry_run: bool) -> list[Outcome]:
    """Take back what is there, from the last step to the first. Raises CommandFailed and WrongUsage."""
    crons = [step for step in all_steps() if step.id == "9b"]
    steps = [*(step for step in setup_steps(setup) if step.id not in KEPT), *crons]
    found = survey(site, steps)[::-1]
    if is_dry_run:
        _show_rest(setup, site)
        return found
    if all(each.result == State.ABSENT for each in found):
        _end(setup, site)
        return found
    say("This will go, after a dump of our tables:")
    for each in found:
        if each.result != State.ABSENT:
            say(f"  {each.step.title}: {', '.join(each.step.undoes)}")
    _show_rest(setup, site)
    _refuse_running(setup, site)
    if not is_confirmed:
        if not setup.answers.is_terminal:
            raise WrongUsage("Nothing was changed. Run this on a terminal to be asked, or give --yes.")
        typer.confirm("Take all of it back?", abort=True, err=True)
    outcomes = roll_back(site, steps)
    if not outcomes[-1].stops:
        _end(setup, site)
    return outcomes


def _show_rest(setup: Setup, site: Site) -> None:
    """Say which files are written and removed, and which leads and tickets stay."""
    say(f"  The dump: {setup.folder}/…-{DUMP}.dump. {setup.folder / WEBHOOK_FILE} goes, other files stay.")
    row = site.row("golive/load_ticket_source")
    if row["tickets"]:
        say(f"  {row['tickets']} tickets came from leads: they stay, and their source stays, disabled.")
    if look_for(site, "migrations", migration="931").state is not State.ABSENT:
        waiting = site.row("setup/count_waiting")["leads"]
        if waiting:
            say(f"  {waiting} stored leads made no ticket: they are in the dump, and go.")


def _refuse_running(setup: Setup, site: Site) -> None:
    """A lead that is stored after the dump would be lost.

    From the container of another network nothing answers: then sessions show the handlers, and the way of
    the webhooks shows the edge.
    """
    settings = site.settings
    login, _ = login_of(setup.files.get("DATABASE_URL", HANDLERS))
    for name, is_running in (
        ("edge still runs", answers(settings.edge_status_url) or _takes_webhooks(settings.public_url)),
        (
            "handlers still run, or a pooler keeps their sessions open (close them there)",
            answers(settings.handlers_url) or site.row("setup/count_sessions", login=login)["sessions"],
        ),
    ):
        if is_running:
            raise CommandFailed(
                f"Nothing was changed. The {name}: switch the webhook off in Pancake, stop edge "
                "and handlers, then run this again."
            )


def _takes_webhooks(url: str) -> bool:
    """Whether the edge answers at its public URL: a proxy in front of it answers otherwise."""
    try:
        answer = ask(f"{url}/api/pancake/record/undo", timeout_seconds=REQUEST_SECONDS)
    except NoAnswer:
        return False
    return isinstance(answer.json, dict) and answer.json.get("status") in OF_EDGE


def _end(setup: Setup, site: Site) -> None:
    (setup.folder / WEBHOOK_FILE).unlink(missing_ok=True)
    # One that was made after a stop may lack the tables that were gone by then.
    dumps = [
        str(each["file"]) for each in site.journal.entries("snapshot")
        if each["when"] == DUMP and EVENTS in each["tables"]
    ]  # fmt: skip
    say(
        f"All of it is taken back. {setup.folder} keeps {dumps[-1] if dumps else 'no dump'}, the keys of its "
        f"secrets ({', '.join(FILES)}) and the journal: remove the folder when you need none of it."
    )
    say("It leaves, for you to remove:")
    for each in what_stays(setup):
        say(f"  {each}")


def what_stays(setup: Setup) -> list[str]:
    """Name what setup made, or a person for it, and what this does not take back."""
    roles = [f"pancake_{role}" for role in LOGINS.values()]
    return [
        f"the roles {' and '.join(roles)}, without rights here, unless another database of the server has "
        f"the integration: DROP ROLE {', '.join(roles)}",
        f"the lines of {setup.folder / ENGINE} in the engine's environment",
        *WAYS[setup.answers["way"]]["leaves"],
    ]
