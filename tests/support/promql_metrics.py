"""The metrics that exist: of the handlers, of the database, of the edge, of others, and those recorded."""

import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Literal

import yaml
from prometheus_client.metrics import MetricWrapperBase

from leads.adapters.metrics import Metrics as HandlerMetrics
from tests.support.alerts import PROMETHEUS, ROOT

SCRAPE_LABELS = frozenset({"job", "instance"})
HANDLERS, EDGE = "pancake_handlers", "pancake_edge"
LUA = ROOT / "deploy" / "nginx" / "lua" / "pancake"
GIVEN_LABELS = re.compile(r'(\w+)="')


@dataclass(frozen=True)
class Metric:
    """One source of a series.

    `copies`: of several processes each shows a `share` (to be summed up), each the same figure (`copy`: to be
    read by max or min without the instance), or the instances are apart (`single`). `values`: of labels with
    a closed set of values.
    """

    job: str | None
    labels: frozenset[str]
    is_counter: bool
    copies: Literal["share", "copy", "single"]
    values: Mapping[str, frozenset[str]] = field(default_factory=dict)


OF_OTHERS = {
    "up": Metric(None, frozenset(), False, "single"),
    "ALERTS": Metric(None, frozenset({"alertname", "alertstate", "severity", "team"}), False, "single"),
    "prometheus_build_info": Metric("prometheus", frozenset({"version"}), False, "single"),
    "alertmanager_build_info": Metric("alertmanager", frozenset({"version"}), False, "single"),
    "prometheus_rule_evaluation_failures_total": Metric(
        "prometheus", frozenset({"rule_group"}), True, "single"
    ),
    "prometheus_notifications_alertmanagers_discovered": Metric("prometheus", frozenset(), False, "single"),
    "prometheus_notifications_dropped_total": Metric("prometheus", frozenset(), True, "single"),
    "alertmanager_notifications_failed_total": Metric(
        "alertmanager", frozenset({"integration", "reason"}), True, "single"
    ),
}
"""Metrics of Prometheus and Alertmanager themselves: version 2.42 and 0.25 and later."""


class Metrics:
    """All sources by the name of the series, and the longest pause between two scrapes in seconds."""

    def __init__(self) -> None:
        self.by_name: dict[str, list[Metric]] = {}
        for name, metric in (*of_handlers(), *of_libraries(), *of_database(), *of_edge(), *OF_OTHERS.items()):
            self.by_name.setdefault(name, []).append(metric)
        config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
        pauses = [config["global"]["scrape_interval"]]
        pauses += [job["scrape_interval"] for job in config["scrape_configs"] if "scrape_interval" in job]
        self.scrape_seconds = max(int(pause.removesuffix("s")) for pause in pauses)

    def add_recorded(self, name: str, labels: Set[str]) -> None:
        """Add a recorded series with the labels that its rule gives."""
        self.by_name.setdefault(name, []).append(Metric(None, frozenset(labels), False, "single"))


def of_handlers() -> Iterator[tuple[str, Metric]]:
    """The series that a process counts, with the values of the labels that start at 0."""
    for declared in vars(HandlerMetrics()).values():
        if not isinstance(declared, MetricWrapperBase):
            continue
        labels, kind = frozenset(declared._labelnames), declared._type
        values: dict[str, frozenset[str]] = {}
        if len(labels) == 1 and declared._metrics:
            values = {next(iter(labels)): frozenset(key[0] for key in declared._metrics)}
        if kind == "histogram":
            yield f"{declared._name}_bucket", Metric(HANDLERS, labels | {"le"}, True, "share", values)
            for ending in ("_count", "_sum"):
                yield f"{declared._name}{ending}", Metric(HANDLERS, labels, True, "share", values)
        else:
            is_counter = kind == "counter"
            name = f"{declared._name}_total" if is_counter else declared._name
            yield name, Metric(HANDLERS, labels, is_counter, "share", values)


def of_libraries() -> Iterator[tuple[str, Metric]]:
    """What a library adds to the registry, for instance memory and CPU: each process has figures apart."""
    metrics = HandlerMetrics()
    ours = {each._name for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)}
    ours |= {family.name for family in metrics.sql_series.families}
    for family in metrics.registry.collect():
        if family.name not in ours:
            is_counter = family.type == "counter"
            name = f"{family.name}_total" if is_counter else family.name
            labels = frozenset(label for sample in family.samples for label in sample.labels)
            yield name, Metric(HANDLERS, labels, is_counter, "single")


def of_database() -> Iterator[tuple[str, Metric]]:
    for family in HandlerMetrics().sql_series.families:
        yield family.name, Metric(HANDLERS, frozenset(family.labels), False, "copy")


def of_edge() -> Iterator[tuple[str, Metric]]:
    """The series that the Lua of the edge declares, with the labels that it gives them."""
    text = "\n".join(path.read_text() for path in sorted(LUA.glob("*.lua")))
    given: dict[str, set[str]] = {}
    for name, arguments in re.findall(r'(?:count|observe|add)\("(pancake_\w+)",((?:[^\n]|\n {12,})*)', text):
        given.setdefault(name, set()).update(GIVEN_LABELS.findall(arguments))
    kinds = dict(re.findall(r'(pancake_\w+) = \{ "(counter|histogram)"', text))
    for name, labels in given.items():
        each = frozenset(labels)
        if kinds.get(name) == "histogram":
            yield f"{name}_bucket", Metric(EDGE, each | {"le"}, True, "single")
            yield f"{name}_count", Metric(EDGE, each, True, "single")
            yield f"{name}_sum", Metric(EDGE, each, True, "single")
        else:
            yield name, Metric(EDGE, each, kinds.get(name) == "counter", "single")
