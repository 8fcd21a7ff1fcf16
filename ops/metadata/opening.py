"""The options of `leads metadata`, and the engine that they choose."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ops.clients.hasura_admin import HasuraAdmin
from ops.failures import WrongUsage
from ops.metadata.deploy import Deployment
from ops.metadata.directory import DIRECTORY, read_directory
from ops.metadata.engine import Engine
from ops.metadata.files import Files
from ops.metadata.yaml_files import DirectoryError
from ops.settings import read_operator_settings

BACKUPS = Path("metadata-backups")

Folder = Annotated[
    Path, typer.Option("--backups", help="Folder of backups and of the record of what is applied.")
]
Source = Annotated[str, typer.Option(help="Name of the engine's source that has our tables.")]
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


@contextmanager
def open_deployment(
    folder: Path = BACKUPS, source: str = "default", directory: Path = DIRECTORY, accepted_engine: str = ""
) -> Iterator[Deployment]:
    """Open the engine that HASURA_URL names. Raises WrongUsage for an unreadable directory."""
    settings = read_operator_settings("HASURA_URL", "HASURA_ADMIN_SECRET")
    try:
        own = read_directory(directory)
    except DirectoryError as error:
        raise WrongUsage(f"{error}. Give another directory with --metadata.") from error
    with HasuraAdmin(settings.hasura_url, settings.hasura_admin_secret) as hasura:
        engine = Engine(hasura)
        yield Deployment(engine, Files(folder, engine.url), own, source, accepted_engine=accepted_engine)
