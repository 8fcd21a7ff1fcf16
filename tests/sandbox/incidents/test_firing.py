"""`for`, `keep_firing_for` and inhibitions, applied to evaluations."""

import pytest

from sandbox.incidents.replay.firing import Firing, apply_for, sent
from sandbox.incidents.rules import Alert, Inhibition

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


OUTAGE = Inhibition((("alertname", "Outage"),), (("alertname", "Slow|Late"),), ("connection",))


def test_what_is_silenced_at_every_time_is_not_sent() -> None:
    outage = firing(60, 120, 180, alertname="Outage", connection="c")
    assert sent([outage, firing(120, 180, alertname="Slow", connection="c")], [OUTAGE]) == {"Outage"}


@pytest.mark.parametrize(
    ("name", "connection", "times"),
    [("Slow", "other", (120,)), ("Slow", "c", (180, 240)), ("Slower", "c", (120,))],
)
def test_what_is_not_silenced_at_a_time_is_sent(name: str, connection: str, times: tuple[float, ...]) -> None:
    outage = firing(60, 120, 180, alertname="Outage", connection="c")
    assert sent([outage, firing(*times, alertname=name, connection=connection)], [OUTAGE]) == {"Outage", name}
