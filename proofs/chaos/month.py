"""`scripts/chaos month`: a go-live from Diva's tables to its sign-off, in a sandbox whose clock skips hours.

Its programs run under libfaketime, from a month ago on: their clock goes on as it is, and is moved to the
next day and the next night. Leads, tickets, nights and records are made by the product at that time; promtool
writes what was scraped then. Made up are what people hand in, the runs of check_connection, and the alert of
the watchdog. Gates and reports say that it is a sandbox: nothing of it counts elsewhere.
"""

import json
import os
import shlex
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Container, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import typer

from leads.domain.body import ICT
from ops.clients.db_session import QUERIES as OF_COMMANDS
from ops.golive.criterion import Criterion, Part, Role, Source, Stage, criteria_of, find_criterion
from ops.golive.records import CI, WITHOUT_KEY
from ops.waiting import poll
from proofs.chaos.effects import QUERIES
from proofs.handed_in import good_file, make_key, sign_as_pipeline
from proofs.sender import tick
from sandbox.edge import NginxEdge, require_edge_packages
from sandbox.monitoring.past import PastPrometheus, scraped
from sandbox.monitoring.servers import require_monitoring
from sandbox.payloads import HERE as PAYLOADS
from sandbox.postgres.server import Cluster
from sandbox.processes import Processes, exit_on_sigterm
from sandbox.stack.bare import SOURCE
from sandbox.stack.skipping import Clock, SkippingSandbox, require_faketime

FINISHED_SECONDS, QUICK_SECONDS = 900.0, 0.07
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
LEADS_PER_SECOND, LEADS_OF_DAY = 60, {"W1": 260, "W2": 60, "W3": 60, "W4": 60}
"""W1 has to show 600 leads of one source, which has 40 % of them."""
SOURCES = {"W1": 1, "W2": 5, "W3": 15, "W4": 41}
ASKED_OF_PEOPLE = (4, 7)
"""The days of the first week from which `watch` asks for the talks, and for the review."""
MANAGER, OWNER, DIRECTOR = "release", "owner", "Nguyễn Văn Hùng"
"""People sign with the key of their role. The release manager has that of Ops too."""
ASKED = (
    "pancake_webhook_requests_total", "pancake_webhook_latency_seconds", "pancake_events_total",
    "pancake_event_process_duration_seconds", "pancake_log_messages_total", "pancake_edge_budget_used",
    "pancake_build_info", "process_resident_memory_bytes", "process_start_time_seconds",
)  # fmt: skip
"""How the series begin that a go-live asks of Prometheus."""
MADE_UP = 'ALERTS{alertname="PancakeWatchdog",alertstate="firing"}', 'prometheus_build_info{job="prometheus"}'


def month() -> None:
    """Go live in a new sandbox, from Diva's tables through four waves of a week to the sign-off.

    Prints the commands of the release manager and of the others, each with its time, the leads, and the
    gates. Exit code 1: a command ended otherwise than it has to. Takes about 20 minutes.
    """
    require_edge_packages()
    require_monitoring()
    require_faketime()
    exit_on_sigterm()
    with ExitStack() as stack:
        play = Play(stack)
        try:
            enter(play)
            go_through_waves(play)
        finally:
            typer.echo(play.summary())


class Play:
    """What people type, each with a key; and Pancake's leads, their answers, days and nights."""

    def __init__(self, stack: ExitStack) -> None:
        """Start the sandbox and its Prometheus, and make a key for each role."""
        names = ("golive-", "keys-", "clock-")
        self.folder, self._keys, of_clock = (
            Path(stack.enter_context(TemporaryDirectory(prefix=name))) for name in names
        )
        first = (datetime.now(ICT) - 31 * DAY).replace(hour=9, minute=0, second=0, microsecond=0)
        self.clock = Clock(of_clock, first)
        os.environ.update(self.clock.variables)  # of the programs that are started from here on
        cluster = stack.enter_context(Cluster(durable=False))
        self._sandbox = stack.enter_context(SkippingSandbox(cluster, self.folder, self.clock))
        self._past = PastPrometheus(stack.enter_context(Processes()), first - DAY)
        for role in (*Role, CI):
            make_key(self._keys, role, f"golive.{role}" + (f",golive.{Role.OPS}" if role == MANAGER else ""))
        given = {"PROMETHEUS_URL": self._past.url, "GOLIVE_SIGNERS": str(self._keys / "allowed_signers")}
        self._environment = {**os.environ, **self._sandbox.leads_environment(), **given}
        self._checked_until, self._typed = first, list[tuple[str, float, str]]()

    def type(self, by: str, *words: str, code: int = 0, tries: int = 1) -> str:
        """Run a command of `leads` as a person types it, again if other programs of this machine spoil it.

        Returns its output. Ends the play if it ends with another exit code.
        """
        command = f"leads {shlex.join(words)}"
        for _ in range(tries):
            started = time.monotonic()
            run = subprocess.run(
                [sys.executable, "-m", "ops", *words], cwd=self.folder, capture_output=True, text=True,
                env={
                    **self._environment, "GOLIVE_KEY": str(self._keys / by),
                    "XDG_STATE_HOME": str(self._keys / f"{by}-state"),
                }, check=False,
            )  # fmt: skip
            seconds, printed = time.monotonic() - started, len((run.stdout + run.stderr).split())
            line = f"{seconds:5.1f} s  exit {run.returncode}  prints {printed:5} words  {by}: {command}"
            self._typed.append((by, seconds, line))
            typer.echo(f"{self.clock.now():%d/%m %H:%M}  {line}", err=True)
            if run.returncode == code:
                return run.stdout
        typer.echo(f"{command} of {by}:\n{run.stdout}{run.stderr}", err=True)
        raise typer.Exit(1)

    def manage(self, words: str, code: int = 0, tries: int = 1) -> None:
        self.type(MANAGER, *words.split(), code=code, tries=tries)

    def attest(self, part: str, but: Container[str] = ()) -> None:
        """Have people state what is open of a part of the checklist: a command for each person and file."""
        groups: dict[tuple[str, ...], list[Criterion]] = defaultdict(list)
        for found in json.loads(self.type(OWNER, "golive", "attest", "--open", part, "--json")):
            if found["id"] not in but:
                criterion = find_criterion(found["id"])
                groups[handed_in(criterion)].append(criterion)
        for (by, name, *options), criteria in groups.items():
            words = [f"{each.id}{value_of(each)}" for each in criteria]
            self.type(by, "golive", "attest", *words, *options, "--evidence", self._make(name, criteria[0]))

    def _make(self, name: str, criterion: Criterion) -> str:
        """Write what proves a criterion, signed by the pipeline where that makes it; return its path."""
        now, path = self.clock.now(), self.folder / name
        if criterion.id == "D0-smoke":
            return str(next((self.folder / "golive").glob("smoke-*.json")))
        if criterion.query == "baseline":
            days = (f"--since={now - 10 * DAY:%Y-%m-%d}", f"--until={now - DAY:%Y-%m-%d}")
            path.write_text(self.type(OWNER, "golive", "baseline", *days))
        elif criterion.source is Source.FILE:
            path.write_bytes(good_file(criterion, self._environment["COMMIT"], now))
            sign_as_pipeline(path, self._keys / CI)
        else:
            path.write_text(f"what proves {criterion.id}")
        return str(path)

    def sql(self, name: str, *params: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self._sandbox.database_url, autocommit=True) as db:
            found = db.execute(QUERIES[f"month/{name}"], params or None)
            return found.fetchall() if found.description else []

    def pancake(self, path: str, body: Mapping[str, Any]) -> None:
        """Call the control API of Pancake's stand-in."""
        url = f"{self._sandbox.pancake_url}/control/{path}"
        httpx.post(url, json=body, timeout=FINISHED_SECONDS).raise_for_status()

    def scrape(self, *, is_shown: bool = True) -> None:
        """Let Prometheus know what handlers and edge show now, and that the watchdog alerts."""
        assert isinstance(self._sandbox.edge, NginxEdge)
        targets = {"pancake_edge": self._sandbox.edge.ops_url, "pancake_handlers": self._sandbox.handlers_url}
        found = dict.fromkeys(MADE_UP, 1.0)
        for job, url in targets.items():
            found |= scraped(job, url, ASKED)
        self._past.take(found, self.clock.now())
        if is_shown:
            self._past.show()

    def enter_webhook(self) -> None:
        """Enter URL and header in Pancake, once the deployment has written them; leads follow."""
        file = self.folder / "webhook-url.txt"
        wait(file.exists)
        url, header = file.read_text().splitlines()
        # TLS ends at the edge; Pancake's stand-in trusts no certificate of this sandbox.
        plain = self._sandbox.edge_url + urlsplit(url).path
        self.pancake("webhook", {"url": plain, "headers": dict([header.split(": ", 1)])})
        self.send(10)

    def send(self, leads: int) -> None:
        """Have leads in Pancake, and wait until all that arrived is done."""
        self.pancake("leads", {"count": leads, "rate": LEADS_PER_SECOND})
        self.pancake("webhook/idle", {})
        wait(lambda: not self.sql("list_unfinished"))
        self.scrape(is_shown=False)

    def live_until(self, midnight: datetime, leads: int) -> None:
        """Have the leads of the day that ends at this midnight, their answers, and its night."""
        # Prometheus has no sample of the minute in which a wave begins.
        self.clock.move_to(max(self.clock.now() + 10 * MINUTE, midnight - DAY / 2))
        self.send(leads)
        # After 30 minutes check_sla tells of a ticket without an answer.
        self.clock.move_to(self.clock.now() + 12 * MINUTE)
        self.sql("answer_tickets")
        for name, due in (("reconcile_daily", midnight + 2 * HOUR), ("purge_events", midnight + 3.5 * HOUR)):
            self.clock.move_to(due + MINUTE / 3)
            wait(self._handlers_know)
            tick(self._sandbox.handlers_url, self._sandbox.keys.handler_secret, name, due)
        now = self.clock.now()
        self.sql("store_checks", self._checked_until, now)
        self._checked_until = now

    def _handlers_know(self) -> bool:
        """Whether the handlers have read the time to which the clock was moved."""
        date = httpx.get(f"{self._sandbox.handlers_url}/healthz").headers["date"]
        return abs(parsedate_to_datetime(date) - self.clock.now()) < timedelta(seconds=4)

    def is_quick(self) -> bool:
        """Whether other programs let rows be inserted in the time that the gate `entry` asks."""
        with psycopg.connect(self._sandbox.database_url) as db:
            started = time.monotonic()
            db.execute(OF_COMMANDS["golive/insert_thousand_events"])
            seconds = time.monotonic() - started
            db.rollback()
        return seconds < QUICK_SECONDS

    def summary(self) -> str:
        """Return who typed what, with times, the leads by status, and the gates."""
        lines = []
        for who, is_manager in (("the release manager", True), ("others", False)):
            typed = [(seconds, line) for by, seconds, line in self._typed if (by == MANAGER) is is_manager]
            lines += [f"{who}: {len(typed)} commands, {sum(seconds for seconds, _ in typed):.0f} s"]
            lines += [f"{number:3} {line}" for number, (_, line) in enumerate(typed, 1)]
        lines += ["leads: " + ", ".join(f"{count} {status}" for status, count in self.sql("count_events"))]
        for path in sorted((self.folder / "reports").glob("*/report.json"), key=os.path.getmtime):
            report = json.loads(path.read_text())
            state = "open" if report["is_open"] else "closed"
            lines += [f"gate {report['subject']}: {state} at {report['at']}, {report['counts']}"]
        return "\n".join(lines)


def wait(is_so: Callable[[], bool]) -> None:
    if not any(is_so() for _ in poll(FINISHED_SECONDS, 0.2)):
        raise TimeoutError(f"what was waited for did not come within {FINISHED_SECONDS:.0f} s")


def handed_in(criterion: Criterion) -> tuple[str, ...]:
    """Return who states a criterion, the name of the file that proves it, and the options that are typed."""
    by = MANAGER if criterion.owner is Role.OPS else criterion.owner
    if criterion.owner in WITHOUT_KEY:
        return (OWNER, "paper.pdf", "--by", DIRECTOR)
    if criterion.source is not Source.FILE:
        return (by, "paper.pdf", *(["--cases", str(criterion.min_samples)] if criterion.min_samples else []))
    if criterion.query == "figures":
        kind, of = criterion.parameters["kind"], criterion.parameters.get("exactly", "")
        return (by, f"{kind}-{criterion.environment}-{of}.json")
    return (by, "baseline.csv" if criterion.query == "baseline" else "junit.xml")


def value_of(criterion: Criterion) -> str:
    """Return what is typed after the id: a value on the right side of the target; a file says its own."""
    if criterion.source is Source.FILE:
        return ""
    return f"={criterion.target / 2 if criterion.operator == '<' else criterion.target:g}"


def enter(play: Play) -> None:
    """Go from Diva's tables to the first lead of W1."""
    play.sql("work_by_hand")
    play.scrape()
    play.manage("golive precheck --stage before", 1)
    play.attest("entry", [each.id for each in criteria_of(Part.ENTRY) if each.stage is Stage.AFTER])
    play.attest("database")
    play.manage("golive precheck --stage before")
    with ThreadPoolExecutor(1) as pool:
        entered = pool.submit(play.enter_webhook)
        play.manage("golive deploy --until 13 --confirm 12 --anytime --wait 900", tries=3)
        entered.result()
    play.scrape()
    play.manage("golive begin W1 --to reports", 1)
    play.attest("entry")
    wait(play.is_quick)
    play.manage("golive begin W1 --to reports", tries=3)
    play.manage("golive deploy", tries=2)
    captured = json.loads((PAYLOADS / "01-happy-path.json").read_text("utf-8")) | {"source": [SOURCE]}
    (play.folder / "captured.json").write_text(json.dumps(captured))
    play.manage("golive smoke captured.json --phone 0905111222")
    play.scrape()
    play.attest("day0")
    play.manage("golive day0")


def go_through_waves(play: Play) -> None:
    """Go through four weeks of leads and nights to the sign-off."""
    today = play.clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    reports = play.folder / "reports"
    for number, (wave, sources) in enumerate(SOURCES.items()):
        if number:
            play.manage(f"golive begin {wave} --to reports", tries=2)
            report = max(reports.iterdir(), key=os.path.getmtime)
            play.type(Role.SECURITY, "golive", "verify", str(report), "--reevaluate")
            more = [name for (name,) in play.sql("list_inactive", sources)]
            play.manage(f"switch source --reason {wave} {' '.join(more)} on")
        for day in range(7 * number + 1, 7 * number + 8):
            play.live_until(today + day * DAY, LEADS_OF_DAY[wave])
            if wave == "W1":
                play.clock.move_to(today + day * DAY + 9 * HOUR)
                play.scrape()
                if day in ASKED_OF_PEOPLE:
                    play.attest(
                        "watch", [each.id for each in criteria_of(Part.WATCH) if (each.from_day or 0) > day]
                    )
                play.manage("golive watch")
        if wave == "W2":
            ((held,),) = play.sql("find_held")
            play.type(Role.QA, "replay", str(held))
        if wave == "W4":
            play.sql("enforce")
        # A little later each week: a wave lasts at least seven days.
        play.clock.move_to(today + 7 * (number + 1) * DAY + (11 + number) * HOUR)
        play.scrape()
        play.attest(wave)
        if wave == "W1":
            words = (
                "success-rate-day",
                "--reason",
                "W1 has fewer than 600 leads a day",
                "--until",
                f"{play.clock.now() + 9 * DAY:%Y-%m-%d}",
            )
            play.type(Role.DEVELOPER, "golive", "waive", *words)
    play.manage("golive report W4 --to reports")
    play.attest("sign-off")
    play.manage("golive report sign-off --to reports")
    (made,) = reports.glob("sign-off-*")
    play.type(Role.SECURITY, "golive", "verify", str(made), "--reevaluate")
    play.manage(f"golive handover --to handover.tar.gz --report reports/{made.name}")
