"""Prometheus and Alertmanager on loopback: the servers, what they answer, and what Alertmanager sends."""

import json
import os
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from shutil import which
from typing import Any, Self

import httpx
import typer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.postgres.server import free_port
from sandbox.processes import Processes, Service

PROGRAMS = {
    "prometheus": "prometheus",
    "promtool": "promtool",
    "prometheus-alertmanager": "prometheus-alertmanager",
}
"""The programs, and the packages of Debian that have them."""
HOST = "127.0.0.1"


class MonitoringFailed(Exception):
    """A program of the monitoring refused its work; the message holds what it said."""


def missing_monitoring() -> list[str]:
    return [package for program, package in PROGRAMS.items() if which(program) is None]


def require_monitoring() -> None:
    """Check that the programs are here. Raises typer.Exit with code 2, and prints what to install."""
    if missing := missing_monitoring():
        packages = " ".join(missing)
        typer.echo(f"The monitoring is not installed. Run: apt-get install {packages}", err=True)
        raise typer.Exit(2)


def prometheus(
    processes: Processes, config: Path, data: Path, *options: str, port: int | None = None
) -> Service:
    """Return a Prometheus, by default on a free port; the caller starts and stops it."""
    port = port or free_port()
    arguments = [
        "prometheus", f"--config.file={config}", f"--storage.tsdb.path={data}",
        f"--web.listen-address={HOST}:{port}", "--log.level=warn", *options,
    ]  # fmt: skip
    return _service("prometheus", processes, arguments, port, config.parent)


def alertmanager(processes: Processes, config: Path, data: Path) -> Service:
    """Return an Alertmanager on a free port, without a cluster; the caller starts and stops it."""
    port = free_port()
    arguments = [
        "prometheus-alertmanager", f"--config.file={config}", f"--storage.path={data}",
        f"--web.listen-address={HOST}:{port}", "--cluster.listen-address=", "--log.level=warn",
        "--enable-feature=receiver-name-in-metrics",
    ]  # fmt: skip
    return _service("alertmanager", processes, arguments, port, config.parent)


def run_promtool(*arguments: object, directory: Path | None = None) -> str:
    """Run promtool and return its output. Raises MonitoringFailed."""
    command = ["promtool", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=directory)
    if done.returncode:
        raise MonitoringFailed(f"{' '.join(command)}: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


def _service(name: str, processes: Processes, arguments: list[str], port: int, folder: Path) -> Service:
    return Service(
        name=name,
        arguments=arguments,
        environment=dict(os.environ),
        url=f"http://{HOST}:{port}",
        ready_path="/-/ready",
        log=folder / f"{name}.log",
        processes=processes,
    )


TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Series:
    """One series of an answer; a value that is NaN stays NaN."""

    labels: Mapping[str, str]
    points: Sequence[tuple[datetime, float]]


class Queries:
    """Context manager around the connection to one Prometheus."""

    def __init__(self, url: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._http = httpx.Client(base_url=url, timeout=timeout_seconds, trust_env=False)

    def at(self, expression: str, moment: datetime) -> list[Series]:
        """Return the answer of an instant query. Raises MonitoringFailed."""
        result = self._ask("query", {"query": expression, "time": moment.timestamp()})
        return [_series(found["metric"], [found["value"]]) for found in result]

    def between(self, expression: str, since: datetime, until: datetime, step_seconds: float) -> list[Series]:
        """Return the answer of a range query. Raises MonitoringFailed."""
        window = {"start": since.timestamp(), "end": until.timestamp(), "step": step_seconds}
        result = self._ask("query_range", {"query": expression, **window})
        return [_series(found["metric"], found["values"]) for found in result]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._http.close()

    def _ask(self, path: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        answer = self._http.get(f"/api/v1/{path}", params=dict(parameters)).json()
        if answer["status"] != "success":
            raise MonitoringFailed(f"{parameters['query']}: {answer['error']}")
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result


def _series(labels: dict[str, str], values: list[tuple[float, str]]) -> Series:
    return Series(labels, [(datetime.fromtimestamp(at, UTC), float(value)) for at, value in values])


FIRING, RESOLVED = "firing", "resolved"


@dataclass(frozen=True)
class Notification:
    receiver: str
    status: str
    labels: dict[str, str]
    annotations: dict[str, str] = field(default_factory=dict)

    @property
    def alert(self) -> str:
        return self.labels["alertname"]

    def __str__(self) -> str:
        """Return the line of a pager; of one that fires also what is wrong, and the page that helps."""
        lines = [f"{self.status.upper()} {self.alert} -> {self.receiver}"]
        if self.status == FIRING:
            found = (self.annotations.get(name) for name in ("summary", "runbook_url"))
            lines += [f"  {text}" for text in found if text]
        return "\n".join(lines)


@dataclass
class Inbox:
    """The notifications in the order of their arrival; `on_arrival` is called with each."""

    on_arrival: Callable[[Notification], None] | None = None
    _received: list[Notification] = field(default_factory=list)
    _arrived: threading.Condition = field(default_factory=threading.Condition)

    def received(self) -> list[Notification]:
        with self._arrived:
            return list(self._received)

    def firing(self) -> set[str]:
        """Return the names of the alerts that were sent, and not resolved since."""
        return {name for name, states in self._states() if states[-1] == FIRING}

    def fired_again(self) -> set[str]:
        """Return the names of the alerts that were sent again after they were resolved."""
        return {name for name, states in self._states() if states.count(FIRING) > 1}

    def _states(self) -> Iterator[tuple[str, list[str]]]:
        """Yield the name of each alert, apart by receiver and labels, and its states, one after the other."""
        found: dict[str, list[Notification]] = defaultdict(list)
        for each in self.received():
            found[json.dumps([each.receiver, each.labels], sort_keys=True)].append(each)
        for notifications in found.values():
            states = [status for status, _ in groupby(each.status for each in notifications)]
            yield notifications[0].alert, states

    def sent(self) -> set[str]:
        return {each.alert for each in self.received() if each.status == FIRING}

    def wait(self, is_done: Callable[["Inbox"], bool], timeout_seconds: float) -> bool:
        """Wait until a condition holds; return whether it does."""
        deadline = time.monotonic() + timeout_seconds
        while not is_done(self):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            with self._arrived:
                self._arrived.wait(min(left, 1.0))
        return True

    def application(self) -> Starlette:
        """Return the application that takes `POST /{receiver}` in the form of Alertmanager's webhooks."""

        async def take(request: Request) -> Response:
            message = await request.json()
            for alert in message["alerts"]:
                receiver = request.path_params["receiver"]
                found = alert["status"], alert["labels"], alert.get("annotations", {})
                self.add(Notification(receiver, *found))
            return JSONResponse({})

        return Starlette(routes=[Route("/{receiver}", take, methods=["POST"])])

    def add(self, notification: Notification) -> None:
        with self._arrived:
            self._received.append(notification)
            self._arrived.notify_all()
        if self.on_arrival:
            self.on_arrival(notification)
