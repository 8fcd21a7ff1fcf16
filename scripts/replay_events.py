"""`scripts/replay`: the action pancake_replay_events from a terminal, with --drain until nothing is held."""

import getpass
import json
import os
import sys
import time
from collections import Counter
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from leads.domain.errors import BadRequest
from leads.domain.replay import read_order

REPLAY = """
mutation PancakeReplay(
  $ids: [bigint!], $filter: PancakeReplayFilter, $corrected_phone: String, $force: Boolean, $dry_run: Boolean
) {
  pancake_replay_events(
    ids: $ids, filter: $filter, corrected_phone: $corrected_phone, force: $force, dry_run: $dry_run
  ) {
    dry_run matched replayed remaining changed returned arrived held rate_per_second refused changes
  }
}
"""
CALL_SECONDS = 70.0
BUSY_SECONDS = 60.0
"""How long somebody else's replay is waited for."""

MOMENT = "this date (from midnight in Vietnam) or ISO 8601 time (UTC if it names no zone)."

REFUSED, FAILED = 1, 2
"""Exit codes."""

app = typer.Typer(add_completion=False)


class ReplayFailed(Exception):
    """Hasura could not be asked, or refused; the message says which."""


class Hasura:
    """The action, called under the role crm_admin with this person's name for the record."""

    def __init__(
        self, url: str, admin_secret: str, transport: httpx.BaseTransport | None = None, wait: float = 1.0
    ) -> None:
        self._url = f"{url.rstrip('/')}/v1/graphql"
        headers = {
            "X-Hasura-Admin-Secret": admin_secret,
            "X-Hasura-Role": "crm_admin",
            "X-Hasura-User-Id": f"script:{getpass.getuser()}",
        }
        self._client = httpx.Client(headers=headers, timeout=CALL_SECONDS, transport=transport)
        self._wait = wait

    def replay(self, order: dict[str, Any]) -> dict[str, Any]:
        """One call, repeated while another replay runs. Raises ReplayFailed."""
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            answer = self._ask(order)
            errors = answer.get("errors")
            if not errors:
                report: dict[str, Any] = answer["data"]["pancake_replay_events"]
                return report
            if errors[0].get("extensions", {}).get("code") != "busy" or time.monotonic() > deadline:
                raise ReplayFailed(errors[0]["message"])
            time.sleep(self._wait)

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        request = {"query": REPLAY, "variables": order}
        try:
            response = self._client.post(self._url, json=request)
            answer: dict[str, Any] = response.raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            raise ReplayFailed(f"{self._url} does not answer as Hasura does: {error}") from error
        return answer


def drain(hasura: Hasura, order: dict[str, Any], console: Console) -> dict[str, Any]:
    """Call until nothing that the order finds is left; the sums of all calls, in which

    matched + arrived + returned = replayed + changed + held. Raises ReplayFailed when a call moves nothing.
    """
    total: Counter[str] = Counter()
    held: int | None = None
    columns = (TextColumn("replayed"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("replayed", total=None)
        while True:
            report = hasura.replay(order)
            total["matched" if held is None else "arrived"] += report["matched"] - (held or 0)
            held = report["held"]
            total.update({name: report[name] for name in ("replayed", "changed", "returned", "arrived")})
            progress.update(task, completed=total["replayed"], total=total["replayed"] + report["held"])
            if not held:
                return report | total
            if not report["replayed"]:
                raise ReplayFailed(f"{held} rows are held and none moved: is the kill switch on?")


def show(report: dict[str, Any], console: Console) -> None:
    """The balance, then what was refused, then the changes of a dry run."""
    numbers = ("matched", "replayed", "remaining", "changed", "returned", "arrived", "held")
    console.print("   ".join(f"{name} {report[name]}" for name in numbers))
    for item in report["refused"]:
        console.print(f"event {item['event_id']} refused: {item['reason']}")
    if not report["changes"]:
        return
    table = Table("event", "result", "account", "contact", "ticket", "owner", "tells")
    for item in report["changes"]:
        parts = [_difference(item.get(part)) for part in ("account", "contact", "ticket")]
        told = ", ".join(intent["name"] for intent in item.get("notifications", []))
        result = item["result"] + (f"\n{item['error_detail']}" if "error_detail" in item else "")
        table.add_row(str(item["event_id"]), result, *parts, item.get("owner") or "", told)
    console.print(table)


def _difference(part: dict[str, Any] | None) -> str:
    """`new`, or `column: before → after` for each column that changes."""
    if part is None:
        return ""
    if part["before"] is None:
        return "new"
    changed = [name for name in part["after"] if part["before"][name] != part["after"][name]]
    return "\n".join(f"{name}: {part['before'][name]} → {part['after'][name]}" for name in changed)


@app.command()
def replay(
    ids: Annotated[list[int] | None, typer.Argument(help="Event ids; or use the options below.")] = None,
    status: Annotated[str | None, typer.Option(help="failed, dead_letter, skipped_kill_switch …")] = None,
    error_code: Annotated[str | None, typer.Option(help="Only rows with this error code.")] = None,
    source: Annotated[
        str | None, typer.Option(help="Only rows of this source (Pancake's id or ours).")
    ] = None,
    since: Annotated[str | None, typer.Option("--from", help=f"Created at or after {MOMENT}")] = None,
    until: Annotated[str | None, typer.Option("--to", help=f"Created before {MOMENT}")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many rows.", min=1, max=1000)] = None,
    corrected_phone: Annotated[str | None, typer.Option(help="For one row with invalid_phone.")] = None,
    force: Annotated[bool, typer.Option(help="Apply even an older or unchanged version.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Show what would change; change nothing.")] = False,
    drain_all: Annotated[bool, typer.Option("--drain", help="Go on until nothing is held.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Process events again through Hasura (HASURA_URL, HASURA_ADMIN_SECRET in the environment).

    Exit code 1 if rows were refused or left, 2 if the replay could not be done.
    """
    console = Console(stderr=as_json)
    criteria: dict[str, Any] = {"status": status, "error_code": error_code, "source_id": source}
    criteria |= {"from": since, "to": until, "limit": limit}
    given = {name: value for name, value in criteria.items() if value is not None}
    order: dict[str, Any] = {"ids": ids} if ids else {"filter": given}
    order |= {"corrected_phone": corrected_phone, "force": force, "dry_run": dry_run}
    try:
        if ids and given:
            raise ReplayFailed("give either ids or a filter.")
        if drain_all and (dry_run or force or not (status or "").startswith("skipped_")):
            raise ReplayFailed("--drain is for --status skipped_kill_switch or skipped_source_disabled.")
        read_order(order, {})
        hasura = Hasura(_variable("HASURA_URL"), _variable("HASURA_ADMIN_SECRET"))
        report = drain(hasura, order, console) if drain_all else hasura.replay(order)
    except (ReplayFailed, BadRequest) as error:
        console.print(f"[red]Not replayed:[/] {error}", highlight=False)
        raise typer.Exit(FAILED) from error
    if as_json:
        sys.stdout.write(json.dumps(report, ensure_ascii=False) + "\n")
    else:
        show(report, console)
    raise typer.Exit(REFUSED if report["refused"] or (report["remaining"] and not dry_run) else 0)


def _variable(name: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value:
        raise ReplayFailed(f"{name} is not set in the environment.")
    return value


if __name__ == "__main__":
    app(prog_name="scripts/replay")
