"""What a trace says of notifications, and of what people did with a ticket."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from leads.domain.trace.people import notification_steps, ticket_steps
from tests.support.stored_event import EVENT, NOW, TICKET, text_of


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"notified_at": NOW}, "Hạnh: new_lead, accepted"),
        ({}, "Hạnh: new_lead, being sent"),
        ({"notify_sent": ["new_lead"]}, "Hạnh: new_lead, accepted"),
        (
            {"notify_error": "refused", "notify_attempts": 2, "notify_next_at": NOW},
            "Hạnh: new_lead, not accepted: the service refused it (2 tries); next at 2026-11-26 03:00:00",
        ),
        (
            {"notify_error": "unreached", "notify_given_up_at": NOW},
            "Hạnh: new_lead, given up: Hasura, or the service behind it, was not reached",
        ),
    ],
)
def test_a_notification_says_who_gets_it_and_whether_it_was_accepted(
    changes: dict[str, Any], text: str
) -> None:
    sent: dict[str, Any] = {
        "notifications": [{"name": "new_lead", "recipient_ids": ["s-1"]}],
        "notified_at": None,
    }
    assert text_of("told", list(notification_steps(replace(EVENT, **(sent | changes))))) == text


@pytest.mark.parametrize(
    ("ticket", "minutes", "text"),
    [
        ({}, 10, "TK000017: new, Hạnh; unanswered, due in 20 min"),
        ({}, 45, "TK000017: new, Hạnh; unanswered, 15 min late; managers told at 2026-11-26 03:00:00"),
        ({"owner_id": "s-2"}, 10, "TK000017: new, Khoa (changed in Diva); unanswered, due in 20 min"),
        ({"status": "done"}, 10, "TK000017: done, Hạnh; never answered"),
        (
            {"first_response_at": (NOW + timedelta(minutes=12)).isoformat()},
            99,
            "TK000017: new, Hạnh; answered after 12 min (SLA 30 min)",
        ),
        (
            {"first_response_at": (NOW + timedelta(minutes=31)).isoformat()},
            99,
            "TK000017: new, Hạnh; answered after 31 min (SLA 30 min, too late)",
        ),
        (
            {"business_minutes": 45.0},
            45,
            "TK000017: new, Hạnh; unanswered, 15 min late; managers told at 2026-11-26 03:00:00",
        ),
        (
            {"business_minutes": 0.0},
            20,
            "TK000017: new, Hạnh; unanswered, by the clock due in 10 min, by business hours due in 30 min",
        ),
        (
            {"business_minutes": 25.0},
            600,
            "TK000017: new, Hạnh; unanswered, by the clock 9 h late, by business hours due in 5 min;"
            " managers told at 2026-11-26 03:00:00",
        ),
        (
            {"business_minutes": 40.0},
            600,
            "TK000017: new, Hạnh; unanswered, by the clock 9 h late, by business hours 10 min late;"
            " managers told at 2026-11-26 03:00:00",
        ),
        (
            {"first_response_at": (NOW + timedelta(hours=9)).isoformat(), "business_minutes": 12.0},
            999,
            "TK000017: new, Hạnh; answered after 9 h by the clock, 12 min by business hours"
            " (SLA 30 min, too late by the clock)",
        ),
        (
            {"first_response_at": (NOW + timedelta(hours=9)).isoformat(), "business_minutes": 50.0},
            999,
            "TK000017: new, Hạnh; answered after 9 h by the clock, 50 min by business hours"
            " (SLA 30 min, too late)",
        ),
    ],
)
def test_the_ticket_says_who_owns_it_and_how_it_stands_against_the_sla(
    ticket: dict[str, Any], minutes: int, text: str
) -> None:
    event = replace(EVENT, ticket=TICKET | ticket, evidence={"sla_notified_at": NOW.isoformat()})
    assert text_of("ticket", list(ticket_steps([event], NOW + timedelta(minutes=minutes)))) == text
