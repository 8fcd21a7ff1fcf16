"""`leads metadata merge`, `unmerge` and `check`."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ops.checks.model import Check, Finding, Level, Result, When
from ops.checks.screen import document, print_look
from ops.failures import fail_if
from ops.files import replacing
from ops.metadata.deploy import Directory, Step
from ops.metadata.directory import DIRECTORY
from ops.metadata.edits import EXPORT_FIRST, find_list, has_permission
from ops.metadata.our_part import (
    FILE,
    MIGRATION,
    Before,
    Editor,
    Layout,
    OurPart,
    ProjectRefused,
    Record,
    digest,
    editing,
    find_layout,
    held_migrations,
    is_included,
    read_record,
    read_text,
    record_text,
    refuse_outside,
)
from ops.metadata.pieces import ACTION, CRON, ROLE, foreign, same
from ops.output import AsJson, print_json, print_line, print_result, say

CHECK = Check(
    "project", "Is our part in the project, whole and in this version?", When.CRITERION, (), lambda *_: (),
    cure="leads metadata merge --into DIR", runbook="docs/runbook/metadata.md",
)  # fmt: skip
"""It is in no table: it asks files, and no installation."""
OUR_ACTION = ("action", "pancake_ingest_record")
"""A project without a record that has it has our part, as after an export from an engine that has it."""

RENAME_FIRST = "Nothing was changed. Rename it, or the file, and run this again."

ProjectArgument = Annotated[Path, typer.Argument(metavar="DIR", help="The project: it has config.yaml.")]
Database = Annotated[
    str | None,
    typer.Option("--hasura-source", help="The source for our tables; needed if there are several."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would change; change nothing.")]
StepOption = Annotated[Step, typer.Option("--step", help="9a: without cron triggers; 9b: everything.")]


@dataclass(frozen=True)
class Plan:
    """The texts of files: now, and after the change. None: no file."""

    layout: Layout
    now: Mapping[Path, str | None]
    then: Mapping[Path, str | None]

    @property
    def changes(self) -> dict[Path, str | None]:
        return {path: text for path, text in self.then.items() if text != self.now[path]}


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


def unmerge(
    directory: ProjectArgument, source: Database = None, own: Directory = DIRECTORY,
    dry_run: DryRun = False, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Take our part out of a project of the Hasura CLI.

    Gives back the bytes from before the merge. Exit code 1: refused; nothing was changed.
    """
    plan = plan_unmerge(find_our_part(find_layout(directory, source), Step.AFTER_SERVICES, own))
    _carry_out(plan, "Our part is not in the project", dry_run=dry_run, as_json=as_json)


def check(
    directory: ProjectArgument, step: StepOption = Step.AFTER_SERVICES, source: Database = None,
    own: Directory = DIRECTORY, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Check that our part is in a project, whole and in this version.

    Exit code 1: it is not; every problem is named.
    """
    problems = find_problems(find_our_part(find_layout(directory, source), step, own))
    fine = "Our part is in the project, whole and in this version"
    findings = [Finding(Level.RED, problem, CHECK.cure) for problem in problems]
    results = [Result(CHECK, CHECK.id, tuple(findings or [Finding(Level.GREEN, fine)]))]
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


def find_our_part(layout: Layout, step: str, directory: Path) -> OurPart:
    """Return our part for a project, with the record of what it has. Raises ProjectRefused."""
    if (record := read_record(layout.root)) is None:
        is_theirs = _has_permission(layout) and OUR_ACTION not in layout.pieces
        record = Record(is_permission_theirs=is_theirs)
    return OurPart(layout, step, record, directory)


def _has_permission(layout: Layout) -> bool:
    path = layout.metadata / "actions.yaml"
    with editing(layout.name(path)):
        return has_permission(read_text(path) or "")


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
        items = find_list(read_text(part.layout.tables) or "", ()).items
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
