"""`scripts/chaos incidents`: what it says of the alerts that came, and what it refuses."""

from dataclasses import replace

import pytest
from typer.testing import CliRunner

from sandbox.chaos.__main__ import app
from sandbox.incidents.live.incident_run import Outcome, failed

NONE: frozenset[str] = frozenset()
WELL = Outcome(
    name="stuck_lock",
    sent=frozenset({"PancakeEngineEventsLocked"}),
    expected=frozenset({"PancakeEngineEventsLocked"}),
    early=NONE,
    unresolved=NONE,
    seconds=61.23,
    has_heartbeat=True,
)


def test_an_unknown_incident_is_refused_with_those_that_exist() -> None:
    result = CliRunner().invoke(app, ["incidents", "--only", "flood"])
    assert result.exit_code == 2
    assert "unknown incident flood" in result.output


def test_exactly_the_expected_alerts_are_ok() -> None:
    assert WELL.is_ok
    shown = WELL.as_json()
    assert (shown["name"], shown["ok"], shown["seconds"]) == ("stuck_lock", True, 61.2)
    assert shown["sent"] == ["PancakeEngineEventsLocked"]
    assert not any(shown[problem] for problem in ("missing", "unexpected", "early", "unresolved", "error"))


@pytest.mark.parametrize(
    ("outcome", "problem"),
    [
        (replace(WELL, sent=NONE), "missing"),
        (replace(WELL, expected=NONE), "unexpected"),
        (replace(WELL, early=WELL.sent), "early"),
        (replace(WELL, unresolved=WELL.sent), "unresolved"),
    ],
)
def test_any_other_alert_is_named(outcome: Outcome, problem: str) -> None:
    assert not outcome.is_ok
    assert outcome.as_json()[problem] == ["PancakeEngineEventsLocked"]


def test_without_the_heartbeat_silence_is_no_proof() -> None:
    assert not replace(WELL, has_heartbeat=False).is_ok


def test_an_incident_that_could_not_be_made_is_not_ok() -> None:
    outcome = failed("stuck_lock", "TimeoutError: no events", 3)
    assert not outcome.is_ok
    assert outcome.as_json()["error"] == "TimeoutError: no events"
