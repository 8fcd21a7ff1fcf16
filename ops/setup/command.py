"""The command line of `leads setup`, and its undo: show what will go, dump it, ask, take it back."""

import sys
from collections.abc import Callable, Sequence
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated

import typer

from ops.clients.plain_http import NoAnswer, ask
from ops.failures import CommandFailed, ExitCode, WrongUsage
from ops.golive.deploy.command import Outcome, Programs, deploy, roll_back, survey
from ops.golive.deploy.site import Site
from ops.golive.deploy.step import State
from ops.golive.deploy.steps import SNAPSHOT, all_steps, look_for
from ops.output import AsJson, print_json, print_line, say
from ops.setup.answers import QUESTIONS, gather
from ops.setup.env_files import ENGINE, FILES, HANDLERS, LOGINS, login_of, read_env_files
from ops.setup.finish import finish_steps, is_held
from ops.setup.prepare import opened, prepare
from ops.setup.steps import REQUEST_SECONDS, WEBHOOK_FILE, Setup, is_answering, setup_steps
from ops.setup.values import START, SWITCH, WAYS, finish_command

FOLDER = Path("pancake")
NEXT = """Start edge and handlers with the environment files in {folder}: {start}
Then run: {finish}"""
NEXT_OF_RUNNING = """The handlers answer already. After an upgrade replace them: docs/production.md#upgrade
After that, or if it was not done yet: {finish}"""
NO_PROJECT = """You named no project of the Hasura CLI. Before it is applied again, which removes our part:
  leads metadata merge --into DIR"""
END = """The installation is whole; the kill switch holds all leads. When Pancake has the URL, the PO runs:
  {switch}"""
END_OF_LIVE = "The installation is whole; the kill switch is off and holds no lead."
DUMP, EVENTS = "before-rollback", "public.pancake_webhook_event"
OF_EDGE = ("method_not_allowed", "not_found", "rate_limited")
"""What the edge answers a GET of the way of the webhooks, depending on how many strangers ask."""
KEPT = {"fit", "files", "values", "engine", "connection", SNAPSHOT}
"""Steps that change nothing that is taken back: the tables of a connection go with their migration."""

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
        ("edge still runs", is_answering(settings.edge_status_url) or _takes_webhooks(settings.public_url)),
        (
            "handlers still run, or a pooler keeps their sessions open (close them there)",
            is_answering(settings.handlers_url) or site.row("setup/count_sessions", login=login)["sessions"],
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
