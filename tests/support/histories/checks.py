"""Compare what a step did with what the specification allows, and check what must hold after every step."""

import dataclasses
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence, Set
from datetime import timedelta, timezone

from tests.support.histories.memory import Memory, Notes
from tests.support.histories.open_values import Described
from tests.support.histories.product import Rows
from tests.support.histories.reading import own_number
from tests.support.histories.state import Expected, Fields, Notice, Requested, State, Ticket
from tests.support.histories.vocabulary import ADDRESSES, EMAILS, NUMBERS, local_form, usable

OF_CUSTOMER = [*filter(None, EMAILS), *filter(None, ADDRESSES), "12/08/1994"]
"""The words of bodies that the description has of a customer."""
OF_REQUESTS = "Yêu cầu của khách, mới nhất ở trên:"
LABELS = re.compile("(Thẻ|Chiến dịch): ")
HANOI = timezone(timedelta(hours=7))

ROW_KINDS = ("accounts", "contacts", "tickets", "events", "staff")


class HistoryFailed(AssertionError):
    """A step did what the specification does not allow; the message has the history."""


def mismatches(expected: Expected, after: State, sent: Sequence[Notice]) -> list[str]:
    """Return where what happened differs from the expected result."""
    wrong = [*differences(expected.state, after), *wrong_notices(expected.notices, sent)]
    return [f"It is not the result {expected.outcome!r}:", *(f"  {line}" for line in wrong)] if wrong else []


def wrong_notices(expected: Sequence[Notice], sent: Sequence[Notice]) -> list[str]:
    """Return what is missing or too much among the notifications."""
    left, wrong = list(sent), []
    for must in expected:
        if must in left:
            left.remove(must)
        else:
            wrong.append(f"not sent: {must.template} to {must.recipients}")
    return wrong + [f"sent: {each.template} to {each.recipients}" for each in left]


def differences(expected: State, after: State) -> Iterator[str]:
    """Yield one line for each value that differs from the expected one."""
    for kind in ROW_KINDS:
        wanted, found = getattr(expected, kind), getattr(after, kind)
        for key in dict.fromkeys([*wanted, *found]):
            if key not in found or key not in wanted:
                yield f"{kind[:-1]} {key}: {'missing' if key not in found else 'not expected'}"
                continue
            for each in dataclasses.fields(wanted[key]):
                want, have = getattr(wanted[key], each.name), getattr(found[key], each.name)
                if want != have:
                    yield f"{kind[:-1]} {key} {each.name}: expected {want!r}, found {have!r}"


def second_tickets(before: State, after: State) -> Iterator[str]:
    """Yield the phones that had an open ticket of Pancake, and got more of them by a step of the product.

    People may bring two together, or open one again; an account that is deleted has no part in it.
    """
    olds, news = open_tickets(before), open_tickets(after)
    for phone, keys in news.items():
        if len(keys) > len(olds.get(phone, ())) > 0:
            yield f"{phone} has {len(keys)} open tickets, after {len(olds[phone])}: {sorted(keys)}"


def open_tickets(state: State) -> dict[str, set[str]]:
    """Return the open tickets of Pancake by the phone of their account."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for key, ticket in state.tickets.items():
        account = state.accounts.get(str(ticket.account))
        if ticket.is_open and ticket.is_from_pancake and account and account.phone and not account.deleted:
            found[account.phone].add(key)
    return found


def broken_invariants(before: Rows, after: Rows) -> Iterator[str]:
    """Yield what never may be so after a step, of the product or of people, whatever the history was."""
    for row in after["pancake_webhook_event"].values():
        if row["status"] in ("ingested", "failed"):
            yield f"event {row['id']} is {row['status']}: {row['error_code']} {row['error']}"
    for row in after["account"].values():
        if row["normalized_phone"] not in (None, own_number(row)):
            yield f"account {row['id']} has normalized_phone {row['normalized_phone']}, not {own_number(row)}"
    if after["customer_consent"]:
        yield "a consent was written though consent_mode is off"
    if gone := before["pancake_webhook_event"].keys() - after["pancake_webhook_event"].keys():
        yield f"events {sorted(gone)} are gone"
    yield from _lost_metadata(before, after)
    yield from _unfair_choices(before, after)


def wrong_texts(state: State, tickets: Set[str], memory: Memory) -> Iterator[str]:
    """Yield texts of tickets that do not say what the ticket holds. What people typed is left out."""
    for key in tickets & state.tickets.keys():
        ticket, notes = state.tickets[key], memory.notes.get(key, Notes())
        if key not in memory.typed_titles and not any(_is_title(ticket, each) for each in _newest(ticket)):
            yield f"ticket {key} title: {ticket.title!r} is not of {ticket.fields} and {ticket.requests}"
        block = Described(notes.before, notes.after).block(str(ticket.description))
        head, _, requests = block.partition(f"{OF_REQUESTS}\n")
        phones = usable(tuple(ticket.fields.get("phones", ())))
        held = {*ticket.fields.values(), *map(local_form, phones), _local_date(ticket)}
        words = [*OF_CUSTOMER, *(map(local_form, NUMBERS) if phones else ())]
        if wrong := [word for word in words if (word in head) != (word in held)]:
            yield f"ticket {key}: {head!r} is wrong about {wrong}: {ticket.fields}"
        lines = requests.split("\n")[:-1]
        said = [frozenset(re.split(" · |, ", LABELS.sub("", line))) for line in lines]
        if Counter(said) != Counter(map(_words, ticket.requests.values())):
            yield f"ticket {key}: {lines} are not the requests {ticket.requests}"
        times = [(line[6:10], line[3:5], line[:2], line[11:16]) for line in lines]
        if times != sorted(times, reverse=True):
            yield f"ticket {key}: {lines} are not in order"


def _newest(ticket: Ticket) -> list[Fields]:
    newest = max((each.at for each in ticket.requests.values()), default=None)
    return [each.fields for each in ticket.requests.values() if each.at == newest] or [{}]


def _is_title(ticket: Ticket, newest: Fields) -> bool:
    """Without a name the customer is called by a phone."""
    phones = usable(tuple(ticket.fields.get("phones", ()))) or NUMBERS
    names = [ticket.fields["name"]] if "name" in ticket.fields else list(map(local_form, phones))
    products = ", ".join(newest.get("interested_products", ()))
    titles = [f"Lead Pancake: {name}" for name in names]
    if "name" not in ticket.fields and not ticket.fields.get("phones"):
        titles.append("Lead Pancake")  # the account of its phone is gone
    return ticket.title in [f"{title} – {products}" if products else title for title in titles]


def _local_date(ticket: Ticket) -> str:
    return "/".join(reversed(str(ticket.fields.get("birthday", "")).split("-")))


def _words(request: Requested) -> frozenset[str]:
    """Return the words of the line of a request."""
    words = {
        word for value in request.fields.values() for word in ([value] if isinstance(value, str) else value)
    }
    return frozenset({f"{request.at.astimezone(HANOI):%d/%m/%Y %H:%M}", *words})


def _lost_metadata(before: Rows, after: Rows) -> Iterator[str]:
    """A field that a version does not name keeps its value in the account too."""
    olds = {key: row["pancake_metadata"] or {} for key, row in before["account"].items()}
    for key, row in after["account"].items():
        lost = set(olds.get(key, {})) - set(row["pancake_metadata"] or {})
        if lost:
            yield f"account {key} lost {sorted(lost)} of pancake_metadata"


def _unfair_choices(before: Rows, after: Rows) -> Iterator[str]:
    """After a choice the counts of a roster's available members differ by at most 1; all weights are 1."""
    staff, members = after["staff"], after["pancake_assignee"].values()
    totals = {key: row["total_assigned"] for key, row in before["pancake_assignee"].items()}
    chosen = [row for row in members if row["total_assigned"] > totals.get(row["id"], 0)]
    for source in {row["source_id"] for row in chosen}:
        available = [
            row
            for row in members
            if row["source_id"] == source
            and row["is_active"]
            and staff[row["staff_id"]]["is_active"]
            and staff[row["staff_id"]]["on_duty"]
        ]
        counts = sorted(row["assigned_count"] for row in available)
        if any(row not in available for row in chosen if row["source_id"] == source):
            yield "a member who is not available got a ticket"
        elif counts[-1] - counts[0] > 1:
            yield f"the counts of the available members are {counts}"
