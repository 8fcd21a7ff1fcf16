"""`leads alert`: whether alerts reach their receivers."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from secrets import token_hex
from typing import Annotated

import typer
import yaml

from ops.clients.alertmanager import Alertmanager, Attempts, Channel, Routed
from ops.failures import CommandFailed, ExitCode
from ops.output import AsJson, examples, print_json, print_line, say, show_activity, verb_group
from ops.settings import read_operator_settings
from ops.waiting import poll

CONFIGS = "_configs"
NONE = Attempts()


class Result(StrEnum):
    """What the service of an integration did with the alert."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Delivery:
    """An integration of a receiver, and its result."""

    receiver: str
    integration: str
    result: Result


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
    """Return the deliveries that the route promises, judged by the requests between two counts.

    Unless Alertmanager counts each receiver apart, alerts that others of the same kind get count too.
    """
    names_receivers = any(receiver for _, receiver in after)
    needed: Counter[Channel] = Counter()
    for receiver in receivers:
        for kind, number in kinds.get(receiver, Counter()).items():
            needed[kind, receiver if names_receivers else ""] += number
    return [
        Delivery(receiver, kind, _result(channel, needed[channel], before, after))
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


ALERT = "PancakeAlertTest"
ANNOTATIONS = {
    "summary": "A test of the route for alerts: nothing is wrong.",
    "description": "Sent by leads alert test.",
    "runbook_url": "https://docs.diva.com.vn/runbook/monitoring#send-a-test-alert",
}
POLL_SECONDS = 0.5
MARGIN = timedelta(minutes=1)
"""The alert ends by itself so long after the time-out, if the command dies before it ends it."""


class Severity(StrEnum):
    """The severity of the alert, by which it is routed."""

    CRITICAL = "critical"
    WARNING = "warning"


app = verb_group(
    "Test the route of alerts.",
    "Alertmanager routes them to the pager and the channel of the team.",
    examples("alert test", "alert test --severity critical --json"),
)


@app.callback()
def group() -> None:
    """Keep `test` a command with a name."""


@app.command("test", epilog=examples("alert test", "alert test --severity critical --json"))
def send_test(
    severity: Annotated[
        Severity, typer.Option(help="Its route; critical pages the person on call.")
    ] = Severity.WARNING,
    timeout: Annotated[
        float, typer.Option(help="Seconds to wait; group_wait of the route is one part.", min=1, max=600)
    ] = 90.0,
    as_json: AsJson = False,
) -> None:
    """Send an alert through Alertmanager to its receivers, say whether it arrived, end it.

    Arrived: the service behind each receiver, for example Slack, accepted it.
    Whether a person saw it is not known here. Needs ALERTMANAGER_URL.
    Exit code 1: a receiver did not get it in time, or a silence or another alert
    keeps it back.
    """
    alertmanager = Alertmanager(read_operator_settings("ALERTMANAGER_URL").alertmanager_url)
    # Alertmanager groups by name: an alert of an earlier group would wait for its group_interval.
    labels = {"alertname": ALERT, "team": "pancake", "severity": severity.value, "name": token_hex(4)}
    started = time.monotonic()
    with show_activity("waiting for the receivers"):
        deliveries = _send(alertmanager, labels, timeout)
    seconds = round(time.monotonic() - started, 1)
    has_arrived = all(each.result is Result.ACCEPTED for each in deliveries)
    if as_json:
        shown = [asdict(each) for each in deliveries]
        print_json({"labels": labels, "arrived": has_arrived, "seconds": seconds, "deliveries": shown})
    else:
        _print(deliveries, seconds)
    if not has_arrived:
        raise typer.Exit(ExitCode.FAILED)


def _send(alertmanager: Alertmanager, labels: Mapping[str, str], timeout_seconds: float) -> list[Delivery]:
    """Return the deliveries when all were accepted, or at the time-out. Raises CommandFailed."""
    kinds = integrations(alertmanager.configuration())
    before = alertmanager.attempts()
    alertmanager.post(labels, ANNOTATIONS, datetime.now(UTC) + timedelta(seconds=timeout_seconds) + MARGIN)
    try:
        for _ in poll(timeout_seconds, POLL_SECONDS):
            routed = _routed(alertmanager, labels)
            deliveries = judge(routed.receivers, kinds, before, alertmanager.attempts())
            if not deliveries:
                names = ", ".join(routed.receivers)
                raise CommandFailed(
                    f"The route ends at a receiver that sends nothing: {names}. Give it an integration."
                )
            if all(each.result is Result.ACCEPTED for each in deliveries):
                break
        return deliveries
    finally:
        alertmanager.post(labels, ANNOTATIONS, datetime.now(UTC))


def _routed(alertmanager: Alertmanager, labels: Mapping[str, str]) -> Routed:
    """Return the route of the alert. Raises CommandFailed if it leads to no receiver."""
    routed = alertmanager.find(labels)
    if routed is None:
        raise CommandFailed("Alertmanager took the alert and does not list it. Look at its log.")
    if routed.silenced_by:
        raise CommandFailed(
            f"A silence keeps the alert back: {', '.join(routed.silenced_by)}."
            " Look at it on Alertmanager's page /#/silences, and expire it or wait for its end."
        )
    if routed.inhibited_by:
        raise CommandFailed(
            "Another alert that fires keeps this one back, by an inhibit rule. Mend that one first."
        )
    return routed


def _print(deliveries: list[Delivery], seconds: float) -> None:
    for each in deliveries:
        print_line(f"{each.receiver}: {each.integration} {_WORDS[each.result]}")
    if all(each.result is Result.ACCEPTED for each in deliveries):
        say(f"The alert arrived after {seconds:g} s. It is ended; a receiver may show that too.")
    else:
        say(
            f"The alert did not arrive everywhere within {seconds:g} s. The log of Alertmanager has\n"
            "the reason behind `Notify for alerts failed`: 401 or 403 is a key, 404 a URL. Without\n"
            "such a line group_wait of the route is longer than --timeout."
        )


_WORDS = {
    Result.ACCEPTED: "accepted it",
    Result.REFUSED: "did not accept it",
    Result.WAITING: "was not sent it yet",
}
