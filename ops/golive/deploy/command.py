"""The command line of `leads golive deploy`."""

import getpass
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ops.checks.services import HasuraSource
from ops.failures import ExitCode, WrongUsage
from ops.golive.commit import MIGRATIONS_FOLDER
from ops.golive.deploy.plan_file import PLAN, PlanOption, commands_of, read_plan_file
from ops.golive.deploy.site import Choices, Site, open_site
from ops.golive.deploy.step import State, Step
from ops.golive.deploy.steps import SNAPSHOT, all_steps, find_step
from ops.golive.deploy.walk import Outcome, deploy, roll_back, survey
from ops.metadata.deploy import BACKUPS, Folder
from ops.output import AsJson, print_indented, print_json, say

FOLDER = Path("golive")
Programs = Annotated[Path | None, typer.Option(help="Folder of pg_dump; default: PATH.")]


def deploy_command(
    plan: Annotated[bool, typer.Option("--plan", help="Show steps, commands and times only.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Check every step; change nothing.")] = False,
    until: Annotated[str, typer.Option(metavar="STEP", help="End after this step.")] = "",
    rollback: Annotated[
        str, typer.Option(metavar="STEP", help="Undo the steps from the last back to this one.")
    ] = "",
    confirm: Annotated[
        list[str] | None, typer.Option(metavar="STEP", help="You did this step by hand; may be repeated.")
    ] = None,
    wait: Annotated[
        int, typer.Option(min=0, max=86_400, help="Seconds to wait for Pancake's first delivery and lead.")
    ] = 0,
    by: Annotated[str, typer.Option(help="Who is responsible for this run; default: your login name.")] = "",
    file: PlanOption = PLAN,
    folder: Annotated[Path, typer.Option("--folder", help="Folder of journal and snapshots.")] = FOLDER,
    backups: Folder = BACKUPS,
    source: HasuraSource = "default",
    migrations: Annotated[Path, typer.Option(help="Folder of the migrations.")] = MIGRATIONS_FOLDER,
    programs: Programs = None,
    anytime: Annotated[bool, typer.Option("--anytime", help="Backfill outside the night too.")] = False,
    move_tickets: Annotated[
        bool, typer.Option("--move-tickets", help="Rollback: move tickets off our source, then delete it.")
    ] = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Deploy by the steps of the checklist, from Diva's schema to the first lead.

    Each step is checked, done and verified. Run it again after a stop, or when
    a person has done a part: what is done is seen and left. A snapshot of the
    tables comes first. The journal has who, when, commands and exit codes.

    Needs DATABASE_URL (the owner's), HASURA_URL, HASURA_ADMIN_SECRET; the
    steps need what their verbs need. Exit code 1: a step failed, or waits for
    a person; the last lines say for what.
    """
    _check_usage([until, rollback, *(confirm or [])], sum([plan, check, bool(until), bool(rollback)]))
    if rollback == SNAPSHOT:
        raise WrongUsage("The snapshot is kept. Roll back to step 1 or a later one.")
    given = read_plan_file(file)
    if plan:
        _print_plan(commands_of(given), as_json=as_json)
        return
    choices = Choices(
        folder, given, by or getpass.getuser(), backups, source, migrations, programs, anytime, move_tickets
    )
    with open_site(choices) as site:
        if check:
            outcomes = survey(site, all_steps())
        elif rollback:
            outcomes = roll_back(site, _steps_from(rollback), confirm or [])
        else:
            _note_confirmations(site, confirm or [])
            outcomes = deploy(site, all_steps(), until or None, wait)
        _end(site, outcomes, is_survey=check, as_json=as_json)


def _steps_from(first: str) -> Sequence[Step]:
    steps = all_steps()
    return steps[[step.id for step in steps].index(first) :]


def _check_usage(steps: list[str], modes: int) -> None:
    known = [step.id for step in all_steps()]
    for given in filter(None, steps):
        if given not in known:
            raise WrongUsage(f"There is no step {given!r}. They are: {', '.join(known)}")
    if modes > 1:
        raise WrongUsage("Give one of --plan, --check, --until and --rollback.")


def _note_confirmations(site: Site, confirmed: list[str]) -> None:
    """Only what no program can check, or has no command, is taken from a person."""
    for step_id in confirmed:
        if not find_step(step_id).is_confirmed_by_person:
            raise WrongUsage(f"Step {step_id} is checked by the program: it needs no --confirm.")
        site.journal.write("confirmed", step_id)


def _end(site: Site, outcomes: list[Outcome], *, is_survey: bool, as_json: bool) -> None:
    if as_json:
        rows = [
            {"step": each.step.id, "title": each.step.title, "result": each.result, "text": each.text}
            for each in outcomes
        ]
        print_json({"steps": rows, "journal": str(site.journal.path)})
    elif is_survey:
        for each in outcomes:
            print_indented(f"{each.step.id:<9} {each.result:<8} {each.step.title}: {each.text}", 0, Console())
    if not is_survey:
        say(f"The journal is {site.journal.path}.")
    if any(each.result != State.DONE for each in outcomes) if is_survey else outcomes[-1].stops:
        raise typer.Exit(ExitCode.FAILED)


def _print_plan(commands: Mapping[str, str], *, as_json: bool) -> None:
    rows = [
        {
            "step": step.id, "title": step.title, "owner": step.owner, "at_most": step.at_most,
            "do": [commands.get(each, each) for each in step.does],
            "undo": [commands.get(each, each) for each in step.undoes],
        }
        for step in all_steps()
    ]  # fmt: skip
    if as_json:
        print_json(rows)
        return
    console = Console()
    for row in rows:
        head = f"{row['step']}  {row['title']} ({row['owner']}, at most {row['at_most']})"
        print_indented(head, 0, console)
        for word in ("do", "undo"):
            for command in row[word]:
                print_indented(f"{word:<4}  {command}", 1, console)
