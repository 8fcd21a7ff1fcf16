"""`leads alert`: whether alerts reach their receivers."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Annotated, Literal

import typer
import yaml

from ops.clients.monitoring import FAILED, REQUESTS, Alertmanager, Requests
from ops.failures import CommandFailed, fail_if
from ops.output import AsJson, examples, print_line, print_result, say, show_activity, verb_group
from ops.settings import read_operator_settings
from ops.waiting import poll

CONFIGS = "_configs"
ACCEPTED = "accepted"
WORDS = {ACCEPTED: "accepted it", "refused": "did not accept it", "waiting": "was not sent it yet"}
"""What the service of an integration did with the alert."""
Delivery = dict[str, str]
"""`receiver`, `integration`, and as `result` one of WORDS."""
Integrations = Mapping[str, Counter[str]]
"""How many integrations of each kind a receiver has."""
ALERT = "PancakeAlertTest"
ANNOTATIONS = {
    "summary": "A test of the route for alerts: nothing is wrong.",
    "description": "Sent by leads alert test.",
    "runbook_url": "https://docs.diva.com.vn/observability#send-a-test-alert",
}
POLL_SECONDS = 0.5
MARGIN = timedelta(minutes=1)
"""The alert ends by itself so long after the time-out, if the command dies before it ends it."""


def integrations(configuration: str) -> Integrations:
    receivers = yaml.safe_load(configuration).get("receivers") or []
    return {
        receiver["name"]: Counter(
            {key.removesuffix(CONFIGS): len(receiver[key]) for key in receiver if key.endswith(CONFIGS)}
        )
        for receiver in receivers
    }


def judge(receivers: Sequence[str], kinds: Integrations, before: Requests, after: Requests) -> list[Delivery]:
    """Return the deliveries that the route promises, judged by the requests between two counts.

    Unless Alertmanager counts each receiver apart, alerts that others of the same kind get count too.
    """
    names_receivers = any(receiver for _, (_, receiver) in after)
    channels = [
        (receiver, kind, (kind, receiver if names_receivers else ""))
        for receiver in receivers
        for kind in kinds.get(receiver, ())
    ]
    needed = Counter[tuple[str, str]]()
    for receiver, kind, channel in channels:
        needed[channel] += kinds[receiver][kind]
    deliveries = []
    for receiver, kind, channel in channels:
        sent, failed = (after[name, channel] - before[name, channel] for name in (REQUESTS, FAILED))
        result = ACCEPTED if sent - failed >= needed[channel] else "refused" if failed > 0 else "waiting"
        deliveries.append({"receiver": receiver, "integration": kind, "result": result})
    return deliveries


app = verb_group(
    "Test the route of alerts.",
    "Alertmanager routes them to the pager and the channel of the team.",
    examples("alert test", "alert test --severity critical --json"),
)


@app.command("test", epilog=examples("alert test", "alert test --severity critical --json"))
def send_test(
    severity: Annotated[
        Literal["critical", "warning"], typer.Option(help="Its route; critical pages the person on call.")
    ] = "warning",
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
    labels = {"alertname": ALERT, "team": "pancake", "severity": severity, "name": token_hex(4)}
    started = time.monotonic()
    with show_activity("waiting for the receivers"):
        deliveries = _send(alertmanager, labels, timeout)
    seconds = round(time.monotonic() - started, 1)
    has_arrived = _has_arrived(deliveries)
    shown = {"labels": labels, "arrived": has_arrived, "seconds": seconds, "deliveries": deliveries}
    print_result(shown, lambda: _print(deliveries, seconds), as_json=as_json)
    fail_if(not has_arrived)


def _has_arrived(deliveries: Sequence[Delivery]) -> bool:
    return all(each["result"] == ACCEPTED for each in deliveries)


def _send(alertmanager: Alertmanager, labels: Mapping[str, str], timeout_seconds: float) -> list[Delivery]:
    """Return the deliveries when all were accepted, or at the time-out. Raises CommandFailed."""
    kinds = integrations(alertmanager.configuration())
    before = alertmanager.requests()
    alertmanager.post(labels, ANNOTATIONS, datetime.now(UTC) + timedelta(seconds=timeout_seconds) + MARGIN)
    try:
        for _ in poll(timeout_seconds, POLL_SECONDS):
            receivers = _find_receivers(alertmanager, labels)
            deliveries = judge(receivers, kinds, before, alertmanager.requests())
            if not deliveries:
                raise CommandFailed(
                    f"The route ends at a receiver that sends nothing: {', '.join(receivers)}. "
                    "Give it an integration."
                )
            if _has_arrived(deliveries):
                break
        return deliveries
    finally:
        alertmanager.post(labels, ANNOTATIONS, datetime.now(UTC))


def _find_receivers(alertmanager: Alertmanager, labels: Mapping[str, str]) -> list[str]:
    """Return the receivers of the alert. Raises CommandFailed if it is kept from them."""
    alert = alertmanager.find(labels)
    if alert is None:
        raise CommandFailed("Alertmanager took the alert and does not list it. Look at its log.")
    if silences := alert["status"]["silencedBy"]:
        raise CommandFailed(
            f"A silence keeps the alert back: {', '.join(silences)}."
            " Look at it on Alertmanager's page /#/silences, and expire it or wait for its end."
        )
    if alert["status"]["inhibitedBy"]:
        raise CommandFailed(
            "Another alert that fires keeps this one back, by an inhibit rule. Mend that one first."
        )
    return [receiver["name"] for receiver in alert["receivers"]]


def _print(deliveries: Sequence[Delivery], seconds: float) -> None:
    for each in deliveries:
        print_line(f"{each['receiver']}: {each['integration']} {WORDS[each['result']]}")
    if _has_arrived(deliveries):
        say(f"The alert arrived after {seconds:g} s. It is ended; a receiver may show that too.")
    else:
        say(
            f"The alert did not arrive everywhere within {seconds:g} s. The log of Alertmanager has\n"
            "the reason behind `Notify for alerts failed`: 401 or 403 is a key, 404 a URL. Without\n"
            "such a line group_wait of the route is longer than --timeout."
        )
