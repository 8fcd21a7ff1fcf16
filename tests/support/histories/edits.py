"""What people and other programs of Diva change between two versions of a lead."""

from collections.abc import Mapping

from tests.support.histories.memory import Notes
from tests.support.histories.run import Run
from tests.support.histories.vocabulary import (
    DAY,
    LAST_LINE,
    NATIONAL,
    ROSTER_SOURCE,
    SECOND,
    STAFF,
    TELESALES,
    WORKSPACES,
)
from tests.support.histories.vocabulary import SOURCES as PANCAKE_SOURCES

STATUSES = ("new", "in_progress", "done", "cancelled")
TEXTS = ("called twice", "wants a quote")
CORRECTIONS = ("Khách quen", None)
SOURCES = ("ticket_source_pancake", "ticket_source_1")
ON_OFF = (True, False)

OF_TICKETS = (
    "set_status",
    "move_ticket",
    "move_ticket_to_source",
    "assign_ticket",
    "retype_title",
    "delete_ticket",
)
NOTES = ("retype_description", "note_before", "note_after", "note_inside")
OF_ACCOUNTS = (
    "enable_account",
    "delete_account",
    "rename_account",
    "change_phone",
    "merge_accounts",
    "insert_account",
    "insert_older_account",
    "open_own_ticket",
)
OF_CONTACTS = ("correct_name", "correct_email", "correct_address")
OF_STAFF = ("set_active", "set_on_duty", "set_member", "set_source_member")
"""The names of the edits."""


class Edits:
    """Edits of a run. The first number chooses a row, the second a value; both are counted round.

    Without rows to choose from an edit does nothing.
    """

    def __init__(self, run: Run) -> None:
        self._run = run

    def edit(self, name: str, row: int, choice: int) -> None:
        """Make an edit by its name."""
        getattr(self, name)(row, choice)

    # Tickets

    def set_status(self, ticket: int = 0, status: int = 2) -> None:
        """Close a ticket, or open it again."""
        self._set_ticket(ticket, status=STATUSES[status % len(STATUSES)])

    def move_ticket(self, ticket: int = 0, account: int = 0) -> None:
        if target := self._choose(self._run.state.accounts, account):
            self._set_ticket(ticket, account_id=target)

    def move_ticket_to_source(self, ticket: int = 0, source: int = 1) -> None:
        self._set_ticket(ticket, source_id=SOURCES[source % len(SOURCES)])

    def assign_ticket(self, ticket: int = 0, staff: int = 0) -> None:
        self._set_ticket(ticket, assignee_id=list(STAFF)[staff % len(STAFF)])

    def retype_title(self, ticket: int = 0, text: int = 0) -> None:
        if chosen := self._set_ticket(ticket, title=TEXTS[text % len(TEXTS)]):
            self._run.memory.typed_titles[chosen] = TEXTS[text % len(TEXTS)]

    def retype_description(self, ticket: int = 0, text: int = 0) -> None:
        """Type over all of it, our block too."""
        if chosen := self._set_ticket(ticket, description=TEXTS[text % len(TEXTS)]):
            self._run.memory.notes[chosen] = Notes.without_block(TEXTS[text % len(TEXTS)])

    def note_before(self, ticket: int = 0, text: int = 0) -> None:
        self._note(ticket, f"{TEXTS[text % len(TEXTS)]}\n", "")

    def note_after(self, ticket: int = 0, text: int = 0) -> None:
        """Type after the last line, or on it."""
        self._note(ticket, "", f"{' ' if text % 2 else chr(10)}{TEXTS[text % len(TEXTS)]}")

    def note_inside(self, ticket: int = 0, text: int = 0) -> None:
        """Type into our block: all of it is the person's then."""
        chosen = self._choose(self._run.state.tickets, ticket)
        before = str(self._run.state.tickets[chosen].description) if chosen else ""
        if LAST_LINE in before:
            typed = before.replace(LAST_LINE, f"{TEXTS[text % len(TEXTS)]}\n{LAST_LINE}")
            self._set_ticket(ticket, description=typed)
            self._run.memory.notes[chosen] = Notes.without_block(typed)

    def delete_ticket(self, ticket: int = 0, _: int = 0) -> None:
        if chosen := self._choose(self._run.state.tickets, ticket):
            self._run.edit(f"delete ticket {chosen}", "DELETE FROM ticket WHERE id = %s", chosen)

    # Contacts

    def correct_name(self, contact: int = 0, text: int = 0) -> None:
        self._correct(contact, "name", text)

    def correct_email(self, contact: int = 0, text: int = 0) -> None:
        self._correct(contact, "email", text)

    def correct_address(self, contact: int = 0, text: int = 0) -> None:
        self._correct(contact, "address", text)

    # Accounts

    def enable_account(self, account: int = 0, enabled: int = 1) -> None:
        self._set_account(account, phone_enabled=ON_OFF[enabled % 2])

    def delete_account(self, account: int = 0, restored: int = 0) -> None:
        self._set_account(account, deleted_at=None if restored % 2 else self._run.product.clock.now())

    def rename_account(self, account: int = 0, _: int = 0) -> None:
        self._set_account(account, display_name="Khách quen")

    def change_phone(self, account: int = 0, phone: int = 0) -> None:
        number = NATIONAL[phone % len(NATIONAL)]
        number = number if phone < len(NATIONAL) else number.lstrip("0")
        self._set_account(account, phone_code="84", phone_number=number)

    def merge_accounts(self, account: int = 0, into: int = 1) -> None:
        """Move tickets and contacts to another account, and delete the first."""
        old, new = (self._choose(self._run.state.accounts, number) for number in (account, into))
        if not old or old == new:
            return
        self._run.edit(
            f"merge {old} into {new}",
            "WITH t AS (UPDATE ticket SET account_id = %s WHERE account_id = %s),"
            " c AS (UPDATE contact_book SET account_id = %s WHERE account_id = %s)"
            " UPDATE account SET deleted_at = %s WHERE id = %s",
            *(new, old) * 2,
            self._run.product.clock.now(),
            old,
        )

    def insert_account(self, phone: int = 0, _: int = 0) -> None:
        """Insert a customer who comes by another way."""
        self._insert_account(NATIONAL[phone % len(NATIONAL)], days_ago=0)

    def insert_older_account(self, phone: int = 0, _: int = 0) -> None:
        """Insert an account that is older than all others."""
        self._insert_account(NATIONAL[phone % len(NATIONAL)], days_ago=30 + len(self._run.state.accounts))

    def open_own_ticket(self, account: int = 0, _: int = 0) -> None:
        """Open a ticket that has nothing to do with Pancake."""
        if chosen := self._choose(self._run.state.accounts, account):
            self._run.edit(
                f"a person opens a ticket for {chosen}",
                "INSERT INTO ticket (title, source_id, account_id) VALUES ('Hotline', 'ticket_source_1', %s)",
                chosen,
            )

    # Staff

    def set_active(self, staff: int = 0, active: int = 1) -> None:
        self._set_staff(staff, is_active=ON_OFF[active % 2])

    def set_on_duty(self, staff: int = 0, on_duty: int = 1) -> None:
        self._set_staff(staff, on_duty=ON_OFF[on_duty % 2])

    def set_member(self, staff: int = 0, active: int = 1) -> None:
        """Take a telesale out of the roster, or put one back."""
        chosen = TELESALES[staff % len(TELESALES)]
        self._set("pancake_assignee", chosen, {"is_active": ON_OFF[active % 2]})

    def set_source_member(self, staff: int = 0, active: int = 1) -> None:
        """Put a telesale into the roster of a source, or take one out."""
        workspace, source = ROSTER_SOURCE
        chosen, is_active = TELESALES[staff % len(TELESALES)], ON_OFF[active % 2]
        self._run.edit(
            f"{chosen} in the roster of {workspace} {source}: {is_active}",
            "INSERT INTO pancake_assignee (source_id, staff_id, is_active)"
            " SELECT s.id, %s, %s"
            " FROM pancake_source AS s JOIN pancake_connection AS c ON c.id = s.connection_id"
            " WHERE c.name = %s AND s.pancake_source_id = %s"
            " ON CONFLICT (source_id, staff_id) DO UPDATE SET is_active = excluded.is_active",
            *(chosen, is_active, workspace, source),
        )

    def set_source(self, source: int = 0, active: int = 1) -> None:
        """Switch a source of a workspace on or off."""
        keys = [(workspace, each) for workspace in WORKSPACES for each in PANCAKE_SOURCES]
        workspace, chosen = keys[source % len(keys)]
        self._run.edit(
            f"source {workspace} {chosen}: {ON_OFF[active % 2]}",
            "UPDATE pancake_source AS s SET is_active = %s FROM pancake_connection AS c"
            " WHERE c.id = s.connection_id AND c.name = %s AND s.pancake_source_id = %s",
            *(ON_OFF[active % 2], workspace, chosen),
        )

    def _insert_account(self, number: str, days_ago: int) -> None:
        self._run.edit(
            f"insert an account with {number}, {days_ago} days old",
            "INSERT INTO account (display_name, phone_code, phone_number, created_at)"
            " VALUES ('Cũ', '84', %s, %s)",
            number,
            self._run.product.clock.now() + SECOND - days_ago * DAY,
        )

    def _note(self, ticket: int, before: str, after: str) -> None:
        """Type before and after the description."""
        chosen = self._choose(self._run.state.tickets, ticket)
        if chosen and self._run.state.tickets[chosen].description is not None:
            typed = f"{before}{self._run.state.tickets[chosen].description}{after}"
            self._set_ticket(ticket, description=typed)
            notes = self._run.memory.notes.get(chosen, Notes())
            self._run.memory.notes[chosen] = notes.with_typed(before, after, typed)

    def _correct(self, contact: int, column: str, text: int) -> None:
        if phones := sorted(self._run.state.contacts):
            phone, value = phones[contact % len(phones)], CORRECTIONS[text % len(CORRECTIONS)]
            statement = f"UPDATE contact_book SET {column} = %s WHERE primary_phone = %s"
            self._run.edit(f"contact {phone}: {column} = {value}", statement, value, phone)

    def _set_ticket(self, number: int, **values: object) -> str:
        return self._set("ticket", self._choose(self._run.state.tickets, number), values)

    def _set_account(self, number: int, **values: object) -> str:
        return self._set("account", self._choose(self._run.state.accounts, number), values)

    def _set_staff(self, number: int, **values: object) -> str:
        return self._set("staff", list(STAFF)[number % len(STAFF)], values)

    def _set(self, table: str, chosen: str, values: Mapping[str, object]) -> str:
        if chosen:
            named = ", ".join(f"{column} = {value}" for column, value in values.items())
            columns = ", ".join(f"{column} = %s" for column in values)
            statement = f"UPDATE {table} SET {columns} WHERE id = %s"
            self._run.edit(f"{table} {chosen}: {named}", statement, *values.values(), chosen)
        return chosen

    def _choose(self, rows: Mapping[str, object], number: int) -> str:
        """Return a row's id by its number, in the order in which rows appeared; "" without rows."""
        named = sorted(rows, key=self._run.story.order)
        return named[number % len(named)] if named else ""
