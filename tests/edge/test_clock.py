"""Somebody sets the machine's time, an hour back or forth: nothing of the edge's promises hangs on it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.edge.conftest import Stage, eventually
from tests.edge.fakes import Answer, Connection
from tests.edge.test_forward import RECEIVED
from tests.edge.test_limits import BUDGET, flood, used
from tests.edge.test_spool import away, back, post_many

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
pytestmark = pytest.mark.skipif(
    FAKETIME is None,
    reason="nginx's time is set by libfaketime: apt-get install libfaketime to run these tests",
)
VARIABLES = ("FAKETIME_TIMESTAMP_FILE", "FAKETIME_NO_CACHE", "FAKETIME_DONT_FAKE_MONOTONIC")


class Settable:
    """An edge whose time of day can be set."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._file = stage.edge.directory / "time"
        self.set("+0")
        with (stage.edge.directory / "site" / "main.conf").open("a") as main:
            main.writelines(f"env {name};\n" for name in VARIABLES)
        stage.edge.bring_up()

    def set(self, offset: str) -> None:
        """From now on its time of day is off by that much: "-1h", "+30m"."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(offset + "\n")
        fresh.chmod(0o644)
        fresh.rename(self._file)


@pytest.fixture
def settable(nginx: Callable[..., Stage]) -> Callable[..., Settable]:
    """Start one: `settable(EDGE_SKIP_SECONDS="1")`."""

    def start(**environment: str) -> Settable:
        stage = nginx(started=False, **environment)
        told = {"LD_PRELOAD": str(FAKETIME), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        told["FAKETIME_TIMESTAMP_FILE"] = str(stage.edge.directory / "time")
        stage.edge.tell(told)
        return Settable(stage)

    return start


STEPS = ("-1h", "+1h")


@pytest.mark.parametrize("step", STEPS)
def test_paths_that_come_back_are_taken_again(settable: Callable[..., Settable], step: str) -> None:
    """Skips and probes last as long as they should: the spool is drained, live traffic goes through."""
    edge = settable()
    away(edge.stage)
    assert post_many(edge.stage, [b"before"]) == ["spooled"]
    edge.set(step)
    assert post_many(edge.stage, [b"after"]) == ["spooled"]
    back(edge.stage)
    eventually(lambda: sorted(edge.stage.bodies) == [b"after", b"before"])
    eventually(lambda: post_many(edge.stage, [b"live"]) == ["received"])


@pytest.mark.parametrize("step", STEPS)
def test_an_unknown_token_is_asked_about(settable: Callable[..., Settable], step: str) -> None:
    """At once, whatever the time of the last policy seems to be; and the rounds go on."""
    edge = settable(EDGE_POLICY_SECONDS="3600")
    edge.set(step)
    edge.stage.handlers.connections.append(Connection(id="2", tokens={"brand-new": None}))
    assert flood(edge.stage, 1, token="brand-new")[0].status == "received"
    served = edge.stage.handlers.policies_served
    assert flood(edge.stage, 1, token="nobody")[0].status == "unknown_token"
    assert edge.stage.handlers.policies_served == served + 1


@pytest.mark.parametrize("step", STEPS)
def test_the_rate_of_a_sender_is_the_same(settable: Callable[..., Settable], step: str) -> None:
    """Nobody is shut out because his bucket seems full for an hour."""
    edge = settable()
    edge.stage.limit_and_wait(rate=200, burst=100)
    assert {reply.status for reply in flood(edge.stage, 50)} == {"received"}
    edge.set(step)
    assert {reply.status for reply in flood(edge.stage, 50)} == {"received"}


@pytest.mark.parametrize("step", STEPS)
def test_the_budget_is_not_given_twice(settable: Callable[..., Settable], step: str) -> None:
    """Nor is it after a restart, which reads times of the past hour or of the next one."""
    edge = settable(EDGE_SPOOL_MAX_FILES="1")
    away(edge.stage)
    codes = [reply.code for reply in flood(edge.stage, 101)]
    edge.set(step)
    codes += [reply.code for reply in flood(edge.stage, 100)]
    assert codes.count(503) == BUDGET
    if step.startswith("-"):
        edge.stage.edge.kill()
        edge.stage.edge.start()
        edge.stage.edge.wait_ready()
        assert used(edge.stage) == BUDGET
        assert {reply.status for reply in flood(edge.stage, 20)} == {"shed"}


def test_a_hand_over_that_is_under_way_when_time_is_set_back_does_not_stop_the_drain(
    settable: Callable[..., Settable],
) -> None:
    """The drain's next step is due when its pause is over, not when the old time comes again."""
    edge = settable()
    away(edge.stage)
    post_many(edge.stage, [b"%d" % number for number in range(20)])
    edge.stage.hasura.override = Answer(200, RECEIVED, after=0.5)
    edge.stage.hasura.start()
    eventually(lambda: len(edge.stage.hasura.requests) >= 4)
    edge.set("-1h")
    eventually(lambda: not edge.stage.edge.held())
