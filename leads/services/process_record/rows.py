"""Read the rows of load_applied, load_facts and load_record_facts as facts."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from leads.adapters.database import Row
from leads.domain.digest import PHONE, Digester
from leads.domain.facts import Account, Applied, Facts, Ticket
from leads.domain.lead import Lead
from leads.domain.phone import PhoneReading, normalize


def read_applied(row: Row, lead: Lead, read: PhoneReading) -> Applied | None:
    """Read the row of process_record/load_applied without `is_erased`; None if nothing was applied.

    Its digests are restated with the current key where the lead has their values, and phones that retention
    emptied are those of the lead or of the customer that have their digests.
    """
    if row["last_arrived_at"] is None:
        return None
    known = [*read.usable, *row.pop("known_phones")]
    typed = {key: tuple(phones) for key, phones in row["typed_phones"].items()}
    applied = Applied(**{**row, "usable_phones": tuple(row["usable_phones"]), "typed_phones": typed})
    if applied.digests is not None:
        applied = replace(applied, digests=lead.restated(applied.digests))
    stored = applied.phone_digests
    if applied.phone is not None or not isinstance(stored, Mapping) or not stored.get("primary"):
        return applied
    phone = lead.digester.find_phone(stored["primary"], known)
    listed = stored.get("usable")
    usable = (lead.digester.find_phone(each, known) for each in (listed if isinstance(listed, list) else ()))
    return replace(
        applied,
        phone=phone,
        usable_phones=tuple(filter(None, usable)),
        is_phone_forgotten=phone is None,
    )


def read_facts(row: Row, applied: Applied | None, of_record: Row | None, digester: Digester) -> Facts:
    """Read the rows of process_record/load_facts and, of a record applied before, load_record_facts."""
    before = of_record or {"ticket_account": None, "applied_account": None, "ticket_is_shared": False}
    return Facts(
        applied=applied,
        accounts=tuple(_accounts(row["accounts"], digester)),
        open_tickets=tuple(_ticket(item) for item in row["open_tickets"]),
        ticket_account=_account(before["ticket_account"]) if before["ticket_account"] else None,
        applied_account=_account(before["applied_account"]) if before["applied_account"] else None,
        ticket_is_shared=before["ticket_is_shared"],
        admins=tuple(row["admins"]),
        managers=tuple(row["managers"]),
        consent_mode=row["consent_mode"],
        roster_source_id=row["roster_source_id"],
        new_account_id=row["new_account_id"],
        new_ticket_id=row["new_ticket_id"],
    )


def _accounts(items: Iterable[Row], digester: Digester) -> Iterator[Account]:
    """Yield the accounts that a phone of the lead leads to.

    `named` are the phones that events named together with the contact's, and the digests of those that
    emptied events named. It is null unless the account has to have one of them.
    """
    for item in items:
        named, own = item["named"], _own_phone(item)
        if named is not None and not (
            own in named["phones"] or any(digester.matches(each, PHONE, own) for each in named["digests"])
        ):
            continue
        account = _account({key: value for key, value in item.items() if key != "named"})
        if account.phone or account.contact_phone:
            yield account


def _account(item: Row) -> Account:
    return Account(**item, phone=_own_phone(item))


def _ticket(item: Row) -> Ticket:
    fields, account = item["fields"], item["account"]
    columns = {key: value for key, value in item.items() if key not in ("fields", "account")}
    return Ticket(
        **columns,
        fields=fields if isinstance(fields, dict) else {},
        account_phone=_own_phone(account) if account else None,
    )


def _own_phone(account: Row) -> str | None:
    """Return the phone of an account, normalized here if its column is empty; None if it is not usable."""
    phone: str | None = account["normalized_phone"]
    return phone or normalize(account["phone_number"] or "", account["phone_code"])[0]
