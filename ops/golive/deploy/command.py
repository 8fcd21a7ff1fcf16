"""The command line of `leads golive deploy`."""

import getpass
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ops.failures import ExitCode, WrongUsage
from ops.golive.commit import CLONE
from ops.golive.deploy.plan_file import commands_of, read_plan_file
from ops.golive.deploy.running import Outcome, deploy, roll_back, survey
from ops.golive.deploy.site import Choices, Site, open_site
from ops.golive.deploy.step import Step
from ops.golive.deploy.steps import all_steps, find_step
from ops.metadata.deploy import BACKUPS, Folder, Source
from ops.output import AsJson, print_indented, print_json, say

FOLDER = Path("golive")
By = Annotated[str, typer.Option(help="Who is responsible for this run; default: your login name.")]
JournalFolder = Annotated[Path, typer.Option("--folder", help="Folder of journal and snapshots.")]


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
    by: By = "",
    file: Annotated[Path, typer.Option("--file", help="What is special to your installation.")] = Path(
        "golive.yaml"
    ),
    folder: JournalFolder = FOLDER,
    backups: Folder = BACKUPS,
    source: Source = "default",
    migrations: Annotated[Path, typer.Option(help="Folder of the migrations.")] = (
        CLONE / "hasura" / "migrations" / "default"
    ),
    programs: Annotated[Path | None, typer.Option(help="Folder of pg_dump; default: PATH.")] = None,
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
    steps = [until, rollback, *(confirm or [])]
    _check_usage(steps, sum([plan, check, bool(until), bool(rollback)]))
    if plan:
        _print_plan(commands_of(read_plan_file(file)), as_json=as_json)
        return
    choices = Choices(
        folder, read_plan_file(file), by or getpass.getuser(), backups, source, migrations, programs,
        anytime, move_tickets,
    )  # fmt: skip
    with open_site(choices) as site:
        if check:
            outcomes = survey(site)
        else:
            _note_confirmations(site, confirm or [], is_rollback=bool(rollback))
            if rollback:
                outcomes = roll_back(site, rollback, confirm or [])
            else:
                outcomes = deploy(site, until or None, wait)
        _end(site, outcomes, is_survey=check, as_json=as_json)


def _check_usage(steps: list[str], modes: int) -> None:
    known = [step.id for step in all_steps()]
    for given in filter(None, steps):
        if given not in known:
            raise WrongUsage(f"There is no step {given!r}. They are: {', '.join(known)}")
    if modes > 1:
        raise WrongUsage("Give one of --plan, --check, --until and --rollback.")
    if steps[1] == known[0]:
        raise WrongUsage("The snapshot is kept. Roll back to step 1 or a later one.")


def _note_confirmations(site: Site, confirmed: list[str], *, is_rollback: bool) -> None:
    """Only what no program can check, or has no command, is taken from a person."""
    for step_id in confirmed:
        if not is_rollback and not find_step(step_id).is_confirmed_by_person:
            raise WrongUsage(f"Step {step_id} is checked by the program: it needs no --confirm.")
        if not is_rollback:
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
    last = outcomes[-1]
    if is_survey:
        is_failed = any(each.result != "done" for each in outcomes)
    else:
        is_failed = last.stops
        say(f"The journal is {site.journal.path}.")
    if is_failed:
        raise typer.Exit(ExitCode.FAILED)


def _print_plan(commands: Mapping[str, str], *, as_json: bool) -> None:
    if as_json:
        print_json([_document(step, commands) for step in all_steps()])
        return
    console = Console()
    for step in all_steps():
        print_indented(f"{step.id}  {step.title} ({step.owner}, at most {step.at_most})", 0, console)
        for command in step.shown:
            print_indented(f"do    {commands.get(command, command)}", 1, console)
        for command in step.shown_undo:
            print_indented(f"undo  {commands.get(command, command)}", 1, console)


def _document(step: Step, commands: Mapping[str, str]) -> dict[str, object]:
    return {
        "step": step.id, "title": step.title, "owner": step.owner, "at_most": step.at_most,
        "do": [commands.get(each, each) for each in step.shown],
        "undo": [commands.get(each, each) for each in step.shown_undo],
    }  # fmt: skip
