"""What a version of a lead writes to account and contacts."""

from tests.support.histories.open_values import ANY
from tests.support.histories.reference import Decision
from tests.support.histories.request import Result
from tests.support.histories.state import Account, Contact, State


def write_account(decision: Decision, result: Result, state: State) -> None:
    """An account's name is Diva's; only a new one gets the lead's."""
    if result.winner == decision.request.new_account:
        name = decision.version.fields.get("name") or result.phone
        state.accounts[result.winner] = Account(result.phone, ANY, name=str(name))
    else:
        state.accounts[result.winner].is_normalized = True


def write_contacts(decision: Decision, result: Result, state: State) -> None:
    """The contact of the deciding phone goes to the winner, and those of other phones without a customer.

    A contact whose account was deleted has no customer, and a phone that is an account's own needs none. A
    person may have corrected the contact: the first version of a record only fills what it lacks, and what a
    later one does not change stays.
    """
    fields = decision.version.fields
    named = {name: fields.get(name) or None for name in ("name", "email", "address")}
    contact = state.contacts.setdefault(result.phone, Contact(result.winner, **named))  # type: ignore[arg-type]
    contact.account = result.winner
    for name, value in named.items():
        known = getattr(contact, name)
        if decision.is_first():
            setattr(contact, name, known or value)
        elif name in decision.changed_fields():
            setattr(contact, name, value or known)
    taken = {account.phone for account in decision.before.accounts.values() if not account.deleted}
    for phone in set(decision.phones()) - taken:
        other = state.contacts.setdefault(phone, Contact(result.winner, **named))  # type: ignore[arg-type]
        holder = state.accounts.get(str(other.account))
        if holder is None or holder.deleted:
            state.contacts[phone].account = result.winner
