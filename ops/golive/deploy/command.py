"""`leads golive deploy`: check, do and verify steps, one after the other; and back."""

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from leads.domain.errors import IntegrationError
from ops.checks.services import HasuraSource
from ops.clients.db_session import login_name
from ops.failures import CommandFailed, ExitCode, WrongUsage
from ops.files import digest_of
from ops.golive.deploy.site import PLAN, Choices, PlanFile, PlanOption, Site, open_site, read_plan_file
from ops.golive.deploy.step import GOES_ON, Action, Found, PersonNeeded, State, Step
from ops.golive.deploy.steps import (
    OF_DIVA,
    OWN_TABLES,
    PILOT,
    SNAPSHOT,
    all_steps,
    check,
    find_step,
    migration_ids,
    take_snapshot,
)
from ops.metadata.deploy import BACKUPS, Folder
from ops.output import AsJson, print_indented, print_json, say
from ops.settings import MIGRATIONS_FOLDER
from ops.waiting import poll

POLL_SECONDS = 0.5
FOLDER = Path("golive")
Programs = Annotated[Path | None, typer.Option(help="Folder of pg_dump; default: PATH.")]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run made of a step: `result` is done, was done, blocked, undone, was absent, waiting, failed."""

    step: Step
    result: str
    text: str

    @property
    def stops(self) -> bool:
        return self.result in ("waiting", "failed")

    @property
    def row(self) -> Mapping[str, str]:
        return {"step": self.step.id, "title": self.step.title, "result": self.result, "text": self.text}


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
    Step 14 waits for `leads golive begin W1`; --confirm 14 opens without it, on
    staging.

    Needs DATABASE_URL (the owner's), HASURA_URL, HASURA_ADMIN_SECRET; the
    steps need what their verbs need. Exit code 1: a step failed, or waits for
    a person; the last lines say for what.
    """
    known, confirmed = [step.id for step in all_steps()], confirm or []
    for given in filter(None, [until, rollback, *confirmed]):
        if given not in known:
            raise WrongUsage(f"There is no step {given!r}. They are: {', '.join(known)}")
    if sum([plan, check, bool(until), bool(rollback)]) > 1:
        raise WrongUsage("Give one of --plan, --check, --until and --rollback.")
    if rollback == SNAPSHOT:
        raise WrongUsage("The snapshot is kept. Roll back to step 1 or a later one.")
    of_file = read_plan_file(file)
    if plan:
        _print_plan(of_file, as_json=as_json)
        return
    choices = Choices(
        folder, of_file, by or login_name(), backups, source, migrations, programs, anytime, move_tickets
    )
    with open_site(choices) as site:
        if check:
            outcomes = survey(site, all_steps())
        elif rollback:
            outcomes = roll_back(site, all_steps()[known.index(rollback) :], confirmed)
        else:
            for name in confirmed:
                if name != PILOT and not find_step(name).is_confirmed_by_person:
                    raise WrongUsage(f"Step {name} is checked by the program: it needs no --confirm.")
                site.journal.write("confirmed", name)
            outcomes = deploy(site, all_steps(), until, wait)
        _end(site, outcomes, is_survey=check, is_whole=not until, as_json=as_json)


def _end(site: Site, outcomes: list[Outcome], *, is_survey: bool, is_whole: bool, as_json: bool) -> None:
    if as_json:
        print_json({"steps": [each.row for each in outcomes], "journal": str(site.journal.path)})
    elif is_survey:
        for each in outcomes:
            print_indented(f"{each.step.id:<9} {each.result:<8} {each.step.title}: {each.text}", 0, Console())
    if not is_survey:
        say(f"The journal is {site.journal.path}.")
    last = outcomes[-1]
    is_stopped = last.stops or (is_whole and last.result == State.BLOCKED)
    if any(each.result != State.DONE for each in outcomes) if is_survey else is_stopped:
        raise typer.Exit(ExitCode.FAILED)


def _print_plan(plan: PlanFile, *, as_json: bool) -> None:
    commands = {  # by the words with which a step names them
        f"golive.yaml, services.{name}.{word}": shlex.join(command)
        for name, service in plan.services.items()
        for word, command in (("do", service.do), ("undo", service.undo))
        if command
    }
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


def deploy(site: Site, steps: Sequence[Step], until: str = "", person_seconds: float = 0.0) -> list[Outcome]:
    """Bring every step to done, in order; end with the first that fails, or waits longer for a person.

    A step that was blocked is looked at again when all others are done.
    """
    if stopped := site.journal.interrupted():
        at = datetime.fromisoformat(stopped["at"])
        say(f"The last run was stopped in step {stopped['step']} at {at:%Y-%m-%d %H:%M:%S} UTC.")
    outcomes = []
    for step in steps:
        outcomes.append(bring_forward(site, step, person_seconds))
        if outcomes[-1].stops or step.id == until:
            return outcomes
    return outcomes + [bring_forward(site, each.step) for each in outcomes if each.result == State.BLOCKED]


def roll_back(site: Site, steps: Sequence[Step], confirmed: Sequence[str] = ()) -> list[Outcome]:
    migrations, is_saved = migration_ids(), False
    outcomes: list[Outcome] = []
    for step in reversed(steps):
        if not is_saved and step.id in migrations:
            # Handlers and edge have no rights any more: a lead stored after the dump would be lost.
            if not act(site, step, take_snapshot(site, "before-rollback", OF_DIVA, OWN_TABLES)):
                return [*outcomes, _said(step, "failed", "Nothing of the schema was undone.")]
            is_saved = True
        outcomes.append(take_back(site, step, is_confirmed=step.id in confirmed))
        if outcomes[-1].stops:
            break
    return outcomes


def survey(site: Site, steps: Sequence[Step]) -> list[Outcome]:
    return [Outcome(step, found.state, found.text) for step in steps for found in [check(site, step)]]


def bring_forward(site: Site, step: Step, person_seconds: float = 0.0) -> Outcome:
    """Check a step, do it if it is not done, and check again; wait so long for what a person has to do."""
    say(f"{step.id}  {step.title}")
    return _said(step, *_forward(site, step, person_seconds))


def _forward(site: Site, step: Step, person_seconds: float) -> tuple[str, str]:
    found = _look(site, step, "check")
    if found.state in GOES_ON:
        return "was done" if found.state is State.DONE else found.state, found.text
    try:
        actions = step.do(site)
    except PersonNeeded as error:
        return "waiting", str(error)
    if not actions:
        under_way = step.wait_seconds if found.state is State.PARTIAL else 0.0
        return _wait_for_person(site, step, found, max(under_way, person_seconds))
    for action in actions:
        if not act(site, step, action):
            return "failed", f"{' '.join(action.argv[:3])} failed. {step.fix}"
    found = _look(site, step, "verify", step.wait_seconds)
    if found.state in GOES_ON:
        return found.state, found.text
    if step.do_by_hand:
        return _wait_for_person(site, step, found, person_seconds)
    return "failed", f"{found.text}. {step.fix}"


def _wait_for_person(site: Site, step: Step, found: Found, seconds: float) -> tuple[str, str]:
    by_hand = step.do_by_hand or step.fix
    if seconds and not step.is_confirmed_by_person:
        say(f"  waits up to {seconds:.0f} s. {found.text}. {by_hand}")
        found = _look(site, step, "verify", seconds)
        if found.state in GOES_ON:
            return found.state, found.text
    return "waiting", f"{found.text}. {by_hand}"


def take_back(site: Site, step: Step, *, is_confirmed: bool) -> Outcome:
    say(f"{step.id}  {step.title}")
    result, text = _back(site, step, is_confirmed=is_confirmed)
    if result in ("was absent", "undone"):
        site.journal.write("undone", step.id, text=text)
    return _said(step, result, text)


def _back(site: Site, step: Step, *, is_confirmed: bool) -> tuple[str, str]:
    found = _look(site, step, "check")
    if found.state is State.ABSENT:
        return "was absent", found.text
    if step.has_other_undo and site.journal.is_undone(step.id):
        # No check sees it, and a second "rollout undo" would bring the new version back.
        return "was undone", found.text
    if found.state is State.PARTIAL and site.journal.is_undone(step.id, "begin"):
        # Its check reads tables that the undo of an earlier step has removed since.
        return "was undone", found.text
    actions = step.undo(site)
    if not actions and step.undo_by_hand:
        if is_confirmed:
            return "undone", f"confirmed by {site.journal.by}"
        return "waiting", step.undo_by_hand
    for action in actions:
        if not act(site, step, action):
            return "failed", f"{' '.join(action.argv[:3])} failed. docs/runbook/rollback.md"
    if step.has_other_undo:
        return "undone", "its command ended well"
    found = check(site, step)
    if found.state is not State.ABSENT:
        return "failed", f"after the undo: {found.text}. docs/runbook/rollback.md"
    return "undone", found.text


def _said(step: Step, result: str, text: str) -> Outcome:
    say(f"  {result}: {text}")
    return Outcome(step, result, text)


def _look(site: Site, step: Step, event: str, seconds: float = 0.0) -> Found:
    for _ in poll(seconds, POLL_SECONDS):
        found = check(site, step)
        if found.state in GOES_ON:
            break
    site.journal.write(event, step.id, state=found.state.value, text=found.text)
    return found


def act(site: Site, step: Step, action: Action) -> bool:
    say(f"  $ {' '.join(action.argv)}")
    site.journal.write("begin", step.id, argv=list(action.argv))
    started = time.monotonic()
    try:
        code, digest = action.run()
    except (CommandFailed, IntegrationError) as error:
        say(f"  {error}")
        code, digest = ExitCode.FAILED, digest_of(str(error).encode())
    seconds = round(time.monotonic() - started, 3)
    end = {"argv": list(action.argv), "exit": int(code), "seconds": seconds, "output_sha256": digest}
    site.journal.write("end", step.id, **end)
    return code == ExitCode.OK
