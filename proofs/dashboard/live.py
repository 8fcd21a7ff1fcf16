"""A sandbox with leads and a few disturbances, while Prometheus scrapes it."""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import Progress

from proofs.dashboard.panels import View
from proofs.incidents.scenes import Stage
from sandbox.edge import NginxEdge
from sandbox.monitoring.servers import Queries, prometheus
from sandbox.page.buttons import Buttons
from sandbox.processes import ROOT, Processes, Service
from sandbox.stack.stack import Sandbox

DEPLOYED = ROOT / "deploy" / "prometheus"
SCRAPE_SECONDS = 5
LEADS_PER_SECOND = 1.0
CALLS_UNTIL_OPEN = 6
"""More failures than the circuit breaker accepts in a minute."""
PEOPLE = (
    "UPDATE ticket SET first_response_at = now()"
    " WHERE first_response_at IS NULL AND created_at < now() - interval '20 s' AND random() < 0.2",
    "UPDATE ticket SET assignee_id = (SELECT id FROM staff WHERE role = 'telesale' ORDER BY random() LIMIT 1)"
    " WHERE id IN (SELECT id FROM ticket WHERE source_id = 'ticket_source_pancake'"
    " AND created_at > now() - interval '15 s' ORDER BY random() LIMIT 1) AND random() < 0.06",
)
"""What people do in Diva: they answer customers, and managers change some owners."""


@contextmanager
def observed(minutes: float, console: Console) -> Iterator[View]:
    """Run it for some minutes and give a view of all of it; everything stops at the end of the block."""
    with Processes() as processes, Sandbox() as sandbox, closing(Stage(sandbox, seed=1)) as stage:
        second = sandbox.add_handlers("second")
        targets = {"pancake_handlers": [sandbox.handlers_url, second.url]}
        if isinstance(sandbox.edge, NginxEdge):
            targets["pancake_edge"] = [sandbox.edge.ops_url]
        server = scraping_prometheus(processes, targets, SCRAPE_SECONDS)
        server.bring_up()
        since = datetime.now(UTC)
        _run(stage, Buttons(sandbox), minutes * 60, console)
        with Queries(server.url) as queries:
            yield View(queries, since, datetime.now(UTC))


def _run(stage: Stage, buttons: Buttons, seconds: float, console: Console) -> None:
    waiting = disturbances(stage, buttons)
    begun, chance = time.monotonic(), random.Random(1)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("leads", total=seconds)
        while (passed := time.monotonic() - begun) < seconds:
            progress.update(task, completed=passed)
            while waiting and waiting[0][0] <= passed / seconds:
                waiting.pop(0)[1]()
            buttons.send_leads(1)
            for statement in PEOPLE:
                stage.sql(statement)
            time.sleep(chance.expovariate(LEADS_PER_SECOND))


def disturbances(stage: Stage, buttons: Buttons) -> list[tuple[float, Callable[[], object]]]:
    """Return what goes wrong and ends, each with the share of the time that has passed by then."""

    def api(is_down: bool) -> None:
        stage.pancake("faults", {"down": is_down})
        for _ in range(CALLS_UNTIL_OPEN if is_down else 1):
            stage.tick("poll_records")

    def reconcile() -> None:
        """Reconcile yesterday, as if the connection were older."""
        stage.sql("UPDATE pancake_connection SET created_at = created_at - interval '3 days'")
        stage.tick("reconcile_daily")

    return [
        (0.1, lambda: stage.pancake("faults", {"drop": 0.3})),
        (0.2, lambda: buttons.turn("kill", "on")),
        (0.28, lambda: buttons.turn("kill", "off")),
        (0.32, buttons.process_held),
        (0.4, lambda: buttons.run_part("hasura", "stop")),
        (0.48, lambda: buttons.run_part("hasura", "start")),
        (0.6, lambda: stage.pancake("faults", {"drop": 0})),
        (0.6, lambda: buttons.turn("pause", "on")),
        (0.68, lambda: buttons.turn("pause", "off")),
        (0.7, lambda: api(is_down=True)),
        (0.85, lambda: api(is_down=False)),
        (0.9, reconcile),
    ]


def scraping_prometheus(
    processes: Processes, targets: Mapping[str, Sequence[str]], scrape_seconds: int
) -> Service:
    """Return a Prometheus that is not started yet; `targets` are URLs by the name of the job."""
    home = processes.directory("prometheus-")
    config = home / "prometheus.yml"
    config.write_text(yaml.safe_dump(_config(targets, scrape_seconds)))
    return prometheus(processes, config, home / "data")


def _config(targets: Mapping[str, Sequence[str]], scrape_seconds: int) -> dict[str, Any]:
    """Return the deployed configuration with other targets and intervals, and without Alertmanager."""
    config: dict[str, Any] = yaml.safe_load((DEPLOYED / "prometheus.yml").read_text("utf-8"))
    config["global"] = dict.fromkeys(("scrape_interval", "evaluation_interval"), f"{scrape_seconds}s")
    config["rule_files"] = [str(Path(DEPLOYED, name)) for name in config["rule_files"]]
    del config["alerting"]
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    config["scrape_configs"] = [
        {**jobs[name], "static_configs": [{"targets": [url.removeprefix("http://") for url in urls]}]}
        for name, urls in targets.items()
    ]
    return config
