"""What belongs to us: the pieces and texts of `hasura/`, and the editors that put them into a project."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ops.metadata.directory import DIRECTORY, read_directory
from ops.metadata.pieces import CRON, Key, split
from ops.metadata.project.editors import (
    IN_ACTIONS,
    ActionsFile,
    Editor,
    ListFile,
    SignaturesFile,
    WholeFile,
    blocks_of,
    definitions_of,
)
from ops.metadata.project.layout import Layout
from ops.metadata.project.record import Record
from ops.metadata.yaml_files import INCLUDE

LISTS = {
    "cron_triggers.yaml": (CRON, "name", "name"),
    "query_collections.yaml": ("query collection", "name", "name"),
    "rest_endpoints.yaml": ("REST endpoint", "name", "url"),
    "allow_list.yaml": ("allow-list entry", "collection", "collection"),
}
"""Kind, naming key and the key by which the CLI sorts."""

MIGRATION = "migration"


@dataclass(frozen=True)
class OurPart:
    """Our part of a project, before (9a) or after the services are deployed (9b)."""

    layout: Layout
    step: str
    record: Record
    directory: Path = DIRECTORY
    """Our metadata directory; our migrations stand beside it."""

    @cached_property
    def pieces(self) -> dict[Key, Any]:
        """Our pieces; a migration is the text of its files by their name."""
        pieces = split(read_directory(self.directory), "default")
        kept = {key: piece for key, piece in pieces.items() if key[0] not in ("source settings", "setting")}
        kept |= {(MIGRATION, path.name): _files(path) for path in sorted(self._own_migrations.iterdir())}
        return {key: piece for key, piece in kept.items() if self._is_of_step(key)}

    @cached_property
    def names(self) -> frozenset[Key]:
        """What is taken out: our pieces, and those that only the recorded version has."""
        return frozenset(self.pieces) | {key for key in self.record.pieces if self._is_of_step(key)}

    @property
    def _own_migrations(self) -> Path:
        return self.directory.parent / "migrations" / "default"

    def _is_of_step(self, key: Key) -> bool:
        return self.step == "9b" or key[0] != CRON

    def _named(self, *kinds: str) -> frozenset[str]:
        return frozenset(name for kind, name in self.names if kind in kinds)

    def editors(self) -> Iterator[Editor]:
        """Yield the editors of all files; a file comes before those that refer to it."""
        yield from self._migrations()
        yield from self._tables()
        metadata = self.layout.metadata
        keys = frozenset(key for key in self.names if key[0] in IN_ACTIONS)
        signatures = self.directory / "actions.graphql"
        yield SignaturesFile(*self._at(metadata / "actions.graphql"), keys, tuple(definitions_of(signatures)))
        actions = tuple(
            (kind, lines)
            for kind, path in IN_ACTIONS.items()
            for lines in blocks_of(self.directory / "actions.yaml", path)
        )
        is_theirs = self.record.is_permission_theirs
        yield ActionsFile(*self._at(metadata / "actions.yaml"), keys, actions, is_theirs)
        for file, (kind, naming, sorting) in LISTS.items():
            if self._is_of_step((kind, "")):
                blocks, names = tuple(blocks_of(self.directory / file)), self._named(kind)
                yield ListFile(*self._at(metadata / file), naming, names, blocks, sorting)

    def _tables(self) -> Iterator[Editor]:
        folder, own = self.layout.tables.parent, self.directory / "databases" / "default" / "tables"
        names = sorted(_table_file(name) for name in self._named("table"))
        for name in names:
            yield WholeFile(*self._at(folder / name), _read(own / name))
        includes = frozenset(f"{INCLUDE}{name}" for name in names)
        blocks = tuple(blocks_of(own / "tables.yaml"))
        yield ListFile(*self._at(self.layout.tables), "text", includes, blocks, "text")

    def _migrations(self) -> Iterator[Editor]:
        for name in sorted(self._named(MIGRATION)):
            theirs, own = _files(self.layout.migrations / name), _files(self._own_migrations / name)
            for file in sorted({*theirs, *own}):
                yield WholeFile(*self._at(self.layout.migrations / name / file), own.get(file))

    def _at(self, path: Path) -> tuple[Path, str]:
        return path, self.layout.name(path)

    def is_included(self, name: str, includes: Iterable[str]) -> bool:
        """Whether `tables.yaml` includes a table by the name of file that the CLI gives it."""
        return f"{INCLUDE}{_table_file(name)}" in includes


def held_migrations(layout: Layout) -> dict[Key, dict[str, str]]:
    """Return the migrations of the project: the texts of their files by the name of the directory."""
    found = sorted(layout.migrations.iterdir()) if layout.migrations.is_dir() else []
    return {(MIGRATION, path.name): files for path in found if path.is_dir() and (files := _files(path))}


def _files(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text("utf-8", "replace") for path in sorted(directory.glob("*.sql"))}


def _read(path: Path) -> str | None:
    return path.read_text("utf-8") if path.exists() else None


def _table_file(name: str) -> str:
    return f"{name.replace('.', '_', 1)}.yaml"
