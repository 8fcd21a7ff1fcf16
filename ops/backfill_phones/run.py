"""One run of the backfill: its connections, its processes, its lock."""

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.progress import Progress

from ops.backfill_phones.index import build_index
from ops.backfill_phones.limits import Limits, Stopped, check_window
from ops.backfill_phones.parsing import Parsers
from ops.backfill_phones.passes import Backfill
from ops.backfill_phones.report import Report
from ops.backfill_phones.state import State
from ops.backfill_phones.unusable import remove_old_file
from ops.backfill_phones.watching import LockWatch
from ops.backfill_phones.writing import Writer
from ops.clients.db_session import QUERIES, open_session


@dataclass(frozen=True)
class Options:
    """The mode and the limits of a run, and the files that it writes."""

    mode: str
    limits: Limits
    processes: int
    state: Path
    unusable: Path


def run(database_url: str, options: Options, report: Report, progress: Progress) -> None:
    """Do the work and fill the report. Raises Stopped, DatabaseUnavailable and DatabaseError."""
    remove_old_file(options.unusable, datetime.now(UTC))
    with ExitStack() as stack:
        reader = stack.enter_context(open_session(database_url, "backfill-phones"))
        parsers = stack.enter_context(Parsers(options.processes))
        job = Backfill(reader, parsers, options.limits, report, progress, lambda: datetime.now(UTC))
        if options.mode == "dry run":
            job.dry_run()
            return
        check_window(options.limits, job.now())
        db_connection = stack.enter_context(open_session(database_url, "backfill-phones"))
        row = db_connection.execute(QUERIES["backfill_phones/lock_run"]).fetchone()
        if row is None or not row["locked"]:
            raise Stopped("Another backfill is running on this database: wait until it ends")
        if options.mode == "fill":
            build_index(db_connection)
        watch = stack.enter_context(LockWatch(database_url, db_connection, options.limits.max_wait_seconds))
        writer = Writer(db_connection, options.limits, watch.check)
        info = db_connection.info
        state = State(options.state, f"{info.host}:{info.port}/{info.dbname}")
        try:
            if options.mode == "undo":
                job.undo(writer, state)
            else:
                job.fill(writer, state, options.unusable)
        finally:
            report.longest_batch_ms = round(writer.longest_ms, 1)
            report.longest_wait_ms = round(watch.longest_ms, 1)
