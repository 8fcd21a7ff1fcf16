"""The files on this machine with customers' data: the edge's folders, and the list of unusable phones."""

import csv
import os
from pathlib import Path

from ops.edge_spool.spool import Folder, Spool, Unreadable
from ops.erase.target import Target


def erase_deliveries(spool: Spool, target: Target, *, dry_run: bool) -> tuple[int, list[str]]:
    """Remove a customer's deliveries; return how many, and the names of files that cannot be read.

    A record's delivery stays if its token is of another connection; one whose token is of none is removed.
    Raises WrongUsage if a folder cannot be read.
    """
    erased, unreadable = 0, []
    connections = spool.connections() if target.record_id else {}
    wanted = str(target.connection_id)
    for folder in Folder:
        for name in spool.names(folder):
            try:
                delivery = spool.read(folder, name)
            except FileNotFoundError:
                continue
            except Unreadable:
                unreadable.append(f"{folder}/{name}")
                continue
            if target.is_of(delivery.body) and connections.get(delivery.token_sha256, wanted) == wanted:
                erased += 1
                if not dry_run:
                    spool.remove(folder, name)
    return erased, unreadable


def erase_unusable(path: Path, target: Target, account_ids: set[str], *, dry_run: bool) -> int:
    """Remove a customer's rows from the file of `leads backfill-phones`; return how many.

    The file is replaced at once and keeps its rights.
    """
    if not path.exists():
        return 0
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    kept = [row for row in rows if not _is_of(row, target, account_ids)]
    if len(kept) < len(rows) and not dry_run:
        fresh = path.with_name(path.name + ".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(kept)
        os.replace(fresh, path)
    return len(rows) - len(kept)


def _is_of(row: list[str], target: Target, account_ids: set[str]) -> bool:
    return bool(row) and (row[0] in account_ids or target.is_in(" ".join(row[1:3])))
