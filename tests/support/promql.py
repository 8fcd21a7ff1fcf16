"""PromQL: the metrics that exist, what is wrong with an expression given them, and what a scrape lacks."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

import promql_parser as promql
import yaml
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families
from promql_parser import (
    AggregateExpr,
    BinaryExpr,
    Call,
    Expr,
    MatrixSelector,
    NumberLiteral,
    ParenExpr,
    StringLiteral,
    SubqueryExpr,
    UnaryExpr,
    VectorSelector,
)

from leads.adapters.metrics import Metrics as HandlerMetrics
from tests.support.monitoring import FILES, PROMETHEUS, ROOT, all_rules, recorded

SCRAPE_LABELS = frozenset({"job", "instance"})
HANDLERS, EDGE = "pancake_handlers", "pancake_edge"
LUA = ROOT / "deploy" / "nginx" / "lua" / "pancake"
GIVEN_LABELS = re.compile(r'(\w+)="')


@dataclass(frozen=True)
class Metric:
    """One source of a series.

    `labels`: None for a recorded series, whose labels the cases of its alerts show. `copies`: of several
    processes each shows a `share` (to be summed up), each the same figure (`copy`: to be read by max or min
    without the instance), or the instances are apart (`single`). `values`: of labels with a closed set of values.
    """

    job: str | None
    labels: frozenset[str] | None
    is_counter: bool
    copies: Literal["share", "copy", "single"]
    values: Mapping[str, frozenset[str]] = field(default_factory=dict)


OF_OTHERS = {
    "up": Metric(None, frozenset(), False, "single"),
    "ALERTS": Metric(None, frozenset({"alertname", "alertstate", "severity", "team"}), False, "single"),
    "prometheus_build_info": Metric(None, frozenset({"version"}), False, "single"),
    "alertmanager_build_info": Metric(None, frozenset({"version"}), False, "single"),
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

        for rule in recorded():
            self.by_name.setdefault(rule["record"], []).append(Metric(None, None, False, "single"))


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


RATES = {"rate", "increase", "irate"}
COMPARISONS = {"==", "!=", ">", "<", ">=", "<="}
ABSENCES = {"absent", "absent_over_time"}
OF_EQUALS = {"max", "min"}
"""Aggregations that give one of equal figures, however many processes show them."""


class Lint:
    """The metrics that exist, and what is wrong with an expression, given them."""

    def __init__(self) -> None:
        metrics = Metrics()
        self.metrics, self._scrape_seconds = metrics.by_name, metrics.scrape_seconds

    def faults(self, text: str, *, has_threshold: bool = False) -> list[str]:
        """Return what is wrong. `has_threshold`: it is the expression of an alert and must compare."""
        try:
            tree = promql.parse(text)
        except ValueError as error:
            return [f"is not PromQL: {error}"]
        found = ["no comparison"] if has_threshold and not compares(tree) else []
        for path in paths(tree):
            found += self._faults_of(path)
        return list(dict.fromkeys(found))

    def lacks(self, series: str) -> bool:
        """Whether no metric has the name and labels of a series."""
        (selector,) = selectors(series)
        return not any(fits(metric, selector) for metric in self.metrics.get(selector.name or "", ()))

    def _faults_of(self, path: Sequence[Expr]) -> Iterator[str]:
        node = path[-1]
        if isinstance(node, VectorSelector):
            yield from self._faults_of_selector(node, path[:-1])
        elif isinstance(node, (MatrixSelector, SubqueryExpr)) and node.range:
            seconds = node.range.total_seconds()
            if seconds < 2 * self._scrape_seconds:
                yield f"{seconds:g} s are shorter than two scrapes"

    def _faults_of_selector(self, selector: VectorSelector, parents: Sequence[Expr]) -> Iterator[str]:
        name = selector.name
        if not name or name not in self.metrics:
            yield f"{name or 'a selector without a name'} does not exist"
            return
        fitting = [metric for metric in self.metrics[name] if fits(metric, selector)]
        if not fitting:
            yield f"{name} has no such label or value"
        function = _function(parents)
        for metric in fitting:
            if metric.is_counter and function not in RATES:
                yield f"{name} is a counter without rate or increase"
            if not metric.is_counter and function in RATES:
                yield f"{name} is a gauge under {function}"
            if not _handles_replicas(metric, parents):
                yield f"{name} is counted once per process"


@cache
def lint() -> Lint:
    """The lint with all metrics of the tree, the recorded ones too."""
    return Lint()


def selectors(text: str) -> Iterator[VectorSelector]:
    """Yield the selectors of an expression."""
    for path in paths(promql.parse(text)):
        if isinstance(path[-1], VectorSelector):
            yield path[-1]


def selectors_of_ranges(text: str) -> Iterator[VectorSelector]:
    """Yield the selectors that have a range, as those under rate and increase have."""
    for path in paths(promql.parse(text)):
        if isinstance(path[-1], MatrixSelector):
            yield path[-1].vector_selector


def thresholds(text: str) -> list[str]:
    """The comparisons of an expression with a number, as `> 30`; without `> 0`: whether there is any."""
    nodes = [path[-1] for path in paths(promql.parse(text))]
    compared = [node for node in nodes if isinstance(node, BinaryExpr) and str(node.op) in COMPARISONS]
    found = [f"{node.op} {node.rhs.val:g}" for node in compared if isinstance(node.rhs, NumberLiteral)]
    return [threshold for threshold in found if threshold != "> 0"]


def paths(tree: Expr, above: tuple[Expr, ...] = ()) -> Iterator[tuple[Expr, ...]]:
    """Yield each node of a tree with all above it, the node last."""
    path = (*above, tree)
    yield path
    for part in _parts(tree):
        yield from paths(part, path)


def compares(tree: Expr) -> bool:
    """Whether the expression has samples only while a threshold is crossed."""
    node = unwrapped(tree)
    if isinstance(node, Call):
        return node.func.name in ABSENCES
    if not isinstance(node, BinaryExpr):
        return False
    match str(node.op):
        case "and":
            return compares(node.lhs) or compares(node.rhs)
        case "or":
            return compares(node.lhs) and compares(node.rhs)
        case "unless":
            return compares(node.lhs)
        case op:
            return op in COMPARISONS and not (node.modifier and node.modifier.return_bool)


def fits(metric: Metric, selector: VectorSelector) -> bool:
    """Whether the metric can have samples that the selector takes."""
    for matcher in selector.matchers.matchers:
        is_of_job = matcher.name == "job" and str(matcher.op) == "MatchOp.Equal"
        if is_of_job and metric.job and matcher.value != metric.job:
            return False
        if metric.labels is not None and matcher.name not in metric.labels | SCRAPE_LABELS:
            return False
        values = metric.values.get(matcher.name)
        if values is not None and not all(
            any(re.fullmatch(pattern, value) for value in values) for pattern in _patterns(matcher)
        ):
            return False
    return True


def _patterns(matcher: promql.Matcher) -> list[str]:
    """The alternatives of a matcher, each of which must find a value."""
    if str(matcher.op) in ("MatchOp.Equal", "MatchOp.NotEqual"):
        return [re.escape(matcher.value)]
    return [matcher.value] if "(" in matcher.value else matcher.value.split("|")


def _parts(node: Expr) -> list[Expr]:
    if isinstance(node, BinaryExpr):
        return [node.lhs, node.rhs]
    if isinstance(node, Call):
        return list(node.args)
    if isinstance(node, MatrixSelector):
        return [node.vector_selector]
    inner = getattr(node, "expr", None)
    return [inner] if isinstance(inner, Expr) else []


def _function(parents: Sequence[Expr]) -> str:
    """The function that a range of the selector is given to; "" for a selector without a range."""
    if parents and isinstance(parents[-1], MatrixSelector):
        call = next((parent for parent in reversed(parents) if isinstance(parent, Call)), None)
        return call.func.name if call else ""
    return ""


def _handles_replicas(metric: Metric, parents: Sequence[Expr]) -> bool:
    """Whether several processes give the same result as one: see `Metric.copies`."""
    if metric.copies == "single":
        return True
    for parent in reversed(parents):
        if isinstance(parent, Call) and parent.func.name in ABSENCES:
            return True
        if isinstance(parent, AggregateExpr):
            if metric.copies == "share":
                return str(parent.op) == "sum" or not metric.is_counter
            return str(parent.op) in OF_EQUALS and _drops_instance(parent)
        if isinstance(parent, BinaryExpr) and not (is_scalar(parent.lhs) or is_scalar(parent.rhs)):
            return False
    return False


def _drops_instance(aggregation: AggregateExpr) -> bool:
    modifier = aggregation.modifier
    if modifier is None:
        return True
    is_by = str(modifier.type) == "AggModifierType.By"
    return ("instance" in modifier.labels) != is_by


def unwrapped(node: Expr) -> Expr:
    """The node inside parentheses."""
    while isinstance(node, ParenExpr):
        node = node.expr
    return node


def is_scalar(node: Expr) -> bool:
    """Whether the expression gives one number instead of samples with labels."""
    node = unwrapped(node)
    if isinstance(node, BinaryExpr):
        return is_scalar(node.lhs) and is_scalar(node.rhs)
    if isinstance(node, UnaryExpr):
        return is_scalar(node.expr)
    if isinstance(node, Call):
        return str(node.func.return_type) == "ValueType.Scalar"
    return isinstance(node, (NumberLiteral, StringLiteral))


Samples = Mapping[str, list[Mapping[str, str]]]
"""The labels of the samples by name."""


def samples_of(text: str) -> Samples:
    """Return the samples of a scrape."""
    found: dict[str, list[Mapping[str, str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


def selectors_of_rules(
    job: str, find: Callable[[str], Iterator[VectorSelector]]
) -> Iterator[tuple[str, VectorSelector]]:
    """Yield what `find` finds in each rule, with the rule's name, if it can mean a metric of the job."""
    known = lint().metrics
    for rule in [rule for name in FILES for rule in all_rules(name)]:
        for selector in find(rule["expr"]):
            if any(
                metric.job == job and fits(metric, selector) for metric in known.get(selector.name or "", ())
            ):
                yield rule.get("alert") or rule["record"], selector


def without_series(wanted: Iterable[tuple[str, VectorSelector]], found: Samples) -> list[tuple[str, str]]:
    """Return the selectors that take no sample of a scrape."""
    return [
        (name, str(selector))
        for name, selector in wanted
        if not any(_selects(selector, labels) for labels in found.get(selector.name or "", ()))
    ]


def _selects(selector: VectorSelector, labels: Mapping[str, str]) -> bool:
    """Whether a selector takes a sample, by Prometheus' rules."""
    for matcher in selector.matchers.matchers:
        if matcher.name in SCRAPE_LABELS:
            continue
        operator, value = str(matcher.op), labels.get(matcher.name, "")
        is_equal = value == matcher.value
        if operator in ("MatchOp.Re", "MatchOp.NotRe"):
            is_equal = bool(re.fullmatch(matcher.value, value))
        if is_equal == operator.startswith("MatchOp.Not"):
            return False
    return True
