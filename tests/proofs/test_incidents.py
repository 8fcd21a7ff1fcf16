"""Incidents: how alerts fire, the faster rules of live ones, and what replayed ones raise.

Incidents and clean weeks, replayed into a real Prometheus, raise exactly the alerts of docs/alerts.md. The
slow suite replays some of them, `scripts/test --full` all, and two clean weeks. After a change of the rules:
TEST_FULL=1 WRITE_DOCS=1 pytest FILE, in the environment of .venv, and read the difference. With
INCIDENTS="pancake_down edge_down" only those are replayed, and written.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
import yaml
from typer.testing import CliRunner

from leads.adapters.metrics import Metrics
from leads.services.metrics import SERIES
from proofs.chaos.__main__ import app
from proofs.incidents import ALL, INCIDENTS, LIVE, live, scenes
from proofs.incidents.breakages import BREAKAGES
from proofs.incidents.live import NONE, Outcome
from proofs.incidents.model import Conditions
from proofs.incidents.recording import (
    BEFORE,
    Firing,
    Recording,
    Scenario,
    apply_for,
    arrived,
    clean,
    incident,
    laid_over_a_week,
    messages,
    replay,
    sent,
    weeks,
)
from proofs.incidents.scenes import SCENES, require_scenes
from sandbox.monitoring.observation import compress_expression, compress_prometheus, compress_rules
from sandbox.monitoring.rules import WATCHDOG, Alert, Inhibition, inhibitions, rule_files
from sandbox.monitoring.servers import FIRING, RESOLVED, Inbox, Notification, run_promtool
from sandbox.serving import LoopbackServer
from tests.support.monitoring import FILES, alerts, all_rules, needs_monitoring, recorded
from tests.support.promql import metrics, selectors
from tests.support.runbook import SITE
from tests.support.suites import IS_FULL

PAGE = Path(__file__).parents[2] / "docs" / "alerts.md"
HEAD = "| incident | alerts that are sent | alerts that fire and are silenced |\n|---|---|---|\n"
HEAD_OF_FEW = (
    "| incident at 5 leads an hour | tells of it | after | told | sent too | silenced |\n"
    "|---|---|---|---|---|---|\n"
)
HEAD_OF_WEEKS = "| week | leads | pages | told the channel |\n|---|---|---|---|\n"


@dataclass(frozen=True)
class Raised:
    """The alerts of a time, without the Watchdog."""

    sent: frozenset[str]
    silenced: frozenset[str]
    has_watchdog: bool
    told: tuple[tuple[str, str, int], ...] = field(default=(), compare=False)
    """Each message: alert, severity, minutes since the incident began."""

    @property
    def pages(self) -> list[str]:
        return [name for name, severity, _ in self.told if severity == "critical"]


def evaluate(scenarios: Sequence[Scenario], folder: Path) -> dict[str, Raised]:
    """Return what each scenario raises, by its name."""
    recordings = [Recording(scenario) for scenario in scenarios]
    with replay(recordings, folder) as loaded:
        return {scenario.name: _raised(loaded.firings(scenario), scenario) for scenario in scenarios}


def _raised(firings: Sequence[Firing], scenario: Scenario) -> Raised:
    names, reached = {firing.name for firing in firings}, sent(firings, inhibitions())
    begun_at = scenario.start.timestamp() + BEFORE * 60
    told = tuple(
        (firing.name, dict(firing.labels)["severity"], round((at - begun_at) / 60))
        for firing, at in messages(firings, inhibitions())
        if firing.name != WATCHDOG
    )
    return Raised(frozenset(reached - {WATCHDOG}), frozenset(names - reached), WATCHDOG in reached, told)


def rows_of(found: Mapping[str, Raised]) -> Iterator[str]:
    for name, raised in found.items():
        yield f"| {ALL[name].title} | {_listed(raised.sent)} | {_listed(raised.silenced)} |\n"


def rows_of_few(found: Mapping[str, Raised]) -> Iterator[str]:
    """One row for each incident: the alert that tells of it, its page, how soon, who is told."""
    urls = {rule["alert"]: rule["annotations"]["runbook_url"].removeprefix(SITE) for rule in alerts()}
    for name, raised in found.items():
        each, alert = ALL[name], ALL[name].first
        minutes = min((after for name, _, after in raised.told if name == alert), default=None)
        page = urls[alert].replace("#", ".md#")
        receiver = "pager" if each.page else "channel"
        others = f"{_listed(raised.sent - {alert})} | {_listed(raised.silenced)}"
        yield f"| {each.title} | [{alert}]({page}) | {minutes} min | {receiver} | {others} |\n"


def rows_of_weeks(week: str, leads: int, raised: Raised) -> Iterator[str]:
    channel = ", ".join(f"{name} ({count})" for name, count in sorted(Counter(
        name for name, severity, _ in raised.told if severity == "warning"
    ).items()))  # fmt: skip
    yield f"| {week} | {leads:,} | {len(raised.pages)} | {channel or 'none'} |\n"


def write(rows: Iterable[str], head: str = HEAD) -> None:
    """Put rows into the table with this head, each in place of the one with its title."""
    titles = [f"| {each.title}" for each in ALL.values()]
    found = {row.split(" |")[0]: row for row in (*table(head).splitlines(keepends=True), *rows)}
    ordered = sorted(found, key=lambda title: (titles.index(title) if title in titles else 0, title))
    before, _, rest = PAGE.read_text().partition(head)
    text = "".join(found[title] for title in ordered)
    PAGE.write_text(before + head + text + "\n" + rest.partition("\n\n")[2])


def table(head: str) -> str:
    """Return the rows of the table of the page with this head."""
    return PAGE.read_text().partition(head)[2].partition("\n\n")[0] + "\n"


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "none"


STEPS = [float(time) for time in range(0, 600, 60)]


def alert(for_seconds: float, keep_seconds: float = 0.0) -> Alert:
    return Alert("Example", "vector(1)", for_seconds, keep_seconds, "warning")


def firing(*times: float, **labels: str) -> Firing:
    return Firing(tuple(sorted(labels.items())), times)


@pytest.mark.parametrize(
    ("times", "rule", "fires"),
    [
        ([0, 60, 120, 180], alert(120), [120, 180]),
        ([0, 60, 180, 240, 300], alert(120), [300]),
        ([0, 60], alert(0), [0, 60]),
        ([0, 60], alert(120), []),
        ([0, 60], alert(60, 120), [60, 120]),
        ([0, 60, 120, 240], alert(120, 180), [120, 180, 240, 300, 360]),
        ([60], alert(60, 300), []),
    ],
)
def test_an_alert_fires_when_its_expression_held_for_its_time(
    times: list[float], rule: Alert, fires: list[float]
) -> None:
    assert list(apply_for(times, rule, STEPS)) == fires


def test_only_what_is_silenced_at_every_time_is_not_sent() -> None:
    rule = Inhibition((("alertname", "Outage"),), (("alertname", "Slow|Late"),), ("connection",))
    outage = firing(60, 120, 180, alertname="Outage", connection="c")
    assert sent([outage, firing(120, 180, alertname="Slow", connection="c")], [rule]) == {"Outage"}
    for name, connection, times in (
        ("Slow", "other", (120,)),
        ("Slow", "c", (180, 240)),
        ("Slower", "c", (120,)),
    ):
        other = firing(*times, alertname=name, connection=connection)
        assert sent([outage, other], [rule]) == {"Outage", name}


def test_a_group_is_one_message_and_another_when_it_comes_back() -> None:
    outage, other = (
        firing(60, 120, alertname="PancakeOutageActive", connection=name, severity="critical")
        for name in ("c", "d")
    )
    missed = firing(
        420, 780, alertname="PancakeCronMissed", name="poll_records", severity="critical"
    )  # after five minutes, and after six
    found = messages([other, outage, missed], [])
    assert [(each.name, time) for each, time in found] == [
        ("PancakeOutageActive", 60), ("PancakeCronMissed", 780),
    ]  # fmt: skip
    alone = firing(420, alertname="PancakeCronMissed", name="check_sla", severity="critical")
    assert [each.name for each, _ in messages([outage, alone], [])] == [outage.name, alone.name]


def test_ranges_and_limits_are_divided_and_hours_of_the_database_are_not(subtests: pytest.Subtests) -> None:
    for expression, faster in (
        ("increase(x[10m]) >= 3", "increase(x[20000ms]) >= 3"),
        ("time() - max(x > 0) > 600", "time() - max(x > 0) > 20"),
        ("x > 5000", "x > 5000"),
        ("max(pancake_recent_x offset 1h) == 0", "max(pancake_recent_x offset 120000ms) == 0"),
        ("time() - x > 2 * period + 60", "time() - x > 2 * period + 60"),
        ("increase(x[1h]) - sum(pancake_recent_events)", "increase(x[1h]) - sum(pancake_recent_events)"),
    ):
        with subtests.test(expression=expression, faster=faster):
            assert compress_expression(expression, 30) == faster


@needs_monitoring
def test_prometheus_accepts_the_faster_rules(tmp_path: Path) -> None:
    jobs = ("pancake_handlers", "pancake_edge", "prometheus", "alertmanager")
    targets = {job: f"127.0.0.1:{number}" for number, job in enumerate(jobs, 1)}
    for name, document in compress_rules(30).items():
        (tmp_path / name).write_text(yaml.safe_dump(document))
    config = tmp_path / "prometheus.yml"
    config.write_text(yaml.safe_dump(compress_prometheus(30, targets, "127.0.0.1:4")))
    assert "SUCCESS" in run_promtool("check", "config", config)


def test_every_alert_is_kept_with_its_labels_and_a_shorter_time() -> None:
    faster = compress_rules(30)
    old = rules_of(yaml.safe_load(path.read_text()) for path in rule_files())
    new = rules_of(faster[path.name] for path in rule_files())
    for before, after in zip(old, new, strict=True):
        for name in ("alert", "record", "labels"):
            assert after.get(name) == before.get(name)
        assert ("for" in before) == ("for" in after)
    written = {rule.get("alert", ""): rule for rule in new}
    down, stuck = written["PancakeHandlersDown"], written["PancakeEdgeSpoolStuck"]
    assert (down["for"], down["keep_firing_for"], stuck["for"]) == ("4000ms", "20000ms", "15m")
    # These are compared with the rows of an hour, which no factor shortens.
    counted = [rule["expr"] for rule in new if rule.get("record") == "pancake:counted:increase1h"]
    assert counted
    assert all("[1h]" in expression for expression in counted)
    assert "offset 1h" in written["PancakeMetricDrift"]["expr"]


def rules_of(documents: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [rule for document in documents for group in document["groups"] for rule in group["rules"]]


LOCKED = frozenset({"PancakeEngineEventsLocked"})
WELL = Outcome(
    "stuck_lock", 61.23, 30, sent=LOCKED, expected=LOCKED, has_heartbeat=True, first_seconds=12.3
)  # fmt: skip


def test_every_incident_can_be_made_and_an_unknown_one_is_refused() -> None:
    assert SCENES.keys() == LIVE.keys()
    for each in (breakage for breakage in BREAKAGES if breakage.incident):
        assert LIVE[each.incident].live & {f"Pancake{alert}" for alert in each.alerts.split()}, each.name
    result = CliRunner().invoke(app, ["incidents", "--only", "flood"])
    assert result.exit_code == 2
    assert "unknown incident flood" in result.output


def test_an_incident_whose_program_is_not_installed_is_refused_before_any_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scenes, "FAKETIME", None)
    require_scenes(["stuck_lock", "certificate_ends"])
    with pytest.raises(typer.Exit):
        require_scenes(LIVE)
    assert "apt-get install libfaketime" in capsys.readouterr().err


def test_the_table_of_live_incidents_is_made_of_their_outcomes() -> None:
    page = live.PAGE.read_text()
    row = f"| {ALL['stuck_lock'].title} | PancakeEngineEventsLocked | 0 | none | 12 s | 61 |"
    assert f"\n{row} " in live.recorded(page, WELL)
    assert live.recorded(live.recorded(page, WELL), WELL).count(row) == 1
    table = page.partition(live.HEAD)[2].partition("\n\n")[0]
    rows = dict(re.findall(r"^\| (.+?) \| (.+?) \|", table, re.M))
    assert {title: _listed(each.live) for each in LIVE.values() if (title := each.title) in rows} == rows


def test_handlers_that_end_again_and_again_page_once() -> None:
    restart = firing(60, 120, 180, 240, alertname="PancakeHandlersRestart", job="pancake_handlers")
    down = firing(180, 240, alertname="PancakeHandlersDown", job="pancake_handlers")
    assert sent([restart, down], inhibitions()) == {"PancakeHandlersRestart"}


def test_exactly_the_expected_alerts_are_ok_and_any_other_is_named() -> None:
    shown = WELL.as_json()
    assert (WELL.is_ok, shown["ok"], shown["sent"]) == (True, True, ["PancakeEngineEventsLocked"])
    assert shown["factor"] == 30
    assert not any(shown[problem] for problem in (*WELL.problems, "error"))
    assert not replace(WELL, has_heartbeat=False).is_ok, "without the heartbeat silence is no proof"
    for outcome, problem in (
        (replace(WELL, sent=NONE), "missing"),
        (replace(WELL, expected=NONE), "unexpected"),
        (replace(WELL, early=WELL.sent), "early"),
        (replace(WELL, again=WELL.sent), "again"),
        (replace(WELL, unresolved=WELL.sent), "unresolved"),
    ):
        assert not outcome.is_ok, problem
        assert outcome.as_json()[problem] == ["PancakeEngineEventsLocked"]
    not_made = Outcome("stuck_lock", 3, 10, error="TimeoutError: no events")
    assert (not_made.is_ok, not_made.as_json()["error"]) == (False, "TimeoutError: no events")


def test_an_inbox_knows_what_fires_and_what_was_sent() -> None:
    inbox = Inbox()
    for status in (FIRING, RESOLVED):
        inbox.add(Notification("pager", status, {"alertname": "Late"}))
        inbox.add(Notification("pager", FIRING, {"alertname": "Slow", "name": status}))
    inbox.add(Notification("pager", RESOLVED, {"alertname": "Slow", "name": FIRING}))
    assert inbox.sent() == {"Late", "Slow"}
    assert inbox.firing() == {"Slow"}
    assert inbox.fired_again() == set()
    for status in (FIRING, FIRING, RESOLVED):  # a message to a group repeats what still fires
        inbox.add(Notification("pager", status, {"alertname": "Late"}))
    assert inbox.fired_again() == {"Late"}


def test_a_page_shows_what_is_wrong_and_the_page_of_the_runbook() -> None:
    shown: list[str] = []
    annotations = {
        "summary": "Leads wait [late]",
        "runbook_url": "https://docs/runbook#late",
        "description": "x",
    }
    firing = {"status": FIRING, "labels": {"alertname": "Late"}, "annotations": annotations}
    with LoopbackServer(Inbox(lambda each: shown.append(str(each))).application()) as receiver:
        for alert in (firing, {**firing, "status": RESOLVED}):
            httpx.post(f"{receiver.url}/pager", json={"alerts": [alert]}).raise_for_status()
    assert shown == [
        "FIRING Late -> pager\n  Leads wait [late]\n  https://docs/runbook#late", "RESOLVED Late -> pager",
    ]  # fmt: skip


SHORT = ("metadata_wiped", "pancake_rest_down", "kill_switch_left_on")
"""A loss with much that follows from it, an alert with a limit of time, and a state of a day."""
SHORT_OF_WEEK = ("pancake_down", "pancake_rest_down", "dead_letters")
"""Those of which another rule pages first if a condition of theirs is lost."""
SHORT_CLEAN_MINUTES = 360


def chosen(all_of_them: Iterable[str], short: Iterable[str]) -> list[str]:
    """Return those that the variable names, else all in the full suite."""
    named = os.environ.get("INCIDENTS", "").split()
    return [name for name in all_of_them if name in (named or (all_of_them if IS_FULL else short))]


@needs_monitoring
@pytest.mark.slow("it replays days")
def test_an_incident_raises_exactly_its_alerts(subtests: pytest.Subtests, tmp_path: Path) -> None:
    names = chosen(INCIDENTS, SHORT)
    hours = clean(5, SHORT_CLEAN_MINUTES)
    raised = evaluate([*map(incident, names), hours], tmp_path)
    of_hours = raised.pop(hours.name)
    rows = list(rows_of(raised))
    if os.environ.get("WRITE_DOCS"):
        write(rows)
    for name, row in zip(names, rows, strict=True):
        with subtests.test(name):
            assert raised[name].sent == INCIDENTS[name].sent
            assert raised[name].has_watchdog
            assert row in table(HEAD)
    assert of_hours == Raised(frozenset(), frozenset(), has_watchdog=True)


@needs_monitoring
@pytest.mark.slow("it replays days")
def test_laid_over_a_week_each_incident_is_told_once_by_its_alert(
    subtests: pytest.Subtests, tmp_path: Path
) -> None:
    """With 5 leads an hour, bad input, a deployment just before, and a dead letter on a quiet Sunday."""
    names = chosen(ALL, SHORT_OF_WEEK)
    raised = evaluate([laid_over_a_week(name) for name in names], tmp_path)
    rows = list(rows_of_few(raised))
    if os.environ.get("WRITE_DOCS"):
        write(rows, HEAD_OF_FEW)
    for name, row in zip(names, rows, strict=True):
        with subtests.test(name):
            assert raised[name].pages == [ALL[name].first] * bool(ALL[name].page)
            assert ALL[name].first in raised[name].sent
            assert row in table(HEAD_OF_FEW)


def test_the_tables_name_every_incident_with_what_tells_of_it() -> None:
    rows = re.findall(r"^\| (.+) \| (.*) \| .* \|$", table(HEAD), re.M)
    assert dict(rows) == {each.title: _listed(each.sent) for each in INCIDENTS.values()}
    few = re.findall(r"^\| (.+?) \| \[(\w+)\].*? \| (pager|channel) \|", table(HEAD_OF_FEW), re.M)
    assert few == [
        (each.title, each.first, "pager" if each.page else "channel") for each in ALL.values()
    ]  # fmt: skip


@needs_monitoring
@pytest.mark.full("four weeks of samples")
@pytest.mark.parametrize("scenario", weeks(), ids=lambda week: week.name)
def test_a_week_in_which_nothing_breaks_pages_zero_times(scenario: Scenario, tmp_path: Path) -> None:
    """With 5 leads an hour, bad input, deployments, a dead letter on a Sunday, a flood, and Tết."""
    (raised,) = evaluate([scenario], tmp_path).values()
    row = "".join(rows_of_weeks(scenario.name, arrived(scenario), raised))
    if os.environ.get("WRITE_DOCS"):
        write([row], HEAD_OF_WEEKS)
    assert raised.pages == []
    assert raised.has_watchdog
    assert row in table(HEAD_OF_WEEKS)


@needs_monitoring
@pytest.mark.full("two weeks of samples")
@pytest.mark.parametrize("leads_per_hour", [5, 50 * 3600])
def test_a_clean_week_raises_none_but_the_watchdog(leads_per_hour: float, tmp_path: Path) -> None:
    (week,) = evaluate([clean(leads_per_hour)], tmp_path).values()
    assert week == Raised(frozenset(), frozenset(), has_watchdog=True)


@needs_monitoring
@pytest.mark.slow("it replays three hours")
def test_a_rule_that_reads_a_recorded_series_is_recorded_too(tmp_path: Path) -> None:
    scenario = clean(60, 200)
    with replay([Recording(scenario)], tmp_path) as replayed:
        for name in ("pancake:counted:increase1h", "pancake_metric_drift"):
            assert replayed.has_samples(name, scenario), name


def test_the_recorded_series_are_those_that_the_product_exposes_and_the_rules_read() -> None:
    """A series that is misspelt here would keep an alert silent, and the replay would not show it."""
    start = datetime(2026, 1, 5, tzinfo=UTC)
    hour = Recording(Scenario("an hour", start, 60, 60, lambda minute: Conditions()))
    written = {name for name, _ in hour.series}
    read = {
        selector.name for name in FILES for rule in all_rules(name) for selector in selectors(rule["expr"])
    }
    assert read <= written | {rule["record"] for rule in recorded()}
    assert {name for name in written if name.startswith("pancake_")} <= metrics().keys()
    families = {family.name: set(family.labels) for family in Metrics(SERIES).sql_series.families}
    for name, labels in hour.series:
        if name in families:
            assert set(re.findall(r"(\w+)=", labels)) == families[name] | {"job", "instance"}, name
