"""Which customers and open tickets a phone leads to, in the state before a version."""

from tests.support.histories.memory import Memory
from tests.support.histories.state import State


class Customers:
    """The accounts and tickets of a state. `NEW` stands for an account that does not exist yet."""

    NEW = ""

    def __init__(self, before: State, memory: Memory) -> None:
        self.before, self.memory = before, memory

    def matches(self, phone: str) -> list[str]:
        """Return the accounts that the phone may lead to; empty if it leads to none.

        The oldest live one with that number, else that of the phone's contact. Without a live number the text
        does not say whether a disabled account is better. A number that the contact's account had before a
        person changed it may lead to it or not; then NEW is among the answers.
        """
        accounts = self.before.accounts
        own = sorted(
            (key for key, account in accounts.items() if account.phone == phone and not account.deleted),
            key=lambda key: accounts[key].created_at,  # type: ignore[arg-type, return-value]
        )
        if live := [key for key in own if accounts[key].enabled]:
            return live[:1]
        contact = self.before.contacts.get(phone)
        found = [str(contact.account)] if contact and contact.account in accounts else []
        known = [key for key in (*own[:1], *found) if key and not accounts[key].deleted]
        is_former = any(phone in self.memory.former_phones.get(key, ()) for key in known)
        is_certain = any(accounts[key].enabled for key in known) and not is_former
        return known if is_certain or not known else [*known, self.NEW]

    def of_phones(self, phones: tuple[str, ...]) -> list[str]:
        """Return the accounts that phones may lead to: those of the first that certainly leads to one."""
        found: list[str] = []
        for phone in phones:
            answers = self.matches(phone)
            found += [key for key in answers if key != self.NEW]
            if answers and self.NEW not in answers:
                return found
        return [*found, self.NEW]

    def open_tickets(self, phone: str, winner: str) -> list[str]:
        """Return the open tickets that our events made, on the winner or on any account with its phone."""
        accounts = self.before.accounts
        phones = {phone, accounts[winner].phone if winner in accounts else phone} - {None}
        same = {winner, *(key for key, account in accounts.items() if account.phone in phones)}
        return [
            key
            for key, ticket in self.before.tickets.items()
            if ticket.is_from_pancake and ticket.is_open and ticket.account in same
        ]

    def is_in_the_way(self, ticket: str, phone: str, winner: str) -> bool:
        """Tell whether an open ticket certainly is the customer's.

        It may not be if its account was deleted, or if the phone is only that of the winning account and not
        of the lead.
        """
        key = self.before.tickets[ticket].account
        account = self.before.accounts[str(key)]
        return not account.deleted and (key == winner or account.phone == phone)
