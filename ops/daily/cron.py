"""`leads cron`: the seven crons, when they ran and when they are due; run one now."""

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import uuid4

import typer
from rich.console import Console
from rich.table import Table

from leads.adapters.pancake_api import TOTAL_TIMEOUT_SECONDS
from leads.services.cron_runs import CRONS
from leads.services.cron_work import ANSWER_WITHIN_SECONDS, DRY_RUN
from ops.checks.database import LastRuns
from ops.checks.leads import read_expressions
from ops.checks.services import open_limited
from ops.clients.db_session import load_rows
from ops.clients.plain_http import HttpAnswer, ask
from ops.cron_schedule import Schedule
from ops.daily import TEXTS
from ops.failures import CommandFailed, WrongUsage, fail_if
from ops.output import (
    AsJson,
    ForeignTextConsole,
    age,
    examples,
    print_indented,
    print_line,
    print_result,
    show_activity,
    times,
    verb_group,
    yesterday,
)
from ops.settings import read_operator_settings

REQUEST_SECONDS = ANSWER_WITHIN_SECONDS + TOTAL_TIMEOUT_SECONDS + 1
DEFAULT_WAIT_SECONDS = 30.0
MAX_WAIT_SECONDS = 3600.0
MAX_WAIT_DIGITS = 9
SECRET_HEADER = "X-Handler-Secret"  # noqa: S105 - the name of a header
INSTEAD_OF_DRY_RUN: Mapping[str, str] = TEXTS["cron"]["instead_of_dry_run"]
NOTHING = "There was nothing to do."
COUNTS: Mapping[str, tuple[str, str]] = TEXTS["cron"]["counts"]
PROBES: Mapping[str, str] = TEXTS["cron"]["probes"]


def run_to_its_end(
    handlers_url: str,
    secret: str,
    name: str,
    tick: datetime,
    wait: Callable[[float], None] = time.sleep,
    *,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Return the answer of the finished run, or of the one call of a dry run. `wait` gets seconds.

    Raises NoAnswer; WrongUsage if the handlers refuse the secret; CommandFailed if the run failed.
    """
    body = {
        "id": str(uuid4()),
        "name": f"pancake_{name}",
        "scheduled_time": tick.isoformat(),
        "payload": {DRY_RUN: True} if dry_run else {},
    }
    while True:
        answer = ask(
            f"{handlers_url}/cron/{name}",
            body=body,
            headers={SECRET_HEADER: secret},
            timeout_seconds=REQUEST_SECONDS,
        )
        if answer.status != 503 or answer.retry_after is None:
            return _read(answer, name)
        wait(_read_wait(answer.retry_after))


def _read_wait(retry_after: str) -> float:
    """Return the seconds of Retry-After, at most an hour; the default for a date, which a proxy may give."""
    is_number = retry_after.isdecimal() and len(retry_after) <= MAX_WAIT_DIGITS
    return min(max(float(retry_after), 1.0), MAX_WAIT_SECONDS) if is_number else DEFAULT_WAIT_SECONDS


def _read(answer: HttpAnswer, name: str) -> dict[str, Any]:
    found = answer.json if isinstance(answer.json, dict) else {}
    if answer.status == 200 and "result" in found:
        return dict(found)
    if answer.status == 401:
        raise WrongUsage("The handlers do not accept the secret. Check HANDLER_SECRET.")
    message = str(found.get("message", f"status {answer.status}"))[:300]
    raise CommandFailed(f"{name} failed: {message}\nSee its runs with: leads cron list")


app = verb_group(
    "Show the seven crons, and run one now.",
    "The schedules are those of our metadata, in UTC.",
    examples("cron list", "cron run retry_failed"),
)


@app.command("list", epilog=examples("cron list", "cron list --json"))
def list_crons(as_json: AsJson = False) -> None:
    """Show each cron with its schedule, last success, next tick, and whether it is late.

    Late: two ticks failed and the time of the third has passed; of a daily one, an hour after its tick. On
    the day of the installation a daily one is not late before its first tick.
    Needs DATABASE_URL. Exit code 1: one is late.
    """
    url = read_operator_settings("DATABASE_URL").database_url
    now, expressions = datetime.now(UTC), read_expressions()
    with open_limited(url, "cron") as db:
        runs = load_rows(db, LastRuns, "status/list_cron_runs", {"names": list(CRONS)})
    shown = [describe(each, expressions[each.name], now) for each in runs]
    print_result(shown, lambda: _print(shown, now), as_json=as_json)
    fail_if(any(each["late_since"] for each in shown))


@app.command(epilog=examples("cron run retry_failed", "cron run purge_events --dry-run"))
def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="One of those that `leads cron list` shows.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Do the work of one call and undo it. Not every cron can.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Call the handlers as Hasura does at a tick, until the run is finished, and say what it did.

    --json prints the whole report, with the key figures of check_sla and the ids.

    A dry run is the real work of one call in a transaction that is rolled back: nothing is stored, Hasura
    gets no event, and nothing is sent to people. reconcile_daily reads Pancake's lists in it.
    Needs HANDLERS_URL and HANDLER_SECRET. Exit code 1: the run failed, or another one is under way.
    """
    name = name.removeprefix("pancake_")
    if name not in CRONS:
        raise WrongUsage(f"There is no cron {name!r}. Choose one of: {', '.join(CRONS)}")
    if dry_run and name in INSTEAD_OF_DRY_RUN:
        instead = INSTEAD_OF_DRY_RUN[name].format(yesterday(datetime.now(UTC)))
        raise WrongUsage(f"{name} has no dry run: it writes what Pancake answers.\n{instead}")
    settings = read_operator_settings("HANDLERS_URL", "HANDLER_SECRET")
    url, secret, now = settings.handlers_url, settings.handler_secret, datetime.now(UTC)
    with show_activity(f"running {name}"):
        answer = run_to_its_end(url, secret, name, now, dry_run=dry_run)
    print_result({"name": name, **answer}, lambda: _print_answer(name, answer), as_json=as_json)
    fail_if(answer["result"] not in ("succeeded", DRY_RUN) or answer.get("problem"))


def describe(each: LastRuns, expression: str, now: datetime) -> dict[str, Any]:
    schedule = Schedule.parse(expression)
    return {
        "name": each.name,
        "schedule": expression,
        "succeeded_tick": each.succeeded_tick,
        "succeeded_at": each.succeeded_at,
        "last_tick": each.last_tick,
        "last_outcome": each.last_outcome,
        "last_error": each.last_error,
        "next_tick": schedule.next_after(now),
        "late_since": each.late_since(schedule, now),
    }


def _print(shown: list[dict[str, Any]], now: datetime) -> None:
    table = Table("cron", "schedule (UTC)", "last success", "next (UTC)", "", box=None, pad_edge=False)
    for each in shown:
        succeeded = f"{age(each['succeeded_at'], now)} ago" if each["succeeded_at"] else "never"
        state = "[bold red]late[/]" if each["late_since"] else "[green]in time[/]"
        table.add_row(each["name"], each["schedule"], succeeded, f"{each['next_tick']:%d %b %H:%M}", state)
    Console().print(table)
    for each in shown:
        if each["last_outcome"] == "failed":
            tick = f"{each['last_tick']:%Y-%m-%d %H:%M} UTC"
            print_line(f"{each['name']} failed at {tick}: {each['last_error']}")


def _print_answer(name: str, answer: Mapping[str, Any]) -> None:
    console = ForeignTextConsole()
    if answer["result"] == DRY_RUN:
        print_indented(f"{name}: dry run, rolled back. Nothing was changed and nothing was sent.", 0, console)
    else:
        print_indented(f"{name}: {answer['result']}", 0, console)
    for reason in filter(None, (answer.get("reason"), answer.get("problem"))):
        print_indented(reason, 1, console)
    for sentence in sentences(answer.get("report") or {}):
        print_indented(sentence, 1, console)
    if answer["result"] == DRY_RUN:
        _print_left_out(answer, console)


def _print_left_out(answer: Mapping[str, Any], console: Console) -> None:
    """Say what a dry run left out: notifications, and the work of further calls."""
    for each in answer["would_send"]:
        reason = f", {each['reason']}" if each["reason"] else ""
        recipients = times(each["recipients"], "recipient")
        text = f"would send: {each['idempotency_key']} ({each['template_code']}{reason}) to {recipients}"
        print_indented(text, 1, console)
    if more := answer["would_send_count"] - len(answer["would_send"]):
        print_indented(f"would send {more} more", 1, console)
    if answer["unfinished"]:
        text = "The time of one call was not enough: the real run would go on at the next delivery."
        print_indented(text, 1, console)


def sentences(report: Mapping[str, Any]) -> list[str]:
    """Return what a report says, at least NOTHING."""
    counted = [
        f"{times(number, noun)} {done}."
        for key, (noun, done) in COUNTS.items()
        if (number := report.get(key) or 0)
    ]
    found = [*counted, *_problems(report), *map(_connection, report.get("connections", ()))]
    return [*found, *map(_day, report.get("days", ()))] or [NOTHING]


def _problems(report: Mapping[str, Any]) -> Iterator[str]:
    if given_up := report.get("given_up"):
        yield f"Notifications were given up: of events {given_up['events']}, of crons {given_up['runs']}."
    lost = [f"{name} {ticks}" for name, ticks in (report.get("lost_ticks") or {}).items() if name != "until"]
    if lost:
        yield f"Hasura gave up ticks: {', '.join(lost)}."
    if unreadable := (report.get("settings") or {}).get("unreadable"):
        yield f"Settings that are not used, since their values are not allowed: {_listed(unreadable)}."
    if report.get("failed_steps"):
        yield f"Steps that failed, and are taken again: {_listed(report['failed_steps'])}."


def _connection(each: Mapping[str, Any]) -> str:
    """Say what was found of a connection by check_connection, sync_sources or poll_records."""
    name = f"connection {each.get('name') or each['connection_id']}"
    if "error" in each:
        return f"{name}: failed: {each.get('detail') or each['error']}"
    if "after" in each:
        was = "" if each["before"] == each["after"] else f", before: {each['before']}"
        missed = (
            f"; polling found {times(each['missed'], 'lead')} without a webhook" if each["missed"] else ""
        )
        return f"{name}: {each['after']}{was}; {PROBES[each['probe']]}{missed}."
    if "window" in each:
        is_short = each.get("trusted") is False
        doubt = "; the list lacks leads that the webhook brought, and is read again" if is_short else ""
        return f"{name}: {times(each['listed'], 'lead')} listed, {each['missed']} of them stored now{doubt}."
    listed = times(each.get("listed", 0), "source")
    changed = [f", {size(each[word])} {word}" for word in ("new", "removed", "restored") if each.get(word)]
    return f"{name}: {listed} listed{''.join(changed)}."


def _day(each: Mapping[str, Any]) -> str:
    name = f"{each.get('day', 'the day')}, connection {each['connection_id']}"
    if "error" in each:
        return f"{name}: failed: {each.get('detail') or each['error']}"
    counted = f"{each.get('expected', 0)} records at Pancake, {each.get('found', 0)} of them stored before"
    left = size(each.get("left_missing"))
    return f"{name}: {counted}, {each.get('inserted', 0)} stored now, {left} left missing."


def size(value: object) -> int:
    """Return the length of a list of an answer, which is a text such as `40 items` if it is long."""
    return int(value.split()[0]) if isinstance(value, str) else len(value) if isinstance(value, list) else 0


def _listed(value: object) -> str:
    return value if isinstance(value, str) else ", ".join(map(str, value)) if isinstance(value, list) else ""
