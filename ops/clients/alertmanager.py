"""Post an alert to Alertmanager and read its route, for operators' commands: API v2, and its metrics.

Facts: Alertmanager's `api/v2/openapi.yaml`, and `notify/notify.go` for the counters. With the feature
`receiver-name-in-metrics` they have the label `receiver_name`.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from ops.clients.plain_http import HttpAnswer, NoAnswer, ask

REQUEST_SECONDS = 5.0
REQUESTS = "alertmanager_notification_requests_total"
FAILED = "alertmanager_notification_requests_failed_total"


class AlertmanagerUnavailable(NoAnswer):
    """Alertmanager did not answer as its API does; the message names the URL and why."""

    code = "alertmanager_unavailable"


@dataclass(frozen=True, slots=True)
class Routed:
    """An alert as Alertmanager has it: its receivers, and the ids of what keeps it from them."""

    receivers: tuple[str, ...]
    silenced_by: tuple[str, ...]
    inhibited_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Attempts:
    """Requests to the service behind an integration, since Alertmanager started."""

    accepted: int = 0
    failed: int = 0


Channel = tuple[str, str]
"""The kind of an integration, for example `slack`, and its receiver; that is empty without the feature."""


class Alertmanager:
    """The API at a base URL. Every method raises AlertmanagerUnavailable."""

    def __init__(self, url: str) -> None:
        self._url = url

    def post(self, labels: Mapping[str, str], annotations: Mapping[str, str], ends_at: datetime) -> None:
        """Post an alert that fires until `ends_at`; a time that has passed resolves it."""
        alert = {"labels": labels, "annotations": annotations, "endsAt": ends_at.isoformat()}
        self._ask("/api/v2/alerts", [alert])

    def find(self, labels: Mapping[str, str]) -> Routed | None:
        """Return the firing alert with exactly these labels."""
        for alert in self._ask("/api/v2/alerts").json:
            if alert["labels"] == labels:
                return Routed(
                    tuple(receiver["name"] for receiver in alert["receivers"]),
                    tuple(alert["status"]["silencedBy"]),
                    tuple(alert["status"]["inhibitedBy"]),
                )
        return None

    def configuration(self) -> str:
        """Return the configuration as YAML, without secrets."""
        return str(self._ask("/api/v2/status").json["config"]["original"])

    def attempts(self) -> Mapping[Channel, Attempts]:
        """Return what was sent, by channel."""
        counts: defaultdict[Channel, dict[str, int]] = defaultdict(lambda: {REQUESTS: 0, FAILED: 0})
        for family in text_string_to_metric_families(self._ask("/metrics").text):
            for sample in family.samples:
                if sample.name in (REQUESTS, FAILED):
                    channel = sample.labels["integration"], sample.labels.get("receiver_name", "")
                    counts[channel][sample.name] += int(sample.value)
        return {
            channel: Attempts(count[REQUESTS] - count[FAILED], count[FAILED])
            for channel, count in counts.items()
        }

    def _ask(self, path: str, body: list[dict[str, Any]] | None = None) -> HttpAnswer:
        url = self._url + path
        try:
            answer = ask(url, body=body, timeout_seconds=REQUEST_SECONDS)
        except NoAnswer as error:
            raise AlertmanagerUnavailable(str(error)) from error
        if answer.status != 200:
            raise AlertmanagerUnavailable(f"{url} answers {answer.status}")
        if path.startswith("/api/") and body is None and answer.json is None:
            raise AlertmanagerUnavailable(f"{url} does not answer JSON: it is not Alertmanager")
        return answer
