"""Whether a test alert arrived: what the route promises, compared with what Alertmanager counts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import yaml

from ops.clients.alertmanager import Attempts, Channel

CONFIGS = "_configs"
NONE = Attempts()


class Result(StrEnum):
    """What the service of an integration did with the alert."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Delivery:
    """An integration of a receiver, and its result.

    `is_certain`: Alertmanager counts this receiver apart. Otherwise alerts that other receivers of the same
    kind get meanwhile count too.
    """

    receiver: str
    integration: str
    result: Result
    is_certain: bool


def integrations(configuration: str) -> Mapping[str, Counter[str]]:
    """Return the integrations of each receiver by kind, from Alertmanager's configuration as YAML."""
    receivers = yaml.safe_load(configuration).get("receivers") or []
    return {
        receiver["name"]: Counter(
            {
                key.removesuffix(CONFIGS): len(listed)
                for key, listed in receiver.items()
                if key.endswith(CONFIGS)
            }
        )
        for receiver in receivers
    }


def judge(
    receivers: Sequence[str],
    kinds: Mapping[str, Counter[str]],
    before: Mapping[Channel, Attempts],
    after: Mapping[Channel, Attempts],
) -> list[Delivery]:
    """Return the deliveries that the route promises, judged by the requests between two counts."""
    names_receivers = any(receiver for _, receiver in after)
    needed: Counter[Channel] = Counter()
    for receiver in receivers:
        for kind, number in kinds.get(receiver, Counter()).items():
            needed[kind, receiver if names_receivers else ""] += number
    return [
        Delivery(receiver, kind, _result(channel, needed[channel], before, after), names_receivers)
        for receiver in receivers
        for kind in kinds.get(receiver, Counter())
        for channel in [(kind, receiver if names_receivers else "")]
    ]


def _result(
    channel: Channel, needed: int, before: Mapping[Channel, Attempts], after: Mapping[Channel, Attempts]
) -> Result:
    old, new = before.get(channel, NONE), after.get(channel, NONE)
    if new.accepted - old.accepted >= needed:
        return Result.ACCEPTED
    return Result.REFUSED if new.failed > old.failed else Result.WAITING
