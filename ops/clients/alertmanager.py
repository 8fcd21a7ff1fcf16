"""Post an alert to Alertmanager and read its route, for operators' commands: API v2, and its metrics.

Facts: Alertmanager's `api/v2/openapi.yaml`, and `notify/notify.go` for the counters. With the feature
`receiver-name-in-metrics` they have the label `receiver_name`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from ops.clients.plain_http import HttpAnswer, NoAnswer, ask

REQUEST_SECONDS = 5.0
REQUESTS = "alertmanager_notification_requests_total"
FAILED = "alertmanager_notification_requests_failed_total"
AUTHOR = "leads"
"""Of the silences that the operators' command makes."""
Channel = tuple[str, str]
"""The kind of an integration, for example `slack`, and its receiver; that is empty without the feature."""
Requests = Counter[tuple[str, Channel]]
"""How often REQUESTS and FAILED were counted for each channel, since Alertmanager started."""


class AlertmanagerUnavailable(NoAnswer):
    """Alertmanager did not answer as its API does; the message names the URL and why."""

    code = "alertmanager_unavailable"


class Alertmanager:
    """The API at a base URL. Every method raises AlertmanagerUnavailable."""

    def __init__(self, url: str) -> None:
        self._url = url

    def post(self, labels: Mapping[str, str], annotations: Mapping[str, str], ends_at: datetime) -> None:
        """Post an alert that fires until `ends_at`; a time that has passed resolves it."""
        alert = {"labels": labels, "annotations": annotations, "endsAt": ends_at.isoformat()}
        self._ask("/api/v2/alerts", [alert])

    def silence(self, labels: Mapping[str, str], starts_at: datetime, ends_at: datetime, reason: str) -> None:
        """Keep alerts with these labels from their receivers until a time."""
        times = {"startsAt": starts_at.isoformat(), "endsAt": ends_at.isoformat()}
        matchers = [
            {"name": name, "value": value, "isRegex": False, "isEqual": True}
            for name, value in labels.items()
        ]
        silence = {"matchers": matchers, **times, "createdBy": AUTHOR, "comment": reason}
        self._ask("/api/v2/silences", silence)

    def end_silences(self, labels: Mapping[str, str]) -> None:
        """End each silence that `silence` made with exactly these labels and that has not ended."""
        for each in self._ask("/api/v2/silences").json:
            is_such = {matcher["name"]: matcher["value"] for matcher in each["matchers"]} == labels
            if is_such and each["createdBy"] == AUTHOR and each["status"]["state"] != "expired":
                self._ask(f"/api/v2/silence/{each['id']}", method="DELETE")

    def find(self, labels: Mapping[str, str]) -> dict[str, Any] | None:
        """Return the firing alert with exactly these labels, with its `receivers` and `status`."""
        alerts = self._ask("/api/v2/alerts").json
        return next((alert for alert in alerts if alert["labels"] == labels), None)

    def configuration(self) -> str:
        """Return the configuration as YAML, without secrets."""
        return str(self._ask("/api/v2/status").json["config"]["original"])

    def requests(self) -> Requests:
        """Return how many requests were sent to the services behind the channels, and how many failed."""
        counts = Requests()
        for family in text_string_to_metric_families(self._ask("/metrics").text):
            for sample in family.samples:
                if sample.name in (REQUESTS, FAILED):
                    channel = sample.labels["integration"], sample.labels.get("receiver_name", "")
                    counts[sample.name, channel] += int(sample.value)
        return counts

    def _ask(
        self,
        path: str,
        body: Mapping[str, object] | Sequence[object] | None = None,
        *,
        method: str | None = None,
    ) -> HttpAnswer:
        url = self._url + path
        try:
            answer = ask(url, method=method, body=body, timeout_seconds=REQUEST_SECONDS)
        except NoAnswer as error:
            raise AlertmanagerUnavailable(str(error)) from error
        if answer.status != 200:
            raise AlertmanagerUnavailable(f"{url} answers {answer.status}")
        if path.startswith("/api/") and body is None and method is None and answer.json is None:
            raise AlertmanagerUnavailable(f"{url} does not answer JSON: it is not Alertmanager")
        return answer
