"""`scripts/demo`: process the sample deliveries from webhook to ticket and compare the results."""

import json
import time
from collections import Counter
from dataclasses import dataclass, fields
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.table import Table

from sandbox.edge import describe_edge, missing_packages
from sandbox.page.app import Page
from sandbox.page.buttons import Buttons
from sandbox.payloads import Effect, Sample, load_samples
from sandbox.postgres.server import server_url_from_environment
from sandbox.processes import exit_on_sigterm, wait_until_stopped
from sandbox.serving import env_lines
from sandbox.stack.observer import Observer, Unfinished
from sandbox.stack.stack import Sandbox, exit_unless_started

WIDTH_COLUMNS = 140
"""Width of the output if it is not a terminal."""

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Result:
    """One sample, the answer of the webhook, and the effect of its event (None without one)."""

    sample: Sample
    answer: dict[str, Any]
    effect: Effect | None

    @property
    def differences(self) -> list[str]:
        """List the differences from the sample's expectation, as `name: actual, not expected`."""
        expect = self.sample.expect
        answered = (self.answer.get("status"), self.answer.get("error_code"))
        pairs: list[tuple[str, Any, Any]] = [("answer", answered, (expect.answer, expect.error_code))]
        names, effect = [each.name for each in fields(Effect)], self.effect or Effect()
        pairs += [(name, getattr(effect, name), getattr(expect, name)) for name in names]
        return [
            f"{name}: {actual!r}, not {expected!r}" for name, actual, expected in pairs if actual != expected
        ]


def run_samples(webhook_url: str, observer: Observer) -> list[Result]:
    """Post every sample in order and wait until all events are processed.

    Raises Unfinished or httpx.HTTPError.
    """
    answers: list[tuple[Sample, dict[str, Any]]] = []
    with httpx.Client(timeout=30) as client:
        for sample in load_samples():
            if sample.after:
                observer.wait_final()
            headers = {"Content-Type": "application/json"}
            response = client.post(webhook_url, content=sample.body, headers=headers)
            answers.append((sample, response.raise_for_status().json()))
    observer.wait_final()
    effects = observer.effects()
    return [Result(sample, answer, effects.get(answer.get("event_id") or 0)) for sample, answer in answers]


def summary(results: list[Result], observer: Observer, seconds: float) -> dict[str, Any]:
    """Return the figures of one run, as `--json` prints them."""
    effects = [result.effect for result in results if result.effect]
    tickets = observer.tickets()
    return {
        "ok": not any(result.differences for result in results),
        "deliveries": len(results),
        "statuses": dict(Counter(effect.row["status"] for effect in effects)),
        "duplicates": sum(result.answer["status"] == "duplicate" for result in results),
        "accounts": sum(effect.account == "created" for effect in effects),
        "contacts": sum(effect.contact == "created" for effect in effects),
        "tickets": len(tickets),
        "assigned": sum(ticket["owner"] is not None for ticket in tickets),
        "notifications": sum(sum(effect.notifications.values()) for effect in effects),
        "edge": "stand-in" if missing_packages() else "nginx",
        "seconds": round(seconds, 2),
        "differences": {result.sample.name: result.differences for result in results if result.differences},
    }


def show(results: list[Result], observer: Observer, console: Console) -> None:
    """Print two tables: the deliveries with their expected results, and the tickets with their owners."""
    deliveries = Table(title="Deliveries", title_justify="left")
    for heading in ("sample", "answer", "event", "effect", "expected"):
        deliveries.add_column(heading)
    for result in results:
        row = result.effect.row if result.effect else {}
        deliveries.add_row(
            f"{result.sample.name}\n[dim]{result.sample.title}",
            result.answer["status"],
            " ".join(row.values()) or "none",
            _effect(result.effect),
            _expected(result),
        )
    tickets = Table(title="Tickets", title_justify="left")
    for heading in ("code", "title", "customer", "source", "owner"):
        tickets.add_column(heading)
    for ticket in observer.tickets():
        tickets.add_row(*(ticket[key] or "-" for key in ("code", "title", "customer", "source", "owner")))
    console.print(deliveries)
    console.print(tickets)


def _expected(result: Result) -> str:
    """Return the expectation of the sample, with the differences in red."""
    expect = result.sample.expect
    expected = f"{expect.answer}, {' '.join(expect.row.values()) or 'no event'}"
    return "\n".join([expected, *(f"[red]{difference}" for difference in result.differences or ())]) + (
        "" if result.differences else "\n[green]all as expected"
    )


def _effect(effect: Effect | None) -> str:
    if effect is None:
        return ""
    account = effect.account and ("known" if "-" in effect.account else effect.account)
    parts = [("account", account), ("contact", effect.contact), ("ticket", effect.ticket)]
    lines = [", ".join(f"{name} {what}" for name, what in parts if what)]
    lines += [f"{number} x {code}" for code, number in effect.notifications.items()]
    return "\n".join(line for line in lines if line)


def report(sandbox: Sandbox, console: Console, started: float, *, as_json: bool) -> bool:
    """Run the samples on a running sandbox and print the results; return whether all are as expected."""
    observer = Observer(sandbox.database_url, sandbox.notifications_url)
    results = run_samples(sandbox.webhook_url, observer)
    figures = summary(results, observer, time.monotonic() - started)
    if as_json:
        typer.echo(json.dumps(figures))
        return bool(figures["ok"])
    show(results, observer, console)
    verdict = "[green]All" if figures["ok"] else "[red]Some"
    verdict += f" results are {'' if figures['ok'] else 'not '}as expected"
    console.print(describe_edge(missing_packages()), highlight=False)
    console.print(
        f"{verdict}[/]: {figures['deliveries']} deliveries, {figures['duplicates']} of them duplicates, "
        f"created {figures['accounts']} accounts, {figures['contacts']} contacts, "
        f"{figures['tickets']} tickets ({figures['assigned']} with an owner) and "
        f"{figures['notifications']} notifications in {figures['seconds']} s."
    )
    return bool(figures["ok"])


def print_next_steps(sandbox: Sandbox, page_url: str, console: Console) -> None:
    """Print the URLs and secrets of the sandbox, commands to try, and last the address of the page."""
    for line in env_lines(sandbox.environment()):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    lead = '{"id": "my-first", "name": "Thử", "phone_number": "0912 000 111", "source": ["-1"]}'
    tries = (
        f"curl -s -d '{lead}' {sandbox.webhook_url}",
        f"curl -s {sandbox.notifications_url}/sent",
        f"curl -s -d '{{\"count\": 5}}' {sandbox.pancake_url}/control/leads   # create 5 leads in Pancake",
    )
    lines = [
        "",
        "Try:",
        *(f"  {line}" for line in tries),
        "",
        f"Logs are in {sandbox.home}. Stop everything with Ctrl-C.",
        "",
        f"Open this page to watch leads, and to stop parts: {page_url}",
    ]
    console.print("\n".join(lines), highlight=False, soft_wrap=True)


@app.command()
def demo(
    serve: Annotated[bool, typer.Option(help="Leave the sandbox running and print its URLs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Start the sandbox, process the sample deliveries, compare the results, and stop the sandbox.

    Exit codes: 0 all results are as expected; 1 a result differs, or an event is not finished; 2 PostgreSQL
    is not installed; 3 a service does not start or does not answer.
    """
    exit_on_sigterm()
    console = Console(stderr=as_json)
    if not console.is_terminal:
        console = Console(stderr=as_json, width=WIDTH_COLUMNS)
    started = time.monotonic()
    sandbox = Sandbox(server_url=server_url_from_environment())
    try:
        waiting = "Starting PostgreSQL, the stand-in for Hasura, Diva's services and the handlers ..."
        with exit_unless_started(console, "The sandbox"), console.status(waiting):
            sandbox.start()
        is_ok = report(sandbox, console, started, as_json=as_json)
        if serve:
            with Page(Buttons(sandbox)) as page:
                print_next_steps(sandbox, page.url, console)
                wait_until_stopped()
    except (Unfinished, httpx.HTTPError) as error:
        console.print(f"[red]The demo failed:[/] {error}", highlight=False)
        raise typer.Exit(1 if isinstance(error, Unfinished) else 3) from error
    finally:
        sandbox.close()
    raise typer.Exit(0 if is_ok else 1)


if __name__ == "__main__":
    app(prog_name="scripts/demo")
