"""The alert rules and their cases, evaluated by promtool; a real Alertmanager with the routes of deploy/."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from sandbox.monitoring.observation import compress_alertmanager
from sandbox.monitoring.servers import Inbox, alertmanager, missing_monitoring
from sandbox.processes import Processes
from sandbox.serving import LoopbackServer

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
FILES = ("pancake", "edge", "meta")
"""The rule files, `<name>.rules.yml`, and their cases in tests/deploy/alert_cases."""
Rule = dict[str, Any]
MISSING = missing_monitoring()
needs_monitoring = pytest.mark.skipif(
    bool(MISSING) and "CI" not in os.environ, reason=f"needs these packages of Debian: {' '.join(MISSING)}"
)
"""Of tests with the programs of Prometheus: skipped without them, but not where CI is set."""
FACTOR = 60.0
"""How much faster the Alertmanager of the tests is."""


@cache
def all_rules(name: str) -> list[Rule]:
    groups = yaml.safe_load((PROMETHEUS / f"{name}.rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts(*names: str) -> list[Rule]:
    """The alerts of these files, or of all."""
    return [rule for name in names or FILES for rule in all_rules(name) if "alert" in rule]


@cache
def cases(name: str) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """The cases of a file: by alert, `fires` and `silent`."""
    path = ROOT / "tests" / "deploy" / "alert_cases" / f"{name}.yml"
    return yaml.safe_load(path.read_text())  # type: ignore[no-any-return]


SeriesOfCase = Mapping[str, object]
"""Series by their text, with their values in promtool's notation."""


def write_promtool_tests(
    name: str,
    folder: Path,
    scraped: Callable[[SeriesOfCase], SeriesOfCase] = lambda series: series,
    looks: int = 60,
) -> list[Path]:
    """Write the cases as test files of promtool: one for each alert, with the rules that it needs.

    `scraped` gives the series of a case as another installation shows them. An alert that has to be silent
    is looked at so many times.
    """
    by_name = {rule["alert"]: rule for rule in alerts(name)}
    found = {
        alert: {
            kind: [case | {"series": scraped(case["series"]), "looks": looks} for case in listed]
            for kind, listed in kinds.items()
        }
        for alert, kinds in cases(name).items()
    }
    return [_of_alert(by_name[alert], kinds, folder) for alert, kinds in found.items()]


def recorded() -> list[Rule]:
    """The rules that record series, in the order of evaluation."""
    return [rule for name in FILES for rule in all_rules(name) if "record" in rule]


def recordings(rule: Rule) -> list[Rule]:
    """The rules that record what a rule reads, also through others, in the order of evaluation."""
    needed: list[Rule] = []
    read = rule["expr"]
    for other in reversed(recorded()):
        if re.search(rf"\b{other['record']}\b", read):
            needed.insert(0, other)
            read += other["expr"]
    return needed


def run_promtool(paths: Sequence[Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", "test", "rules", *paths], capture_output=True, text=True, check=False)


def _of_alert(rule: Rule, found: dict[str, list[dict[str, Any]]], folder: Path) -> Path:
    (step,) = {case.get("step", "1m") for listed in found.values() for case in listed}
    tests = [
        _case(f"{rule['alert']} {kind}", case["series"], step, list(_expected(rule, kind, case, step)))
        for kind, listed in found.items()
        for case in listed
    ]
    return _write(folder, rule["alert"], [*recordings(rule), rule], step, tests)


def _write(folder: Path, name: str, rules: list[Rule], step: str, tests: list[dict[str, Any]]) -> Path:
    rule_file, path = folder / f"{name}.rules.yml", folder / f"{name}.test.yml"
    rule_file.write_text(yaml.safe_dump({"groups": [{"name": "one", "rules": rules}]}))
    document = {"rule_files": [rule_file.name], "evaluation_interval": step, "tests": tests}
    path.write_text(yaml.safe_dump(document))
    return path


def _case(
    name: str, series: Mapping[str, object], step: str, expected: list[dict[str, Any]]
) -> dict[str, Any]:
    values = [{"series": each, "values": str(text)} for each, text in series.items()]
    return {"name": name, "interval": step, "input_series": values, "alert_rule_test": expected}


def _expected(rule: Rule, kind: str, case: dict[str, Any], step: str) -> Iterator[dict[str, Any]]:
    if kind == "silent":
        first, last = minutes(case.get("from", "0m")), minutes(case["at"])
        every = max(minutes(step), (last - first) // case["looks"])
        yield from (_expect(rule, minute, []) for minute in (*range(first, last, every), last))
    else:
        yield _expect(rule, minutes(case["at"]), case["labels"])
        if "before" in case:
            yield _expect(rule, minutes(case["before"]), [])


def _expect(rule: Rule, minute: int, found: list[dict[str, str]]) -> dict[str, Any]:
    expected = [
        {
            "exp_labels": rule["labels"] | labels,
            "exp_annotations": {key: _fill(text, labels) for key, text in rule["annotations"].items()},
        }
        for labels in found
    ]
    return {"eval_time": f"{minute}m", "alertname": rule["alert"], "exp_alerts": expected}


def _fill(text: str, labels: dict[str, str]) -> str:
    return re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda match: labels[match[1]], text)


def minutes(duration: str) -> int:
    """The minutes of a duration of the cases, always written in minutes."""
    return int(duration.removesuffix("m"))


@dataclass(frozen=True)
class RunningAlertmanager:
    """Its base URL, and what its receivers got."""

    url: str
    inbox: Inbox

    def call(self, path: str, body: object) -> Any:
        answer = httpx.post(f"{self.url}/api/v2/{path}", json=body, timeout=10)
        return answer.raise_for_status().json() if answer.content else None

    def fire(self, labels: Mapping[str, str]) -> None:
        ends_at = datetime.now(UTC) + timedelta(minutes=1)
        self.call("alerts", [{"labels": dict(labels), "endsAt": ends_at.isoformat()}])

    def silence(self, alert: str) -> None:
        now = datetime.now(UTC)
        matcher = {"name": "alertname", "value": alert, "isRegex": False, "isEqual": True}
        times = {"startsAt": now.isoformat(), "endsAt": (now + timedelta(minutes=1)).isoformat()}
        self.call("silences", {"matchers": [matcher], **times, "createdBy": "test", "comment": "test"})


@contextmanager
def running_alertmanager(
    *, refuses: str = "", changes: Mapping[str, Any] | None = None, factor: float = FACTOR
) -> Iterator[RunningAlertmanager]:
    """Run it, its waits shorter by `factor`.

    The service behind the receiver `refuses` answers 403; `changes` go into its configuration.
    """
    inbox = Inbox()
    with Processes() as processes, LoopbackServer(_service(inbox, refuses)) as receivers:
        folder = processes.directory("alertmanager-")
        config = folder / "alertmanager.yml"
        config.write_text(yaml.safe_dump(compress_alertmanager(factor, receivers.url) | dict(changes or {})))
        server = alertmanager(processes, config, folder / "data")
        server.start()
        server.wait_ready()
        yield RunningAlertmanager(server.url, inbox)


def _service(inbox: Inbox, refuses: str) -> Starlette:
    async def refuse(request: Request) -> PlainTextResponse:
        return PlainTextResponse("no such key", 403)

    application = inbox.application()
    if refuses:
        application.router.routes.insert(0, Route(f"/{refuses}", refuse, methods=["POST"]))
    return application
