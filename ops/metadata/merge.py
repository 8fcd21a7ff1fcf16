"""Our part of a project of the Hasura CLI (config v3): what belongs to it, putting it in, taking it out."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial, reduce
from pathlib import Path
from typing import Any

from ops.failures import CommandFailed, WrongUsage, file_reason
from ops.files import digest_of, replacing
from ops.metadata import edits
from ops.metadata.directory import DIRECTORY, INCLUDE, DirectoryError, parse, read_directory, read_project
from ops.metadata.edits import EXPORT_FIRST, CannotEdit
from ops.metadata.pieces import ACTION, CRON, ROLE, Key, foreign, pieces_of_step, same, split

FILE = "leads-merge.json"
IN_ACTIONS: dict[str, tuple[tuple[str, ...], str | None]] = {
    "action": (("actions",), "name"),
    "input type": (("custom_types", "input_objects"), None),
    "object type": (("custom_types", "objects"), None),
}
"""Path of the list in `actions.yaml`, and the key by which the CLI sorts; it keeps the order of types."""
LISTS = {
    "cron_triggers.yaml": (CRON, "name", "name"),
    "query_collections.yaml": ("query collection", "name", "name"),
    "rest_endpoints.yaml": ("REST endpoint", "name", "url"),
    "allow_list.yaml": ("allow-list entry", "collection", "collection"),
}
"""Kind, naming key and the key by which the CLI sorts."""

MIGRATION = "migration"
OUR_ACTION = ("action", "pancake_ingest_record")
"""A project without a record that has it has our part, as after an export from an engine that has it."""

RENAME_FIRST = "Nothing was changed. Rename it, or the file, and run this again."


class ProjectRefused(CommandFailed):
    """The project cannot be edited. Nothing was changed; the message names the file or the piece."""


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
            raise ProjectRefused(f"{error}. {EXPORT_FIRST}") from error
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ProjectRefused(
                f"{self.metadata} cannot be read: {file_reason(error)}. {EXPORT_FIRST}"
            ) from error


def find_layout(root: Path, source: str | None) -> Layout:
    """Return the layout of a project. Raises WrongUsage, and ProjectRefused for a form that is not known."""
    config = _parse(root / "config.yaml")
    if not isinstance(config, dict) or config.get("version") != 3:
        raise ProjectRefused(f"{root / 'config.yaml'}: the project must have version 3 of the CLI's config")
    root = root.resolve()
    metadata = root / str(config.get("metadata_directory", "metadata"))
    databases = metadata / "databases" / "databases.yaml"
    listed = _parse(databases)
    listed = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    sources = {str(each.get("name")): each for each in listed}
    if not sources:
        raise ProjectRefused(f"{databases} lists no database. {EXPORT_FIRST}")
    names = ", ".join(sources)
    if source is None and len(sources) > 1:
        raise WrongUsage(f"{databases} has several databases. Choose one with --hasura-source: {names}")
    chosen = source or next(iter(sources))
    if chosen not in sources:
        raise WrongUsage(f"{databases} has no source {source!r}. Choose one with --hasura-source: {names}")
    tables = sources[chosen].get("tables")
    if not isinstance(tables, str) or not tables.startswith(INCLUDE):
        raise ProjectRefused(f"{databases}: the tables of {chosen} have no file of their own. {EXPORT_FIRST}")
    migrations = root / str(config.get("migrations_directory", "migrations")) / chosen
    tables_file = databases.parent / tables.removeprefix(INCLUDE).strip()
    refuse_outside(root, (metadata, migrations, tables_file))
    return Layout(root, metadata, migrations, chosen, tables_file)


def refuse_outside(root: Path, paths: Iterable[Path]) -> None:
    """Refuse paths that lead out of the project, also by a link. Raises ProjectRefused.

    The project may be of other people, who may not write everywhere that the caller may.
    """
    for path in paths:
        if not path.resolve().is_relative_to(root):
            raise ProjectRefused(f"{path.resolve()} is outside of {root}. Nothing was changed.")


def _parse(path: Path) -> Any:
    try:
        return parse(path)
    except DirectoryError as error:
        raise WrongUsage(f"{error}. Name the directory of a project of the Hasura CLI.") from error


@dataclass(frozen=True)
class Before:
    """The text of a file before the merge (None: no file), and the SHA-256 of it afterwards.

    A merge that was interrupted leaves the texts of two versions, so there may be two digests.
    """

    text: str | None
    digests: tuple[str, ...]


@dataclass(frozen=True)
class Record:
    """What a merge put into a project."""

    pieces: frozenset[Key] = frozenset()
    """Kind and name of our pieces, the migrations too."""

    before: Mapping[str, Before] = field(default_factory=dict)
    """By path: the files that lose or change more than our lines when our part is taken out."""

    is_permission_theirs: bool = False
    """Whether the project had the permission for sendNotifications before."""

    def text_before(self, name: str, current: str | None) -> Before | None:
        """Return the text before the merge, if the file was not changed since."""
        before = self.before.get(name)
        return before if before and digest(current) in before.digests else None


def digest(text: str | None) -> str:
    return digest_of((text or "").encode())


def read_record(root: Path) -> Record | None:
    """Return the record of a project, or None. Raises ProjectRefused if it cannot be read."""
    path = root / FILE
    try:
        content = json.loads(path.read_text("utf-8"))
        return Record(
            frozenset((kind, str(name)) for kind, names in content["pieces"].items() for name in names),
            {name: Before(each["text"], tuple(each["sha256"])) for name, each in content["before"].items()},
            bool(content["permission_was_there"]),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProjectRefused(
            f"{path} is not a record of a merge: {file_reason(error)}. Restore it from your repository."
        ) from error


def record_text(record: Record) -> str:
    kinds = sorted({kind for kind, _ in record.pieces})
    content = {
        "pieces": {kind: sorted(name for of, name in record.pieces if of == kind) for kind in kinds},
        "before": {
            name: {"text": before.text, "sha256": list(before.digests)}
            for name, before in sorted(record.before.items())
        },
        "permission_was_there": record.is_permission_theirs,
    }
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


@contextmanager
def editing(where: str) -> Iterator[None]:
    """Raise ProjectRefused, naming the file, for a text in a form that cannot be edited."""
    try:
        yield
    except CannotEdit as error:
        raise ProjectRefused(f"{where}: {error}") from error


Text = str | None
"""The text of a file; None if there is no file."""
Edit = Callable[[str], str]


@dataclass(frozen=True)
class Editor:
    """What takes our part out of the text of a file, and what puts it in. Both raise CannotEdit."""

    path: Path
    take_out: Callable[[Text], Text]
    put_in: Callable[[Text], Text]


def _whole(path: Path, content: Text) -> Editor:
    """Edit a file that only we write. Without content this version has it no more."""
    return Editor(path, lambda _: None, lambda _: content)


def _edited(path: Path, empty: str, removals: Iterable[Edit], insertions: Iterable[Edit]) -> Editor:
    """Edit a file of theirs; `empty` is the text to begin with where there is no file."""

    def take_out(text: Text) -> Text:
        return None if text is None else reduce(lambda left, remove: remove(left), removals, text)

    def put_in(text: Text) -> Text:
        return reduce(lambda made, insert: insert(made), insertions, empty if text is None else text)

    return Editor(path, take_out, put_in)


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
        pieces = pieces_of_step(read_directory(self.directory), "default", self.step)
        own = sorted(self._own_migrations.iterdir())
        return pieces | {(MIGRATION, path.name): _files(path) for path in own}

    @cached_property
    def names(self) -> frozenset[Key]:
        """What is taken out: our pieces, and those that only the recorded version has."""
        return frozenset(self.pieces) | {key for key in self.record.pieces if self._is_of_step(key)}

    @property
    def _own_migrations(self) -> Path:
        return self.directory.parent / "migrations" / "default"

    def _is_of_step(self, key: Key) -> bool:
        return self.step == "9b" or key[0] != CRON

    def _named(self, kind: str) -> frozenset[str]:
        return frozenset(name for of, name in self.names if of == kind)

    def editors(self) -> Iterator[Editor]:
        """Yield the editors of all files; a file comes before those that refer to it."""
        yield from self._migrations()
        yield from self._tables()
        yield from self._actions()
        for file, (kind, naming, sorting) in LISTS.items():
            if self._is_of_step((kind, "")):
                changes = self._edits(file, (), naming, self._named(kind), sorting)
                yield _edited(self.layout.metadata / file, edits.EMPTY_LIST, *changes)

    def _edits(
        self, file: str, at: tuple[str, ...], naming: str, names: Iterable[str], sorting: str | None
    ) -> tuple[list[Edit], list[Edit]]:  # fmt: skip
        """Return the edits that take the items with these names out of a list, and put in those of our file.

        `at` is the path of the list, empty if it is the whole file.
        """
        text = (self.directory / file).read_text("utf-8")
        found = edits.find_list(text, at)
        blocks = [edits.block(text, item, found.indent) for item in found.items]
        return (
            [partial(edits.remove_item, path=at, key=naming, value=name) for name in sorted(names)],
            [partial(edits.insert_item, path=at, lines=lines, sorting=sorting) for lines in blocks],
        )

    def _actions(self) -> Iterator[Editor]:
        """Yield those of `actions.graphql`, and of `actions.yaml` with the permission for Diva's action."""
        metadata = self.layout.metadata
        sdl = (self.directory / "actions.graphql").read_text("utf-8")
        blocks = (sdl[each.start : each.end] for each in edits.find_definitions(sdl))
        names = sorted(key for key in self.names if key[0] in IN_ACTIONS)
        yield _edited(
            metadata / "actions.graphql", "",
            [partial(edits.remove_definition, name=name, is_action=kind == "action") for kind, name in names],
            [partial(edits.insert_definition, lines=lines) for lines in blocks],
        )  # fmt: skip
        removals: list[Edit] = []
        insertions: list[Edit] = [edits.add_permission]
        for kind, (at, sorting) in IN_ACTIONS.items():
            changes = self._edits("actions.yaml", at, "name", self._named(kind), sorting)
            removals += changes[0]
            insertions += changes[1]
        if not self.record.is_permission_theirs:
            removals.append(edits.remove_permission)
        yield _edited(metadata / "actions.yaml", "", removals, insertions)

    def _tables(self) -> Iterator[Editor]:
        own = Path("databases", "default", "tables")
        names = sorted(_table_file(name) for name in self._named("table"))
        for name in names:
            yield _whole(self.layout.tables.parent / name, read_text(self.directory / own / name))
        includes = [f"{INCLUDE}{name}" for name in names]
        changes = self._edits(str(own / "tables.yaml"), (), "text", includes, "text")
        yield _edited(self.layout.tables, edits.EMPTY_LIST, *changes)

    def _migrations(self) -> Iterator[Editor]:
        for name in sorted(self._named(MIGRATION)):
            theirs, own = _files(self.layout.migrations / name), _files(self._own_migrations / name)
            for file in sorted({*theirs, *own}):
                yield _whole(self.layout.migrations / name / file, own.get(file))


def is_included(table: str, includes: Iterable[str]) -> bool:
    """Whether `tables.yaml` includes a table by the name of file that the CLI gives it."""
    return f"{INCLUDE}{_table_file(table)}" in includes


def held_migrations(layout: Layout) -> dict[Key, dict[str, str]]:
    """Return the migrations of the project: the texts of their files by the name of the directory."""
    found = sorted(layout.migrations.iterdir()) if layout.migrations.is_dir() else []
    return {(MIGRATION, path.name): files for path in found if path.is_dir() and (files := _files(path))}


def _files(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text("utf-8", "replace") for path in sorted(directory.glob("*.sql"))}


def _table_file(name: str) -> str:
    return f"{name.replace('.', '_', 1)}.yaml"


def read_text(path: Path) -> str | None:
    """Return the text of a file with its line endings, None if there is none. Raises ProjectRefused."""
    try:
        return path.read_bytes().decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ProjectRefused(f"{path} cannot be read: {file_reason(error)}. Nothing was changed.") from error


@dataclass(frozen=True)
class Plan:
    """The texts of files: now, and after the change. None: no file."""

    layout: Layout
    now: Mapping[Path, str | None]
    then: Mapping[Path, str | None]

    @property
    def changes(self) -> dict[Path, str | None]:
        return {path: text for path, text in self.then.items() if text != self.now[path]}


def find_our_part(layout: Layout, step: str, directory: Path) -> OurPart:
    """Return our part for a project, with the record of what it has. Raises ProjectRefused."""
    if (record := read_record(layout.root)) is None:
        is_theirs = _has_permission(layout) and OUR_ACTION not in layout.pieces
        record = Record(is_permission_theirs=is_theirs)
    return OurPart(layout, step, record, directory)


def _has_permission(layout: Layout) -> bool:
    path = layout.metadata / "actions.yaml"
    with editing(layout.name(path)):
        return edits.has_permission(read_text(path) or "")


def plan_merge(part: OurPart) -> Plan:
    """Plan to put our part in, or its newer version. Raises ProjectRefused."""
    layout, record = part.layout, part.record
    refuse_foreign(part)
    now, then, before = {}, {}, dict(record.before)
    for editor in part.editors():
        path, name = editor.path, layout.name(editor.path)
        now[path] = read_text(path)
        with editing(name):
            without = _without(editor, name, now[path], record)
            then[path] = merged = editor.put_in(without)
            before.pop(name, None)
            if editor.take_out(merged) != without:
                before[name] = Before(without, _digests(record, name, merged))
    held_crons = {key for key in record.pieces if key[0] == CRON and part.step == "9a"}
    path = layout.root / FILE
    now[path] = read_text(path)
    then[path] = record_text(replace(record, pieces=frozenset(part.pieces) | held_crons, before=before))
    return Plan(layout, now, then)


def plan_unmerge(part: OurPart) -> Plan:
    """Plan to take our part out. Raises ProjectRefused."""
    layout, record = part.layout, part.record
    refuse_foreign(part)
    now, then = {}, {}
    for editor in reversed(list(part.editors())):
        path, name = editor.path, layout.name(editor.path)
        now[path] = read_text(path)
        with editing(name):
            then[path] = _without(editor, name, now[path], record)
    path = layout.root / FILE
    now[path], then[path] = read_text(path), None
    return Plan(layout, now, then)


def refuse_foreign(part: OurPart) -> None:
    """Refuse pieces of the customer that have our names. Raises ProjectRefused naming all."""
    held = part.layout.pieces
    recorded = dict.fromkeys(part.record.pieces)
    wanted = {key: piece for key, piece in part.pieces.items() if key[0] != MIGRATION}
    reasons = foreign(wanted, held, recorded)
    reasons += [
        f"table {key[1]} exists and belongs to another application"
        for key, piece in wanted.items()
        if key[0] == "table" and key in held and key not in recorded and not _looks_ours(held[key], piece)
    ]
    if reasons := [*reasons, *_foreign_migrations(part)]:
        raise ProjectRefused(f"{'; '.join(reasons)}. {RENAME_FIRST}")
    where = part.layout.name(part.layout.tables)
    with editing(where):
        items = edits.find_list(read_text(part.layout.tables) or "", ()).items
    includes = {item.keys.get("text", "") for item in items}
    for kind, name in part.names:
        if kind == "table" and (kind, name) in held and not is_included(name, includes):
            raise ProjectRefused(f"{where} has {name} under another name of its file. {EXPORT_FIRST}")


def _foreign_migrations(part: OurPart) -> Iterator[str]:
    held = held_migrations(part.layout)
    for (kind, name), files in part.pieces.items():
        if kind != MIGRATION:
            continue
        for _, other in held:
            if other != name and other.split("_")[0] == name.split("_")[0]:
                yield f"the migration {other} has the version of our {name}"
        if held.get((kind, name), files) != files and (kind, name) not in part.record.pieces:
            yield f"the migration {name} exists with another text"


def _looks_ours(held: Any, piece: Any) -> bool:
    """Whether at least half of the columns that a table with our name shows are columns of our table."""
    theirs = _columns(held)
    return same(held, piece) or 2 * len(theirs & _columns(piece)) >= len(theirs)


def _columns(table: Any) -> set[str]:
    permissions = table.get("select_permissions") or []
    return {str(column) for each in permissions for column in each["permission"].get("columns", [])}


def _without(editor: Editor, name: str, current: str | None, record: Record) -> str | None:
    before = record.text_before(name, current)
    return before.text if before else editor.take_out(current)


def _digests(record: Record, name: str, merged: str | None) -> tuple[str, ...]:
    """Return the digest of the merged text, and of the former one: an interrupted merge may leave either."""
    former = record.before[name].digests[-1:] if name in record.before else ()
    return tuple(dict.fromkeys((*former, digest(merged))))


def find_problems(part: OurPart) -> list[str]:
    """List our pieces that are missing or of another version. Raises ProjectRefused."""
    layout = part.layout
    held = layout.pieces | held_migrations(layout)
    problems = []
    for key, piece in part.pieces.items():
        if key not in held:
            problems.append(f"{' '.join(key)} is missing")
        elif held[key] != piece if key[0] == MIGRATION else not same(piece, held[key]):
            problems.append(f"{' '.join(key)} differs from this version")
    former = sorted(part.names - part.pieces.keys())
    problems += [f"{' '.join(key)} is of a former version" for key in former if key in held]
    if not _has_permission(layout):
        problems.append(f"{ROLE} may not call the action {ACTION}")
    return problems


def write_plan(plan: Plan) -> None:
    """Write the record first, then the other files; remove the record last. Raises ProjectRefused.

    No file is replaced before all are written beside their places.
    """
    refuse_outside(plan.layout.root, plan.changes)
    changes = {path.resolve(): text for path, text in plan.changes.items()}
    record = plan.layout.root / FILE
    order = [path for path in changes if path != record]
    if record in changes:
        order.insert(len(order) if changes[record] is None else 0, record)
    is_written = False
    try:
        with ExitStack() as stack:
            for path in reversed(order):  # the last one that is entered is put in its place first
                stack.enter_context(_changing(path, changes[path]))
            is_written = True
    except OSError as error:
        result = "The change is not whole: run this again." if is_written else "Nothing was changed."
        raise ProjectRefused(
            f"{error.filename or plan.layout.root} cannot be written: {error.strerror}. {result}"
        ) from error
    for path in order:
        _remove_empty(path.parent, plan.layout.root)


@contextmanager
def _changing(path: Path, text: str | None) -> Iterator[None]:
    """Put the text in the place of the file, or remove the file, when the block ends without an error."""
    if text is None:
        yield
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, mode=0o666) as fresh:
        fresh.write_bytes(text.encode())
        if path.exists():
            shutil.copymode(path, fresh)
        yield


def _remove_empty(directory: Path, above: Path) -> None:
    """Remove a directory that has become empty, and those above it within the project."""
    while above in directory.parents and directory.is_dir() and not any(directory.iterdir()):
        directory.rmdir()
        directory = directory.parent
