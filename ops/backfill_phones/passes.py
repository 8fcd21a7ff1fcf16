"""The passes over the accounts: fill and verify, dry run, undo."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from uuid import UUID

from rich.progress import Progress

from ops.backfill_phones.accounts import FIRST_ID, Account, count_accounts, next_id, read_batches
from ops.backfill_phones.limits import Limits, check_window
from ops.backfill_phones.parsing import Parsers, Reading
from ops.backfill_phones.report import Report
from ops.backfill_phones.state import State
from ops.backfill_phones.unusable import UnusableFile
from ops.backfill_phones.writing import Writer
from ops.clients.db_session import DbSession

MAX_SAMPLES = 20
MAX_EXAMPLES_PER_REASON = 3
PAUSE_BETWEEN_PASSES_SECONDS = 0.5


@dataclass
class Pass:
    """The counts of one pass."""

    usable: int = 0
    written: int = 0
    unusable: Counter[str] = field(default_factory=Counter)


@dataclass
class Backfill:
    """The work of one run. `now` gives the current time, for the time window."""

    reader: DbSession
    parsers: Parsers
    limits: Limits
    report: Report
    progress: Progress
    now: Callable[[], datetime]

    def fill(self, writer: Writer, state: State, unusable: Path) -> None:
        """Fill what is open, then repeat passes until only unusable phones are open. Raises Stopped."""
        start = state.load()
        if start is not None:
            self._pass("filling", start, writer, state=state)
        for _ in range(self.limits.max_passes):
            with UnusableFile(unusable) as file:
                last = self._pass("verifying", FIRST_ID, writer, file=file)
            self.report.counts = count_accounts(self.reader)
            self.report.unusable, self.report.left = last.unusable, last.usable - last.written
            if last.usable == 0 and self.report.counts["open"] == last.unusable.total():
                state.remove()
                self.report.outcome = "verified"
                return
            time.sleep(PAUSE_BETWEEN_PASSES_SECONDS)
        self.report.outcome = "not verified"
        self.report.reason = (
            f"after {self.limits.max_passes} passes {self.report.left} usable phones are still not written: "
            "other sessions held or changed their rows in each pass. Run this again."
        )

    def dry_run(self) -> None:
        """Read and parse everything, write nothing, keep samples of what would be written."""
        self.report.counts = count_accounts(self.reader)
        found = self._pass("reading", FIRST_ID, None)
        self.report.unusable, self.report.left = found.unusable, found.usable
        self.report.outcome = "not written"

    def undo(self, writer: Writer, state: State) -> None:
        """Empty normalized_phone everywhere, in passes. Raises Stopped."""
        state.remove()
        task = self.progress.add_task("emptying", total=count_accounts(self.reader)["normalized"])
        for _ in range(self.limits.max_passes):
            self.report.passes += 1
            from_id: UUID | None = FIRST_ID
            while from_id is not None:
                check_window(self.limits, self.now())
                written, last_id = writer.clear(from_id)
                self.report.written += written
                self.progress.advance(task, written)
                from_id = next_id(last_id) if last_id else None
            self.report.counts = count_accounts(self.reader)
            self.report.left = self.report.counts["normalized"]
            if self.report.left == 0:
                self.report.outcome = "verified"
                return
            time.sleep(PAUSE_BETWEEN_PASSES_SECONDS)
        self.report.outcome = "not verified"
        self.report.reason = f"{self.report.left} accounts still have a normalized_phone. Run this again."

    def _pass(
        self,
        what: str,
        from_id: UUID,
        writer: Writer | None,
        state: State | None = None,
        file: UnusableFile | None = None,
    ) -> Pass:
        found = Pass()
        self.report.passes += 1
        task = self.progress.add_task(what, total=count_accounts(self.reader)["open"])
        batches = read_batches(self.reader, from_id, self.limits.rows_per_batch)
        for accounts, readings, rest in self.parsers.parse_all(batches):
            self._take(found, accounts, readings, writer)
            if file is not None:
                file.add(accounts, readings)
            if state is not None:
                state.save(rest)
            self.progress.advance(task, len(accounts))
        if state is not None:
            state.save(None)
        return found

    def _take(
        self, found: Pass, accounts: list[Account], readings: list[Reading], writer: Writer | None
    ) -> None:
        usable = [(a, phone) for a, (phone, _) in zip(accounts, readings, strict=True) if phone is not None]
        found.usable += len(usable)
        found.unusable.update(reason for phone, reason in readings if phone is None)
        self.report.read += len(accounts)
        if writer is None:
            self._keep_samples(accounts, readings)
            return
        check_window(self.limits, self.now())
        written = writer.fill([a for a, _ in usable], [phone for _, phone in usable])
        found.written += written
        self.report.written += written

    def _keep_samples(self, accounts: list[Account], readings: list[Reading]) -> None:
        """Keep samples of what would be written, evenly over the table, and examples of each reason."""
        stride = max(1, self.report.counts["open"] // MAX_SAMPLES)
        for index, (account, (phone, reason)) in enumerate(zip(accounts, readings, strict=True)):
            before = f"{account.phone_code or ''} {account.phone_number}".strip()
            if phone is None:
                examples = self.report.rejected.setdefault(reason, [])
                if len(examples) < MAX_EXAMPLES_PER_REASON:
                    examples.append(before)
            elif index % stride == 0 and len(self.report.samples) < MAX_SAMPLES:
                self.report.samples.append((before, phone))
