"""`leads setup --undo`: show what will go, dump it, ask, take it back."""

from collections.abc import Sequence

import typer

from ops.failures import CommandFailed, WrongUsage
from ops.golive.deploy.site import Site
from ops.golive.deploy.step import State
from ops.golive.deploy.steps import SNAPSHOT, all_steps
from ops.golive.deploy.walk import Outcome, roll_back, survey
from ops.output import say
from ops.setup.env_files import FILES
from ops.setup.steps import WEBHOOK_FILE, Setup, answers, setup_steps

KEPT = {"fit", "files", "engine", "connection", SNAPSHOT}
"""Steps that change nothing that is taken back: the tables of a connection go with their migration."""


def undo(setup: Setup, site: Site, *, is_confirmed: bool, is_dry_run: bool) -> list[Outcome]:
    """Take back what is there, from the last step to the first. Raises CommandFailed and WrongUsage."""
    crons = [step for step in all_steps() if step.id == "9b"]
    steps = [*(step for step in setup_steps(setup) if step.id not in KEPT), *crons]
    found = survey(site, steps)
    if is_dry_run:
        return found
    if all(each.result == State.ABSENT for each in found):
        _end(setup, site)
        return found
    _show(site, found)
    _refuse_running(site)
    if not is_confirmed:
        if not setup.answers.is_terminal:
            raise WrongUsage("Nothing was changed. Run this on a terminal to be asked, or give --yes.")
        typer.confirm("Take all of it back?", abort=True, err=True)
    outcomes = roll_back(site, steps)
    if not outcomes[-1].stops:
        _end(setup, site)
    return outcomes


def _show(site: Site, found: Sequence[Outcome]) -> None:
    say("This will go, after a dump of our tables:")
    for each in reversed(found):
        if each.result != State.ABSENT:
            say(f"  {each.step.title}: {', '.join(each.step.undoes)}")
    row = site.row("golive/load_ticket_source")
    if row["tickets"]:
        say(f"  {row['tickets']} tickets came from leads: they stay, and their source stays, disabled.")


def _refuse_running(site: Site) -> None:
    """A lead that is stored after the dump would be lost."""
    settings = site.settings
    for name, url in (("edge", settings.edge_status_url), ("handlers", settings.handlers_url)):
        if answers(url):
            raise CommandFailed(
                f"Nothing was changed. The {name} still runs: switch the webhook off in Pancake, stop edge "
                "and handlers, then run this again."
            )


def _end(setup: Setup, site: Site) -> None:
    (setup.folder / WEBHOOK_FILE).unlink(missing_ok=True)
    dumps = [str(each["file"]) for each in site.journal.entries("snapshot") if each["when"] != "before"]
    say(
        f"All of it is taken back. {setup.folder} keeps {dumps[-1] if dumps else 'no dump'}, the keys of its "
        f"secrets ({', '.join(FILES)}) and the journal: remove the folder when you need none of it."
    )
