"""Call the action sendNotifications, count the result and say what it means for the notifications."""

from collections.abc import Mapping, Sequence

from leads.adapters.graphql import REPEAT_TIMEOUT_SECONDS, SEND_TIMEOUT_SECONDS, GraphqlClient
from leads.adapters.metrics import Metrics
from leads.domain.errors import HasuraRefused, HasuraUnavailable, HasuraUncertain
from leads.domain.sending import REFUSED, UNKNOWN, UNREACHED

NotificationInput = Mapping[str, object]
"""An input of the action sendNotifications."""


async def send_notifications(
    graphql: GraphqlClient, metrics: Metrics, inputs: Sequence[NotificationInput], *, is_repeat: bool = False
) -> str | None:
    """Send inputs and count those accepted; return None, or the error of leads/domain/sending.py.

    `is_repeat`: they had no answer in time before, and get more time.
    """
    if not inputs:
        return None
    timeout_seconds = REPEAT_TIMEOUT_SECONDS if is_repeat else SEND_TIMEOUT_SECONDS
    try:
        result = await graphql.send_notifications(inputs, timeout_seconds=timeout_seconds)
    except HasuraRefused:
        return REFUSED
    except HasuraUncertain:
        return UNKNOWN
    except HasuraUnavailable:
        return UNREACHED
    if sum(result.values()) < len(inputs):
        # The service took fewer than it was sent, and does not say which.
        return REFUSED
    for name, count in result.items():
        metrics.notifications.labels(name).inc(count)
    return None
