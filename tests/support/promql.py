"""Lint of PromQL on its syntax tree: what is wrong with an expression, given the metrics that exist."""

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cache

import promql_parser as promql
from promql_parser import (
    AggregateExpr,
    BinaryExpr,
    Call,
    Expr,
    MatrixSelector,
    NumberLiteral,
    SubqueryExpr,
    VectorSelector,
)  # fmt: skip

from tests.support.alerts import recorded
from tests.support.promql_labels import is_scalar, labels_of, unwrapped
from tests.support.promql_metrics import SCRAPE_LABELS, Metric, Metrics

RATES = {"rate", "increase", "irate"}
COMPARISONS = {"==", "!=", ">", "<", ">=", "<="}
ABSENCES = {"absent", "absent_over_time"}
OF_EQUALS = {"max", "min"}
"""Aggregations that give one of equal figures, however many processes show them."""


@dataclass
class Lint:
    """The metrics that exist, by name: one may have several sources. `scrape_seconds`: the longest pause."""

    metrics: Mapping[str, Sequence[Metric]]
    scrape_seconds: float
    found: list[str] = field(default_factory=list)

    def faults(self, text: str, *, has_threshold: bool = False) -> list[str]:
        """Return what is wrong. `has_threshold`: it is the expression of an alert and must compare."""
        self.found = []
        try:
            tree = promql.parse(text)
        except ValueError as error:
            return [f"is not PromQL: {error}"]
        if has_threshold and not compares(tree):
            self.found.append("no comparison")
        for path in paths(tree):
            self._check(path)
        return list(dict.fromkeys(self.found))

    def labels(self, text: str) -> set[str]:
        """Return the labels that the samples of an expression may have."""
        return self._labels(promql.parse(text))

    def _check(self, path: Sequence[Expr]) -> None:
        node = path[-1]
        if isinstance(node, VectorSelector):
            self._check_selector(node, path[:-1])
        elif isinstance(node, AggregateExpr) and node.modifier:
            self._check_names(node.modifier.labels, self._labels(node.expr), "grouped by")
        elif isinstance(node, BinaryExpr) and node.modifier and node.modifier.matching:
            self._check_matching(node, node.modifier.matching)
        elif isinstance(node, (MatrixSelector, SubqueryExpr)) and node.range:
            self._check_range(node.range.total_seconds())
        elif isinstance(node, Call) and node.func.name == "histogram_quantile":
            self._check_names(["le"], self._labels(node.args[1]), "a quantile of")

    def _check_range(self, seconds: float) -> None:
        if seconds < 2 * self.scrape_seconds:
            self.found.append(f"{seconds:g} s are shorter than two scrapes")

    def _check_matching(self, node: BinaryExpr, matching: promql.LabelModifier) -> None:
        """A label of `on` must be on both sides, one of `ignoring` on either."""
        left, right = self._labels(node.lhs), self._labels(node.rhs)
        is_on = str(matching.type) == "LabelModifierType.Include"
        self._check_names(matching.labels, left & right if is_on else left | right, "matched by")

    def _check_names(self, names: Sequence[str], there: Set[str], use: str) -> None:
        self.found += [f"{use} {name}, which is not there" for name in names if name not in there]

    def _check_selector(self, selector: VectorSelector, parents: Sequence[Expr]) -> None:
        name = selector.name
        if not name or name not in self.metrics:
            self.found.append(f"{name or 'a selector without a name'} does not exist")
            return
        fitting = [metric for metric in self.metrics[name] if fits(metric, selector)]
        if not fitting:
            self.found.append(f"{name} has no such label or value")
            return
        function = _function(parents)
        for metric in fitting:
            if metric.is_counter and function not in RATES:
                self.found.append(f"{name} is a counter without rate or increase")
            if not metric.is_counter and function in RATES:
                self.found.append(f"{name} is a gauge under {function}")
            if not _handles_replicas(metric, parents):
                self.found.append(f"{name} is counted once per process")

    def _labels(self, node: Expr) -> set[str]:
        return labels_of(node, self._labels_of_selector)

    def _labels_of_selector(self, selector: VectorSelector) -> set[str]:
        known = self.metrics.get(selector.name or "", ())
        return set().union(*(metric.labels | SCRAPE_LABELS for metric in known if fits(metric, selector)))


@cache
def lint() -> Lint:
    """The lint with all metrics of the tree, the recorded ones too."""
    metrics = Metrics()
    found = Lint(metrics.by_name, metrics.scrape_seconds)
    for rule in recorded():
        metrics.add_recorded(rule["record"], found.labels(rule["expr"]) | set(rule.get("labels", ())))
    return found


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
        if matcher.name not in metric.labels | SCRAPE_LABELS:
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
