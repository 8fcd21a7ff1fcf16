"""From the values of an expression over a time to the alerts that fire, as Prometheus applies `for`."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sandbox.monitoring.rules import Alert, Inhibition, Labels


@dataclass(frozen=True)
class Firing:
    """An alert with its labels, and the evaluations at which it fires, in seconds since 1970."""

    labels: tuple[tuple[str, str], ...]
    times: tuple[float, ...]

    @property
    def name(self) -> str:
        return dict(self.labels)["alertname"]


def apply_for(times: Sequence[float], alert: Alert, steps: Sequence[float]) -> tuple[float, ...]:
    """Return the evaluations, of `steps`, at which an alert fires.

    `times` are those at which its expression has a value. It fires when that holds for `for` without an
    evaluation in between that has none, and then until it has had none for `keep_firing_for`.
    """
    firing: list[float] = []
    active_since = fired_last = None
    has_value = set(times)
    for time in steps:
        if time in has_value:
            active_since = time if active_since is None else active_since
            if time - active_since >= alert.for_seconds:
                fired_last = time
                firing.append(time)
        elif fired_last is not None and time - fired_last < alert.keep_seconds:
            firing.append(time)
        else:
            active_since = fired_last = None
    return tuple(firing)


def sent(firings: Sequence[Firing], inhibitions: Iterable[Inhibition]) -> set[str]:
    """Return the names of the alerts that reach a receiver: those that fire unsilenced at any time."""
    at: dict[float, list[Labels]] = defaultdict(list)
    for firing in firings:
        for time in firing.times:
            at[time].append(dict(firing.labels))
    rules = tuple(inhibitions)
    return {
        target["alertname"]
        for together in at.values()
        for target in together
        if not any(
            rule.silences(source, target) for rule in rules for source in together if source is not target
        )
    }
