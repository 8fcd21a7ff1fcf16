"""Print the report of a replay for a person, within the width of the terminal."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console

from leads.domain.replay import ReplayResults
from ops.output import print_block, print_indented
from ops.replay.dry_run import change_blocks

BALANCE = ("matched", "replayed", "remaining", "changed", "returned", "arrived", "held")


def print_report(report: dict[str, Any], console: Console, names: Mapping[str, str] | None = None) -> None:
    """Print the balance, then the refused rows, then the results or the changes of a dry run.

    `names` are those of the staff by their ids.
    """
    console.print("  ".join(f"{name} {report[name]}" for name in BALANCE), soft_wrap=True)
    for item in report["refused"]:
        console.print(f"event {item['event_id']} refused: {item['reason']}", soft_wrap=True)
    if report["results"] is not None:
        _print_counts(_result_lines(report["results"], names or {}), console)
    if report["changes"]:
        _print_changes(report["changes"], console, names or {})


def _result_lines(results: ReplayResults, names: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """Return a label and a number for each result that occurred."""
    yield from results["outcomes"].items()
    for label, counts in (
        ("held again", results["held"]),
        ("failed, will be retried", results["failed"]),
        ("dead_letter", results["dead_letter"]),
    ):
        yield from ((f"{label}: {reason}", number) for reason, number in counts.items())
    yield from ((f"owner {names.get(own['id'], own['id'])}", own["tickets"]) for own in results["owners"])
    yield "without an owner", results["unassigned"]
    yield "waiting", results["waiting"]


def _print_counts(lines: Iterator[tuple[str, int]], console: Console) -> None:
    counts = [(label, number) for label, number in lines if number]
    width = max((len(label) for label, _ in counts), default=0)
    for label, number in counts:
        console.print(f"{label.ljust(width)}  {number}", soft_wrap=True, highlight=False, markup=False)


def _print_changes(changes: list[dict[str, Any]], console: Console, names: Mapping[str, str]) -> None:
    """Print each event with its changes, one below the other: a table would be cut on 80 columns."""
    for item in changes:
        reasons = ": ".join(item[key] for key in ("error_code", "error_detail") if key in item)
        blocks = list(change_blocks(item, names))
        text = f"{item['result']}, {reasons}" if reasons else item["result"]
        nothing = "" if blocks or reasons else ", nothing changes"
        print_indented(f"event {item['event_id']}: {text}{nothing}", 0, console)
        for block in blocks:
            print_block(block, console)
    results = Counter(item["result"] for item in changes)
    counted = ", ".join(f"{result} {number}" for result, number in sorted(results.items()))
    print_indented(f"{len(changes)} {'event' if len(changes) == 1 else 'events'}: {counted}", 0, console)
