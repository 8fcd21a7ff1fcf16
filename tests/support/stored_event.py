"""An event as a trace sees it, and one step of its story."""

from datetime import UTC, datetime
from typing import Any

from leads.domain.trace.step import Step
from leads.domain.trace.stored import StoredEvent

NOW = datetime(2026, 11, 26, 3, tzinfo=UTC)
TICKET: dict[str, Any] = {
    "code": "TK000017", "status": "new", "owner_id": "s-1", "created_at": NOW.isoformat(),
    "first_response_at": None, "business_minutes": None,
}  # fmt: skip
EVENT = StoredEvent(
    id=17, newest_id=17, table_name="lead", connection="Diva", connection_status="active", record_id="r-1",
    origin="webhook", status="processed", outcome="ticket_created", error_code=None, error_detail=None,
    attempts=1, next_attempt_at=None, arrived_at=NOW, created_at=NOW, received_at=NOW, ingested_at=NOW,
    processed_at=NOW, held_at=None, normalized_phone="+84905111222",
    body='{"id": "r-1", "phone_number": "0905 111 222"}', has_no_body=False, has_raw=False, evidence={},
    notifications=[], notified_at=NOW, notify_attempts=0, notify_error=None, notify_next_at=None,
    notify_given_up_at=None, notify_sent=None, replay_count=0, replayed_by=None, replayed_at=None,
    owner_id="s-1", ticket_id="t-1", sources=["Facebook"], has_active_source=True, ticket=TICKET,
    account={"name": "Trang", "is_enabled": True, "is_deleted": False},
    names={"s-1": "Hạnh", "s-2": "Khoa", "s-3": "Lan"}, kill_switch=False, processing_paused=False,
    sla_minutes=30,
)  # fmt: skip


def text_of(kind: str, steps: list[Step]) -> str:
    (text,) = [step.text for step in steps if step.kind == kind]
    return text
