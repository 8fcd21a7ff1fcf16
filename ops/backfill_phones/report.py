"""The report of a run, as a table or as JSON."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from ops.output import print_indented


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
    samples: list[tuple[str, str]] = field(default_factory=list)
    rejected: dict[str, list[str]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"unusable": dict(self.unusable)}

    def print(self, console: Console) -> None:
        """Print a table, and samples of what a dry run would change."""
        if self.read or self.counts:
            self._print_table(console)
        for before, after in self.samples:
            console.print(f"  {before!r} → {after}", highlight=False)
        for reason, examples in sorted(self.rejected.items()):
            console.print(f"  {reason}: {', '.join(map(repr, examples))}", highlight=False)
        if self.reason:
            for line in self.reason.splitlines():
                print_indented(line, 0, console)

    def _print_table(self, console: Console) -> None:
        table = Table(title=f"normalized_phone: {self.mode}, {self.outcome}", show_header=False)
        for name in ("read", "written", "left", "passes"):
            table.add_row(name, f"{getattr(self, name):,}")
        for reason, count in sorted(self.unusable.items()):
            table.add_row(f"unusable: {reason}", f"{count:,}")
        for name, count in self.counts.items():
            table.add_row(f"accounts: {name}", f"{count:,}")
        table.add_row("seconds", f"{self.seconds:.1f}")
        table.add_row("longest batch, ms", f"{self.longest_batch_ms:.0f}")
        table.add_row("longest wait of other sessions, ms", f"{self.longest_wait_ms:.0f}")
        console.print(table)
