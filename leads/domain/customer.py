"""Which account is the customer of a lead, and what the event records of the search."""

from leads.domain.facts import Account, Applied, Facts
from leads.domain.phone import PhoneReading


def matching_account(
    phones: tuple[str, ...], accounts: tuple[Account, ...]
) -> tuple[str | None, Account | None]:
    """The first phone with a match decides; among its accounts the oldest enabled one, else the oldest.

    A phone that is not an account's own leads to the account whose contact has it; the phone is returned only
    if it is the account's own.
    """
    for phone in phones:
        for is_own in (True, False):
            matches = [a for a in accounts if (a.phone if is_own else a.contact_phone) == phone]
            if matches:
                enabled = next((a for a in matches if a.state == "enabled"), matches[0])
                return phone if is_own else None, enabled
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
    usable: dict[str, object] = {"usable": list(phones.usable)}
    return {**usable, "applied_before": applied.phone} if phones.are_applied and applied else usable
