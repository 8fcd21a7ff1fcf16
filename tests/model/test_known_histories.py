"""Histories that broke the product once, as short as they could be made.

To add one: run the random histories, and write the steps of the failing test case as calls of `history`.
"""

from tests.support.histories.history import WAIT, History
from tests.support.histories.state import Fields


def test_a_dry_run_announces_the_contact_of_every_phone(history: History) -> None:
    history.deliver({"phones": ("0905111001", "0905111002")})


def test_a_deletion_dated_in_the_far_future_does_not_make_later_versions_stale(history: History) -> None:
    history.deliver({"phones": ("0905111001",)})
    history.deliver({}, deletion=True, far=True)
    history.deliver({"name": "An"}, minutes=2)


def test_an_unchanged_version_dated_in_the_far_future_does_not_make_later_ones_stale(
    history: History,
) -> None:
    history.deliver({"phones": ("0905111001",)})
    history.deliver({"phones": ("0905111001",)}, far=True)
    history.deliver({"name": "An"}, minutes=2)


def test_an_older_copy_of_a_version_does_not_bring_back_its_phone(history: History) -> None:
    history.deliver({"phones": ("0905111001",)}, minutes=3, noise=1)
    history.deliver({"phones": ("0905111001",), "interested_products": ("Mask",)}, minutes=3, then=WAIT)
    history.deliver({"phones": ("0905111002",)}, minutes=None)
    history.process_waiting()


def test_a_corrected_phone_of_an_older_copy_does_not_get_into_the_ticket(history: History) -> None:
    history.deliver({"sources": ("-3",), "phones": ()}, noise=1)
    history.deliver({"phones": ("0905111003",)})
    history.replay(0, phone=0)


def test_a_ticket_of_two_records_describes_the_phones_that_it_holds(history: History) -> None:
    history.deliver({"phones": ("0905111001", "0905111002")}, minutes=None)
    history.deliver({"phones": ("0905111001",)}, record=1, minutes=None)
    history.deliver({"name": "An"}, minutes=None)


def test_a_version_without_phone_finds_the_customer_of_a_contact(history: History) -> None:
    """It failed as contended until it was a dead letter."""
    history.deliver({"phones": ("0905111002", "0905111001")}, workspace=1, minutes=None)
    history.deliver({"phones": ("0905111001",)}, deletion=True, minutes=None)
    history.deliver({}, minutes=None)


def test_the_open_ticket_of_an_account_is_found_by_a_record_without_ticket(history: History) -> None:
    """A person deleted the record's ticket, and gave the account another phone."""
    history.deliver({"phones": ("0905111001",)}, minutes=None)
    history.people.delete_ticket(0)
    history.deliver({"phones": ("0905111001",)}, record=1, minutes=None)
    history.people.change_phone(0, 1)
    history.deliver({"interested_products": ("Serum",)}, minutes=None)


def test_a_replay_that_changes_nothing_does_not_bring_back_an_earlier_ticket(history: History) -> None:
    """Its row still names the ticket and the account of its first processing."""
    history.deliver({"phones": ()}, minutes=None, noise=1)
    history.deliver({"phones": ("0905111001",)}, minutes=None)
    history.deliver({}, minutes=None)
    history.deliver({"phones": ("0905111001",)}, record=1, minutes=None)
    history.replay(0, force=True, phone=1)
    history.replay(2)
    history.deliver({"name": "An"}, minutes=None)


def test_a_ticket_is_the_customers_after_a_forced_replay_of_the_event_that_made_it(history: History) -> None:
    """No event named it any more, and a person opened it again: the customer got a second open ticket."""
    history.deliver({"phones": ("0905111001",)})
    history.people.set_status(0)
    history.replay(0, force=True)
    history.people.set_status(1)
    history.people.set_status(0, 0)
    history.deliver({"phones": ("0905111001",)}, record=1)
    assert len(history.state.tickets) == 2


def test_a_ticket_that_is_opened_again_keeps_its_missing_owner_after_a_tick(history: History) -> None:
    for staff in range(3):
        history.people.set_on_duty(staff)
    history.deliver({"phones": ("0905111001",)})
    history.people.set_status(0)
    history.retry()
    history.people.set_status(0, 0)
    history.people.set_on_duty(0, 0)
    history.retry()
    assert [ticket.owner for ticket in history.state.tickets.values()] == [None]


def test_notifications_that_did_not_reach_the_service_come_later_and_once(history: History) -> None:
    history.connect_service(reachable=False)
    history.deliver({"phones": ("0905111001",)})
    history.deliver({"phones": ("0905111001",), "name": "An"}, minutes=1)
    assert len(history.owed) == 2
    history.connect_service(reachable=True)
    history.retry()
    history.retry()
    assert len(history.product.hasura.received) == 2


def test_an_event_of_an_inactive_source_is_held_and_drained(history: History) -> None:
    history.people.set_source(0)
    history.deliver({"phones": ("0905111001",), "sources": ("-1",)})
    history.people.set_source(0, 0)
    history.replay(0)
    assert [event.outcome for event in history.state.events.values()] == ["ticket_created"]


def test_a_lead_of_a_source_with_a_roster_gets_an_owner_of_it(history: History) -> None:
    history.people.set_source_member(2, 0)
    for phone in ("0905111001", "0905111002"):
        history.deliver({"phones": (phone,), "sources": ("-1", "-3")}, record=int(phone[-1]))
    owners = [history.story.name(ticket.owner) for ticket in history.state.tickets.values()]
    assert owners == ["S3", "S3"]


def test_a_dry_run_names_an_owner_who_is_an_administrator_once(history: History) -> None:
    history.deliver({"phones": ("0905111001",)})
    history.people.set_status(0)
    history.people.edit("assign_ticket", 0, 5)
    history.people.set_status(0, 0)
    history.deliver({"phones": ("0905111002",)})


def test_a_forced_replay_of_a_deletion_tells_no_one_again(history: History) -> None:
    history.deliver({"phones": ("0905111001",)})
    history.deliver({}, minutes=1, deletion=True)
    received = len(history.product.hasura.received)
    history.replay(1, force=True)
    assert len(history.product.hasura.received) == received


def test_what_is_left_of_a_stale_version_finds_the_customer_by_the_phone_applied(history: History) -> None:
    """The accounts of the phones that the stale version named were read, and those of the applied one not."""
    history.deliver({"phones": ("0905111001",)}, record=1)
    history.people.insert_older_account(0)
    history.deliver({"phones": ("0905111003",), "tags": ("vip",)}, then=WAIT)
    history.deliver({"phones": ("0905111001",)})
    history.process_waiting()


def test_a_ticket_that_its_only_record_left_is_called_by_the_phone_of_its_account(history: History) -> None:
    """The record had no phone but a corrected one, so the ticket held none."""
    history.deliver({"email": "a@example.com"}, minutes=None)
    history.replay(0, phone=2)
    history.deliver({"phones": ("0905111001",)}, record=1, minutes=None)
    history.deliver({"phones": ("0905111001",)}, minutes=None)
    left = next(ticket for ticket in history.state.tickets.values() if not ticket.requests)
    assert left.title == "Lead Pancake: 0905 111 003"


def test_an_event_that_made_a_ticket_stays_that_event_after_a_deletion_was_forced(history: History) -> None:
    """The reference model expected contact_updated, though the event still names the ticket that it made."""
    history.deliver({"phones": ("0905111001",)}, deletion=True, minutes=None)
    history.deliver({"phones": ("0905111001",)}, minutes=None)
    history.replay(0, force=True)
    history.people.set_status(0)
    history.replay(1)
    assert [event.outcome for event in history.state.events.values()] == ["record_deleted", "ticket_created"]


def test_a_second_record_of_a_customer_fills_the_contact_and_replaces_nothing(history: History) -> None:
    """Its first version put back the name that a person had corrected: the record had it, so all was new."""
    history.deliver({"phones": ("0905111001",), "name": "An", "address": "1 Lê Lợi"})
    history.people.correct_name()
    history.people.correct_address()
    named: Fields = {"name": "An", "email": "b@example.com", "address": "1 Lê Lợi"}
    history.deliver({"phones": ("0905111001",)} | named, record=1)
    (contact,) = history.state.contacts.values()
    assert (contact.name, contact.email, contact.address) == ("Khách quen", "b@example.com", "Khách quen")
