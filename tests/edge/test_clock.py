"""The machine's time is set an hour back or forward: durations, rates and the budget do not change."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.edge.fakes import ACCEPTED, Connection
from tests.support.edge.harness import BUDGET_MAX_FAILURES, EdgeHarness
from tests.support.edge.http_server import Answer
from tests.support.waiting import eventually

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
pytestmark = pytest.mark.skipif(
    FAKETIME is None,
    reason="nginx's time is set by libfaketime: apt-get install libfaketime to run these tests",
)
VARIABLES = ("FAKETIME_TIMESTAMP_FILE", "FAKETIME_NO_CACHE", "FAKETIME_DONT_FAKE_MONOTONIC")


class SettableClock:
    """An edge whose time of day can be set, by libfaketime."""

    def __init__(self, harness: EdgeHarness) -> None:
        self.harness = harness
        self._file = harness.edge.directory / "time"
        self.set("+0")
        with (harness.edge.directory / "site" / "main.conf").open("a") as main:
            main.writelines(f"env {name};\n" for name in VARIABLES)
        harness.edge.bring_up()

    def set(self, offset: str) -> None:
        """Shift the time of day by an offset such as "-1h" or "+30m"."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(offset + "\n")
        fresh.chmod(0o644)
        fresh.rename(self._file)


@pytest.fixture
def settable(start_harness: Callable[..., EdgeHarness]) -> Callable[..., SettableClock]:
    """Start an edge: `settable(EDGE_SKIP_SECONDS="1")`."""

    def start(**environment: str) -> SettableClock:
        harness = start_harness(started=False, **environment)
        variables = {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        variables["FAKETIME_TIMESTAMP_FILE"] = str(harness.edge.directory / "time")
        harness.edge.add_environment(variables)
        return SettableClock(harness)

    return start


STEPS = ("-1h", "+1h")


@pytest.mark.parametrize("step", STEPS)
def test_paths_are_used_again_when_they_are_back(settable: Callable[..., SettableClock], step: str) -> None:
    """Skipping and probing take the same time: the spool is drained, live traffic passes."""
    edge = settable()
    edge.harness.stop_upstreams()
    assert edge.harness.post_many([b"before"]) == ["spooled"]
    edge.set(step)
    assert edge.harness.post_many([b"after"]) == ["spooled"]
    edge.harness.start_upstreams()
    eventually(lambda: sorted(edge.harness.bodies) == [b"after", b"before"])
    eventually(lambda: edge.harness.post_many([b"live"]) == ["received"])


@pytest.mark.parametrize("step", STEPS)
def test_an_unknown_token_is_confirmed(settable: Callable[..., SettableClock], step: str) -> None:
    """At once, whatever the age of the policy seems to be."""
    edge = settable(EDGE_POLICY_SECONDS="3600")
    edge.set(step)
    edge.harness.handlers.connections.append(Connection(id="2", tokens={"brand-new": None}))
    assert edge.harness.flood(1, token="brand-new")[0].status == "received"
    served = edge.harness.handlers.policies_served
    assert edge.harness.flood(1, token="unknown")[0].status == "unknown_token"
    assert edge.harness.handlers.policies_served == served + 1


@pytest.mark.parametrize("step", STEPS)
def test_the_rate_of_a_sender_does_not_change(settable: Callable[..., SettableClock], step: str) -> None:
    """No bucket seems to be full for an hour."""
    edge = settable()
    edge.harness.set_limits(rate=200, burst=100)
    assert {reply.status for reply in edge.harness.flood(50)} == {"received"}
    edge.set(step)
    assert {reply.status for reply in edge.harness.flood(50)} == {"received"}


@pytest.mark.parametrize("step", STEPS)
def test_the_budget_cannot_be_spent_twice(settable: Callable[..., SettableClock], step: str) -> None:
    """Also after a restart, which reads times of the past or of the next hour from the journal."""
    edge = settable(EDGE_SPOOL_MAX_FILES="1")
    edge.harness.stop_upstreams()
    codes = [reply.code for reply in edge.harness.flood(101)]
    edge.set(step)
    codes += [reply.code for reply in edge.harness.flood(100)]
    assert codes.count(503) == BUDGET_MAX_FAILURES
    if step.startswith("-"):
        edge.harness.restart()
        assert edge.harness.budget_used() == BUDGET_MAX_FAILURES
        assert {reply.status for reply in edge.harness.flood(20)} == {"shed"}


def test_setting_the_time_back_during_a_hand_over_does_not_stop_the_drain(
    settable: Callable[..., SettableClock],
) -> None:
    edge = settable()
    edge.harness.stop_upstreams()
    edge.harness.post_many([b"%d" % number for number in range(20)])
    edge.harness.hasura.override = Answer(200, ACCEPTED, delay_seconds=0.5)
    edge.harness.hasura.start()
    eventually(lambda: len(edge.harness.hasura.requests) >= 4)
    edge.set("-1h")
    eventually(lambda: not edge.harness.edge.held())
