"""Which customers and open tickets a phone leads to, in the state before a version."""

from tests.support.histories.memory import Memory
from tests.support.histories.state import State


class Customers:
    """The accounts and tickets of a state."""

    def __init__(self, before: State, memory: Memory) -> None:
        self.before, self.memory = before, memory

    def own(self, phone: str) -> list[str]:
        """Return the accounts that have the phone themselves and are not deleted, the oldest first."""
        accounts = self.before.accounts
        return sorted(
            (key for key, account in accounts.items() if account.phone == phone and not account.deleted),
            key=lambda key: accounts[key].created_at,  # type: ignore[arg-type, return-value]
        )

    def match(self, phone: str) -> str | None:
        """Return the account that a phone leads to: an own one, else its contact's; enabled ones first."""
        accounts = self.before.accounts
        known = [*self.own(phone), *self._of_contact(phone)]
        return next((key for key in known if accounts[key].enabled), known[0] if known else None)

    def open_tickets(self, phone: str, winner: str, led: str | None) -> list[str]:
        """Return the open tickets that our events made, on the winner or on a living account with its phone.

        The newest first. `phone` is that of a winner that is new, `led` the one that led to a known winner.
        """
        accounts = self.before.accounts
        own = accounts[winner].phone if winner in accounts else phone
        same = {winner, *(self.own(own) if own else ()), *(self.own(led) if led else ())}
        tickets = self.before.tickets.items()
        keys = [
            key
            for key, ticket in tickets
            if ticket.is_from_pancake and ticket.is_open and ticket.account in same
        ]
        return sorted(keys, key=lambda key: str(self.before.tickets[key].created_at), reverse=True)

    def _of_contact(self, phone: str) -> list[str]:
        """Return the account of the phone's contact, unless the phone is one that the account had before.

        It is if a lead found the account by that phone, and none named it together with the phone that the
        account has now.
        """
        contact = self.before.contacts.get(phone)
        key = str(contact.account) if contact else ""
        account = self.before.accounts.get(key)
        if account is None or account.deleted or account.phone == phone:
            return []
        searches = [
            each for each in self.memory.searches.values() if (each.phone, each.account) == (phone, key)
        ]
        is_former = any(each.matched == phone for each in searches)
        return [] if is_former and not any(account.phone in each.usable for each in searches) else [key]
