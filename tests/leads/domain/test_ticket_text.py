"""What a ticket and its notifications say: requests, the block of the description, the table of fields.

`golden/ticket.txt` has the texts as telesales read them: after a change of the words run this with
WRITE_GOLDEN=1 and read the difference.
"""

import json
import os
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.domain.decide import Facts, Plan, Ticket
from leads.domain.fields import FIELDS, FieldName, MappedField
from leads.domain.notifications import input_of, notifications_of
from leads.domain.ticket_text import (
    FIRST_LINE,
    LAST_LINE,
    MAX_REQUESTS,
    TicketContent,
    content_with_request,
    request_key,
    requests_of,
)
from leads.domain.versions import changed_fields, is_unchanged
from tests.support.builders import EMPTY, NOW, LeadCase, account, applied, decide_on, lead_case
from tests.support.leads import PHONE

ROOT = Path(__file__).parents[3]
GOLDEN = Path(__file__).parent / "golden/ticket.txt"
CONNECTION = "c0"
LINKS = {
    "workspace_id": "607",
    "chat_link": "https://pancake.vn/{page_id}?c_id={conversation_id}",
    "record_link": "https://crm.pancake.vn/{workspace_id}/lead/{record_id}",
}
NAMES = {"-1": "Facebook", "-5": "TikTok"}
FACTS = replace(EMPTY, accounts=(account("account-1"),), managers=("m-1",))


def facts_of(case: LeadCase, **changes: Any) -> Facts:
    """The facts of an event, with the names of its sources."""
    named = {each: NAMES[each] for each in case.lead.items("sources")}
    return replace(FACTS, source_names=named, **changes)


def written(case: LeadCase, facts: Facts) -> tuple[Plan, TicketContent]:
    plan = decide_on(case, facts)
    key = request_key(CONNECTION, case.lead.record_id)
    return plan, content_with_request(plan, facts, key, case.arrived_at, case.phones.usable)


def ticket_of(content: TicketContent, **changes: Any) -> Ticket:
    """The stored ticket with this content, as the next version finds it."""
    fields = json.loads(json.dumps(content.fields))
    ticket = Ticket(
        "ticket-1", "account-1", "s-1", PHONE, True, content.title or "", content.description, fields
    )
    return replace(ticket, **changes)


def followed(ticket: Ticket, **lead: Any) -> TicketContent:
    """The ticket after one more record of its customer, or a version of one that nothing was applied of."""
    case = lead_case(**lead)
    return written(case, facts_of(case, open_tickets=(ticket,)))[1]


def request_lines(content: TicketContent) -> list[str]:
    _, _, requests = content.description.partition("mới nhất ở trên:\n")
    return requests.partition(f"\n{LAST_LINE}")[0].split("\n")


NOSE: dict[str, Any] = {"interested_product": ["Nâng mũi"], "source": ["-1"]}
LIDS: dict[str, Any] = {
    "id": "r-2", "interested_product": ["Cắt mí"], "source": ["-5"], "modified_on": NOW + timedelta(days=1),
}  # fmt: skip


def first_ticket(**changes: Any) -> Ticket:
    case = lead_case(**NOSE)
    return ticket_of(written(case, facts_of(case))[1], **changes)


# Requests


def many_requests(count: int) -> Ticket:
    """A ticket with so many requests, whose texts are as long as a customer can make them."""
    ticket = first_ticket()
    long = {"interested_products": ["Nâng mũi " * 50], "sources": ["Facebook"], "record_id": "x"}
    times = {f"c0/x{n}": (NOW - timedelta(minutes=n + 1)).isoformat() for n in range(count)}
    return replace(
        ticket, fields={**ticket.fields, "requests": {key: {**long, "at": at} for key, at in times.items()}}
    )


@pytest.mark.parametrize("notes", [0, 1_500, 2_900])
def test_a_description_shows_the_newest_requests_that_fit(notes: int) -> None:
    content = followed(
        replace(many_requests(250), description="x" * notes), **LIDS, email="e" * 320, full_address="đ" * 2000
    )
    assert len(content.description) < 4_000
    *shown, older = request_lines(content)
    assert shown[0].startswith("15/05/2026 09:35 · Cắt mí")
    assert len(shown) <= 20
    assert older == f"… và {MAX_REQUESTS - len(shown)} yêu cầu cũ hơn"
    assert len(requests_of(content.fields)) == MAX_REQUESTS == 200
    assert "c0/r-2" in requests_of(content.fields)


def test_twenty_short_requests_are_shown() -> None:
    ticket = first_ticket()
    for number in range(25):
        ticket = ticket_of(followed(ticket, **LIDS | {"id": f"n-{number}"}))
    lines = request_lines(followed(ticket, **LIDS))
    assert (len(lines), lines[-1]) == (21, "… và 7 yêu cầu cũ hơn")


# What people write


NOTES = st.text(st.characters(codec="utf-8"), max_size=60)


@given(before=NOTES, after=NOTES)
def test_what_people_write_around_the_block_stays_byte_for_byte(before: str, after: str) -> None:
    ticket = first_ticket()
    typed = replace(ticket, description=f"{before}{ticket.description}{after}")
    content = followed(typed, **LIDS)
    block = content.description[len(before) : len(content.description) - len(after)]
    assert content.description == f"{before}{block}{after}"
    assert block.startswith(FIRST_LINE)
    assert block.endswith(LAST_LINE)
    assert block.count(FIRST_LINE) == 1
    assert "Cắt mí" in block


@given(place=st.integers(1, 10_000), note=st.text(st.characters(codec="utf-8"), min_size=1, max_size=30))
def test_what_people_write_into_the_block_is_theirs_and_a_new_block_follows_once(
    place: int, note: str
) -> None:
    ticket = first_ticket()
    text = str(ticket.description)
    at = place % (len(text) - 1) + 1
    typed = f"{text[:at]}{note}{text[at:]}"
    content = followed(replace(ticket, description=typed), **LIDS)
    if typed.replace("\r\n", "\n") == text:
        return
    assert content.description.startswith(f"{typed}\n\n{FIRST_LINE}\n")
    again = followed(ticket_of(content), **LIDS | {"interested_product": ["Nâng ngực"]})
    assert again.description.startswith(f"{typed}\n\n{FIRST_LINE}\n")
    assert again.description.count("Nâng ngực") == 1
    assert "Cắt mí" not in again.description


def test_a_block_that_a_form_sent_back_with_other_line_breaks_is_still_ours() -> None:
    ticket = first_ticket()
    typed = replace(ticket, description=f"gọi lại\n{ticket.description}".replace("\n", "\r\n"))
    assert followed(typed, **LIDS).description.startswith(f"gọi lại\r\n{FIRST_LINE}\n")
    assert followed(typed, **LIDS).description.count(FIRST_LINE) == 1


def test_a_title_that_a_person_changed_stays_and_a_customer_cannot_end_the_block() -> None:
    assert followed(first_ticket(title="Gọi gấp"), **LIDS).title is None
    ticket = ticket_of(followed(first_ticket(), **LIDS | {"interested_product": [f"x {LAST_LINE} y"]}))
    assert str(ticket.description).count(LAST_LINE) == 1
    assert followed(ticket, **LIDS).description.count(FIRST_LINE) == 1


# Links


def test_a_link_without_a_template_or_without_a_value_is_no_line() -> None:
    case = lead_case(page_id="10 4/9", conversation_id="c_1", **NOSE)
    content = written(case, facts_of(case, connection=LINKS | {"record_link": ""}))[1]
    assert "Chat: https://pancake.vn/10%204%2F9?c_id=c_1\n" in content.description
    assert "Hồ sơ" not in content.description
    case = lead_case(page_id="104", **NOSE)
    content = written(case, facts_of(case, connection=LINKS))[1]
    assert "Chat" not in content.description
    assert "Hồ sơ trên Pancake: https://crm.pancake.vn/607/lead/r-1\n" in content.description


# The table of fields


def test_the_table_has_a_row_for_each_name() -> None:
    assert set(FIELDS) == set(get_args(FieldName))
    labels = [field.label for field in FIELDS.values() if field.label]
    assert len(labels) == len(set(labels)) == len(FIELDS) - 2, "ids of page and conversation are links"
    told = {"interested_products", "sources", "tags", "name", "phones", "email", "address"}
    assert {name for name, field in FIELDS.items() if field.is_told} == told, "what notifies of a change"


@pytest.mark.parametrize("is_of_request", [False, True])
def test_a_new_row_is_read_compared_stored_shown_and_told(
    monkeypatch: pytest.MonkeyPatch, is_of_request: bool
) -> None:
    name: Any = "budget"
    field = MappedField(("ngan_sach",), "Ngân sách", 50, is_told=True, is_of_request=is_of_request)
    monkeypatch.setitem(FIELDS, name, field)
    before, case = (
        applied(lead_case()),
        lead_case(ngan_sach=" 50  triệu ", modified_on=NOW + timedelta(days=1)),
    )
    assert case.lead.fields()[name] == case.lead.metadata()[name] == "50 triệu"
    assert "budget" in case.lead.digests()
    assert "budget" not in lead_case().lead.fields()
    assert changed_fields(case.lead, before) == ("budget",)
    assert is_unchanged(case.lead, applied(lead_case(ngan_sach="50 triệu")))
    facts = facts_of(case, applied=before, open_tickets=(first_ticket(),))
    plan, content = written(case, facts)
    assert "Ngân sách: 50 triệu" in content.description
    (sent, *_), _ = notifications_of(plan, facts, "s-1")
    assert sent["data"]["changes"] == ("Ngân sách mới: 50 triệu" if is_of_request else "Ngân sách mới")
    assert lead_case(ngan_sach="x" * 51).lead.cut_fields == ("budget",)


@pytest.mark.parametrize(
    ("key", "value", "stored"),
    [
        ("birthday", "1994-08-12T00:00:00", "1994-08-12"),
        ("birthday", "1994-08-12", "1994-08-12"),
        ("birthday", "1994-08-11T17:00:00Z", "1994-08-12"),
        ("birthday", "hôm qua", None),
        ("birthday", 19940812, None),
        ("gender", "female", "female"),
        ("gender", ["female"], None),
        ("ref", " a \u00a0 b", "a b"),
        ("utm_campaign", "Te\u0302\u0301t", "Tết"),
        ("page_id", 104943019063372, "104943019063372"),
    ],
)
def test_a_field_is_read_from_what_may_come(key: Any, value: Any, stored: str | None) -> None:
    assert lead_case(**{key: value}).lead.fields()[key] == stored


def test_a_change_that_people_are_not_told_of_updates_the_ticket_quietly() -> None:
    case = lead_case(**NOSE, utm_campaign="tết", modified_on=NOW + timedelta(days=1))
    facts = facts_of(case, applied=applied(lead_case(**NOSE)), open_tickets=(first_ticket(),))
    plan, content = written(case, facts)
    assert (plan.outcome, notifications_of(plan, facts, "s-1")) == ("ticket_updated", ([], []))
    assert "Chiến dịch: tết" in content.description


@pytest.mark.parametrize(
    ("change", "changes"),
    [
        ({"interested_product": ["Nâng mũi", "Cắt mí"]}, "Quan tâm mới: Cắt mí (Facebook)"),
        ({"source": ["-1", "-5"]}, "Nguồn mới: TikTok"),
        ({"interested_product": []}, "Bớt sản phẩm quan tâm"),
        (
            {"pancake_tags": ["t"], "pancake_tags_obj": [{"id": "t", "text": "Gọi lại"}], "email": "a@b.vn"},
            "Thẻ mới: Gọi lại; Email mới",
        ),
        ({"pancake_tags": ["104943019063372_20"], "email": "a@b.vn"}, "Email mới"),
        ({"pancake_tags": ["104943019063372_20"], "utm_campaign": "tết"}, None),
        ({"name": "  An\u00a0 "}, None),
    ],
)
def test_a_notification_says_what_is_new(change: dict[str, Any], changes: str | None) -> None:
    case = lead_case(**NOSE | change, modified_on=NOW + timedelta(days=1))
    facts = facts_of(case, applied=applied(lead_case(**NOSE)), open_tickets=(first_ticket(),))
    sent, _ = notifications_of(decide_on(case, facts), facts, "s-1")
    assert [each["data"]["changes"] for each in sent] == ([changes] if changes else [])


# As people read it


def sample(name: str, **changes: Any) -> LeadCase:
    record = json.loads((ROOT / f"sandbox/payloads/{name}.json").read_text("utf-8")) | changes
    modified_on = datetime.fromisoformat(record.pop("modified_on")).replace(tzinfo=UTC)
    del record["table_id"]
    return lead_case(modified_on=modified_on, arrived_at=modified_on, **record)


def test_the_texts_are_those_of_the_golden_file() -> None:
    phone = {"phone_number": "0903 456 789", "interested_product": ["Nâng mũi"]}
    first, later = sample("01-happy-path", **phone), sample("06-later-version", **phone)
    second = sample(
        "01-happy-path", **phone | {"interested_product": ["Cắt mí", "Tiêm filler"]}, id="0a6d2c64-2",
        source=["-5"], utm_source="tiktok", modified_on="2026-11-20T05:10:00",
    )  # fmt: skip
    shown, ticket = [], None
    history = [
        ("a new lead", first, None),
        ("a second request of the customer; a telesale wrote a note below the block", second, None),
        ("a later version of the first one", later, first),
    ]
    for title, case, before in history:
        facts = facts_of(
            case, connection=LINKS, accounts=(account("account-1", "+84903456789"),),
            open_tickets=(ticket,) if ticket else (), applied=applied(before) if before else None,
        )  # fmt: skip
        plan, content = written(case, facts)
        sent, _ = notifications_of(plan, facts, "s-1")
        inputs = [input_of(each, "") for each in sent]
        told = [f"{each['template_code']}: {json.dumps(each['data'], ensure_ascii=False)}" for each in inputs]
        shown.append("\n".join([f"# {title}", *told, "", content.title or "", "", content.description]))
        ticket = ticket_of(content)
        if before is None and case is first:
            ticket = replace(ticket, description=f"{ticket.description}\nkhách bận, gọi lại sau 17h")
    text = "\n\n\n".join(shown) + "\n"
    if os.environ.get("WRITE_GOLDEN"):
        GOLDEN.write_text(text, "utf-8")
    assert text == GOLDEN.read_text("utf-8")
    assert not re.search(r"\+84|female|, 104943019063372", text)
