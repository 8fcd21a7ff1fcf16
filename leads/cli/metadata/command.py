"""The command line of `scripts/deploy_metadata`."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from leads.cli.metadata.deploy import EVENTS_SECONDS, STEPS, Deployment
from leads.cli.metadata.directory import read_directory
from leads.cli.metadata.engine import Engine, MetadataError
from leads.cli.metadata.files import Files
from leads.cli.metadata.normal import same
from leads.cli.metadata.pieces import Key
from leads.cli.metadata.yaml_files import DirectoryError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Our metadata on an engine that others share. The engine is HASURA_URL, its admin secret "
    "HASURA_ADMIN_SECRET. Exit codes: 0 done, 1 not as it should be, 2 refused or not possible.",
)
DIRECTORY = Path(__file__).resolve().parents[2] / "hasura" / "metadata"
Folder = Annotated[Path, typer.Option("--backups", help="Folder of backups and of what was applied last.")]
Source = Annotated[str, typer.Option(help="Name of the engine's source that our tables are in.")]
Directory = Annotated[Path, typer.Option("--metadata", help="Our metadata directory.")]
OverDrift = Annotated[bool, typer.Option(help="Apply although somebody changed ours on the engine.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
BACKUPS = Path("metadata-backups")


@contextmanager
def deployment(
    folder: Path = BACKUPS, source: str = "default", directory: Path = DIRECTORY
) -> Iterator[Deployment]:
    """Open the engine that the environment names; refusals end with exit code 2."""
    given = {name: os.environ.get(name, "").strip() for name in ("HASURA_URL", "HASURA_ADMIN_SECRET")}
    if missing := [f"{name} is not set." for name, value in given.items() if not value]:
        typer.echo(" ".join(missing), err=True)
        raise typer.Exit(2)
    try:
        with Engine(*given.values()) as engine:
            yield Deployment(engine, Files(folder, engine.url), read_directory(directory), source)
    except (MetadataError, DirectoryError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error


@app.command()
def backup(folder: Folder = BACKUPS) -> None:
    """Write the engine's whole metadata to a file."""
    with deployment(folder) as ours:
        typer.echo(ours.back_up("backup"))


def _apply(step: str, folder: Path, source: str, directory: Path, over_drift: bool) -> None:
    with deployment(folder, source, directory) as ours:
        path = ours.apply(step, over_drift=over_drift)
        typer.echo(f"{step} is applied; the state before it is in {path}", err=True)
        _tell(ours.verify(step, EVENTS_SECONDS))


@app.command("9a")
def apply_9a(
    folder: Folder = BACKUPS, source: Source = "default", directory: Directory = DIRECTORY,
    over_drift: OverDrift = False,
) -> None:  # fmt: skip
    """Everything but cron triggers: before the services are deployed."""
    _apply("9a", folder, source, directory, over_drift)


@app.command("9b")
def apply_9b(
    folder: Folder = BACKUPS, source: Source = "default", directory: Directory = DIRECTORY,
    over_drift: OverDrift = False,
) -> None:  # fmt: skip
    """Cron triggers: after the services answer."""
    _apply("9b", folder, source, directory, over_drift)


@app.command()
def verify(
    step: Annotated[str, typer.Argument(help="9a or 9b.")] = "9b",
    folder: Folder = BACKUPS, source: Source = "default", directory: Directory = DIRECTORY,
) -> None:  # fmt: skip
    """No difference in ours, nothing inconsistent, and after 9b every cron trigger has events before it."""
    _check_step(step)
    with deployment(folder, source, directory) as ours:
        _tell(ours.verify(step))


@app.command()
def restore(
    step: Annotated[str | None, typer.Argument(help="The one before 9a or 9b; else the newest.")] = None,
    path: Annotated[Path | None, typer.Option("--backup", help="This backup.")] = None,
    folder: Folder = BACKUPS, source: Source = "default", directory: Directory = DIRECTORY,
) -> None:  # fmt: skip
    """Ours as in a backup; what others changed since then stays."""
    with deployment(folder, source, directory) as ours:
        chosen = path or ours.files.newest_backup(step)
        ours.back_up("restore")
        ours.restore(chosen)
        typer.echo(f"Ours is as in {chosen}.", err=True)


@app.command()
def remove(
    step: Annotated[str, typer.Argument(help="9b: the cron triggers; 9a: everything of ours.")],
    folder: Folder = BACKUPS, source: Source = "default", directory: Directory = DIRECTORY,
) -> None:  # fmt: skip
    """Take ours out, whatever was applied how often; what is not ours stays."""
    _check_step(step)
    with deployment(folder, source, directory) as ours:
        path = ours.remove(step)
        what = "Everything of ours is" if step == "9a" else "Our cron triggers are"
        typer.echo(f"{what} taken out; the state before it is in {path}", err=True)


@app.command()
def compare(
    other: Annotated[str, typer.Option("--with", help="URL of the other engine.")],
    only_ours: Annotated[bool, typer.Option("--ours", help="Leave out what is not ours.")] = False,
    source: Source = "default", directory: Directory = DIRECTORY, as_json: AsJson = False,
) -> None:  # fmt: skip
    """This engine against another (staging, production); its secret is HASURA_OTHER_ADMIN_SECRET."""
    secret = os.environ.get("HASURA_OTHER_ADMIN_SECRET", "").strip()
    if not secret:
        typer.echo(
            "HASURA_OTHER_ADMIN_SECRET is not set: no engine is shown the secret of another.", err=True
        )
        raise typer.Exit(2)
    with deployment(source=source, directory=directory) as ours, Engine(other, secret) as second:
        wanted = ours.wanted("9b")
        left, right = ours.held()[2], Deployment(second, ours.files, ours.ours, source).held()[2]
        keys = sorted(key for key in {*left, *right} if not only_ours or key in wanted)
        found = [_difference(key, left, right, key in wanted) for key in keys if not _equal(key, left, right)]
    if as_json:
        typer.echo(json.dumps({"differences": found}))
    elif found:
        table = Table("what", "name", "ours", "difference")
        for each in found:
            table.add_row(each["kind"], each["name"], "yes" if each["ours"] else "", each["difference"])
        Console().print(table)
    raise typer.Exit(1 if found else 0)


def _check_step(step: str) -> None:
    if step not in STEPS:
        raise typer.BadParameter("9a or 9b")


def _equal(key: Key, left: dict[Key, Any], right: dict[Key, Any]) -> bool:
    return key in left and key in right and same(left[key], right[key])


def _difference(key: Key, left: dict[Key, Any], right: dict[Key, Any], ours: bool) -> dict[str, Any]:
    where = "differs" if key in left and key in right else "only here" if key in left else "only there"
    return {"kind": key[0], "name": key[1], "ours": ours, "difference": where}


def _tell(problems: list[str]) -> None:
    for problem in problems:
        typer.echo(problem, err=True)
    if problems:
        raise typer.Exit(1)
    typer.echo("Verified: ours is in place and nothing is inconsistent.")


if __name__ == "__main__":
    app(prog_name="scripts/deploy_metadata")
