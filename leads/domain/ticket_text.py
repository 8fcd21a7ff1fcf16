"""What a ticket says, in Vietnamese, as telesales read it: the customer, and each request of the customer.

A request is what one record asks for: products, sources, tags, campaign, time. `data.pancake.requests` of the
ticket holds the request of each record. Our part of the description is a block between two fixed lines, made
of what the ticket holds. What people write outside stays as it is; if they write inside, the block is theirs,
and a new one follows.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from leads.domain.body import ICT
from leads.domain.canonical_json import JsonValue
from leads.domain.decide import Facts, Plan, Ticket
from leads.domain.digest import Digester
from leads.domain.fields import FIELDS, FieldName, MappedField
from leads.domain.lead import Lead
from leads.domain.phone import local_form, read_phones
from leads.domain.visible_text import CUT, cut

REQUESTS = "requests"
"""The key in ticket.data.pancake of the requests, by request_key()."""
WRITTEN = "written"
"""The key in ticket.data.pancake of the digests of the title and of the block that we wrote last."""
TEXT = "ticket text"
"""The purpose of these digests."""
FIRST_LINE = "=== Pancake (tự động cập nhật, xin ghi chú bên ngoài khung này) ==="
LAST_LINE = "=== Hết phần Pancake ==="
REQUESTS_LINE = "Yêu cầu của khách, mới nhất ở trên:"
LINK_LABELS = {"chat_link": "Chat", "record_link": "Hồ sơ trên Pancake"}
"""The columns of a connection that hold the template of a link, and what people read before it."""
LINK_NAMES = ("page_id", "conversation_id", "record_id", "workspace_id")
"""What a template may name in braces: keys of a request. The link of a request that lacks one is left out."""
MAX_REQUESTS = 200
MAX_SHOWN_REQUESTS = 20
MAX_DESCRIPTION_CHARACTERS = 3_999
MIN_BLOCK_CHARACTERS = 1_000
"""The block has at least so many if people wrote a long text beside it."""
MAX_LINE_CHARACTERS = 400
MAX_TITLE_CHARACTERS = 200

Request = Mapping[str, JsonValue]
"""A request as JSON: its fields, `record_id`, `workspace_id`, `at` (ISO 8601, UTC).

`sources` are names; `tags` are texts by their id.
"""


@dataclass(frozen=True, slots=True)
class TicketContent:
    """What is written to a ticket: its texts, and `data.pancake`. A title that is None stays a person's."""

    title: str | None
    description: str
    fields: dict[str, JsonValue]


def request_key(connection_id: object, record_id: str) -> str:
    """Return the key of a record's request. Only leads have one, so the table does not matter."""
    return f"{connection_id}/{record_id}"


def content_with_request(
    plan: Plan, facts: Facts, key: str, arrived_at: datetime, phones: Sequence[str]
) -> TicketContent:
    """Return a plan's ticket with the request of its lead, taken from the ticket that it leaves."""
    ticket, lead = plan.ticket, plan.lead
    assert ticket is not None
    requests = requests_of(ticket.fields)
    left = requests_of(plan.left_ticket.fields) if plan.left_ticket else {}
    known = requests.pop(key, None)
    before = left.pop(key, None) or known or {}
    requests[key] = _request(lead, before, facts, arrived_at)
    fields: dict[str, JsonValue] = {**ticket.fields, **lead.metadata(), REQUESTS: requests}
    named = phones if "phones" in lead.values else _phones_of(fields) or phones
    return ticket_content(ticket, fields, facts.connection, lead.digester, named)


def content_without_request(plan: Plan, facts: Facts, key: str) -> TicketContent | None:
    """Return the ticket that a plan leaves, without the request of its lead; None if it has none of it."""
    if plan.left_ticket is None:
        return None
    requests = requests_of(plan.left_ticket.fields)
    if requests.pop(key, None) is None:
        return None
    fields: dict[str, JsonValue] = {**plan.left_ticket.fields, REQUESTS: requests}
    return ticket_content(plan.left_ticket, fields, facts.connection, plan.lead.digester)


def requests_of(fields: Mapping[str, JsonValue]) -> dict[str, Request]:
    """Return the requests that a ticket holds by their key."""
    requests = fields.get(REQUESTS)
    known = requests if isinstance(requests, dict) else {}
    return {key: request for key, request in known.items() if isinstance(request, dict)}


def _request(lead: Lead, before: Request, facts: Facts, arrived_at: datetime) -> Request:
    """Return the request after a version: a field that it does not name keeps its value."""
    names, fields, texts = facts.source_names, lead.fields(), before.get("tags")
    known = texts if isinstance(texts, Mapping) else {}
    request: dict[str, JsonValue] = {
        "sources": list(names.values()),
        **before,
        **{name: fields[name] for name in lead.values if FIELDS[name].is_of_request},
        "record_id": lead.record_id,
        "workspace_id": facts.connection.get("workspace_id"),
        "at": (lead.modified_on or arrived_at).astimezone(UTC).isoformat(),
    }
    if "sources" in lead.values:
        request["sources"] = [names.get(each, each) for each in lead.items("sources")]
    if "tags" in lead.values:
        request["tags"] = {
            each: lead.tag_texts.get(each) or known.get(each, each) for each in lead.items("tags")
        }
    return request


def _newest(requests: Mapping[str, Request]) -> dict[str, Request]:
    """Return the newest requests by their keys, the newest first."""
    ordered = sorted(requests.items(), key=lambda item: (str(item[1].get("at") or ""), item[0]), reverse=True)
    return dict(ordered[:MAX_REQUESTS])


def _phones_of(fields: Mapping[str, JsonValue]) -> tuple[str, ...]:
    held = fields.get("phones")
    return read_phones(str(text) for text in held).usable if isinstance(held, list) else ()


def ticket_content(
    ticket: Ticket,
    fields: Mapping[str, JsonValue],
    connection: Mapping[str, str],
    digester: Digester,
    phones: Sequence[str] = (),
) -> TicketContent:
    """Return the ticket with these fields and texts made of them; the block replaces the one written last.

    `phones` are shown in place of those that the ticket holds. If it holds none, that of its account is.
    """
    phones = phones or _phones_of(fields) or ([ticket.account_phone] if ticket.account_phone else [])
    newest, text = _newest(requests_of(fields)), ticket.description or ""
    requests = list(newest.values())
    before, after = f"{text}\n\n" if text else "", ""
    if block := find_block(text, ticket.fields, digester):
        before, after = text[: block[0]], text[block[1] :]
    head = [*_customer_lines(fields, phones), *_link_lines(requests, connection)]
    budget = MAX_DESCRIPTION_CHARACTERS - len(before) - len(after)
    new_block = _block(head, requests, max(budget, MIN_BLOCK_CHARACTERS))
    title = _title(fields, phones, requests) if is_our_title(ticket, digester) else None
    written = {**_digests_of(ticket.fields), "description": digester.digest(TEXT, new_block)}
    if title is not None:
        written["title"] = digester.digest(TEXT, title)
    return TicketContent(title, f"{before}{new_block}{after}", {**fields, REQUESTS: newest, WRITTEN: written})


def is_our_title(ticket: Ticket, digester: Digester) -> bool:
    """Whether no person changed the title. One whose digest has a key that is gone counts as changed."""
    return not ticket.title or digester.matches(_digests_of(ticket.fields).get("title"), TEXT, ticket.title)


def find_block(
    description: str, fields: Mapping[str, JsonValue], digester: Digester
) -> tuple[int, int] | None:
    """Return where the block that we wrote last begins and ends; None without it: all of it is people's."""
    digest = _digests_of(fields).get("description")
    first = description.find(FIRST_LINE)
    while first >= 0 and (last := description.find(LAST_LINE, first)) >= 0:
        end = last + len(LAST_LINE)
        # Forms of web pages send line breaks as \r\n.
        if digester.matches(digest, TEXT, description[first:end].replace("\r\n", "\n")):
            return first, end
        first = description.find(FIRST_LINE, first + 1)
    return None


def _title(fields: Mapping[str, JsonValue], phones: Sequence[str], requests: Sequence[Request]) -> str:
    """Return the title: the customer, who is called by the phone without a name, and the newest request."""
    name = fields.get("name") or (local_form(phones[0]) if phones else "")
    products = _shown("interested_products", requests[0]) if requests else ""
    title = f"Lead Pancake: {name}" if name else "Lead Pancake"
    return cut(f"{title} – {products}" if products else title, MAX_TITLE_CHARACTERS)


def _customer_lines(fields: Mapping[str, JsonValue], phones: Sequence[str]) -> Iterator[str]:
    """Yield a line for each field of the customer that has a value; the title has the name."""
    shown = {**fields, "phones": [local_form(phone) for phone in phones]}
    for name, field in FIELDS.items():
        if name != "name" and not field.is_of_request and (text := _shown(name, shown)):
            yield cut(f"{field.label}: {text}", MAX_LINE_CHARACTERS)


def _link_lines(requests: Sequence[Request], connection: Mapping[str, str]) -> Iterator[str]:
    """Yield the links of the newest request: those whose template has a value for each of its names."""
    newest = requests[0] if requests else {}
    for column, label in LINK_LABELS.items():
        link = connection.get(column, "")
        for name in LINK_NAMES if link else ():
            value = quote(str(newest.get(name) or ""), safe="")
            link = link.replace(f"{{{name}}}", value) if value else ("" if f"{{{name}}}" in link else link)
        if link:
            yield f"{label}: {link}"


def _block(head: Sequence[str], requests: Sequence[Request], max_characters: int) -> str:
    """Return the block with the lines that fit, and the number of requests that are not shown.

    Its last line stands at its end only, also if a customer typed that line.
    """
    lines, shown = [FIRST_LINE], 0
    left = max_characters - len(FIRST_LINE) - len(LAST_LINE) - len(_older(len(requests))) - 2
    for line in [*head, *([REQUESTS_LINE] if requests else [])]:
        if len(line) < left:
            lines.append(line)
            left -= len(line) + 1
    shown_fields = {name: each for name, each in FIELDS.items() if each.is_of_request and each.label}
    for request in requests[:MAX_SHOWN_REQUESTS]:
        line = cut(" · ".join(_parts(request, shown_fields)), MAX_LINE_CHARACTERS)
        if len(line) >= left:
            break
        lines.append(line)
        left -= len(line) + 1
        shown += 1
    older = [_older(len(requests) - shown)] if len(requests) > shown else []
    return "\n".join([*lines, *older]).replace(LAST_LINE, CUT) + f"\n{LAST_LINE}"


def _older(count: int) -> str:
    return f"{CUT} và {count} yêu cầu cũ hơn"


def _parts(request: Request, shown_fields: Mapping[FieldName, MappedField]) -> Iterator[str]:
    """Yield the time of a request in Vietnam, then what it holds."""
    if (at := request.get("at")) and (time := datetime.fromisoformat(str(at)).astimezone(ICT)):
        yield f"{time.day:02}/{time.month:02}/{time.year} {time.hour:02}:{time.minute:02}"  # strftime is slow
    for name, field in shown_fields.items():
        if request.get(name) and (text := _shown(name, request)):
            yield text if field.opens_ticket else f"{field.label}: {text}"


def _shown(name: FieldName, values: Mapping[str, JsonValue]) -> str:
    """Return the value of a field as people read it."""
    value, shown = values.get(name), FIELDS[name].shown
    if isinstance(value, str):
        return shown(value)
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return ", ".join([text for item in items if item and (text := shown(str(item)))])


def _digests_of(fields: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    written = fields.get(WRITTEN)
    return written if isinstance(written, Mapping) else {}
