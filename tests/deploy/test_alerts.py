"""The alerts: each has a runbook, receivers, an expression without fault, cases that pass in promtool.

And the dashboard of Grafana: its queries, and the limits of the alerts.
"""

import re
from functools import partial
from pathlib import Path

import pytest
import yaml

from leads.services.metrics import SERIES
from proofs.dashboard.panels import GRAFANA, LABEL, read_dashboard
from sandbox.serving import read_samples
from tests.support.breakages import BREAKAGES
from tests.support.crons import CronHarness
from tests.support.monitoring import (
    FILES,
    PROMETHEUS,
    ROOT,
    alerts,
    all_rules,
    cases,
    minutes,
    needs_monitoring,
    recorded,
    recordings,
    run_promtool,
    write_promtool_tests,
)
from tests.support.programs import run
from tests.support.promql import (
    HANDLERS,
    faults,
    lacks,
    selectors,
    selectors_of_ranges,
    selectors_of_rules,
    shown_by_processes,
    thresholds,
    without_series,
)
from tests.support.runbook import SITE, TABLE, lines_to_read, sections

URL = re.compile(re.escape(SITE) + r"([\w/-]+)#(\w+)")
PARTS = ("**Mitigation**", "**Meaning**", "**Impact**")
MAX_LINES = 10
"""What a person who was woken has to read until it is mended, besides what is typed and printed."""
CHECKLIST = {
    # By three leads of ours at least.
    "PancakeSuccessRateLow": (
        "10m", ["< 0.995", ">= 3"], {"pancake_kpi_success_ratio", "pancake_kpi_deliveries"},
    ),
    "PancakeOutageActive": ("5m", ["== 1"], {"pancake_connection_status"}),
    # In an hour; of a day, 1 %, and three at least.
    "PancakeDlqCountHigh": (
        "5m", ["> 100", ">= 0.01", ">= 3"], {"pancake_recent_events", "pancake_kpi_deliveries"},
    ),
    "PancakeReconciliationMiss": (
        "5m", [">= 5", ">= 1"], {"pancake_kpi_found_missing", "pancake_kpi_left_missing"},
    ),
    "PancakeWebhookErrorRateHigh": ("5m", ["> 0.05"], {"pancake_webhook_requests_total"}),
    # The p95 and the p99, in seconds.
    "PancakeEventProcessLatencyHigh": ("10m", ["> 30"], {"pancake_event_process_duration_seconds_bucket"}),
    "PancakeWebhookLatencyP99High": ("5m", ["> 2"], {"pancake_webhook_latency_seconds_bucket"}),
    # The 30 minutes are a limit, not a `for`: the earliest opening of all processes counts.
    "PancakeCircuitBreakerOpenLong": (
        "0m", ["> 1800"],
        {
            "pancake_circuit_breaker_open_since_timestamp_seconds",
            "pancake_circuit_breaker_last_success_timestamp_seconds",
        },
    ),
}  # fmt: skip
"""The eight of the go-live checklist (E1 G-7, E5, E7.1): how long, the thresholds, the series."""
ALERTS = alerts()
ALERTMANAGER = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
RECEIVERS = {"critical": "pager,team_channel", "warning": "team_channel", "none": "heartbeat"}
NO_THRESHOLD = {"PancakeWatchdog"}
"""It always fires."""


def test_an_alert_has_its_texts_and_a_section_that_begins_with_what_to_type(
    subtests: pytest.Subtests,
) -> None:
    """The section begins with the rows of the breakages that raise it, or with the diagnosis."""
    assert len({rule["alert"] for rule in ALERTS}) == len(ALERTS)
    named = {f"Pancake{alert}" for each in BREAKAGES if each.check for alert in each.alerts.split()}
    for rule in ALERTS:
        with subtests.test(rule["alert"]):
            assert rule["labels"]["team"] == "pancake"
            assert rule["labels"]["severity"] in RECEIVERS
            assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
            match = URL.fullmatch(rule["annotations"]["runbook_url"])
            assert match
            assert match[2] == rule["alert"].lower()
            text = sections(match[1])[rule["alert"]].partition("\n")[2]
            found = [text.find(part) for part in PARTS]
            assert -1 < found[0] < found[1] < found[2]
            assert text.startswith(TABLE if rule["alert"] in named else "**Diagnosis**")
            assert len(list(lines_to_read(text[: found[1]]))) <= MAX_LINES
            assert "as above" not in text
            mitigation = " ".join(text[found[0] :].split())
            # docs/alerts.md has the recipients and times of each tier.
            assert re.match(r"\*\*Mitigation\*\* \(tier [1-4]", mitigation)


def test_the_alert_of_each_breakage_exists_and_fires_in_a_case() -> None:
    named = {f"Pancake{alert}" for each in BREAKAGES for alert in each.alerts.split()}
    assert named - {rule["alert"] for rule in ALERTS} == set()
    firing = {name for file in FILES for name, found in cases(file).items() if found["fires"]}
    assert named - firing == set()


def test_the_page_of_a_full_disk_of_postgresql_names_it() -> None:
    """It is the alert that pages then."""
    (description,) = (
        rule["annotations"]["description"] for rule in alerts() if rule["alert"] == "PancakeCronMissed"
    )
    assert description.endswith("or the disk of PostgreSQL is full.")


def test_the_eight_of_the_checklist_are_in_their_group_with_their_thresholds() -> None:
    groups = yaml.safe_load((PROMETHEUS / "pancake.rules.yml").read_text())["groups"]
    (group,) = [group for group in groups if group["name"] == "pancake_crm_integration"]
    found = {rule["alert"]: rule for rule in group["rules"]}
    assert found.keys() >= CHECKLIST.keys()
    for name, expected in CHECKLIST.items():
        rule = found[name]
        series = {selector.name for selector in selectors(rule["expr"])}
        assert (rule.get("for", "0m"), thresholds(rule["expr"]), series) == expected, name
        assert rule["labels"] == {"team": "pancake", "severity": "critical"}, name


BURN_RATES = {
    "PancakeBurnFast": (14.4, ("1h", "5m"), "critical"),
    "PancakeBurnSteady": (6, ("6h", "30m"), "critical"),
    "PancakeBurnSlow": (3, ("1d", "2h"), "warning"),
    "PancakeBurnCreeping": (1, ("3d", "6h"), "warning"),
}
LEAST = {"PancakeBurnCreeping": "> 10"}
"""How much must have failed, if not three leads: more attempts than two leads have."""


def test_a_burn_rate_is_a_multiple_of_what_the_success_rate_allows(subtests: pytest.Subtests) -> None:
    rules = {rule["alert"]: rule for rule in ALERTS}
    for name, (factor, windows, severity) in BURN_RATES.items():
        with subtests.test(name=name, factor=factor):
            rule = rules[name]
            burnt = f"> {factor * (1 - 0.995):g}"
            assert thresholds(rule["expr"]) == [burnt, burnt, LEAST.get(name, ">= 3")]
            series = {selector.name for selector in selectors(rule["expr"])} - {
                "pancake_events_total",
                "pancake_kpi_deliveries",
            }
            assert series == {f"pancake:failed_attempts:ratio_rate{window}" for window in windows}
            assert rule["labels"]["severity"] == severity


@pytest.mark.parametrize("name", FILES)
def test_an_alert_has_cases_just_before_and_at_its_time_and_one_where_it_is_silent(
    name: str, subtests: pytest.Subtests
) -> None:
    """The series of a case are of metrics that exist, with their labels."""
    found = cases(name)
    assert set(found) == {rule["alert"] for rule in alerts(name)}
    for alert, kinds in found.items():
        with subtests.test(alert):
            series = {each for listed in kinds.values() for case in listed for each in case["series"]}
            assert [each for each in series if lacks(each)] == []
            assert alert in NO_THRESHOLD or kinds["silent"]
            for case in kinds["fires"] if alert not in NO_THRESHOLD else ():
                step = minutes(case.get("step", "1m"))
                assert minutes(case["at"]) - minutes(case["before"]) == step


@needs_monitoring
@pytest.mark.parametrize("name", FILES)
def test_the_cases_pass_in_promtool(name: str, tmp_path: Path) -> None:
    done = run_promtool(write_promtool_tests(name, tmp_path))
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


@pytest.mark.slow("it evaluates all cases of all rules six times")
@needs_monitoring
@pytest.mark.parametrize("has_pods", [False, True], ids=["instances", "pods"])
@pytest.mark.parametrize("count", [1, 2, 6])
def test_an_alert_counts_the_same_however_many_processes_are_scraped(
    count: int, has_pods: bool, tmp_path: Path
) -> None:
    """By instance, and through a ServiceMonitor, which adds the pod."""
    shown = partial(shown_by_processes, count=count, has_pods=has_pods)
    done = run_promtool(write_promtool_tests("pancake", tmp_path, shown, looks=4))
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


def test_the_expression_of_a_rule_is_without_fault(subtests: pytest.Subtests) -> None:
    """An alert with a misspelt metric would never fire."""
    for rule in [rule for name in FILES for rule in all_rules(name)]:
        has_threshold = "alert" in rule and rule["alert"] not in NO_THRESHOLD
        with subtests.test(rule.get("alert") or rule["record"]):
            assert faults(rule["expr"], has_threshold=has_threshold) == []


def test_each_recorded_series_is_read_by_an_alert_whose_cases_test_it() -> None:
    read = [rule["record"] for alert in alerts() for rule in recordings(alert)]
    assert {rule["record"] for rule in recorded()} == set(read)


PER_PROCESS = "pancake_unassigned_tickets is counted once per process"
SWITCH = "max by (switch) (pancake_switch_on)"
BROKEN = {
    SWITCH: "no comparison",
    f"{SWITCH} == bool 1": "no comparison",
    "max(pancake_swich_on) == 1": "pancake_swich_on does not exist",
    'max(pancake_switch_on{swich="x"}) == 1': "pancake_switch_on has no such label or value",
    'pancake_edge_shed_total{queue="spool"} > 0': "pancake_edge_shed_total has no such label or value",
    "max without (instance) (pancake_unassigned_tickets) > 1": PER_PROCESS,
    "max by (pod) (pancake_unassigned_tickets) > 1": PER_PROCESS,
    "sum(pancake_unassigned_tickets) > 1": PER_PROCESS,
    "max(rate(pancake_events_total[5m])) > 1": "pancake_events_total is counted once per process",
    "sum(pancake_events_total) > 1": "pancake_events_total is a counter without rate or increase",
    "max(rate(pancake_unassigned_tickets[5m])) > 1": "pancake_unassigned_tickets is a gauge under rate",
    "sum(rate(pancake_events_total[29s])) > 1": "29 s are shorter than two scrapes",
}


def test_each_fault_of_an_expression_is_found() -> None:
    found = {expr: faults(expr, has_threshold=True) for expr in BROKEN}
    assert found == {expr: [fault] for expr, fault in BROKEN.items()}
    assert faults("sum(rate(")[0].startswith("is not PromQL: ")
    assert lacks('pancake_events_total{swich="x"}')


async def test_every_selector_of_a_rule_finds_a_series_of_the_handlers(cron_harness: CronHarness) -> None:
    """An alert on a status or a window that does not exist would never fire.

    increase() does not see the first event of a series that appears with it: an idle process must have it.
    """
    await cron_harness.scrape("pancake_switch_on")  # waits for the figures of the database
    idle = read_samples((await cron_harness.client.get("/metrics")).text)
    counters = list(selectors_of_rules(HANDLERS, selectors_of_ranges))
    assert len(counters) > 20
    assert without_series(counters, idle) == []
    wanted = list(selectors_of_rules(HANDLERS, selectors))
    assert len(wanted) > 50
    await cron_harness.process_lead()
    unreadable = {"trigger": {"name": "pancake_webhook_event_status_update"}, "event": {}}
    await cron_harness.client.post("/events/process_record", json=unreadable, headers=cron_harness.headers)
    await cron_harness.run("sync_sources")
    await cron_harness.run("reconcile_daily")
    await cron_harness.scrape("pancake_unassigned_tickets")
    assert without_series(wanted, read_samples((await cron_harness.client.get("/metrics")).text)) == []


@needs_monitoring
def test_every_alert_reaches_the_receivers_of_its_severity() -> None:
    assert "SUCCESS" in run("amtool", "check-config", ALERTMANAGER).stdout
    for rule in ALERTS:
        labels = {"alertname": rule["alert"], **rule["labels"]}
        run(
            "amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER}",
            f"--verify.receivers={RECEIVERS[rule['labels']['severity']]}",
            *(f"{key}={value}" for key, value in labels.items()),
        )  # fmt: skip


def test_the_configuration_of_alertmanager_holds_no_secret_and_silences_no_alert_by_itself() -> None:
    config = yaml.safe_load(ALERTMANAGER.read_text())
    for receiver in config["receivers"]:
        for kind, listed in receiver.items():
            for settings in listed if kind.endswith("_configs") else []:
                assert any(name.endswith("_file") for name in settings), receiver["name"]
                assert not {"routing_key", "api_url", "url"} & set(settings), receiver["name"]
    for rule in config["inhibit_rules"]:
        sources, targets = (
            set(re.findall(r"Pancake\w+", " ".join(rule[f"{part}_matchers"])))
            for part in ("source", "target")
        )
        assert sources, rule
        assert targets, rule
        assert (sources | targets) <= {alert["alert"] for alert in ALERTS}
        # An alert may silence itself for other crons.
        assert not sources & targets or rule["source_matchers"][-1].startswith("name="), rule


@needs_monitoring
def test_prometheus_loads_every_rule_file_and_the_jobs_that_the_rules_name() -> None:
    path = PROMETHEUS / "prometheus.yml"
    assert "SUCCESS" in run("promtool", "check", "config", path).stdout
    loaded = yaml.safe_load(path.read_text())
    assert loaded["rule_files"] == [f"{name}.rules.yml" for name in FILES]
    jobs = {job["job_name"] for job in loaded["scrape_configs"]}
    named = {job for rule in ALERTS for job in re.findall(r'job="(\w+)"', rule["expr"])}
    assert named == {"pancake_handlers", "pancake_edge"}
    assert named <= jobs


# The dashboard of Grafana

_, SECTIONS = read_dashboard()
PANELS = [drawn for section in SECTIONS for drawn in section.panels]
TARGETS = {
    ("KPI 1", 30.0), ("KPI 2", 1800.0), ("KPI 3", 0.9), ("KPI 3", 0.2), ("KPI 4", 0.995),
    ("KPI 5", 1.0), ("KPI 5", 5.0),
}  # fmt: skip
"""Of the go-live checklist, in seconds and shares; zero-miss is broken from 1 on."""
COMPARISON = re.compile(r"(>=|<=|==|>|<)(?: on \([^)]*\) group_left \(\))? \(?([\d.]+)")
WHOLE = {(">", "0"): (">=", "1"), ("==", "0"): ("<", "1")}
"""Of whole numbers."""
RANGES = {"$__rate_interval": "1m", "$__interval": "1m", "$__range": "1d"}
"""The shortest that Grafana fills in: __rate_interval is at least four scrapes."""


def test_the_targets_of_the_checklist_are_drawn() -> None:
    drawn = {
        (section.title[:5], each.panel.limit.value)
        for section in SECTIONS[:5]
        for each in section.panels
        if each.panel.limit
    }
    assert drawn == TARGETS


def test_a_limit_has_the_value_of_its_alert_on_the_same_figure(subtests: pytest.Subtests) -> None:
    """A panel links the runbook of the alert that has its limit."""
    expressions = {rule["alert"]: rule["expr"] for rule in ALERTS}
    linked = [(drawn, drawn.panel.limit, alert) for drawn in PANELS for alert in drawn.alerts]
    assert len(linked) > 15
    for drawn, limit, alert in linked:
        with subtests.test(drawn.panel.title):
            assert limit is not None
            expr = expressions[alert]
            compared = [WHOLE.get(each, each) for each in COMPARISON.findall(expr)]
            sides = {(sign in (">", ">="), float(value)) for sign, value in compared}
            assert (limit.is_upper, limit.value) in sides
            figures = {name for query in drawn.queries.values() for name in re.findall(r"pancake_\w+", query)}
            assert figures & set(re.findall(r"pancake_\w+", expr)), figures
    unlinked = [
        d.panel.title for d in PANELS if d.panel.limit and "alert" in d.panel.limit.label and not d.alerts
    ]
    assert unlinked == []


AGGREGATION = re.compile(r"\b(?:sum|max|min|count)(?: by \(([\w, ]+)\))? ?\(")
"""The outermost one of a query, with the labels that it keeps."""
OF_FIGURE = re.compile(r"\bmax(?: by \(([\w, ]+)\))? ?\((pancake_\w+)")
"""A figure of the database, whose labels have to be kept."""
LABELS = {series.name: {*series.labels} for series in SERIES}


def test_the_query_of_every_panel_is_without_fault_and_keeps_the_labels_of_its_legend() -> None:
    """As Grafana sends it: with ranges, and any value for its own variables."""
    queries = [each for drawn in PANELS for each in drawn.queries.items()]
    assert len(queries) > 30
    for legend, query in queries:
        filled_in = query
        for variable, duration in RANGES.items():
            filled_in = filled_in.replace(variable, duration)
        assert faults(re.sub(r"\$\{?\w+(?::\w+)?\}?", ".*", filled_in)) == [], query
        if found := AGGREGATION.search(query):
            assert {*LABEL.findall(legend)} <= {*(found[1] or "").split(", ")}, query
        for kept, name in OF_FIGURE.findall(query):
            assert name not in LABELS or {*filter(None, kept.split(", "))} == LABELS[name], query


def test_grafana_is_given_the_datasource_and_the_folder_of_the_dashboard() -> None:
    provisioned = GRAFANA / "provisioning"
    (source,) = yaml.safe_load((provisioned / "datasources" / "prometheus.yaml").read_text())["datasources"]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    scrape = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["global"]
    assert source["jsonData"]["timeInterval"] == scrape["scrape_interval"]
    (provider,) = yaml.safe_load((provisioned / "dashboards" / "pancake.yaml").read_text())["providers"]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
    assert provider["allowUiUpdates"] is False
