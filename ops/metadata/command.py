"""The command line of `leads metadata`."""

from pathlib import Path
from typing import Annotated

import typer

from ops.clients.hasura_admin import HasuraAdmin
from ops.failures import ExitCode
from ops.metadata.compare import compare_engines, print_differences
from ops.metadata.directory import DIRECTORY
from ops.metadata.engine import Engine
from ops.metadata.opening import (
    BACKUPS,
    AcceptEngine,
    Directory,
    DryRun,
    Folder,
    OverDrift,
    Source,
    open_deployment,
)
from ops.metadata.project.commands import check, merge, unmerge
from ops.metadata.steps import (
    Step,
    apply_step,
    deliver_probe,
    dry_run_step,
    recover_pieces,
    report,
    show_changes,
)
from ops.output import (
    AsJson,
    ForeignTextConsole,
    examples,
    print_json,
    say,
    verb_group,
)
from ops.settings import check_url, read_operator_settings

app = verb_group(
    "Apply, check and remove our Hasura metadata.",
    "Other metadata on the same engine stays as it is. Step 9a comes before the services are deployed, "
    "9b after. Needs HASURA_URL and HASURA_ADMIN_SECRET.",
    examples("metadata 9a", "metadata verify 9a"),
)


@app.command(epilog=examples("metadata backup"))
def backup(folder: Folder = BACKUPS, as_json: AsJson = False) -> None:
    """Write the engine's whole metadata to a file, and print its path."""
    with open_deployment(folder) as deployment:
        path = deployment.back_up("backup")
    if as_json:
        print_json({"backup": str(path)})
    else:
        typer.echo(path)


@app.command("9a", epilog=examples("metadata 9a --dry-run", "metadata 9a"))
def apply_9a(
    folder: Folder = BACKUPS, source: Source = "default", directory: Directory = DIRECTORY,
    over_drift: OverDrift = False, dry_run: DryRun = False, accept_engine: AcceptEngine = "",
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Apply everything but cron triggers, before the services are deployed.

    Looks first for what would keep it from working. Writes a backup, and verifies afterwards.
    Exit code 1: refused, and nothing was changed; or the check found a problem.
    """
    with open_deployment(folder, source, directory, accept_engine) as deployment:
        if dry_run:
            dry_run_step(deployment, Step.BEFORE_SERVICES, over_drift=over_drift, as_json=as_json)
        else:
            apply_step(deployment, Step.BEFORE_SERVICES, over_drift=over_drift, as_json=as_json)


@app.command("9b", epilog=examples("metadata 9b"))
def apply_9b(
    folder: Folder = BACKUPS, source: Source = "default", directory: Directory = DIRECTORY,
    over_drift: OverDrift = False, dry_run: DryRun = False, accept_engine: AcceptEngine = "",
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Apply the cron triggers, after the services are deployed.

    Looks first for what would keep it from working. Writes a backup, and verifies afterwards.
    Exit code 1: refused, and nothing was changed; or the check found a problem.
    """
    with open_deployment(folder, source, directory, accept_engine) as deployment:
        if dry_run:
            dry_run_step(deployment, Step.AFTER_SERVICES, over_drift=over_drift, as_json=as_json)
        else:
            apply_step(deployment, Step.AFTER_SERVICES, over_drift=over_drift, as_json=as_json)


@app.command(epilog=examples("metadata recover"))
def recover(
    folder: Folder = BACKUPS, source: Source = "default", directory: Directory = DIRECTORY,
    accept_engine: AcceptEngine = "", as_json: AsJson = False,
) -> None:  # fmt: skip
    """Put back what is missing of our metadata, after that of the engine was replaced or cleared.

    9a and 9b in one, with the permission for sendNotifications. Fires the rows that wait again.
    Exit code 1: refused, or the check found a problem.
    """
    with open_deployment(folder, source, directory, accept_engine) as deployment:
        recover_pieces(deployment, as_json=as_json)


@app.command(epilog=examples("metadata verify 9b"))
def verify(
    step: Annotated[Step, typer.Argument(help="The step that was applied last.")] = Step.AFTER_SERVICES,
    probe: Annotated[
        bool, typer.Option("--probe", help="Also deliver a probe event to the handlers, as 9a and 9b do.")
    ] = False,
    folder: Folder = BACKUPS, source: Source = "default", directory: Directory = DIRECTORY,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Check our metadata: equal to the directory, consistent, with its SQL triggers and the permission
    for sendNotifications, and (9b) every cron has events.

    Exit code 1: it is not; every problem is named.
    """
    with open_deployment(folder, source, directory) as deployment:
        problems = deliver_probe(deployment, step) if probe else []
        report(problems + deployment.verify(step), {"step": step.value}, as_json=as_json)


@app.command(epilog=examples("metadata diff", "metadata diff 9a --json"))
def diff(
    step: Annotated[Step, typer.Argument(help="9a: without cron triggers; 9b: everything.")] = (
        Step.AFTER_SERVICES
    ),
    folder: Folder = BACKUPS, source: Source = "default", directory: Directory = DIRECTORY,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Show where the engine's metadata differs from our directory, with the values before and after.

    Values of headers are hidden, of URLs the path. Exit code 1: they differ.
    """
    with open_deployment(folder, source, directory) as deployment:
        changes = deployment.changes(step)
    show_changes(step, changes, "No differences.", as_json=as_json)
    raise typer.Exit(ExitCode.FAILED if changes else ExitCode.OK)


@app.command(epilog=examples("metadata restore 9a", "metadata restore --backup FILE.json"))
def restore(
    step: Annotated[
        Step | None, typer.Argument(help="Take the backup from before this step; else the newest.")
    ] = None,
    path: Annotated[Path | None, typer.Option("--backup", help="Take this backup.")] = None,
    folder: Folder = BACKUPS, source: Source = "default", directory: Directory = DIRECTORY,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Restore our metadata from a backup; later changes to other metadata stay."""
    with open_deployment(folder, source, directory) as deployment:
        chosen = path or deployment.files.newest_backup(step)
        before = deployment.back_up("restore")
        deployment.restore(chosen)
    if as_json:
        print_json({"restored": str(chosen), "backup": str(before)})
    say(f"Restored the metadata of the integration from {chosen}. The state before is in {before}.")


@app.command(epilog=examples("metadata remove 9b", "metadata remove 9a"))
def remove(
    step: Annotated[Step, typer.Argument(help="9b: the cron triggers; 9a: all metadata of the integration.")],
    folder: Folder = BACKUPS, source: Source = "default", directory: Directory = DIRECTORY,
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
    source: Source = "default", directory: Directory = DIRECTORY, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Compare this engine with another one (staging, production).

    Also needs HASURA_OTHER_ADMIN_SECRET. Exit code 1: they differ.
    """
    check_url("--with", "hasura", other)
    needs = ("HASURA_URL", "HASURA_ADMIN_SECRET", "HASURA_OTHER_ADMIN_SECRET")
    secret = read_operator_settings(*needs).hasura_other_admin_secret
    with (
        open_deployment(source=source, directory=directory) as deployment,
        HasuraAdmin(other, secret) as second,
    ):
        found = compare_engines(deployment, Engine(second), only_integration=only_integration)
    if as_json:
        print_json({"differences": found})
    elif found:
        print_differences(found, ForeignTextConsole())
    else:
        say("No differences.")
    raise typer.Exit(ExitCode.FAILED if found else ExitCode.OK)


app.command(epilog=examples("metadata merge --into ../hasura --dry-run"))(merge)
app.command(epilog=examples("metadata unmerge ../hasura"))(unmerge)
app.command(epilog=examples("metadata check ../hasura"))(check)
