"""Which files of a project change, and into what. Nothing is written here."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ops.failures import file_reason
from ops.metadata.normal import same
from ops.metadata.ownership import foreign
from ops.metadata.pieces import CRON, Key
from ops.metadata.project import permission
from ops.metadata.project.edit_error import EXPORT_FIRST, ProjectRefused
from ops.metadata.project.editors import Editor
from ops.metadata.project.layout import Layout
from ops.metadata.project.our_part import MIGRATION, OurPart, held_migrations
from ops.metadata.project.record import FILE, Before, Record, digest, read_record, record_text
from ops.metadata.project.yaml_lists import find_list

OUR_ACTION = ("action", "pancake_ingest_record")
"""A project without a record that has it has our part, as after an export from an engine that has it."""

RENAME_FIRST = "Nothing was changed. Rename it, or the file, and run this again."


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
        actions = layout.metadata / "actions.yaml"
        has_it = permission.has_permission(read_text(actions) or "", layout.name(actions))
        record = Record(is_permission_theirs=has_it and OUR_ACTION not in layout.pieces)
    return OurPart(layout, step, record, directory)


def plan_merge(part: OurPart) -> Plan:
    """Plan to put our part in, or its newer version. Raises ProjectRefused."""
    layout, record = part.layout, part.record
    refuse_foreign(part)
    now, then, before = {}, {}, dict(record.before)
    for editor in part.editors():
        now[editor.path] = current = read_text(editor.path)
        without = _without(editor, current, record)
        then[editor.path] = merged = editor.put_in(without)
        before.pop(editor.where, None)
        if editor.take_out(merged) != without:
            before[editor.where] = Before(without, _digests(record, editor.where, merged))
    held_crons = {key for key in record.pieces if key[0] == CRON and part.step == "9a"}
    path = layout.root / FILE
    now[path] = read_text(path)
    pieces = frozenset(part.pieces) | held_crons
    then[path] = record_text(replace(record, pieces=pieces, before=before))
    return Plan(layout, now, then)


def plan_unmerge(part: OurPart) -> Plan:
    """Plan to take our part out. Raises ProjectRefused."""
    layout, record = part.layout, part.record
    refuse_foreign(part)
    now, then = {}, {}
    for editor in reversed(list(part.editors())):
        now[editor.path] = current = read_text(editor.path)
        then[editor.path] = _without(editor, current, record)
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
    migrations = held_migrations(part.layout)
    for kind, name in part.pieces:
        if kind != MIGRATION:
            continue
        version = name.split("_")[0]
        twins = [other for _, other in migrations if other.split("_")[0] == version and other != name]
        reasons += [f"the migration {other} has the version of our {name}" for other in twins]
        is_changed = migrations.get((kind, name), part.pieces[kind, name]) != part.pieces[kind, name]
        if is_changed and (kind, name) not in recorded:
            reasons.append(f"the migration {name} exists with another text")
    if reasons:
        raise ProjectRefused(f"{'; '.join(reasons)}. {RENAME_FIRST}")
    _refuse_other_files(part, held)


def _refuse_other_files(part: OurPart, held: Mapping[Key, Any]) -> None:
    where = part.layout.name(part.layout.tables)
    items = find_list(read_text(part.layout.tables) or "", (), where).items
    includes = {item.keys.get("text", "") for item in items}
    for kind, name in part.names:
        if kind == "table" and (kind, name) in held and not part.is_included(name, includes):
            raise ProjectRefused(f"{where} has {name} under another name of its file. {EXPORT_FIRST}")


def _looks_ours(held: Any, piece: Any) -> bool:
    """Whether at least half of the columns that a table with our name shows are columns of our table."""
    theirs = _columns(held)
    return same(held, piece) or 2 * len(theirs & _columns(piece)) >= len(theirs)


def _columns(table: Any) -> set[str]:
    permissions = table.get("select_permissions") or []
    return {str(column) for each in permissions for column in each["permission"].get("columns", [])}


def _without(editor: Editor, current: str | None, record: Record) -> str | None:
    before = record.text_before(editor.where, current)
    return before.text if before else editor.take_out(current)


def _digests(record: Record, where: str, merged: str | None) -> tuple[str, ...]:
    """Return the digest of the merged text, and of the former one: an interrupted merge may leave either."""
    former = record.before[where].digests[-1:] if where in record.before else ()
    return tuple(dict.fromkeys((*former, digest(merged))))


def read_text(path: Path) -> str | None:
    """Return the text of a file with its line endings, None if there is none. Raises ProjectRefused."""
    try:
        return path.read_bytes().decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ProjectRefused(f"{path} cannot be read: {file_reason(error)}. Nothing was changed.") from error
