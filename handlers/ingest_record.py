"""Take charge of one delivery of Pancake.

Called by: action `pancake_ingest_record` (RESTified endpoint `pancake/record`), and by the edge directly with
the same envelope when Hasura does not answer. Durable before the answer.
"""

import base64
import binascii
from datetime import UTC, datetime
from hashlib import sha256
from ipaddress import ip_address
from typing import Any

from leads.adapters.hasura_calls import MAX_ENVELOPE_BYTES, ActionCall
from leads.domain.body import Delivery, delivery_of, read_delivery, read_time
from leads.domain.canonical_json import read_json
from leads.domain.delivery import Arrival
from leads.domain.errors import BadRequest
from leads.services.runtime import Answer, Runtime

MAX_TOKEN_LENGTH = 200


async def ingest_record(on: Runtime, call: ActionCall) -> Answer:
    """Answers `{status, event_id, error_code}`; status is `unknown_token` if nothing was stored."""
    arrival = read_arrival(call, on.clock.now())
    row = await on.ingest.store(arrival)
    answer = (
        {"status": row["status"], "event_id": row["event_id"], "error_code": row["error_code"]}
        if row
        else {"status": "unknown_token", "event_id": None, "error_code": None}
    )
    on.metrics.webhook_requests.labels(answer["status"]).inc()
    return answer


def read_arrival(call: ActionCall, now: datetime) -> Arrival:
    """The delivery inside an action call. Raises BadRequest."""
    token = call.input.get("token")
    if not isinstance(token, str) or not token or len(token) > MAX_TOKEN_LENGTH:
        raise BadRequest("token is missing or too long.")
    return Arrival(
        delivery=_delivery(call),
        arrived_at=_arrived_at(call.input.get("arrived_at"), now),
        token_sha256=sha256(token.encode(errors="backslashreplace")).digest(),
        source_ip=_address(call.input.get("source_ip")),
    )


def _delivery(call: ActionCall) -> Delivery:
    raw, payload = call.input.get("raw"), call.input.get("payload")
    if (raw is None) == (payload is None):
        raise BadRequest("Exactly one of raw and payload is needed.")
    if raw is None:
        exact = read_json(call.body, max_bytes=MAX_ENVELOPE_BYTES)["input"]["payload"]
        if not isinstance(exact, dict):
            raise BadRequest("payload is not a JSON object.")
        return delivery_of(exact)
    try:
        return read_delivery(base64.b64decode(raw, validate=True))
    except (binascii.Error, TypeError, ValueError) as error:
        raise BadRequest("raw is not base64.") from error


def _arrived_at(value: Any, now: datetime) -> datetime:
    """When the edge took it; never in the future, so that no clock can prolong an expired token."""
    time = read_time(value)
    if time is None:
        return now
    return min(time if time.tzinfo else time.replace(tzinfo=UTC), now)


def _address(value: Any) -> str | None:
    """An IP address as PostgreSQL takes it, without the zone of a link-local one; else None."""
    try:
        return str(ip_address(value.partition("%")[0])) if isinstance(value, str) else None
    except ValueError:
        return None
