"""The alerts: each has a runbook, metrics that exist, and cases that pass in promtool."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from leads.adapters.metrics import EVENT_RESULTS, NOTIFICATION_RESULTS, Metrics
from tests.support.alerts import (
    FILES,
    PROMETHEUS,
    ROOT,
    alerts,
    all_rules,
    cases,
    minutes,
    write_promtool_tests,
)

URL = re.compile(r"https://docs\.diva\.com\.vn/runbook/([\w-]+)#(\w+)")
PARTS = ("**Meaning**", "**Impact**", "**Diagnosis**", "**Mitigation**")
CHECKLIST = {
    "PancakeSuccessRateLow", "PancakeOutageActive", "PancakeDlqCountHigh", "PancakeReconciliationMiss",
    "PancakeWebhookErrorRateHigh", "PancakeEventProcessLatencyHigh", "PancakeWebhookLatencyP99High",
    "PancakeCircuitBreakerOpenLong",
}  # fmt: skip
OF_OTHERS = {
    "up", "prometheus_rule_evaluation_failures_total", "prometheus_notifications_alertmanagers_discovered",
    "prometheus_notifications_dropped_total", "alertmanager_notifications_failed_total",
}  # fmt: skip
"""Metrics of Prometheus and Alertmanager themselves."""
SCRAPE_LABELS = {"job", "instance"}
SCRAPE_SECONDS = 15
"""As in prometheus.yml."""
BY_EDGE_TOO = {f"pancake_webhook_{ending}" for ending in ("requests_total", "latency_seconds_bucket")}
"""Series of handlers and edge; each has labels that the other has not."""

ALERTS = alerts()
IDS = [rule["alert"] for rule in ALERTS]


@pytest.mark.parametrize("rule", ALERTS, ids=IDS)
def test_an_alert_has_its_team_its_severity_and_its_texts(rule: dict[str, Any]) -> None:
    assert rule["labels"]["team"] == "pancake"
    assert rule["labels"]["severity"] in ("critical", "warning", "none")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert len(set(IDS)) == len(IDS)


@pytest.mark.parametrize("rule", ALERTS, ids=IDS)
def test_an_alert_has_a_section_of_four_parts_in_a_runbook(rule: dict[str, Any]) -> None:
    match = URL.fullmatch(rule["annotations"]["runbook_url"])
    assert match
    page = (ROOT / "docs" / "runbook" / f"{match[1]}.md").read_text()
    sections = {part.partition("\n")[0].lower(): part for part in re.split(r"^## ", page, flags=re.M)}
    assert match[2] == rule["alert"].lower()
    section = sections[match[2]]
    found = [section.find(part) for part in PARTS]
    assert -1 < found[0] < found[1] < found[2] < found[3]


def test_no_two_sections_are_the_same() -> None:
    texts = []
    for path in (ROOT / "docs" / "runbook").glob("*.md"):
        for section in re.split(r"^## ", path.read_text(), flags=re.M)[1:]:
            texts += [part for part in section.split("\n\n") if len(part) > 200]
    assert len(set(texts)) == len(texts)


def test_the_eight_of_the_checklist_are_in_their_group() -> None:
    groups = yaml.safe_load((PROMETHEUS / "pancake.rules.yml").read_text())["groups"]
    (group,) = [group for group in groups if group["name"] == "pancake_crm_integration"]
    assert {rule["alert"] for rule in group["rules"]} >= CHECKLIST


def test_the_table_of_the_docs_names_every_alert_with_its_severity() -> None:
    page = (ROOT / "docs" / "alerts.md").read_text()
    rows = re.findall(r"^\| \[(\w+)\]\(runbook/([\w-]+)\.md#(\w+)\) \| (\w+) \|", page, re.M)
    wanted = []
    for rule in ALERTS:
        match = URL.fullmatch(rule["annotations"]["runbook_url"])
        assert match
        wanted.append((rule["alert"], match[1], match[2], rule["labels"]["severity"]))
    assert sorted(rows) == sorted(wanted)


@pytest.mark.parametrize("name", FILES)
def test_an_alert_has_cases_just_before_and_at_its_time_and_one_where_it_is_silent(name: str) -> None:
    found = cases(name)
    assert set(found) == {rule["alert"] for rule in alerts(name)}
    for alert, kinds in found.items():
        if alert == "PancakeWatchdog":
            continue
        assert kinds["silent"], alert
        for case in kinds["fires"]:
            assert minutes(case["before"]) < minutes(case["at"]), alert


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Debian's package promtool is not installed")
@pytest.mark.parametrize("name", FILES)
def test_the_cases_pass_in_promtool(name: str, tmp_path: Path) -> None:
    written = write_promtool_tests(name, tmp_path)
    done = subprocess.run(
        ["promtool", "test", "rules", *written], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


def known_metrics() -> dict[str, set[str] | None]:
    """The series and their labels: those of the handlers, of the edge, of others, and those recorded."""
    known: dict[str, set[str] | None] = dict.fromkeys(OF_OTHERS)
    metrics = Metrics()
    for metric in vars(metrics).values():
        if hasattr(metric, "_labelnames"):
            labels = set(metric._labelnames)
            known |= {
                f"{metric._name}{ending}": labels | ({"le"} if ending else set())
                for ending in ("", "_total", "_bucket", "_count", "_sum")
            }
    known |= {family.name: set(family.labels) for family in metrics.sql_series.families}
    lua = "\n".join(path.read_text() for path in (ROOT / "deploy/nginx/lua").rglob("*.lua"))
    for name in set(re.findall(r"\bpancake_\w+", lua)):
        known |= {f"{name}{ending}": None for ending in ("", "_bucket", "_count")}
    recorded = {rule["record"]: None for name in FILES for rule in all_rules(name) if "record" in rule}
    return known | recorded


SELECTOR = re.compile(r"(?<![\w:\"])(pancake[\w:]+|up|prometheus_\w+|alertmanager_\w+)(\{[^}]*\})?(\[\w+\])?")


def selectors(expr: str) -> list[tuple[str, dict[str, str], str]]:
    """The metrics of an expression: name, matchers, and range ("" without one)."""
    return [
        (match[1], dict(re.findall(r"(\w+)(?:=~|!~|!=|=)\"([^\"]*)\"", match[2] or "")), match[3] or "")
        for match in SELECTOR.finditer(expr)
    ]


def faults(rule: dict[str, Any]) -> list[str]:
    """What is wrong with the expression of a rule, by its text: there is no parser of PromQL here."""
    expr, known, found = rule["expr"], known_metrics(), []
    families = {family.name for family in Metrics().sql_series.families}
    if "alert" in rule and not re.search(r"[<>]|==|absent\(|^vector\(1\)$", expr):
        found.append("no comparison")
    for name, matchers, span in selectors(expr):
        labels = known.get(name)
        if name not in known:
            found.append(f"{name} does not exist")
        elif labels is not None and name not in BY_EDGE_TOO and not set(matchers) <= labels | SCRAPE_LABELS:
            found.append(f"{name} has other labels")
        if name.endswith(("_total", "_bucket", "_count")) and not re.search(
            rf"(rate|increase)\({name}(\{{[^}}]*\}})?\[", expr
        ):
            found.append(f"{name} is a counter")
        if span and _seconds(span.strip("[]")) < 2 * SCRAPE_SECONDS:
            found.append(f"{span} is shorter than two scrapes")
    for match in SELECTOR.finditer(expr):
        before = expr[: match.start()]
        if match[1] in families and not re.search(r"max( without \(instance\) )?\($", before):
            found.append(f"{match[1]} is counted once per process")
    return found


def _seconds(duration: str) -> int:
    return int(duration[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[duration[-1]]


ALL = [rule for name in FILES for rule in all_rules(name)]
ALL_IDS = [rule.get("alert") or rule["record"] for rule in ALL]


@pytest.mark.parametrize("rule", ALL, ids=ALL_IDS)
def test_a_rule_is_without_fault(rule: dict[str, Any]) -> None:
    """An alert with a misspelt metric would never fire."""
    assert faults(rule) == []


@pytest.mark.parametrize(
    ("expr", "fault"),
    [
        ("max without (instance) (pancake_switch_on)", "no comparison"),
        ("max without (instance) (pancake_swich_on) == 1", "pancake_swich_on does not exist"),
        ('max(pancake_switch_on{swich="x"}) == 1', "pancake_switch_on has other labels"),
        ("pancake_switch_on == 1", "pancake_switch_on is counted once per process"),
        ("sum(pancake_unassigned_tickets) > 1", "pancake_unassigned_tickets is counted once per process"),
        ("pancake_events_total > 1", "pancake_events_total is a counter"),
        ("rate(pancake_events_total[15s]) > 1", "[15s] is shorter than two scrapes"),
    ],
)
def test_a_fault_is_found(expr: str, fault: str) -> None:
    assert faults({"alert": "Example", "expr": expr}) == [fault]


def test_the_closed_sets_of_labels_are_those_that_occur() -> None:
    """A result that the rules name and no process counts would never be seen."""
    results = {"failed", "dead_letter", "record_deleted", "stale", "no_change"}
    assert results <= set(EVENT_RESULTS)
    assert {"given_up", "dropped"} <= set(NOTIFICATION_RESULTS)
