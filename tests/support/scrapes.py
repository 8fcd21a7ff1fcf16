"""Whether what the rules select is in a scrape."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client.parser import text_string_to_metric_families
from promql_parser import VectorSelector

from tests.support.alerts import FILES, all_rules
from tests.support.promql import fits
from tests.support.promql_metrics import SCRAPE_LABELS, Metrics

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
    known = Metrics().by_name
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
