"""Which account is the customer of a lead, and what the event records of the search."""

from collections.abc import Mapping

from leads.domain.digest import PHONE, Digester
from leads.domain.facts import Account, Applied, Facts
from leads.domain.phone import PhoneReading


def matching_account(
    phones: tuple[str, ...], accounts: tuple[Account, ...]
) -> tuple[str | None, Account | None]:
    """The first phone with a match decides: an account that has it, oldest first, or that of its contact.

    Of these the first enabled one is the customer's, else the first one. Returns both, or None and None.
    """
    for phone in phones:
        own = [account for account in accounts if account.phone == phone]
        known = own + [account for account in accounts if account.contact_phone == phone]
        if known:
            return phone, next((each for each in known if each.state == "enabled"), known[0])
    return None, None


def phone_evidence(phones: PhoneReading, facts: Facts, winner: str, matched: str | None) -> dict[str, object]:
    """`matched` is the phone that is the winner's own; a contact or a person may lead to it without one."""
    return {
        **usable_evidence(phones, facts.applied),
        "rejected": [{"phone": phone, "reason": reason} for phone, reason in phones.rejected],
        "candidates": list(dict.fromkeys(account.id for account in facts.accounts)),
        "winner": winner,
        "matched": matched,
    }


def usable_evidence(phones: PhoneReading, applied: Applied | None) -> dict[str, object]:
    """The usable phones of a version, which a later version without one takes over."""
    usable: dict[str, object] = {"usable": list(phones.usable), "typed": phones.typed}
    return {**usable, "applied_before": applied.phone} if phones.are_from_last_version and applied else usable


def phone_digests(evidence: Mapping[str, object], phone: str | None, digester: Digester) -> dict[str, object]:
    """Digests of the phones in an event's evidence, which stay when retention empties the phones."""
    usable, matched = evidence.get("usable"), evidence.get("matched")
    return {
        "primary": digester.digest(PHONE, phone) if phone else None,
        "usable": [digester.digest(PHONE, each) for each in usable] if isinstance(usable, list) else [],
        "matched": digester.digest(PHONE, matched) if isinstance(matched, str) else None,
    }
