"""The command line of `leads metadata`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ops.checks.model import Level, Result, not_green
from ops.checks.screen import document, print_look, shown
from ops.checks.services import HasuraSource
from ops.clients.hasura_admin import RequestRefused
from ops.failures import fail_if
from ops.metadata.deploy import (
    BACKUPS,
    MAX_EVENTS_WAIT_SECONDS,
    AcceptEngine,
    Deployment,
    Directory,
    DryRun,
    Folder,
    OverDrift,
    Step,
    compare_engines,
    open_deployment,
)
from ops.metadata.directory import DIRECTORY
from ops.metadata.engine import Engine
from ops.metadata.pieces import Change
from ops.metadata.probe import MAX_WAIT_SECONDS, deliver_probe
from ops.metadata.project.merge import check, merge, unmerge
from ops.output import (
    AsJson,
    ForeignTextConsole,
    examples,
    print_block,
    print_json,
    print_result,
    say,
    show_activity,
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

BATCH = 500
"""As many as engine/fire_waiting fires, and retry_failed: new leads do not stand behind a long backlog."""
MAX_FIRING_SECONDS = 60.0
CHECK_INTERVAL_SECONDS = 0.5


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
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Apply the step that is the verb's name, or show what it would change."""
    step = Step(str(context.info_name))
    with open_deployment(folder, source, directory, accept_engine) as deployment:
        if dry_run:
            deployment.check_before(step, over_drift=over_drift)
            _note_allow_list(deployment, step)
            _show_changes(step, deployment.changes(step), "Nothing would change.", as_json=as_json)
            return
        path = _apply_pieces(deployment, step, over_drift=over_drift)
        results = [*_deliver_probe(deployment, step), *_verify_pieces(deployment, step)]
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
        say(f"{waiting} rows wait to be processed; {what}.")
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
    if as_json:
        print_json({"restored": str(chosen), "backup": str(before)})
    say(f"Restored the metadata of the integration from {chosen}. The state before is in {before}.")


@app.command(epilog=examples("metadata remove 9b", "metadata remove 9a"))
def remove(
    step: Annotated[Step, typer.Argument(help="9b: the cron triggers; 9a: all metadata of the integration.")],
    folder: Folder = BACKUPS, source: HasuraSource = "default", directory: Directory = DIRECTORY,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Remove our metadata, also after several applies; other metadata stays."""
    with open_deployment(folder, source, directory) as deployment:
        path = deployment.remove(step)
    if as_json:
        print_json({"step": step.value, "backup": str(path)})
    removed = "all metadata of the integration" if step is Step.BEFORE_SERVICES else "our cron triggers"
    say(f"Removed {removed}. The state before is in {path}.")


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


app.command(epilog=examples("metadata merge --into ../hasura --dry-run"))(merge)
app.command(epilog=examples("metadata unmerge ../hasura"))(unmerge)
app.command(epilog=examples("metadata check ../hasura"))(check)


def _apply_pieces(deployment: Deployment, step: Step, *, over_drift: bool) -> Path:
    """Apply the pieces of a step; return the path of the backup. Raises CommandFailed."""
    _note_allow_list(deployment, step)
    path = deployment.apply(step, over_drift=over_drift)
    say(f"Applied {step}. The state before is in {path}.")
    return path


def _note_allow_list(deployment: Deployment, step: Step) -> None:
    if note := deployment.describe_allow_list(step):
        say(note)


def _show_changes(step: Step, changes: list[Change], if_none: str, *, as_json: bool) -> None:
    """Print changes, each object as a block; without any, say so."""
    if as_json:
        print_json({"step": step.value, "changes": [change.document() for change in changes]})
    elif changes:
        console = ForeignTextConsole()
        for change in changes:
            print_block(change.block(), console, level=0)
    else:
        say(if_none)


def _fire_waiting(deployment: Deployment) -> int | None:
    """Return how many rows were fired; None if that was refused, and say why."""
    try:
        with show_activity("firing what waits"):
            return _fire_batches(deployment.engine, deployment.source)
    except RequestRefused as error:
        say(f"What waits was not fired: {error}")
        return None


def _fire_batches(engine: Engine, source: str) -> int:
    """Fire the oldest rows first, a batch when most of the last one is delivered; return how many.

    Stops after MAX_FIRING_SECONDS; retry_failed fires the others. Raises RequestRefused, for example if the
    engine's role may not write our table.
    """
    total = 0
    for _ in poll(MAX_FIRING_SECONDS, CHECK_INTERVAL_SECONDS):
        if total and int(engine.run_sql("engine/count_pending", source)[0][0]) > BATCH // 5:
            continue
        fired = int(engine.run_sql("engine/fire_waiting", source, read_only=False)[0][0])
        total += fired
        if fired < BATCH:
            break
    return total


def _verify_pieces(deployment: Deployment, step: Step) -> list[Result]:
    """Look whether all is as it should be; wait until the engine has scheduled the crons."""
    if step is Step.AFTER_SERVICES:
        say(f"Waiting up to {MAX_EVENTS_WAIT_SECONDS:.0f} s until the engine has scheduled every cron ...")
    with show_activity("verifying"):
        return deployment.verify(step, MAX_EVENTS_WAIT_SECONDS)


def _deliver_probe(deployment: Deployment, step: Step) -> list[Result]:
    """Deliver a probe event; return what is wrong. Before the services are deployed no answer is needed."""
    with show_activity("delivering a probe event"):
        probe = deliver_probe(deployment.engine, deployment.source, deployment.wanted("9a"), MAX_WAIT_SECONDS)
    if not probe.problem:
        say("The handlers answered a probe event.")
    elif step is Step.BEFORE_SERVICES and not probe.is_answered:
        say(f"Not a problem before the services are deployed: {probe.problem}. 9b looks again.")
    else:
        return [probe.result()]
    return _look_at_storing(deployment, step)


def _look_at_storing(deployment: Deployment, step: Step) -> list[Result]:
    """Say what keeps the handlers from storing a lead: the rights on a log that came with this step."""
    results = deployment.look_at_storing()
    problems = not_green(results)
    if problems and step is Step.BEFORE_SERVICES:
        say(f"Before the services are deployed: {problems[0].text}. {problems[0].cure}")
    return results if problems and step is Step.AFTER_SERVICES else []


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
