"""The command line of `leads edge-spool`."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from ops.edge_spool.spool import Folder, Spool, Unreadable, read_failure
from ops.erase.files import erase_deliveries
from ops.erase.target import Phone, Record, read_target
from ops.failures import CommandFailed, ExitCode, WrongUsage
from ops.output import AsJson, examples, print_json, print_line, progress_bar, say, verb_group
from ops.settings import read_operator_settings

DEFAULT_MAX_FILES = 200
DEFAULT_MAX_DAYS = 30

app = verb_group(
    "Show and release deliveries kept by the edge.",
    "Run it on the edge's machine, as root or pancake-edge, with the edge's own EDGE_STATE_KEYS (purge needs "
    "none), and with EDGE_STATE_DIR if it is not /var/lib/pancake-edge.",
    examples("edge-spool list", "edge-spool release --all"),
)
Where = Annotated[Folder, typer.Option(help="Which of the edge's folders.")]


@app.command("list", epilog=examples("edge-spool list", "edge-spool list --folder spool"))
def list_folder(
    folder: Where = Folder.QUARANTINE,
    max_files: Annotated[int, typer.Option(help="Maximum number of files.", min=1)] = DEFAULT_MAX_FILES,
    as_json: AsJson = False,
) -> None:
    """List deliveries, oldest first: name, arrival (UTC), sender, record; no customer's data.

    With --json a list of objects; `error` says why a delivery is unreadable.
    """
    spool = _open_spool()
    names = spool.names(folder)
    described = [_describe(spool, folder, name) for name in names[:max_files]]
    if as_json:
        print_json(described)
    else:
        for entry in described:
            print_line(f"{entry['name']}  {_line(entry)}")
    if len(names) > max_files:
        say(f"{len(names) - max_files} more are not shown. Show them with --max-files {len(names)}.")
    if not names:
        say(f"{folder} is empty.")


@app.command(epilog=examples("edge-spool show 1778752800000-5f2c-312.sealed"))
def show(
    name: Annotated[str, typer.Argument(help="File name, as `list` prints it.")],
    folder: Where = Folder.QUARANTINE,
) -> None:
    """Print one delivery with its body as JSON. This is a customer's data: do not share it."""
    spool = _open_spool()
    try:
        print_json(spool.read(folder, name).as_document())
    except (Unreadable, OSError) as error:
        raise CommandFailed(
            f"{name} in {folder} cannot be read: {read_failure(error)}. "
            f"See the names with: leads edge-spool list --folder {folder}"
        ) from error


@app.command(epilog=examples("edge-spool release 1778752800000-5f2c-312.sealed", "edge-spool release --all"))
def release(
    names: Annotated[list[str] | None, typer.Argument(help="File names, as `list` prints them.")] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every readable delivery except those of denied senders.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Move quarantined deliveries back to the spool, which the edge delivers within a second.

    Exit code 1: one of them could not be released.
    """
    if bool(names) == every:
        raise WrongUsage("Give the file names, or --all.")
    spool = _open_spool()
    chosen = names or spool.names(Folder.QUARANTINE)
    released: list[str] = []
    failed: dict[str, str] = {}
    with progress_bar() as progress:
        for name in progress.track(chosen, description="releasing"):
            try:
                if spool.release(name, even_denied=not every):
                    released.append(name)
            except (Unreadable, OSError) as error:
                failed[name] = read_failure(error)
    for name, reason in failed.items():
        say(f"{name}: {reason}")
    kept = [name for name in chosen if name not in released]
    if as_json:
        print_json({"released": released, "kept": kept, "errors": failed})
    else:
        typer.echo(f"{len(released)} released, {len(kept)} kept")
    if failed:
        raise typer.Exit(ExitCode.FAILED)


@app.command(epilog=examples("edge-spool purge --days 30", "edge-spool purge --days 30 --dry-run"))
def purge(
    days: Annotated[int, typer.Option(help="Remove what arrived more days ago.", min=1)] = DEFAULT_MAX_DAYS,
    folder: Where = Folder.QUARANTINE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count only.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove deliveries that no operator handled in time: they are customers' data.

    It reads file names only and needs no keys. Run it daily (docs/privacy.md).
    Exit code 1: there is something else in the folder, or it could not be removed.
    """
    settings = read_operator_settings()
    spool = Spool(settings.edge_state_dir, settings.edge_state_keys)
    limit = datetime.now(UTC) - timedelta(days=days)
    older = removed = 0
    failed: list[str] = []
    for name in spool.names(folder):
        try:
            if Spool.arrived_at(name) >= limit:
                continue
            older += 1
            if not dry_run:
                spool.remove(folder, name)
                removed += 1
        except (ValueError, OSError):
            failed.append(name)
    if as_json:
        print_json({"removed": removed, "older": older})
    else:
        typer.echo(f"{older} older than {days} days" + ("." if dry_run else f", {removed} removed."))
    for name in failed:
        say(f"{name} in {folder} is no delivery of the edge, or cannot be removed. Look at it.")
    if failed:
        raise typer.Exit(ExitCode.FAILED)


@app.command(epilog=examples("edge-spool erase --phone 0905111222", "edge-spool erase --phone … --dry-run"))
def erase(
    phone: Phone = None,
    record: Record = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count only.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove a customer's deliveries from all folders: the edge's part of `leads erase`.

    --record has the connection's id here. Exit code 1: a delivery could not be read.
    """
    target = read_target(phone, record).with_connection_id()
    erased, unreadable = erase_deliveries(_open_spool(), target, dry_run=dry_run)
    if as_json:
        print_json({"erased": erased, "unreadable": unreadable})
    else:
        typer.echo(f"{erased} deliveries of the customer" + ("." if dry_run else ", removed."))
    for name in unreadable:
        say(f"{name} is unreadable: it may be the customer's. Remove it, or see: leads edge-spool list")
    if unreadable:
        raise typer.Exit(ExitCode.FAILED)


def _open_spool() -> Spool:
    settings = read_operator_settings("EDGE_STATE_KEYS")
    return Spool(settings.edge_state_dir, settings.edge_state_keys)


def _describe(spool: Spool, folder: Folder, name: str) -> dict[str, Any]:
    """Describe a delivery as `list` shows it."""
    try:
        delivery = spool.read(folder, name)
    except (Unreadable, OSError) as error:
        return {"name": name, "error": read_failure(error)}
    return {
        "name": name,
        "arrived_at": delivery.arrived_at,
        "source_ip": delivery.source_ip,
        "record": delivery.record,
        "denied": delivery.denied,
    }


def _line(entry: dict[str, Any]) -> str:
    if "error" in entry:
        return f"unreadable: {entry['error']}"
    denied = "  denied" if entry["denied"] else ""
    return f"{entry['arrived_at']}  {entry['source_ip']}  {entry['record']}{denied}"
