"""The rule files of deploy/prometheus and the inhibitions of deploy/alertmanager, as data."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
ALERTMANAGER = DEPLOY / "alertmanager" / "alertmanager.yml"
WATCHDOG = "PancakeWatchdog"
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_MATCHER = re.compile(r'(\w+)(=~|=)"([^"]*)"')


def rule_files() -> list[Path]:
    return [PROMETHEUS / name for name in load(PROMETHEUS / "prometheus.yml")["rule_files"]]


@dataclass(frozen=True)
class Alert:
    """A rule that alerts: how long its expression must hold, and how long it fires on without it."""

    name: str
    expr: str
    for_seconds: float
    keep_seconds: float
    severity: str


@cache
def alerts() -> tuple[Alert, ...]:
    groups = [group for path in rule_files() for group in load(path)["groups"]]
    return tuple(_alert(rule) for group in groups for rule in group["rules"] if "alert" in rule)


def _alert(rule: dict[str, Any]) -> Alert:
    for_seconds, keep_seconds = (seconds(rule.get(name, "0s")) for name in ("for", "keep_firing_for"))
    return Alert(rule["alert"], rule["expr"], for_seconds, keep_seconds, rule["labels"]["severity"])


def seconds(duration: str) -> float:
    """Return the seconds of a duration as Prometheus writes it, of one unit."""
    match = re.fullmatch(r"(\d+)(ms|s|m|h|d)", duration)
    if match is None:
        raise ValueError(f"not a duration of one unit: {duration!r}")
    return int(match[1]) * _UNITS[match[2]]


Labels = dict[str, str]


@dataclass(frozen=True)
class Inhibition:
    """While an alert matches `sources`, those that match `targets` and equal it in `equal` are not sent."""

    sources: tuple[tuple[str, str], ...]
    targets: tuple[tuple[str, str], ...]
    equal: tuple[str, ...]

    def silences(self, source: Labels, target: Labels) -> bool:
        return (
            _matches(self.sources, source)
            and _matches(self.targets, target)
            and all(source.get(name, "") == target.get(name, "") for name in self.equal)
        )


@cache
def inhibitions() -> tuple[Inhibition, ...]:
    return tuple(
        Inhibition(
            _matchers(rule["source_matchers"]), _matchers(rule["target_matchers"]),
            tuple(rule.get("equal", ())),
        )
        for rule in load(ALERTMANAGER)["inhibit_rules"]
    )  # fmt: skip


def group_of(labels: Labels) -> tuple[str, ...]:
    """Return the labels that an alert is grouped by: Alertmanager sends one message for each group."""
    route: dict[str, Any] | None = _routes()
    names: list[str] = []
    while route:
        names, children = route.get("group_by", names), route.get("routes", ())
        route = next((each for each in children if _matches(_matchers(each["matchers"]), labels)), None)
    return tuple(labels.get(name, "") for name in names)


@cache
def _routes() -> dict[str, Any]:
    return dict(load(ALERTMANAGER)["route"])


def _matchers(listed: list[str]) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for text in listed:
        match = _MATCHER.fullmatch(text.strip())
        if match is None:
            raise ValueError(f'not a matcher of the form name="…" or name=~"…": {text}')
        found.append((match[1], match[3] if match[2] == "=~" else re.escape(match[3])))
    return tuple(found)


def _matches(matchers: tuple[tuple[str, str], ...], labels: Labels) -> bool:
    return all(re.fullmatch(pattern, labels.get(name, "")) for name, pattern in matchers)


def load(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text()))
