"""Leads by number: equal numbers make equal records."""

import json
from typing import Any


def lead(number: int, phone: str | None = None, **fields: Any) -> dict[str, Any]:
    """The lead of that number, with a phone of its own unless one is given."""
    return {
        "type": "records",
        "event_type": "insert",
        "id": f"lead-{number:06d}",
        "workspace_id": 607,
        "table_id": "lead",
        "name": f"Khách {number}",
        "phone_number": phone or f"09{number:08d}",
        "source": ["-1"],
        "created_on": "2026-11-20T02:00:00",
        "modified_on": "2026-11-20T02:00:00",
        **fields,
    }


def body(record: dict[str, Any]) -> bytes:
    """As it is posted."""
    return json.dumps(record, ensure_ascii=False).encode()
