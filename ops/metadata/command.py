"""The command line of `leads metadata`."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ops.checks.model import Asked, Check, Finding, Level, Result, When, not_green, red
from ops.checks.screen import document, print_look, shown
from ops.checks.services import HasuraSource
from ops.checks.table import BY_ID
from ops.clients.hasura_admin import Engine, RequestRefused
from ops.failures import fail_if
from ops.metadata.deploy import (
    BACKUPS,
    MAX_EVENTS_WAIT_SECONDS,
    Deployment,
    Folder,
    Step,
    compare_engines,
    open_deployment,
)
from ops.metadata.directory import DIRECTORY
from ops.metadata.merge import (
    Plan,
    find_layout,
    find_our_part,
    find_problems,
    plan_merge,
    plan_unmerge,
    write_plan,
)
from ops.metadata.pieces import Change, Json, Key
from ops.output import (
    AsJson,
    ForeignTextConsole,
    examples,
    print_changes,
    print_json,
    print_line,
    print_outcome,
    print_result,
    say,
    show_activity,
    times,
    verb_group,
)
from ops.settings import check_url, read_operator_settings
from ops.waiting import poll

APPLY = """Looks first for what would keep it from working. Writes a backup, and verifies afterwards.
Exit code 1: refused, and nothing was changed; or the check found a problem."""

app = verb_group(
    "Apply, check and remove our Hasura metadata.",
    "Other metadata on the same engine stays as it is. Step 9a comes before the services are deployed, "
    "9b after. Needs HASURA_URL and HASURA_ADMIN_SECRET.",
    examples("metadata 9a", "metadata verify 9a"),
)

Directory = Annotated[Path, typer.Option("--metadata", help="Our metadata directory.")]
OverDrift = Annotated[
    bool,
    typer.Option("--over-drift", help="Overwrite changes made to the integration's metadata on the engine."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check, and show what would change; change nothing.")]
AcceptEngine = Annotated[
    str,
    typer.Option("--accept-engine", help="Accept this version of the engine, which is older than needed."),
]
RightsFollow = Annotated[
    bool,
    typer.Option(
        "--rights-follow", help="9a: grant_roles.sql is executed next; missing rights are not named before."
    ),
]
ProjectArgument = Annotated[Path, typer.Argument(metavar="DIR", help="The project: it has config.yaml.")]
Database = Annotated[
    str | None,
    typer.Option("--hasura-source", help="The source for our tables; needed if there are several."),
]
StepOption = Annotated[Step, typer.Option("--step", help="9a: without cron triggers; 9b: everything.")]
PROJECT = Check(
    "project", "Is our part in the project, whole and in this version?", When.CRITERION, (), lambda *_: (),
    cure="leads metadata merge --into DIR", runbook="docs/runbook/metadata.md",
)  # fmt: skip
"""It is in no table: it asks files, and no installation."""
BATCH = 500
"""As many as engine/fire_waiting fires, and retry_failed: new leads do not stand behind a long backlog."""
MAX_FIRING_SECONDS, FIRING_INTERVAL_SECONDS = 60.0, 0.5
CHECK_INTERVAL_SECONDS = 0.2


@app.command(
    "9b", epilog=examples("metadata 9b"),
    help=f"Apply the cron triggers, after the services are deployed.\n\n{APPLY}",
)  # fmt: skip
@app.command(
    "9a", epilog=examples("metadata 9a --dry-run", "metadata 9a"),
    help=f"Apply everything but cron triggers, before the services are deployed.\n\n{APPLY}",
)  # fmt: skip
def apply(
    context: typer.Context,
    folder: Folder = BACKUPS, source: HasuraSource = "default", directory: Directory = DIRECTORY,
    over_drift: OverDrift = False, dry_run: DryRun = False, accept_engine: AcceptEngine = "",
    rights_follow: RightsFollow = False, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Apply the step that is the verb's name, or show what it would change."""
    step = Step(str(context.info_name))
    with open_deployment(folder, source, directory, accept_engine) as deployment:
        if dry_run:
            deployment.check_before(step, over_drift=over_drift)
            deployment.note_allow_list(step)
            _show_changes(step, deployment.changes(step), "Nothing would change.", as_json=as_json)
            return
        path = _apply_pieces(deployment, step, over_drift=over_drift)
        delivered = _deliver_probe(deployment, step, rights_follow=rights_follow)
        results = [*delivered, *_verify_pieces(deployment, step)]
        _report(results, as_json=as_json, step=step.value, backup=str(path))


@app.command(epilog=examples("metadata recover"))
def recover(
    folder: Folder = BACKUPS, source: HasuraSource = "default", directory: Directory = DIRECTORY,
    accept_engine: AcceptEngine = "", as_json: AsJson = False,
) -> None:  # fmt: skip
    """Put back what is missing of our metadata, after that of the engine was replaced or cleared.

    9a and 9b in one, with the permission for sendNotifications, and with the SQL triggers of our event
    trigger if they are missing. Fires the rows that wait again. Exit code 1: refused, or the check found a
    problem.
    """
    with open_deployment(folder, source, directory, accept_engine) as deployment:
        if deployment.install_missing_triggers():
            say("Installed the SQL triggers of the event trigger again.")
        for step in Step:
            _apply_pieces(deployment, step, over_drift=False)
        delivered = _deliver_probe(deployment, Step.AFTER_SERVICES)
        waiting = int(deployment.engine.run_sql("engine/count_waiting", deployment.source)[0][0])
        fired = None if delivered else _fire_waiting(deployment)
        what = (
            "pancake_retry_failed begins within two minutes"
            if fired is None
            else f"{fired} of them had no event and were fired again"
        )
        say(f"{times(waiting, 'row waits', 'rows wait')} to be processed; {what}.")
        results = [*delivered, *_verify_pieces(deployment, Step.AFTER_SERVICES)]
        _report(results, as_json=as_json, waiting=waiting, fired=fired)


@app.command(epilog=examples("metadata verify 9b"))
def verify(
    step: Annotated[Step, typer.Argument(help="The step that was applied last.")] = Step.AFTER_SERVICES,
    probe: Annotated[
        bool, typer.Option("--probe", help="Also deliver a probe event to the handlers, as 9a and 9b do.")
    ] = False,
    folder: Folder = BACKUPS, source: HasuraSource = "default", directory: Directory = DIRECTORY,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Check our metadata: equal to the directory, consistent, with its SQL triggers and the permission
    for sendNotifications, and (9b) every cron has events.

    Exit code 1: it is not; every problem is named.
    """
    with open_deployment(folder, source, directory) as deployment:
        delivered = _deliver_probe(deployment, step) if probe else []
        _report([*delivered, *deployment.verify(step)], as_json=as_json, step=step.value)


@app.command(epilog=examples("metadata diff", "metadata diff 9a --json"))
def diff(
    step: Annotated[Step, typer.Argument(help="9a: without cron triggers; 9b: everything.")] = (
        Step.AFTER_SERVICES
    ),
    folder: Folder = BACKUPS, source: HasuraSource = "default", directory: Directory = DIRECTORY,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Show where the engine's metadata differs from our directory, with the values before and after.

    Values of headers are hidden, of URLs the path. Exit code 1: they differ.
    """
    with open_deployment(folder, source, directory) as deployment:
        changes = deployment.changes(step)
    _show_changes(step, changes, "No differences.", as_json=as_json)
    fail_if(changes)


@app.command(epilog=examples("metadata restore 9a", "metadata restore --backup FILE.json"))
def restore(
    step: Annotated[
        Step | None, typer.Argument(help="Take the backup from before this step; else the newest.")
    ] = None,
    path: Annotated[Path | None, typer.Option("--backup", help="Take this backup.")] = None,
    folder: Folder = BACKUPS, source: HasuraSource = "default", directory: Directory = DIRECTORY,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Restore our metadata from a backup; later changes to other metadata stay."""
    with open_deployment(folder, source, directory) as deployment:
        chosen = path or deployment.files.newest_backup(step)
        before = deployment.restore(chosen)
    message = f"Restored the metadata of the integration from {chosen}. The state before is in {before}."
    print_outcome({"restored": str(chosen), "backup": str(before)}, message, as_json=as_json)


@app.command(epilog=examples("metadata remove 9b", "metadata remove 9a"))
def remove(
    step: Annotated[Step, typer.Argument(help="9b: the cron triggers; 9a: all metadata of the integration.")],
    folder: Folder = BACKUPS, source: HasuraSource = "default", directory: Directory = DIRECTORY,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Remove our metadata, also after several applies; other metadata stays."""
    with open_deployment(folder, source, directory) as deployment:
        path = deployment.remove(step)
    removed = "all metadata of the integration" if step is Step.BEFORE_SERVICES else "our cron triggers"
    message = f"Removed {removed}. The state before is in {path}."
    print_outcome({"step": step.value, "backup": str(path)}, message, as_json=as_json)


@app.command(epilog=examples("metadata compare --with https://staging.example.com --only-integration"))
def compare(
    other: Annotated[str, typer.Option("--with", help="URL of the other engine.")],
    only_integration: Annotated[
        bool, typer.Option("--only-integration", help="Leave out the metadata of others.")
    ] = False,
    source: HasuraSource = "default", directory: Directory = DIRECTORY, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Compare this engine with another one (staging, production).

    Also needs HASURA_OTHER_ADMIN_SECRET. Exit code 1: they differ.
    """
    check_url("--with", "hasura", other)
    needs = ("HASURA_URL", "HASURA_ADMIN_SECRET", "HASURA_OTHER_ADMIN_SECRET")
    secret = read_operator_settings(*needs).hasura_other_admin_secret
    with (
        open_deployment(source=source, directory=directory) as deployment,
        Engine(other, secret) as second,
    ):
        found = compare_engines(deployment, second, only_integration=only_integration)
    if as_json:
        print_json({"differences": found})
    elif found:
        table = Table("kind", "name", "integration", "difference")
        for each in found:
            of_integration = "yes" if each["of_integration"] else ""
            table.add_row(each["kind"], each["name"], of_integration, each["difference"])
        ForeignTextConsole().print(table)
    else:
        say("No differences.")
    fail_if(found)


@app.command(epilog=examples("metadata merge --into ../hasura --dry-run"))
def merge(
    into: Annotated[Path, typer.Option("--into", metavar="DIR", help="The project: it has config.yaml.")],
    step: StepOption = Step.AFTER_SERVICES, source: Database = None, own: Directory = DIRECTORY,
    dry_run: DryRun = False, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Put our part into a project of the Hasura CLI, or bring it to this version.

    Every other byte stays. Exit code 1: refused; nothing was changed.
    """
    plan = plan_merge(find_our_part(find_layout(into, source), step, own))
    _carry_out(plan, "Our part is in the project", dry_run=dry_run, as_json=as_json)


@app.command(epilog=examples("metadata unmerge ../hasura"))
def unmerge(
    directory: ProjectArgument, source: Database = None, own: Directory = DIRECTORY,
    dry_run: DryRun = False, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Take our part out of a project of the Hasura CLI.

    Gives back the bytes from before the merge. Exit code 1: refused; nothing was changed.
    """
    plan = plan_unmerge(find_our_part(find_layout(directory, source), Step.AFTER_SERVICES, own))
    _carry_out(plan, "Our part is not in the project", dry_run=dry_run, as_json=as_json)


@app.command(epilog=examples("metadata check ../hasura"))
def check(
    directory: ProjectArgument, step: StepOption = Step.AFTER_SERVICES, source: Database = None,
    own: Directory = DIRECTORY, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Check that our part is in a project, whole and in this version.

    Exit code 1: it is not; every problem is named.
    """
    problems = find_problems(find_our_part(find_layout(directory, source), step, own))
    fine = "Our part is in the project, whole and in this version"
    findings = [Finding(Level.RED, problem, PROJECT.cure) for problem in problems]
    results = [Result(PROJECT, PROJECT.id, tuple(findings or [Finding(Level.GREEN, fine)]))]
    print_result(
        document(results, step=step.value),
        lambda: print_look(results, Console(), fine=fine) if problems else print_line(f"{fine}."),
        as_json=as_json,
    )
    fail_if(problems)


def _carry_out(plan: Plan, result: str, *, dry_run: bool, as_json: bool) -> None:
    described = {
        plan.layout.name(path): "remove" if text is None else "create" if plan.now[path] is None else "change"
        for path, text in plan.changes.items()
    }
    if not dry_run:
        write_plan(plan)
    if as_json:
        print_json({"dry_run": dry_run, "files": described})
        return
    for name, change in described.items():
        print_line(f"{change:6}  {name}")
    say(f"Dry run: {len(described)} files would change." if dry_run else f"{result}: {len(described)} files.")


def _apply_pieces(deployment: Deployment, step: Step, *, over_drift: bool) -> Path:
    deployment.note_allow_list(step)
    path = deployment.apply(step, over_drift=over_drift)
    say(f"Applied {step}. The state before is in {path}.")
    return path


def _show_changes(step: Step, changes: list[Change], if_none: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"step": step.value, "changes": [change.document() for change in changes]})
    elif changes:
        console = ForeignTextConsole()
        for change in changes:
            print_changes(" ".join(change.key), change.shown_places(), console, level=0)
    else:
        say(if_none)


def _fire_waiting(deployment: Deployment) -> int | None:
    """Fire the oldest rows first, a batch when most of the last one is delivered; return how many.

    Stops after MAX_FIRING_SECONDS; retry_failed fires the others. None if the engine refused it, for example
    because its role may not write our table.
    """
    engine, source, total = deployment.engine, deployment.source, 0
    try:
        with show_activity("firing what waits"):
            for _ in poll(MAX_FIRING_SECONDS, FIRING_INTERVAL_SECONDS):
                if total and int(engine.run_sql("engine/count_pending", source)[0][0]) > BATCH // 5:
                    continue
                fired = int(engine.run_sql("engine/fire_waiting", source, read_only=False)[0][0])
                total += fired
                if fired < BATCH:
                    break
    except RequestRefused as error:
        say(f"What waits was not fired: {error}")
        return None
    return total


def _verify_pieces(deployment: Deployment, step: Step) -> list[Result]:
    if step is Step.AFTER_SERVICES:
        say(f"Waiting up to {MAX_EVENTS_WAIT_SECONDS:.0f} s until the engine has scheduled every cron ...")
    with show_activity("verifying"):
        return deployment.verify(step, MAX_EVENTS_WAIT_SECONDS)


def _deliver_probe(deployment: Deployment, step: Step, *, rights_follow: bool = False) -> list[Result]:
    """Deliver a probe event, and ask whether the handlers may store a lead; return what is wrong.

    Before the services are deployed no answer is needed, and the rights on a log that came with this step may
    still be missing.
    """
    with show_activity("delivering a probe event"):
        pieces = deployment.wanted("9a")
        probe = deliver_probe(deployment.engine, deployment.source, pieces, MAX_PROBE_SECONDS)
    if probe is None:
        say("The handlers answered a probe event.")
    elif step is Step.BEFORE_SERVICES and not probe.is_present:
        say(f"Not a problem before the services are deployed: {probe.text}. 9b looks again.")
    else:
        return [Result(CHECK, CHECK.id, (probe,))]
    results = deployment.look_at([Asked(BY_ID["store-lead"])])
    problems = not_green(results)
    if step is Step.AFTER_SERVICES:
        return results if problems else []
    if problems and not rights_follow:
        say(f"Before the services are deployed: {problems[0].text}. {problems[0].cure}")
    return []


def _report(results: list[Result], *, as_json: bool, **more: object) -> None:
    """Print what the checks found. Raises Exit with code 1 if not all of it is green."""
    print_result(
        document(results, **more),
        lambda: print_look(
            results, Console(), fine="Verified: our metadata is in place and nothing is inconsistent"
        ),
        as_json=as_json,
    )
    fail_if(any(each.level is not Level.GREEN for each in shown(results)))


ROW: Json = {"id": 0}
"""Numbers of rows begin with 1: the handlers look for this one, find nothing and write nothing."""

MAX_PROBE_SECONDS = 35.0
"""More than the time-out of our event trigger, 30 s."""

CHECK = Check(
    "probe-event", "Do the handlers answer an event of our event trigger?", When.CRITERION, (), lambda *_: (),
    cure="Look at the log of Hasura and of the handlers, then: leads metadata verify 9b --probe",
    runbook="docs/runbook/metadata.md#on-a-shared-engine",
)  # fmt: skip
"""It is in no table: it writes into Hasura's event log, and waits for the answer."""

UNAVAILABLE = 503
PAUSED = "processing_paused"
"""Also an answer of our handlers: Hasura delivers the event again until the pause ends."""
problem = partial(red, cure=CHECK.cure)


def deliver_probe(
    engine: Engine, source: str, pieces: Mapping[Key, Any], wait_seconds: float
) -> Finding | None:
    """Deliver a probe event by each of our event triggers; return the first problem.

    An event that is not answered is delivered again by Hasura, as any other. Raises CommandFailed.
    """
    for piece in (piece for key, piece in pieces.items() if key[0] == "table"):
        for trigger in piece.get("event_triggers", []):
            if found := _deliver(engine, source, trigger["name"], wait_seconds):
                return found
    return None


def _deliver(engine: Engine, source: str, trigger: str, wait_seconds: float) -> Finding | None:
    try:
        event_id = engine.invoke_event_trigger(trigger, source, ROW)
    except RequestRefused as error:
        return problem(f"the engine refused a probe event of {trigger}: {error.reason}")
    found: Finding | None = problem(
        f"the engine did not deliver a probe event of {trigger} within {wait_seconds:.0f} s: it delivers "
        "no events (HASURA_GRAPHQL_EVENTS_FETCH_INTERVAL is 0, or "
        "HASURA_GRAPHQL_DISABLE_EVENT_PROCESSING is set), or very many wait"
    )
    for _ in poll(wait_seconds, CHECK_INTERVAL_SECONDS):
        if invocations := engine.invocations(event_id, source):
            found = judge(trigger, invocations[0])
            # Hasura repeats what was answered 503: the handlers may have lost their database for a moment.
            if found is None or invocations[0].get("http_status") != UNAVAILABLE:
                break
    return found


def judge(trigger: str, invocation: Mapping[str, Any]) -> Finding | None:
    """Judge the log of a delivery, as the engine keeps it: of an error the body is called message.

    Without a status the message is the engine's own, as JSON. `is_present` says whether the handlers answered
    at all: they do not before they are deployed.
    """
    status = invocation.get("http_status")
    data = (invocation.get("response") or {}).get("data") or {}
    answer = _object(data.get("body") or data.get("message"))
    error = answer.get("extensions")
    code = error.get("code") if isinstance(error, dict) else None
    if (status == 200 and answer.get("event_id") == ROW["id"]) or code == PAUSED:
        return None
    if status is None:
        reason = str(answer.get("message") or "the engine gives no reason").strip()
        said = f"the engine cannot reach the handlers at HANDLERS_URL: {reason}"
    elif code == "unauthorized":
        return problem(
            "the handlers answered 401: the engine has another HANDLER_SECRET than they have. Set the same "
            "value in both, and restart what was changed"
        )
    elif code is not None:
        return problem(f"the handlers answered {status} ({code}): their log has the reason")
    else:
        said = f"something else than our handlers answered {status} at HANDLERS_URL"
    return problem(f"a probe event of {trigger} was not processed: {said}", is_present=False)


def _object(text: object) -> Json:
    """Return the JSON object in a text of the engine's log; an empty one for anything else."""
    try:
        value = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
