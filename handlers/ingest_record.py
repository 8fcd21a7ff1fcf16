"""Store one delivery of Pancake; it is committed before the answer.

Called by: action `pancake_ingest_record` (RESTified endpoint `pancake/record`), and by the edge directly with
the same envelope when Hasura does not answer.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import ip_address

from leads.adapters.hasura_calls import MAX_ENVELOPE_BYTES, ActionCall, Answer
from leads.adapters.logs import bind, loggable_record_id
from leads.domain.body import Body, Delivery, body_of, read_body, read_time
from leads.domain.canonical_json import JsonValue, read_json
from leads.domain.errors import BadRequest
from leads.runtime import Runtime

MAX_TIME_IN_SPOOL = timedelta(days=7)
"""How long before it is handed over a delivery may have arrived."""
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")  # bytes.fromhex would also accept spaces
UNKNOWN_TOKEN: Answer = {"status": "unknown_token", "event_id": None, "error_code": None}


async def ingest_record(runtime: Runtime, call: ActionCall) -> Answer:
    """Answer `{status, event_id, error_code}`; status is `unknown_token` if nothing was stored."""
    delivery = read_delivery(call, runtime.clock.now())
    stored = await runtime.ingest.store(delivery)
    answer = UNKNOWN_TOKEN
    if stored:
        bind(event_id=stored.event_id, record_id=loggable_record_id(delivery.body.record_id))
        answer = {"status": stored.status, "event_id": stored.event_id, "error_code": stored.error_code}
    runtime.metrics.webhook_requests.labels(answer["status"]).inc()
    return answer


def read_delivery(call: ActionCall, now: datetime) -> Delivery:
    """Read the delivery inside an action call. Raises BadRequest."""
    return Delivery(
        token_sha256=_token_sha256(call),
        body=_body(call),
        arrived_at=_arrived_at(call.input.get("arrived_at"), now),
        source_ip=_address(call.input.get("source_ip")),
    )


def _token_sha256(call: ActionCall) -> bytes:
    if call.input.get("token") is not None:
        raise BadRequest(
            "token is not accepted, since logs would show it."
            " Give token_sha256, its SHA-256 in hexadecimal digits."
        )
    digest = call.input.get("token_sha256")
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise BadRequest("token_sha256 is not a SHA-256 in hexadecimal digits.")
    return bytes.fromhex(digest)


def _body(call: ActionCall) -> Body:
    raw, payload = call.input.get("raw"), call.input.get("payload")
    if (raw is None) == (payload is None):
        raise BadRequest("Exactly one of raw and payload is needed.")
    if raw is None:
        return body_of(_exact_payload(call.body))
    try:
        return read_body(base64.b64decode(raw, validate=True))
    except (binascii.Error, TypeError, ValueError) as error:
        raise BadRequest("raw is not base64.") from error


def _exact_payload(envelope: bytes) -> Mapping[str, JsonValue]:
    """Read the payload again from the envelope's bytes, where numbers are as they were written."""
    value = read_json(envelope, max_bytes=MAX_ENVELOPE_BYTES)
    for key in ("input", "payload"):
        value = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping):
        raise BadRequest("payload is not a JSON object.")
    return value


def _arrived_at(value: object, now: datetime) -> datetime:
    """Read when the edge received it; never in the future nor long ago, so that no expired token is valid."""
    time = read_time(value)
    if time is None:
        return now
    return min(max(time if time.tzinfo else time.replace(tzinfo=UTC), now - MAX_TIME_IN_SPOOL), now)


def _address(value: object) -> str | None:
    """Read an IP address as PostgreSQL accepts it, without the zone of a link-local one."""
    try:
        return _normal_address(value.partition("%")[0]) if isinstance(value, str) else None
    except ValueError:
        return None


@lru_cache(maxsize=256)  # Pancake has few; what is not an address is not kept
def _normal_address(text: str) -> str:
    return str(ip_address(text))
