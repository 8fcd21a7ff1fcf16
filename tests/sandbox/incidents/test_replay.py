"""Incidents and clean weeks, replayed into a real Prometheus, raise exactly the alerts of docs/alerts.md.

The default suite replays some of them, `scripts/test --full` all, and two clean weeks. After a change of
the rules: TEST_FULL=1 WRITE_DOCS=1 scripts/test FILE, and read the difference.
"""

import os
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from leads.adapters.metrics import Metrics
from sandbox.incidents.catalogue import INCIDENTS
from sandbox.incidents.replay.conditions import Conditions
from sandbox.incidents.replay.evaluation import replay
from sandbox.incidents.replay.recording import Recording, Scenario
from sandbox.incidents.replay.scenarios import FEW_LEADS_PER_HOUR, clean, incident
from tests.support.alerts import FILES, all_rules, recorded
from tests.support.monitoring import needs_monitoring
from tests.support.promql import selectors
from tests.support.replay import HEAD_OF_FEW, Raised, documented, evaluate, write
from tests.support.suites import IS_FULL

SHORT = ("metadata_wiped", "pancake_rest_down", "kill_switch_left_on")
"""A loss with much that follows from it, an alert with a limit of time, and a state of a day."""
SHORT_CLEAN_MINUTES = 360
HISTOGRAM_ENDINGS = ("_bucket", "_count", "_sum")


@pytest.fixture(scope="module")
def raised(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Raised]:
    """What the replayed times raise."""
    names = INCIDENTS if IS_FULL else SHORT
    short_clean = [] if IS_FULL else [clean(5, SHORT_CLEAN_MINUTES)]
    return evaluate([*map(incident, names), *short_clean], tmp_path_factory.mktemp("replay"))


@needs_monitoring
@pytest.mark.parametrize("name", INCIDENTS if IS_FULL else SHORT)
def test_an_incident_raises_exactly_its_alerts(raised: dict[str, Raised], name: str) -> None:
    assert raised[name].sent == INCIDENTS[name].sent
    assert raised[name].has_watchdog


@needs_monitoring
def test_the_table_of_the_docs_is_what_the_replay_raises(raised: dict[str, Raised]) -> None:
    if IS_FULL and os.environ.get("WRITE_DOCS"):
        write(raised)
    rows = documented()
    assert list(rows) == [each.title for each in INCIDENTS.values()]
    for name, each in INCIDENTS.items():
        assert rows[each.title].sent == each.sent
        if name in raised:
            assert rows[each.title] == raised[name]


@needs_monitoring
@pytest.mark.full("twelve more incidents")
def test_the_second_table_is_what_the_replay_raises_at_five_leads_an_hour(tmp_path: Path) -> None:
    raised = evaluate([incident(name, FEW_LEADS_PER_HOUR) for name in INCIDENTS], tmp_path)
    if os.environ.get("WRITE_DOCS"):
        write(raised, HEAD_OF_FEW)
    assert {INCIDENTS[name].title: found for name, found in raised.items()} == documented(HEAD_OF_FEW)


def test_at_five_leads_an_hour_every_incident_is_noticed_by_alerts_of_its_own() -> None:
    rows, few = documented(), documented(HEAD_OF_FEW)
    assert list(few) == list(rows)
    for title, raised in few.items():
        assert raised.sent, title
        # Of the last 20 leads: with many, they are soon those after the incident.
        late = {name for name in raised.sent if name.endswith("SlowLast20")}
        assert raised.sent - late <= rows[title].sent, title


@needs_monitoring
@pytest.mark.skipif(IS_FULL, reason="the weeks are replayed instead")
def test_clean_hours_raise_none_but_the_watchdog(raised: dict[str, Raised]) -> None:
    (hours,) = [found for name, found in raised.items() if name.startswith("clean")]
    assert hours == Raised(frozenset(), frozenset(), has_watchdog=True)


@needs_monitoring
@pytest.mark.full("two weeks of samples")
@pytest.mark.parametrize("leads_per_hour", [5, 50 * 3600])
def test_a_clean_week_raises_none_but_the_watchdog(leads_per_hour: float, tmp_path: Path) -> None:
    (week,) = evaluate([clean(leads_per_hour)], tmp_path).values()
    assert week == Raised(frozenset(), frozenset(), has_watchdog=True)


@needs_monitoring
def test_a_rule_that_reads_a_recorded_series_is_recorded_too(tmp_path: Path) -> None:
    scenario = clean(60, 200)
    with replay([Recording(scenario)], tmp_path) as replayed:
        for name in ("pancake:counted:increase1h", "pancake_metric_drift"):
            assert replayed.has_samples(name, scenario), name


def test_the_same_seed_writes_the_same_text_and_another_seed_another(tmp_path: Path) -> None:
    texts = []
    for number, seed in enumerate((1, 1, 2)):
        Recording(clean(60, 30, seed)).write(tmp_path / str(number))
        texts.append((tmp_path / str(number)).read_text())
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]
    assert texts[0].endswith("# EOF\n")


def test_the_recorded_series_are_those_that_the_product_exposes_and_the_rules_read() -> None:
    """A series that is misspelt here would keep an alert silent, and the replay would not show it."""
    written = {name for name, _ in _an_hour().series}
    rules = [rule for name in FILES for rule in all_rules(name)]
    read = {selector.name for rule in rules for selector in selectors(rule["expr"])}
    assert read <= written | {rule["record"] for rule in recorded()}
    exposed = _exposed() | _exposed_by_the_edge()
    assert {name for name in written if name.startswith("pancake_")} <= exposed


def test_figures_of_the_database_have_the_labels_that_the_handlers_give_them() -> None:
    families = {family.name: set(family.labels) for family in Metrics().sql_series.families}
    for name, labels in _an_hour().series:
        if name in families:
            assert set(re.findall(r"(\w+)=", labels)) == families[name] | {"job", "instance"}, name


def _an_hour() -> Recording:
    start = datetime(2026, 1, 5, tzinfo=UTC)
    return Recording(Scenario("an hour", start, 60, 60, lambda minute: Conditions()))


def _exposed() -> set[str]:
    metrics = Metrics()
    text = metrics.exposition().decode() + "".join(
        f"# TYPE {family.name} gauge\n" for family in metrics.sql_series.families
    )
    types = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    histograms = {
        f"{name}{ending}"
        for name, kind in types.items()
        if kind == "histogram"
        for ending in HISTOGRAM_ENDINGS
    }
    return set(types) | histograms


def _exposed_by_the_edge() -> set[str]:
    lua = Path(__file__).parents[3] / "deploy/nginx/lua/pancake"
    found = {name for path in lua.glob("*.lua") for name in re.findall(r"pancake_\w+", path.read_text())}
    return {f"{name}{ending}" for name in found for ending in ("", *HISTOGRAM_ENDINGS)}
