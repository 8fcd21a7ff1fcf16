"""Call the action sendNotifications, count the result and say what it means for the notifications."""

from collections.abc import Mapping, Sequence

from leads.adapters.graphql import GraphqlClient
from leads.adapters.metrics import Metrics
from leads.domain.errors import HasuraRefused, HasuraUnavailable, HasuraUncertain
from leads.domain.notice_text import with_text
from leads.domain.notifications import NEEDS_ATTENTION
from leads.domain.sending import REFUSED, UNKNOWN, UNREACHED

NotificationInput = Mapping[str, object]
"""An input of the action sendNotifications."""


async def send_notifications(
    graphql: GraphqlClient, metrics: Metrics, inputs: Sequence[NotificationInput]
) -> str | None:
    """Send inputs and count those accepted; return None, or the error of leads/domain/sending.py."""
    if not inputs:
        return None
    try:
        result = await graphql.send_notifications([_with_text(each) for each in inputs])
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


def _with_text(each: NotificationInput) -> NotificationInput:
    """Add the text of a notice. It is made here, so that what was stored before has the text of today too."""
    data = each["data"]
    if each["template_code"] != NEEDS_ATTENTION or not isinstance(data, Mapping):
        return each
    return {**each, "data": with_text(data)}
