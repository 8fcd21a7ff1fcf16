"""The command line of `leads setup`."""

import sys
from collections.abc import Callable, Sequence
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated

import typer

from ops.failures import ExitCode, WrongUsage
from ops.golive.deploy.command import Outcome, Programs, deploy, survey
from ops.golive.deploy.step import State
from ops.output import AsJson, print_json, print_line, say
from ops.setup.answers import QUESTIONS, gather
from ops.setup.env_files import read_env_files
from ops.setup.finish import finish_steps, is_held
from ops.setup.prepare import opened, prepare
from ops.setup.steps import WEBHOOK_FILE, setup_steps
from ops.setup.steps import answers as is_answering
from ops.setup.undo import undo
from ops.setup.values import START, SWITCH, finish_command

FOLDER = Path("pancake")
NEXT = """Start edge and handlers with the environment files in {folder}: {start}
Then run: {finish}"""
NEXT_OF_RUNNING = """The handlers answer already. After an upgrade replace them: docs/upgrading.md
After that, or if it was not done yet: {finish}"""
NO_PROJECT = """You named no project of the Hasura CLI. Before it is applied again, which removes our part:
  leads metadata merge --into DIR"""
END = """The installation is whole; the kill switch holds all leads. When Pancake has the URL, the PO runs:
  {switch}"""
END_OF_LIVE = "The installation is whole; the kill switch is off and holds no lead."

Finish = Annotated[
    bool, typer.Option("--finish", help="After the services started: crons, source, roster, test lead.")
]
TakeBack = Annotated[bool, typer.Option("--undo", help="Take all of it back, after a dump of our tables.")]
Yes = Annotated[bool, typer.Option("--yes", help="Undo: do not ask.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show every step, statement and file; change nothing.")
]
AnswersFile = Annotated[Path | None, typer.Option(help="File with the answers, YAML: docs/install.md.")]
Folder = Annotated[Path, typer.Option(help="Folder of the environment files and of the journal.")]
AcceptEngine = Annotated[str, typer.Option(help="Accept this version of the engine, which was not tried.")]
Wait = Annotated[int, typer.Option(min=0, max=86_400, help="Seconds to wait for what only a person can do.")]


def with_answers(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb an option for each answer that has one; it gets them by their names."""
    own = [each for each in signature(verb).parameters.values() if each.kind is not Parameter.VAR_KEYWORD]
    options = [
        Parameter(
            each.name, Parameter.KEYWORD_ONLY, default=None,
            annotation=Annotated[str | None, typer.Option(each.option, help=f"{each.text}.")],
        )
        for each in QUESTIONS.values() if each.option
    ]  # fmt: skip
    verb.__signature__ = Signature([*own, *options])  # type: ignore[attr-defined]
    return verb


@with_answers
def setup(
    finish: Finish = False, take_back: TakeBack = False, dry_run: DryRun = False, yes: Yes = False,
    answers: AnswersFile = None, folder: Folder = FOLDER, accept_engine: AcceptEngine = "", wait: Wait = 0,
    programs: Programs = None, as_json: AsJson = False, **options: str | None,
) -> None:  # fmt: skip
    """Install the integration: files with new secrets, migrations, roles, rights, metadata, connection.

    Each step is checked, done only if needed, and verified: run it again after
    a stop, or after an upgrade. No secret is ever overwritten. What is missing
    is asked on a terminal; secrets come from there, from the answers file, or
    from HASURA_ADMIN_SECRET, OWNER_DATABASE_URL, HASURA_GRAPHQL_JWT_SECRET and
    PANCAKE_API_KEY. docs/install.md has the four commands of an installation:
    this one, the start of the services, --finish, leads switch kill off.

    Exit code 1: a step failed, or waits for a person; the last line says for
    what.
    """
    if finish and take_back:
        raise WrongUsage("Give one of --finish and --undo.")
    files = read_env_files(folder)
    if (finish or take_back) and files.missing():
        raise WrongUsage(f"{folder} has no whole set of environment files. Make it first: leads setup")
    parts = prepare(gather(options, answers, files), files, is_new=not (finish or take_back))
    # Not those of --finish: a roster that was refused would come back.
    if files.values and not (dry_run or take_back or finish):
        parts.answers.remember()
    of_way = parts.answers["way"]
    with opened(parts, accept_engine, programs, reads_only=dry_run) as site:
        if take_back:
            outcomes = undo(parts, site, is_confirmed=yes, is_dry_run=dry_run)
        else:
            steps = finish_steps(parts) if finish else setup_steps(parts)
            outcomes = survey(site, steps) if dry_run else deploy(site, steps, person_seconds=wait)
        is_running = not (finish or take_back or dry_run) and is_answering(site.settings.handlers_url)
        is_over = finish and not dry_run and not outcomes[-1].stops
        end = END_OF_LIVE if is_over and not is_held(site) else END.format(switch=SWITCH[of_way])
    _report(outcomes, is_undo=take_back, is_dry_run=dry_run, as_json=as_json)
    if not dry_run and not take_back:
        if all(each.result == "was done" for each in outcomes):
            say("Nothing to do: every step was done.")
        start, third = START[of_way], finish_command(parts.answers, folder)
        then = NEXT_OF_RUNNING if is_running else NEXT
        say(end if finish else then.format(folder=folder, start=start, finish=third))
        if not parts.answers["project"]:
            say(NO_PROJECT)
        if finish:
            _show_webhook(folder / WEBHOOK_FILE)


def _show_webhook(path: Path) -> None:
    """Show URL and header on a terminal; they are secrets, so that elsewhere only their file is named."""
    say(f"Enter in Pancake, Settings, Tools, Webhook, the URL and the request header that are in {path}:")
    if sys.stdout.isatty():
        print_line(path.read_text("utf-8").strip())


def _report(outcomes: Sequence[Outcome], *, is_undo: bool, is_dry_run: bool, as_json: bool) -> None:
    """Print what was done, or would be. Raises Exit with code 1 if the last step is not done."""
    if as_json:
        print_json({"steps": [each.row for each in outcomes]})
    elif is_dry_run:
        for each in outcomes:
            print_line(f"{each.result:<8} {each.step.title}: {each.text}")
            is_due = (each.result != State.ABSENT) if is_undo else (each.result != State.DONE)
            for line in (each.step.undoes if is_undo else each.step.does) if is_due else ():
                print_line(f"         {line}")
    if not is_dry_run and outcomes[-1].stops:
        raise typer.Exit(ExitCode.FAILED)
