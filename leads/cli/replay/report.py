"""Print the report of a replay for a person, within the width of the terminal."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console

from leads.cli.output import differences, print_indented, text_of
from leads.domain.replay_results import ReplayResults

BALANCE = ("matched", "replayed", "remaining", "changed", "returned", "arrived", "held")


def print_report(report: dict[str, Any], console: Console, names: Mapping[str, str] | None = None) -> None:
    """Print the balance, then the refused rows, then the results or the changes of a dry run.

    `names` are those of the owners by their ids.
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
        print_indented(f"event {item['event_id']}: {item['result']}{reasons and ', '}{reasons}", 0, console)
        for part in ("account", "contact", "ticket", "consent"):
            _print_part(part, item.get(part), console)
        for contact in item.get("other_contacts", ()):
            _print_part(f"other contact {contact['after']['primary_phone']}", contact, console)
        for member in item.get("roster", ()):
            staff_id = member["after"]["staff_id"]
            _print_part(f"roster {names.get(staff_id, staff_id)}", member, console)
        if item.get("owner"):
            print_indented(f"owner: {names.get(item['owner'], item['owner'])}", 1, console)
        if item.get("notifications"):
            notified = ", ".join(notification["name"] for notification in item["notifications"])
            print_indented(f"would notify: {notified}", 1, console)
    results = Counter(item["result"] for item in changes)
    counted = ", ".join(f"{result} {number}" for result, number in sorted(results.items()))
    print_indented(f"{len(changes)} {'event' if len(changes) == 1 else 'events'}: {counted}", 0, console)


def _print_part(name: str, part: Mapping[str, Any] | None, console: Console) -> None:
    """Print `new`, or each column that changes with its value before and after."""
    if part is None:
        return
    if part["before"] is None:
        print_indented(f"{name}: new", 1, console)
        return
    print_indented(name, 1, console)
    for path, before, after in differences(part["before"], part["after"]):
        print_indented(f"{path}: {text_of(before)} → {text_of(after)}", 2, console)
