"""PromQL: the metrics that exist, what is wrong with an expression given them, and what a scrape lacks."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

import promql_parser as promql
import yaml
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.samples import Sample
from promql_parser import (
    AggregateExpr,
    BinaryExpr,
    Call,
    Expr,
    MatrixSelector,
    NumberLiteral,
    ParenExpr,
    SubqueryExpr,
    VectorSelector,
)

from leads.adapters.metrics import Metrics as HandlerMetrics
from leads.services.metrics import SERIES
from tests.support.monitoring import FILES, PROMETHEUS, ROOT, all_rules, recorded

SCRAPE_LABELS = frozenset({"job", "instance"})
LABELS_OF_SCRAPES = SCRAPE_LABELS | {"namespace", "service", "endpoint", "pod", "container"}
"""Those that a ServiceMonitor adds too."""
OF_SERVICE_MONITOR = (
    ',namespace="pancake-diva",service="handlers-metrics",endpoint="metrics",container="handlers"'
    ',pod="handlers-{}"'
)
HANDLERS, EDGE = "pancake_handlers", "pancake_edge"
LUA = ROOT / "deploy" / "nginx" / "lua" / "pancake"
COUNTERS = ("_total", "_bucket", "_count", "_sum")
"""How the names of counters end."""
RATES = {"rate", "increase", "irate"}
COMPARISONS = {"==", "!=", ">", "<", ">=", "<="}
ABSENCES = {"absent", "absent_over_time"}
OF_EQUALS = {"max", "min"}
"""Aggregations that give one of equal figures, however many processes show them."""


@dataclass(frozen=True)
class Metric:
    """One source of a series.

    `labels`: None for a recorded series, whose labels the cases of its alerts show. `copies`: of several
    processes each shows a `share` (to be summed up), each the same figure (`copy`: to be read by max or min
    by its own labels), or the instances are apart (`single`). `values`: of labels with a closed set.
    """

    job: str | None
    labels: frozenset[str] | None
    copies: Literal["share", "copy", "single"] = "single"
    values: Mapping[str, frozenset[str]] = field(default_factory=dict)


OF_OTHERS = {
    "up": (None, []),
    "ALERTS": (None, ["alertname", "alertstate", "severity", "team"]),
    "prometheus_build_info": (None, ["version"]),
    "alertmanager_build_info": (None, ["version"]),
    "prometheus_rule_evaluation_failures_total": ("prometheus", ["rule_group"]),
    "prometheus_notifications_alertmanagers_discovered": ("prometheus", []),
    "prometheus_notifications_dropped_total": ("prometheus", []),
    "alertmanager_notifications_failed_total": ("alertmanager", ["integration", "reason"]),
}
"""Job and labels of metrics of Prometheus and Alertmanager themselves: version 2.42 and 0.25 and later."""


def sources() -> Iterator[tuple[str, Metric]]:
    """Yield the name of each series with what it comes from; a name may have several sources."""
    yield from _of_handlers()
    yield from _of_edge()
    for name, (job, labels) in OF_OTHERS.items():
        yield name, Metric(job, frozenset(labels))
    for rule in recorded():
        yield rule["record"], Metric(None, None)


def _of_handlers() -> Iterator[tuple[str, Metric]]:
    """Figures of the database, what a process counts, and what a library adds, for instance its memory."""
    metrics = HandlerMetrics(SERIES)
    of_database = {family.name: frozenset(family.labels) for family in metrics.sql_series.families}
    for name, labels in of_database.items():
        yield name, Metric(HANDLERS, labels, "copy")
    declared = [each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)]
    for each in declared:
        labels, values = frozenset(each._labelnames), {}
        if len(labels) == 1 and each._metrics:  # the values that start at 0
            values = {next(iter(labels)): frozenset(key[0] for key in each._metrics)}
        for name, more in _series(each._name, each._type):
            yield name, Metric(HANDLERS, labels | more, "share", values)
    ours = {each._name for each in declared} | of_database.keys()
    for family in metrics.registry.collect():
        if family.name not in ours:
            labels = frozenset(label for sample in family.samples for label in sample.labels)
            for name, _ in _series(family.name, family.type):
                yield name, Metric(HANDLERS, labels)


def _of_edge() -> Iterator[tuple[str, Metric]]:
    """The series that the Lua of the edge declares, with the labels that it gives them."""
    text = "\n".join(path.read_text() for path in sorted(LUA.glob("*.lua")))
    given: dict[str, set[str]] = {}
    for name, arguments in re.findall(r'(?:count|observe|add)\("(pancake_\w+)",((?:[^\n]|\n {12,})*)', text):
        given.setdefault(name, set()).update(re.findall(r'(\w+)="', arguments))
    histograms = re.findall(r'(pancake_\w+) = \{ "histogram"', text)
    for name, labels in given.items():
        for series, more in _series(name, "histogram" if name in histograms else ""):
            yield series, Metric(EDGE, frozenset(labels | more))


def _series(name: str, kind: str | None) -> list[tuple[str, frozenset[str]]]:
    """Return the names of the series of a metric, each with the labels that its kind adds."""
    if kind == "histogram":
        endings = {"_bucket": frozenset({"le"}), "_count": frozenset[str](), "_sum": frozenset[str]()}
        return [(f"{name}{ending}", labels) for ending, labels in endings.items()]
    return [(f"{name}_total" if kind == "counter" else name, frozenset())]


@cache
def metrics() -> Mapping[str, list[Metric]]:
    found: dict[str, list[Metric]] = {}
    for name, metric in sources():
        found.setdefault(name, []).append(metric)
    return found


@cache
def scrape_seconds() -> int:
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    parts = (config["global"], *config["scrape_configs"])
    return max(int(part["scrape_interval"].removesuffix("s")) for part in parts if "scrape_interval" in part)


def faults(text: str, *, has_threshold: bool = False) -> list[str]:
    """Return what is wrong. `has_threshold`: it is the expression of an alert and must compare."""
    try:
        tree = promql.parse(text)
    except ValueError as error:
        return [f"is not PromQL: {error}"]
    found = ["no comparison"] if has_threshold and not _compares(tree) else []
    for *parents, node in _paths(tree):
        if isinstance(node, VectorSelector):
            found += _faults_of_selector(node, parents)
        elif isinstance(node, (MatrixSelector, SubqueryExpr)) and node.range:
            seconds = node.range.total_seconds()
            if seconds < 2 * scrape_seconds():
                found.append(f"{seconds:g} s are shorter than two scrapes")
    return list(dict.fromkeys(found))


def lacks(series: str) -> bool:
    """Whether no metric has the name and labels of a series."""
    (selector,) = selectors(series)
    return not any(fits(metric, selector) for metric in metrics().get(selector.name or "", ()))


def _faults_of_selector(selector: VectorSelector, parents: Sequence[Expr]) -> Iterator[str]:
    name = selector.name
    if not name or name not in metrics():
        yield f"{name or 'a selector without a name'} does not exist"
        return
    fitting = [metric for metric in metrics()[name] if fits(metric, selector)]
    if not fitting:
        yield f"{name} has no such label or value"
        return
    function, is_counter = _function(parents), name.endswith(COUNTERS)
    if is_counter and function not in RATES:
        yield f"{name} is a counter without rate or increase"
    if not is_counter and function in RATES:
        yield f"{name} is a gauge under {function}"
    if not all(_handles_replicas(metric, is_counter, parents) for metric in fitting):
        yield f"{name} is counted once per process"


def shown_by_processes(series: Mapping[str, object], count: int, *, has_pods: bool) -> dict[str, object]:
    """Return the series of a case as so many processes show them.

    Figures are the same in each, counters are all of the first one. `has_pods`: with the labels that a
    ServiceMonitor adds. A series that names its instance is of that process alone.
    """
    found: dict[str, object] = {}
    for text, values in series.items():
        name, _, labels = text.removesuffix("}").partition("{")
        if not any(metric.copies != "single" for metric in metrics()[name]):
            found[text] = values
            continue
        named = re.search(r'instance="(\w+)",?', labels)
        instances = [named[1]] if named else [str(number) for number in range(count)]
        own = labels.replace(named[0], "").rstrip(",") if named else labels
        for number, instance in enumerate(instances):
            target = f'instance="{instance}"' + (OF_SERVICE_MONITOR.format(instance) if has_pods else "")
            is_first = number == 0 or not name.endswith(COUNTERS)
            found[f"{name}{{{','.join(filter(None, (own, target)))}}}"] = values if is_first else "0x2000"
    return found


def selectors(text: str) -> Iterator[VectorSelector]:
    for path in _paths(promql.parse(text)):
        if isinstance(path[-1], VectorSelector):
            yield path[-1]


def selectors_of_ranges(text: str) -> Iterator[VectorSelector]:
    """Yield the selectors that have a range, as those under rate and increase have."""
    for path in _paths(promql.parse(text)):
        if isinstance(path[-1], MatrixSelector):
            yield path[-1].vector_selector


def thresholds(text: str) -> list[str]:
    """The comparisons of an expression with a number, as `> 30`; without `> 0`: whether there is any."""
    nodes = [path[-1] for path in _paths(promql.parse(text))]
    compared = [node for node in nodes if isinstance(node, BinaryExpr) and str(node.op) in COMPARISONS]
    found = [f"{node.op} {node.rhs.val:g}" for node in compared if isinstance(node.rhs, NumberLiteral)]
    return [threshold for threshold in found if threshold != "> 0"]


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


def selectors_of_rules(
    job: str, find: Callable[[str], Iterator[VectorSelector]]
) -> Iterator[tuple[str, VectorSelector]]:
    """Yield what `find` finds in each rule, with the rule's name, if it can mean a metric of the job."""
    for rule in [rule for name in FILES for rule in all_rules(name)]:
        for selector in find(rule["expr"]):
            known = metrics().get(selector.name or "", ())
            if any(metric.job == job and fits(metric, selector) for metric in known):
                yield rule.get("alert") or rule["record"], selector


def without_series(
    wanted: Iterable[tuple[str, VectorSelector]], found: Sequence[Sample]
) -> list[tuple[str, str]]:
    return [
        (name, str(selector))
        for name, selector in wanted
        if not any(each.name == selector.name and selects(selector, each.labels) for each in found)
    ]


def selects(selector: VectorSelector, labels: Mapping[str, str]) -> bool:
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


def _patterns(matcher: promql.Matcher) -> list[str]:
    """The alternatives of a matcher, each of which must find a value."""
    if str(matcher.op) in ("MatchOp.Equal", "MatchOp.NotEqual"):
        return [re.escape(matcher.value)]
    return [matcher.value] if "(" in matcher.value else matcher.value.split("|")


def _paths(tree: Expr, above: tuple[Expr, ...] = ()) -> Iterator[tuple[Expr, ...]]:
    """Yield each node of a tree with all above it, the node last."""
    path = (*above, tree)
    yield path
    for part in _parts(tree):
        yield from _paths(part, path)


def _parts(node: Expr) -> list[Expr]:
    if isinstance(node, BinaryExpr):
        return [node.lhs, node.rhs]
    if isinstance(node, Call):
        return list(node.args)
    if isinstance(node, MatrixSelector):
        return [node.vector_selector]
    inner = getattr(node, "expr", None)
    return [inner] if isinstance(inner, Expr) else []


def _compares(node: Expr) -> bool:
    """Whether the expression has samples only while a threshold is crossed."""
    match node:
        case ParenExpr():
            return _compares(node.expr)
        case Call():
            return node.func.name in ABSENCES
        case BinaryExpr() if str(node.op) == "and":
            return _compares(node.lhs) or _compares(node.rhs)
        case BinaryExpr() if str(node.op) == "or":
            return _compares(node.lhs) and _compares(node.rhs)
        case BinaryExpr() if str(node.op) == "unless":
            return _compares(node.lhs)
        case BinaryExpr():
            return str(node.op) in COMPARISONS and not (node.modifier and node.modifier.return_bool)
    return False


def _function(parents: Sequence[Expr]) -> str:
    """The function that a range of the selector is given to; "" for a selector without a range."""
    if parents and isinstance(parents[-1], MatrixSelector):
        call = next((parent for parent in reversed(parents) if isinstance(parent, Call)), None)
        return call.func.name if call else ""
    return ""


def _handles_replicas(metric: Metric, is_counter: bool, parents: Sequence[Expr]) -> bool:
    """Whether several processes give the same result as one: see `Metric.copies`."""
    if metric.copies == "single":
        return True
    for parent in reversed(parents):
        if isinstance(parent, Call) and parent.func.name in ABSENCES:
            return True
        if isinstance(parent, AggregateExpr):
            if metric.copies == "share":
                return str(parent.op) == "sum" or not is_counter
            return str(parent.op) in OF_EQUALS and _drops_the_labels_of_scrapes(parent)
        if isinstance(parent, BinaryExpr) and not (_is_scalar(parent.lhs) or _is_scalar(parent.rhs)):
            return False
    return False


def _is_scalar(node: Expr) -> bool:
    """Whether the expression gives one number instead of samples with labels."""
    return not any(isinstance(path[-1], VectorSelector) for path in _paths(node))


def _drops_the_labels_of_scrapes(aggregation: AggregateExpr) -> bool:
    """Whether it keeps none: by name, because the Prometheus Operator adds more of them than `instance`."""
    modifier = aggregation.modifier
    return modifier is None or (
        str(modifier.type) == "AggModifierType.By" and not set(modifier.labels) & LABELS_OF_SCRAPES
    )
