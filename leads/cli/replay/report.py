"""Print the action's report for a person."""

from typing import Any

from rich.console import Console
from rich.table import Table

BALANCE = ("matched", "replayed", "remaining", "changed", "returned", "arrived", "held")


def print_report(report: dict[str, Any], console: Console) -> None:
    """Print the balance, then the refused rows, then the changes of a dry run."""
    console.print("  ".join(f"{name} {report[name]}" for name in BALANCE), soft_wrap=True)
    for item in report["refused"]:
        console.print(f"event {item['event_id']} refused: {item['reason']}", soft_wrap=True)
    if not report["changes"]:
        return
    table = Table("event", "result", "account", "contact", "ticket", "owner", "notifies")
    for item in report["changes"]:
        parts = [_describe_change(item.get(part)) for part in ("account", "contact", "ticket")]
        notified = ", ".join(notification["name"] for notification in item.get("notifications", []))
        result = item["result"] + (f"\n{item['error_detail']}" if "error_detail" in item else "")
        table.add_row(str(item["event_id"]), result, *parts, item.get("owner") or "", notified)
    console.print(table)


def _describe_change(part: dict[str, Any] | None) -> str:
    """Return `new`, or `column: before → after` for each column that changes."""
    if part is None:
        return ""
    if part["before"] is None:
        return "new"
    changed = [name for name in part["after"] if part["before"][name] != part["after"][name]]
    return "\n".join(f"{name}: {part['before'][name]} → {part['after'][name]}" for name in changed)
