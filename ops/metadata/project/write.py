"""Write the files of a plan: a stop at any moment leaves whole files, and a second run ends the work."""

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from ops.metadata.project.edit_error import ProjectRefused
from ops.metadata.project.plan import Plan
from ops.metadata.project.record import FILE


def write_plan(plan: Plan) -> None:
    """Write the record first, then the other files; remove the record last. Raises ProjectRefused."""
    changes = {path.resolve(): text for path, text in plan.changes.items()}
    record = plan.layout.root / FILE
    order = [path for path in changes if path != record]
    if record in changes:
        order.insert(len(order) if changes[record] is None else 0, record)
    written = {path: text for path, text in changes.items() if text is not None}
    try:
        _write_beside(written)
    except OSError as error:
        _remove(map(_fresh, written))
        raise ProjectRefused(
            f"{error.filename or plan.layout.root} cannot be written: {error.strerror}. Nothing was changed."
        ) from error
    try:
        for path in order:
            _put_in_place(path, changes[path])
    except OSError as error:
        raise ProjectRefused(
            f"{error.filename} cannot be written: {error.strerror}. The change is not whole: run this again."
        ) from error
    finally:
        _remove(_fresh(path.resolve()) for path in plan.then)
    for path in order:
        _remove_empty(path.parent, plan.layout.root)


def _write_beside(texts: Mapping[Path, str]) -> None:
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = _fresh(path)
        with fresh.open("wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, fresh)


def _put_in_place(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink(missing_ok=True)
    else:
        os.replace(_fresh(path), path)


def _fresh(path: Path) -> Path:
    return path.with_name(f".{path.name}.leads-merge")


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.parent.is_dir():
            path.unlink(missing_ok=True)


def _remove_empty(directory: Path, above: Path) -> None:
    """Remove a directory that has become empty, and those above it within the project."""
    while above in directory.parents and directory.is_dir() and not any(directory.iterdir()):
        directory.rmdir()
        directory = directory.parent
