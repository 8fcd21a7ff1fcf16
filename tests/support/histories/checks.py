"""Compare what a step did with what the specification allows, and check what must hold after every step."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set

from tests.support.histories.product import Rows
from tests.support.histories.reading import own_number
from tests.support.histories.state import Expected, Notice, State
from tests.support.histories.vocabulary import ADDRESSES, EMAILS, NAMES, NUMBERS, PRODUCTS, usable

WORDS = {
    "title": list(filter(None, NAMES)),
    "description": [
        *filter(None, EMAILS),
        *filter(None, ADDRESSES),
        *(word for words in PRODUCTS for word in words),
    ],
}
"""The words of bodies that stand in title and description of a ticket."""

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
    for row in after["pancake_webhook_event"]:
        if row["status"] in ("ingested", "failed"):
            yield f"event {row['id']} is {row['status']}: {row['error_code']} {row['error']}"
    for row in after["account"]:
        if row["normalized_phone"] not in (None, own_number(row)):
            yield f"account {row['id']} has normalized_phone {row['normalized_phone']}, not {own_number(row)}"
    if after["customer_consent"]:
        yield "a consent was written though consent_mode is off"
    gone = {row["id"] for row in before["pancake_webhook_event"]}
    gone -= {row["id"] for row in after["pancake_webhook_event"]}
    if gone:
        yield f"events {sorted(gone)} are gone"
    yield from _lost_metadata(before, after)
    yield from _unfair_choices(before, after)


def wrong_texts(state: State, tickets: Set[str], typed: Mapping[tuple[str, str], str]) -> Iterator[str]:
    """Yield texts of tickets that are not composed of the ticket's fields. What people typed is left out."""
    for key in tickets & state.tickets.keys():
        ticket = state.tickets[key]
        fields = ticket.fields if isinstance(ticket.fields, dict) else {}
        held = {text for value in fields.values() for text in (value, *value)}
        numbers = usable(tuple(fields.get("phones", ())))
        for column, words in WORDS.items():
            text = str(getattr(ticket, column))
            wrong = [word for word in words if (word in text) != (word in held)]
            if column == "description" and numbers:
                wrong += [number for number in NUMBERS if (number in text) != (number in numbers)]
            if wrong and (key, column) not in typed:
                yield f"ticket {key} {column}: {text!r} does not say what its fields do: {fields}"


def _lost_metadata(before: Rows, after: Rows) -> Iterator[str]:
    """A field that a version does not name keeps its value in the account too."""
    olds = {row["id"]: row["pancake_metadata"] or {} for row in before["account"]}
    for row in after["account"]:
        lost = set(olds.get(row["id"], {})) - set(row["pancake_metadata"] or {})
        if lost:
            yield f"account {row['id']} lost {sorted(lost)} of pancake_metadata"


def _unfair_choices(before: Rows, after: Rows) -> Iterator[str]:
    """After a choice the counts of a roster's available members differ by at most 1; all weights are 1."""
    staff = {row["id"]: row for row in after["staff"]}
    totals = {row["id"]: row["total_assigned"] for row in before["pancake_assignee"]}
    chosen = [row for row in after["pancake_assignee"] if row["total_assigned"] > totals.get(row["id"], 0)]
    for source in {row["source_id"] for row in chosen}:
        available = [
            row
            for row in after["pancake_assignee"]
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
