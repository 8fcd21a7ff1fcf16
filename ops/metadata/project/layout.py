"""Where the files of a project are (CLI config v3)."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ops.failures import WrongUsage, file_reason
from ops.metadata.directory import read_project
from ops.metadata.pieces import Key, split
from ops.metadata.project.edit_error import EXPORT_FIRST, ProjectRefused
from ops.metadata.yaml_files import INCLUDE, DirectoryError, parse


@dataclass(frozen=True)
class Layout:
    """The directories of a project, and its source that gets our tables."""

    root: Path
    metadata: Path
    migrations: Path
    """Of the source."""

    source: str
    tables: Path
    """The file that lists the tables of the source; the files of tables stand beside it."""

    def name(self, path: Path) -> str:
        """Return a path as it is shown: relative to the project."""
        return path.relative_to(self.root).as_posix()

    @cached_property
    def pieces(self) -> dict[Key, Any]:
        """Return the pieces of the project. Raises ProjectRefused for one that cannot be read."""
        try:
            return split(read_project(self.metadata), self.source)
        except DirectoryError as error:
            raise ProjectRefused(f"{error}. Nothing was changed.") from error
        except (KeyError, TypeError, ValueError) as error:
            raise ProjectRefused(
                f"{self.metadata} cannot be read: {file_reason(error)}. Nothing was changed."
            ) from error


def find_layout(root: Path, source: str | None) -> Layout:
    """Return the layout of a project. Raises WrongUsage, and ProjectRefused for a form that is not known."""
    config = _parse(root / "config.yaml")
    if not isinstance(config, dict) or config.get("version") != 3:
        raise ProjectRefused(f"{root / 'config.yaml'}: the project must have version 3 of the CLI's config")
    root = root.resolve()
    metadata = root / str(config.get("metadata_directory", "metadata"))
    databases = metadata / "databases" / "databases.yaml"
    sources = {str(each["name"]): each for each in _parse(databases) or []}
    chosen = _choose(sources, source, databases)
    tables = sources[chosen].get("tables")
    if not isinstance(tables, str) or not tables.startswith(INCLUDE):
        raise ProjectRefused(f"{databases}: the tables of {chosen} have no file of their own. {EXPORT_FIRST}")
    migrations = root / str(config.get("migrations_directory", "migrations")) / chosen
    return Layout(root, metadata, migrations, chosen, databases.parent / tables.removeprefix(INCLUDE).strip())


def _choose(sources: dict[str, Any], source: str | None, databases: Path) -> str:
    names = ", ".join(sources) or "none"
    if source is None and len(sources) == 1:
        return next(iter(sources))
    if source is None:
        raise WrongUsage(f"{databases} has several databases. Choose one with --source: {names}")
    if source not in sources:
        raise WrongUsage(f"{databases} has no source {source!r}. Choose one with --source: {names}")
    return source


def _parse(path: Path) -> Any:
    try:
        return parse(path)
    except DirectoryError as error:
        raise WrongUsage(f"{error}. Name the directory of a project of the Hasura CLI.") from error
