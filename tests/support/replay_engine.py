"""An engine that answers the action pancake_replay_events and shows the rows that it replayed."""

import json
from collections.abc import Mapping
from typing import Any

import httpx

HANH = {"id": "c0000000-0000-4000-8000-000000000001", "full_name": "Vũ Thị Hạnh"}
KHOA = {"id": "c0000000-0000-4000-8000-000000000002", "full_name": "Đặng Văn Khoa"}
Row = dict[str, Any]


def row(event_id: int, status: str = "processed", **fields: Any) -> Row:
    """An event as GraphQL answers it."""
    return {
        "id": event_id,
        "status": status,
        "outcome": None,
        "result": None,
        "held_by": None,
        "error_code": None,
        "ticket_id": None,
        "assignee_id": None,
    } | fields


def ticket(event_id: int, owner: Mapping[str, str] | None, outcome: str = "ticket_created") -> Row:
    """An event with a ticket of its owner."""
    change: Row = {"result": outcome, "outcome": "ticket_created", "ticket_id": f"t-{event_id}"}
    return row(event_id) | change | {"assignee_id": owner["id"] if owner else None}


class ReplayEngine:
    """Answers the action with the given ids, then each question for the rows with the next state of them."""

    def __init__(self, *states: list[Row], paused: bool = False, **report: Any) -> None:
        self.states = list(states)
        self.paused = paused
        self.report = report
        self.calls: list[dict[str, Any]] = []
        """What single calls of the action answer instead."""
        self.requests: list[dict[str, Any]] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        self.requests.append(body)
        return httpx.Response(200, json={"data": self.data(body)})

    def data(self, body: dict[str, Any]) -> dict[str, Any]:
        if "pancake_replay_events" in body["query"]:
            ids = [item["id"] for item in self.states[0]] if self.states else []
            names = ("matched", "replayed", "remaining", "changed", "returned", "arrived", "held")
            numbers = dict.fromkeys(names, 0) | {"matched": len(ids), "replayed": len(ids)}
            rest = {"dry_run": False, "rate_per_second": 20, "refused": [], "changes": [], "results": None}
            report = numbers | rest | {"replayed_ids": ids, "processing_paused": self.paused} | self.report
            if self.calls:
                report |= self.calls.pop(0)
            return {"pancake_replay_events": report}
        if "staff(" in body["query"]:
            return {"staff": [owner for owner in (HANH, KHOA) if owner["id"] in body["variables"]["ids"]]}
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        asked = set(body["variables"]["ids"])
        return {
            "pancake_webhook_event": [item for item in state if item["id"] in asked],
            "view_pancake_setting": [{"processing_paused": self.paused}],
        }
