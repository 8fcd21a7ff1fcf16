"""What the reference model is asked, and what it answers."""

from dataclasses import dataclass

from tests.support.histories.state import Version


@dataclass(frozen=True)
class Request:
    """A version to process. A replay may force it or correct its phone. New rows get the ids given here."""

    version: Version
    force: bool = False
    corrected_phone: str | None = None
    new_account: str = "new account"
    new_ticket: str = "new ticket"


@dataclass(frozen=True)
class Result:
    """A decision: the outcome, and for a version that is written the phone, the account and the ticket.

    `matched` is the phone that is the account's own, if the account was found by that.
    """

    outcome: str
    phone: str = ""
    winner: str = ""
    ticket: str | None = None
    matched: str | None = None
