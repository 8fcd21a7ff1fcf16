"""The alerts: each has a runbook, and cases that pass in promtool. Their expressions: test_promql.py."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.alerts import (
    FILES,
    PROMETHEUS,
    ROOT,
    alerts,
    cases,
    minutes,
    write_promtool_tests,
)
from tests.support.monitoring import needs_monitoring
from tests.support.promql import selectors, thresholds
from tests.support.runbook import blocks_without_output, has_blocks, parts, sections

URL = re.compile(r"https://docs\.diva\.com\.vn/runbook/([\w-]+)#(\w+)")
PARTS = ("**Meaning**", "**Impact**", "**Diagnosis**", "**Mitigation**")
CONCERNED = re.compile(r"\b(customer|lead|ticket|telesale|owner|manager|admin)s?\b")
OTHER_SECTION = re.compile(r"\]\((?:([\w-]+)\.md)?#(pancake\w+)\)")
CHECKLIST = {
    "PancakeSuccessRateLow": ("10m", ["< 0.995"], {"pancake_kpi_success_ratio"}),
    "PancakeOutageActive": ("5m", ["== 1"], {"pancake_connection_status"}),
    # In an hour; of a day, 1 %.
    "PancakeDlqCountHigh": ("5m", ["> 100", ">= 0.01"], {"pancake_recent_events", "pancake_kpi_deliveries"}),
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
    assert match[2] == rule["alert"].lower()
    section = sections(match[1])[rule["alert"]]
    found = [section.find(part) for part in PARTS]
    assert -1 < found[0] < found[1] < found[2] < found[3]
    mitigation = " ".join(section[found[3] :].split())
    # Who is told within which time is a table of docs/alerts.md, by tier.
    assert re.match(r"\*\*Mitigation\*\* \(tier [1-4]", mitigation)
    assert re.search(r"[Ii]t is over ", mitigation)


def diagnosis_of(page: str, alert: str) -> str:
    by_anchor = {heading.lower(): section for heading, section in sections(page).items()}
    return parts(by_anchor[alert.lower()])["diagnosis"]


def lack_of_diagnosis(page: str, diagnosis: str) -> str | None:
    """What a person misses who has to find the cause; None if nothing."""
    if without := blocks_without_output(diagnosis):
        return f"no expected output: {without[0]}"
    linked = (diagnosis_of(link[1] or page, link[2]) for link in OTHER_SECTION.finditer(diagnosis))
    if has_blocks(diagnosis) or any(has_blocks(each) for each in linked):
        return None
    return "no command, statement or query, and no section that has one"


@pytest.mark.parametrize("rule", ALERTS, ids=IDS)
def test_a_runbook_has_what_to_type_with_its_output_and_says_whom_it_concerns(rule: dict[str, Any]) -> None:
    match = URL.fullmatch(rule["annotations"]["runbook_url"])
    assert match
    section = sections(match[1])[rule["alert"]]
    assert lack_of_diagnosis(match[1], parts(section)["diagnosis"]) is None
    assert CONCERNED.search(parts(section)["impact"])


@pytest.mark.parametrize(
    ("diagnosis", "lack"),
    [
        ("look into its log.", "no command"),
        ("`leads status` names it.", "no command"),
        ("the page [alerts](../alerts.md#who-is-told).", "no command"),
        ("who?\n```\n$ leads status\n```\nLook at it.", "no expected output"),
        ("who?\n```promql\nup\n```\n", "no expected output"),
        ("who?\n```sql\nSELECT 1;\n```\n", "no expected output"),
        ("who?\n```promql\nup\n```\nExpected: 0.", None),
        ("who?\n```\n$ leads status\nRED\n```\n", None),
        ("as [there](leads-late-or-failed.md#pancakedeadletters).", None),
    ],
)
def test_a_diagnosis_without_a_command_or_its_output_is_found(diagnosis: str, lack: str | None) -> None:
    found = lack_of_diagnosis("edge", diagnosis)
    assert found is None if lack is None else found and found.startswith(lack)


def test_the_page_says_who_is_told_within_which_time() -> None:
    page = (ROOT / "docs" / "alerts.md").read_text()
    rows = re.findall(r"^\| (\d) \|.*\| (\d+) min \|$", page, re.M)
    assert rows == [("1", "5"), ("2", "15"), ("3", "30"), ("4", "15")]


def test_no_two_sections_are_the_same() -> None:
    texts = []
    for path in (ROOT / "docs" / "runbook").glob("*.md"):
        for section in re.split(r"^## ", path.read_text(), flags=re.M)[1:]:
            texts += [part for part in section.split("\n\n") if len(part) > 200]
    assert len(set(texts)) == len(texts)


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


@pytest.mark.parametrize(
    ("name", "factor", "windows", "severity"),
    [
        ("PancakeBurnFast", 14.4, ("1h", "5m"), "critical"),
        ("PancakeBurnSteady", 6, ("6h", "30m"), "critical"),
        ("PancakeBurnSlow", 3, ("1d", "2h"), "warning"),
        ("PancakeBurnCreeping", 1, ("3d", "6h"), "warning"),
    ],
)
def test_a_burn_rate_is_a_multiple_of_what_the_success_rate_allows(
    name: str, factor: float, windows: tuple[str, str], severity: str
) -> None:
    (rule,) = [rule for rule in ALERTS if rule["alert"] == name]
    burnt = f"> {factor * (1 - 0.995):g}"
    assert thresholds(rule["expr"]) == [burnt, burnt, ">= 3"]
    series = {selector.name for selector in selectors(rule["expr"])} - {"pancake_events_total"}
    assert series == {f"pancake:failed_attempts:ratio_rate{window}" for window in windows}
    assert rule["labels"]["severity"] == severity


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
            step = minutes(case.get("step", "1m"))
            assert minutes(case["at"]) - minutes(case["before"]) == step, alert


@needs_monitoring
@pytest.mark.parametrize("name", FILES)
def test_the_cases_pass_in_promtool(name: str, tmp_path: Path) -> None:
    written = write_promtool_tests(name, tmp_path)
    done = subprocess.run(
        ["promtool", "test", "rules", *written], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
