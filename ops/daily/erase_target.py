"""Whose data is to be erased: a phone or a record of Pancake; how it is recognised in texts and bodies."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Self
from uuid import UUID

import typer

from leads.domain.body import read_body
from leads.domain.errors import InvalidBody
from leads.domain.lead import read_lead
from leads.domain.phone import normalize, read_phones, stored_digits
from ops.failures import WrongUsage
from ops.settings import read_argument

SIGNS_BETWEEN_DIGITS = "[ .()/_-]*"
TABLES = ("lead", "account", "contact")
Phone = Annotated[
    str | None,
    typer.Option(help="Phone of the customer, in any notation; - asks for it, or reads it from stdin."),
]
Record = Annotated[
    str | None,
    typer.Option(
        help="Record of the customer: CONNECTION/TABLE/RECORD, with the connection's name or id;"
        " - asks for it, or reads it from stdin."
    ),
]


@dataclass(frozen=True, slots=True)
class Target:
    """A phone (E.164), or a record by its connection, as it was given and by its id, its table and its id."""

    phone: str | None = None
    connection: str | None = None
    connection_id: UUID | None = None
    table_name: str | None = None
    record_id: str | None = None

    def with_connection_id(self) -> Self:
        """Return the target with the id by which the connection was given. Raises WrongUsage for a name."""
        if self.connection is None:
            return self
        try:
            return replace(self, connection_id=UUID(self.connection))
        except ValueError as error:
            raise WrongUsage(
                f"{self.connection!r} is no id, and names of connections are not known here. "
                "See the id with: leads connection status"
            ) from error

    @property
    def pattern(self) -> str:
        """Return the pattern of the phone; of a record one that nothing matches."""
        return pattern_of([self.phone] if self.phone else [])

    def is_of(self, raw: bytes) -> bool:
        """Whether a body is of the customer: the record's, or its phones contain the phone.

        A body that cannot be read as a lead is the customer's if the phone stands anywhere in it.
        """
        body = read_body(raw)
        if self.phone is None:
            table = body.table_name if body.table_name in TABLES else "lead"
            return (body.record_id, table) == (self.record_id, self.table_name)
        try:
            if body.record is not None:
                return self.phone in read_phones(read_lead(body.record).phones).usable
        except InvalidBody:
            pass
        return self.is_in(raw.decode(errors="replace"))

    def is_in(self, text: str) -> bool:
        return re.search(self.pattern, text) is not None


def pattern_of(phones: Iterable[str]) -> str:
    """Return a regular expression, for PostgreSQL too, of phones (E.164) in each form that is typed."""
    forms = {form for phone in phones for form in stored_digits(phone)}
    if not forms:
        return "(?!)"
    longest_first = sorted(forms, key=len, reverse=True)
    typed = "|".join(SIGNS_BETWEEN_DIGITS.join(form) for form in longest_first)
    return f"(^|[^0-9])(00)?({typed})($|[^0-9])"


def read_target(phone: str | None, record: str | None) -> Target:
    """Read the options --phone and --record. Raises WrongUsage."""
    if (phone is None) == (record is None):
        raise WrongUsage("Give either --phone or --record.")
    if phone is not None:
        phone = read_argument(phone, "Phone")
        number, reason = normalize(phone)
        if number is None:
            raise WrongUsage(f"--phone is not a phone number: {reason}.")
        return Target(phone=number)
    connection, _, rest = read_argument(record or "", "Record").partition("/")
    table_name, _, record_id = rest.partition("/")
    if not connection or table_name not in TABLES or not record_id:
        raise WrongUsage(f"--record is CONNECTION/TABLE/RECORD; the table is one of {', '.join(TABLES)}.")
    return Target(connection=connection, table_name=table_name, record_id=record_id)
