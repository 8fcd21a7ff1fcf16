"""`leads backfill-phones`: fill account.normalized_phone beside live traffic.

It passes over the accounts by id: read, parse, write. Rows that another session holds or
changes meanwhile are left to the next pass. The last pass finds only unusable phones, and lists them."""

import csv
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self
from uuid import UUID

import typer
from rich.progress import Progress
from rich.table import Table

from leads.domain.body import ICT
from leads.domain.errors import DatabaseUnavailable, IntegrationError
from leads.domain.phone import normalize
from ops.clients.db_session import (
    QUERIES,
    DatabaseError,
    DbSession,
    DictRow,
    InsufficientPrivilege,
    QueryCanceled,
    class_row,
    load_row,
    open_session,
)
from ops.error_texts import describe_answer
from ops.failures import ExitCode, WrongUsage, connection_reason
from ops.files import replacing
from ops.output import AsJson, ForeignTextConsole, csv_cell, print_indented, print_result, progress_bar, say
from ops.settings import read_operator_settings

WINDOW_START_HOUR, WINDOW_END_HOUR = 2, 6
"""Hours in ICT between which the backfill runs."""
UNUSABLE = Path("backfill_normalized_phone.unusable.csv")
FIRST_ID = UUID(int=0)
_LAST_ID = UUID(int=2**128 - 1)
NEEDS_OWNER = (
    "The index account_phone_not_normalized_idx is missing, and only the owner of the table account may"
    " build it: run this once with the owner's DATABASE_URL"
)
CHECK_INTERVAL_SECONDS = 0.05
JOIN_TIMEOUT_SECONDS = 5
MAX_AGE = timedelta(days=30)
"""How long the file of an earlier run is kept: it holds customers' phones (docs/security.md)."""
PAUSE_BETWEEN_PASSES_SECONDS = 0.5
UNFINISHED = {
    "fill": "after {passes} passes {left} usable phones are still not written: other sessions held or "
    "changed their rows in each pass. Run this again.",
    "undo": "{left} accounts still have a normalized_phone. Run this again.",
}


@dataclass(frozen=True)
class Options:
    """What a run does, accounts per batch, and times in seconds.

    `unusable`: the file of accounts whose phone is unusable. `max_batch_seconds`: a batch that holds its row
    locks longer is rolled back and halved. `max_wait_seconds`: the run stops when another session waits
    longer for these locks.
    """

    mode: str = "fill"
    rows_per_batch: int = 10_000
    min_rows_per_batch: int = 50
    pause_seconds: float = 0.1
    max_batch_seconds: float = 0.5
    max_wait_seconds: float = 1.0
    max_passes: int = 10
    anytime: bool = False
    unusable: Path = UNUSABLE


class Account(NamedTuple):
    """An account with a phone; `id` as text."""

    id: str
    phone_code: str | None
    phone_number: str


class Stopped(Exception):
    """The run stopped early. What is written stays, and the next run continues from there."""


def check_window(options: Options, now: datetime) -> None:
    """Raise Stopped outside the time window, unless any time is allowed."""
    if not options.anytime and seconds_to_window(now):
        raise Stopped(
            f"It is {now.astimezone(ICT):%H:%M} ICT, and the backfill runs from {WINDOW_START_HOUR:02}:00 to "
            f"{WINDOW_END_HOUR:02}:00: run it again then, or give --anytime"
        )


def seconds_to_window(now: datetime) -> float:
    """Return the seconds until the window opens; 0 within it."""
    local = now.astimezone(ICT)
    if WINDOW_START_HOUR <= local.hour < WINDOW_END_HOUR:
        return 0.0
    opens = local.replace(hour=WINDOW_START_HOUR, minute=0, second=0, microsecond=0)
    if opens <= local:
        opens += timedelta(days=1)
    return (opens - local).total_seconds()


def next_id(account_id: str) -> UUID | None:
    value = UUID(account_id)
    return None if value == _LAST_ID else UUID(int=value.int + 1)


def read_batches(db_connection: DbSession, size: int) -> Iterator[list[Account]]:
    """Yield batches of accounts without a normalized phone, in the order of their ids, without locks."""
    from_id: UUID | None = FIRST_ID
    while from_id is not None:
        with db_connection.cursor(row_factory=class_row(Account)) as cursor:
            cursor.execute(
                QUERIES["backfill_phones/list_accounts"], {"from_id": from_id, "limit": size}, prepare=False
            )
            rows = cursor.fetchall()
        from_id = next_id(rows[-1].id) if len(rows) == size else None
        if rows:
            yield rows


def count_accounts(db_connection: DbSession) -> dict[str, int]:
    """Return the counts with_phone, normalized, open, active and active_normalized."""
    return load_row(db_connection, "backfill_phones/count_accounts")


def has_index(db_connection: DbSession) -> bool:
    found = db_connection.execute(QUERIES["backfill_phones/find_index"]).fetchone()
    return found is not None and bool(found["is_valid"])


def build_index(db_connection: DbSession) -> None:
    """Build the index unless it exists. Other sessions read and write meanwhile.

    A build that was interrupted leaves an invalid index, which is replaced. Raises DatabaseError; and Stopped
    for a role that does not own the table: PostgreSQL lets no other build an index.
    """
    if has_index(db_connection):
        return
    say("Building account_phone_not_normalized_idx. Other sessions need not wait ...")
    try:
        db_connection.execute(QUERIES["backfill_phones/drop_index"])
        db_connection.execute(QUERIES["backfill_phones/create_index"])
    except InsufficientPrivilege as error:
        raise Stopped(NEEDS_OWNER) from error


class LockWatch:
    """Context manager: a thread with a second connection watches `writer`, which takes the locks."""

    def __init__(self, database_url: str, writer: DbSession, max_wait_seconds: float) -> None:
        self._url = database_url
        self._writer = writer
        self._limit_ms = max_wait_seconds * 1000
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.longest_ms = 0.0

    def check(self) -> None:
        """Raise Stopped if another session waited too long, or if the watch failed."""
        if self._failure is not None:
            raise Stopped(f"Lock waits can no longer be watched: {connection_reason(self._failure)}")
        if self.longest_ms > self._limit_ms:
            raise Stopped(
                f"Another session waited {self.longest_ms:.0f} ms for a row that this run held "
                f"(limit {self._limit_ms:.0f} ms): run it again when the database is quieter"
            )

    def _watch(self) -> None:
        try:
            with open_session(self._url, "backfill-phones") as db_connection:
                while not self._stop.wait(CHECK_INTERVAL_SECONDS):
                    pid = {"pid": self._writer.info.backend_pid}
                    longest = db_connection.execute(QUERIES["backfill_phones/find_longest_wait"], pid)
                    waited_ms = max((row["waited_ms"] for row in longest), default=0.0)
                    self.longest_ms = max(self.longest_ms, waited_ms)
                    if waited_ms > self._limit_ms:
                        self._writer.cancel()
        except (DatabaseError, IntegrationError) as error:
            self._failure = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(JOIN_TIMEOUT_SECONDS)


class Writer:
    """Runs one statement per transaction, with as many rows as fit into the time limit.

    `check` is called before each transaction and after a cancelled one; it raises Stopped.
    """

    def __init__(self, db_connection: DbSession, options: Options, check: Callable[[], None]) -> None:
        self._db_connection = db_connection
        self._options = options
        self._check = check
        self._size = options.rows_per_batch
        self._paused_until = 0.0
        self.longest_ms = 0.0
        milliseconds = int(options.max_batch_seconds * 1000)
        db_connection.execute(
            QUERIES["backfill_phones/set_statement_timeout"], {"statement_timeout": str(milliseconds)}
        )

    def fill(self, accounts: Sequence[Account], phones: Sequence[str]) -> int:
        """Write the phones; return the number of rows written, without those locked or changed meanwhile."""
        written = done = 0
        while done < len(accounts):
            part = accounts[done : done + self._size]
            ids, codes, numbers = (list(column) for column in zip(*part, strict=True))
            params = {
                "ids": ids, "phone_codes": codes, "phone_numbers": numbers,
                "phones": list(phones[done : done + len(part)]),
            }  # fmt: skip
            row = self._run("backfill_phones/fill_accounts", params, len(part))
            if row:
                written += row["written"]
                done += len(part)
        return written

    def clear(self, from_id: object) -> tuple[int, str | None]:
        """Empty the next accounts from that id on; return how many, and the last id (None at the end)."""
        while True:
            size = self._size
            params = {"from_id": from_id, "limit": size}
            if row := self._run("backfill_phones/clear_accounts", params, size):
                return row["written"], row["last_id"]

    def _run(self, statement: str, params: dict[str, Any], rows: int) -> DictRow | None:
        """Run a statement; return its row, or None if it took too long: the next batch must be smaller."""
        time.sleep(max(0.0, self._paused_until - time.monotonic()))  # reading and parsing continue meanwhile
        self._check()
        started = time.monotonic()
        try:
            with self._db_connection.transaction():
                row = self._db_connection.execute(QUERIES[statement], params, prepare=False).fetchone()
        except QueryCanceled:
            self._check()
            self._shrink(rows)
            return None
        finally:
            held = time.monotonic() - started
            self.longest_ms = max(self.longest_ms, held * 1000)
        self._adapt(held, rows)
        pause = self._options.pause_seconds * min(1.0, rows / self._options.rows_per_batch)
        self._paused_until = time.monotonic() + pause
        return row

    def _shrink(self, rows: int) -> None:
        if rows <= self._options.min_rows_per_batch:
            raise Stopped(f"{rows} rows take longer than {self._options.max_batch_seconds} s to write")
        self._size = max(self._options.min_rows_per_batch, rows // 2)

    def _adapt(self, held: float, rows: int) -> None:
        if held > self._options.max_batch_seconds / 2:
            self._size = max(self._options.min_rows_per_batch, rows // 2)
        elif held < self._options.max_batch_seconds / 5 and rows >= self._size:
            self._size = min(self._options.rows_per_batch, self._size * 2)


def remove_old_file(path: Path, now: datetime) -> bool:
    """Remove the file of a run that ended more than MAX_AGE ago; return whether there was one."""
    if not path.exists() or datetime.fromtimestamp(path.stat().st_mtime, UTC) > now - MAX_AGE:
        return False
    path.unlink()
    return True


@dataclass
class Report:
    """Counts of one run. `left`: usable phones in rows that other sessions locked in the last pass."""

    mode: str
    outcome: str = "stopped"
    reason: str = ""
    seconds: float = 0.0
    read: int = 0
    written: int = 0
    left: int = 0
    unusable: Counter[str] = field(default_factory=Counter)
    passes: int = 0
    longest_batch_ms: float = 0.0
    longest_wait_ms: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)

    def print(self) -> None:
        """Print a table, and why the run ended early."""
        console = ForeignTextConsole()
        table = Table(title=f"normalized_phone: {self.mode}, {self.outcome}", show_header=False)
        counts = {name: getattr(self, name) for name in ("read", "written", "left", "passes")}
        counts |= {f"unusable: {reason}": count for reason, count in sorted(self.unusable.items())}
        counts |= {f"accounts: {name}": count for name, count in self.counts.items()}
        for name, count in counts.items():
            table.add_row(name, f"{count:,}")
        table.add_row("seconds", f"{self.seconds:.1f}")
        table.add_row("longest batch, ms", f"{self.longest_batch_ms:.0f}")
        table.add_row("longest wait of other sessions, ms", f"{self.longest_wait_ms:.0f}")
        if self.read or self.counts:
            console.print(table)
        for line in self.reason.splitlines():
            print_indented(line, 0, console)


@dataclass
class Backfill:
    """The work of one run."""

    reader: DbSession
    options: Options
    report: Report
    progress: Progress

    def dry_run(self) -> None:
        self.report.counts = count_accounts(self.reader)
        self.report.passes = 1
        self._pass("reading", None, None)
        self.report.outcome = "not written"

    def repeat(self, writer: Writer) -> None:
        """Make passes until one says that it was the last. Raises Stopped."""
        is_done = self._undo if self.options.mode == "undo" else self._fill
        report = self.report
        for _ in range(self.options.max_passes):
            report.passes += 1
            if is_done(writer):
                report.outcome = "verified"
                return
            time.sleep(PAUSE_BETWEEN_PASSES_SECONDS)
        report.outcome = "not verified"
        report.reason = UNFINISHED[self.options.mode].format(passes=report.passes, left=report.left)

    def _fill(self, writer: Writer) -> bool:
        """Fill what is open; return whether only unusable phones were found."""
        with replacing(self.options.unusable) as fresh:
            usable = self._pass("filling", writer, fresh)
        self.report.counts = count_accounts(self.reader)
        return usable == 0 and self.report.counts["open"] == self.report.unusable.total()

    def _undo(self, writer: Writer) -> bool:
        """Empty normalized_phone everywhere; return whether none is left."""
        task = self.progress.add_task("emptying", total=count_accounts(self.reader)["normalized"])
        from_id: UUID | None = FIRST_ID
        while from_id is not None:
            check_window(self.options, datetime.now(UTC))
            written, last_id = writer.clear(from_id)
            self.report.written += written
            self.progress.advance(task, written)
            from_id = next_id(last_id) if last_id else None
        self.report.counts = count_accounts(self.reader)
        self.report.left = self.report.counts["normalized"]
        return self.report.left == 0

    def _pass(self, what: str, writer: Writer | None, unusable: Path | None) -> int:
        """Read and parse what is open; write the usable phones, and list the others in a file.

        Return how many are usable. Without a writer and a file it changes nothing.
        """
        report = self.report
        report.left, report.unusable = 0, Counter()
        found = 0
        task = self.progress.add_task(what, total=count_accounts(self.reader)["open"])
        with (unusable or Path(os.devnull)).open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["account_id", "phone_code", "phone_number", "reason"])
            for accounts in read_batches(self.reader, self.options.rows_per_batch):
                readings = [normalize(each.phone_number, each.phone_code) for each in accounts]
                read = list(zip(accounts, readings, strict=True))
                usable = [(account, phone) for account, (phone, _) in read if phone is not None]
                written = 0
                if writer is not None:
                    check_window(self.options, datetime.now(UTC))
                    written = writer.fill([a for a, _ in usable], [phone for _, phone in usable])
                report.unusable.update(reason for phone, reason in readings if phone is None)
                rows.writerows(
                    map(csv_cell, (*account, reason)) for account, (phone, reason) in read if phone is None
                )
                report.read += len(accounts)
                report.written += written
                report.left += len(usable) - written
                found += len(usable)
                self.progress.advance(task, len(accounts))
        return found


def run(database_url: str, options: Options, report: Report, progress: Progress) -> None:
    """Do the work and fill the report. Raises Stopped, DatabaseUnavailable and DatabaseError."""
    remove_old_file(options.unusable, datetime.now(UTC))
    with ExitStack() as stack:
        reader = stack.enter_context(open_session(database_url, "backfill-phones"))
        job = Backfill(reader, options, report, progress)
        if options.mode == "dry run":
            job.dry_run()
            return
        check_window(options, datetime.now(UTC))
        db_connection = stack.enter_context(open_session(database_url, "backfill-phones"))
        if not load_row(db_connection, "backfill_phones/lock_run")["locked"]:
            raise Stopped("Another backfill is running on this database: wait until it ends")
        if options.mode == "fill":
            build_index(db_connection)
        watch = stack.enter_context(LockWatch(database_url, db_connection, options.max_wait_seconds))
        writer = Writer(db_connection, options, watch.check)
        try:
            job.repeat(writer)
        finally:
            report.longest_batch_ms = round(writer.longest_ms, 1)
            report.longest_wait_ms = round(watch.longest_ms, 1)


def backfill_phones(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing; count only.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Empty normalized_phone instead.")] = False,
    anytime: Annotated[bool, typer.Option("--anytime", help="Run outside 02:00 to 06:00 ICT too.")] = False,
    at_night: Annotated[bool, typer.Option("--at-night", help="Wait for 02:00 ICT, then run.")] = False,
    rows_per_batch: Annotated[int, typer.Option(help="Accounts per batch.", min=50, max=50_000)] = 10_000,
    pause_seconds: Annotated[float, typer.Option(help="Seconds between batches.", min=0)] = 0.1,
    unusable: Annotated[Path, typer.Option(help="CSV file for accounts with an unusable phone.")] = UNUSABLE,
    as_json: AsJson = False,
) -> None:
    """Fill account.normalized_phone, and verify it.

    It runs beside live traffic. Needs DATABASE_URL. You may stop it (Ctrl-C, SIGTERM) and start it again at
    any time. Exit code 1: it stopped early or was not started (time window, lock waits, another run), or
    usable phones are left; the last line says which. Run it again then.
    """
    if dry_run + undo + at_night > 1 or (at_night and anytime):
        raise WrongUsage(
            "--dry-run, --undo and --at-night exclude each other, and --at-night --anytime. Give one of them."
        )
    database_url = read_operator_settings("DATABASE_URL").database_url
    options = Options(
        "undo" if undo else "dry run" if dry_run else "fill", rows_per_batch=rows_per_batch,
        pause_seconds=pause_seconds, anytime=anytime, unusable=unusable,
    )  # fmt: skip
    report = Report(options.mode)
    code = _attempt(database_url, options, report, at_night=at_night)
    print_result(asdict(report) | {"unusable": dict(report.unusable)}, report.print, as_json=as_json)
    raise typer.Exit(code)


def _attempt(database_url: str, options: Options, report: Report, *, at_night: bool) -> ExitCode:
    """Fill the report; `at_night` waits for the window, if any account waits for it."""
    started = time.monotonic()
    try:
        if at_night:
            with open_session(database_url, "backfill-phones") as db:
                waiting = count_accounts(db)["open"]
            options = replace(options, anytime=not waiting)
            if waiting and (seconds := seconds_to_window(datetime.now(UTC))):
                begins = f"{WINDOW_START_HOUR:02}:00 ICT, {seconds / 3600:.1f} hours"
                say(f"{waiting} accounts wait until {begins}.")
                time.sleep(seconds)
        with progress_bar() as progress:
            run(database_url, options, report, progress)
    except Stopped as stopped:
        report.reason = str(stopped)
        return ExitCode.FAILED
    except KeyboardInterrupt:
        report.outcome, report.reason = "interrupted", "Interrupted. The next run continues from here."
        return ExitCode.INTERRUPTED
    except (DatabaseUnavailable, DatabaseError) as error:
        report.reason, exit_code = describe_answer(error)
        return exit_code
    finally:
        report.seconds = round(time.monotonic() - started, 2)
    return ExitCode.FAILED if report.outcome == "not verified" else ExitCode.OK
