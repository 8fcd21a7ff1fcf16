"""Leads as Pancake posts them."""

import json
from typing import Any

PHONE = "+84905111222"
RECORD_ID = "2f941efe-d9a3-4d9a-affe-e123b06b8a44"
EARLIER = "2026-05-13T02:35:56"
LATER = "2026-05-15T02:35:56"
"""A day before and a day after LEAD's modified_on."""
LEAD: dict[str, Any] = {
    "id": RECORD_ID, "name": "Nguyễn Văn A", "phone_number": "0905111222", "source": ["-1"],
    "modified_on": "2026-05-14T02:35:56.000000",
}  # fmt: skip


def numbered_lead(number: int, phone: str | None = None, **fields: Any) -> dict[str, Any]:
    """The lead of that number: equal numbers make equal records, each with a different phone."""
    return {
        "type": "records", "event_type": "insert", "id": f"lead-{number:06d}", "workspace_id": 607,
        "table_id": "lead", "name": f"Khách {number}", "phone_number": phone or f"09{number:08d}",
        "source": ["-1"], "created_on": "2026-11-20T02:00:00", "modified_on": "2026-11-20T02:00:00",
    } | fields  # fmt: skip


def body(record: dict[str, Any]) -> bytes:
    """The record as the bytes of a delivery."""
    return json.dumps(record, ensure_ascii=False).encode()
