"""The cases a to h that docs/decisions/0006 decides, one short history each."""

from tests.support.histories.history import History
from tests.support.histories.results import P1, P2, P3, account_of_contact, results, templates_sent
from tests.support.histories.state import LEAD_UPDATED, NEEDS_ATTENTION


def test_a_force_opens_a_ticket_after_a_closed_one(history: History) -> None:
    history.deliver({"phones": (P1,)})
    history.people.set_status(0)
    history.replay(0, force=True)
    assert results(history) == [("ticket_created", "A1", "T2")]


def test_a_forced_replay_that_changes_nothing_tells_no_one(history: History) -> None:
    history.deliver({"phones": (P1,)})
    before = templates_sent(history)
    history.replay(0, force=True)
    assert templates_sent(history) == before


def test_a_forced_replay_that_changes_something_is_announced(history: History) -> None:
    history.deliver({"phones": (P1,)})
    history.deliver({"phones": (P1,), "name": "An"}, minutes=1)
    history.deliver({"phones": (P1,), "name": "Bình"}, minutes=2)
    before = templates_sent(history)
    history.replay(1, force=True)
    assert templates_sent(history) == [*before, LEAD_UPDATED]


def test_b_a_disabled_account_is_the_customer_if_no_other_is_known(history: History) -> None:
    history.people.insert_account(0)
    history.people.enable_account(0)
    history.deliver({"phones": (P1,)})
    assert results(history) == [("ticket_created", "A1", "T1")]


def test_b_the_enabled_account_of_the_contact_comes_before_a_disabled_one(history: History) -> None:
    history.deliver({"phones": (P1,)})
    history.people.insert_account(1)
    history.people.merge_accounts(0, 1)
    history.people.delete_account(0, restored=1)
    history.people.enable_account(0)
    history.deliver({"phones": (P1,)}, record=1)
    assert results(history)[1] == ("ticket_updated", "A2", "T1")


def test_b_the_open_ticket_on_the_disabled_account_of_the_phone_is_the_customers(history: History) -> None:
    """The phone's contact was moved to an enabled account that has another number."""
    history.deliver({"phones": (P1,)})
    history.deliver({"phones": (P2,)}, record=1)
    history.people.set_status(1)
    history.people.merge_accounts(0, 1)
    history.people.delete_account(0, restored=1)
    history.people.enable_account(0)
    history.people.move_ticket(0, 0)
    history.deliver({"phones": (P1,)}, record=2)
    assert results(history)[2] == ("ticket_updated", "A2", "T1")


def test_c_a_former_phone_of_an_account_does_not_lead_to_it(history: History) -> None:
    history.deliver({"phones": (P1,)})
    history.people.change_phone(0, 1)
    history.deliver({"phones": (P1,)}, record=1)
    assert results(history)[1] == ("ticket_created", "A2", "T2")


def test_c_a_phone_that_a_lead_named_with_the_accounts_phone_leads_to_it(history: History) -> None:
    history.deliver({"phones": (P1, P2)})
    history.people.change_phone(0, 1)
    history.deliver({"phones": (P2,)}, record=1)
    history.deliver({"phones": (P1,)}, record=2)
    assert results(history)[1:] == [("ticket_updated", "A1", "T1")] * 2


def test_c_the_accounts_phone_counts_before_it_is_normalized(history: History) -> None:
    history.deliver({"phones": (P1, P2)})
    history.people.change_phone(0, 1)
    history.deliver({"phones": (P1,)}, record=1)
    assert results(history)[1] == ("ticket_updated", "A1", "T1")


def test_d_a_ticket_on_a_deleted_account_is_that_of_its_record_alone(history: History) -> None:
    history.deliver({"phones": (P1,)})
    history.people.delete_account(0)
    history.deliver({"phones": (P1,)}, record=1)
    history.deliver({"phones": (P1,), "name": "An"}, minutes=1)
    assert [ticket for _, _, ticket in results(history)] == ["T1", "T2", "T1"]


def test_d_the_ticket_of_another_record_on_the_deleted_account_is_not_joined(history: History) -> None:
    history.deliver({"phones": (P1,)})
    history.people.set_status(0)
    history.deliver({"phones": (P1,)}, record=1)
    history.people.delete_account(0)
    history.deliver({"interested_products": ("Serum",)}, minutes=1)
    assert results(history)[1:] == [("ticket_created", "A1", "T2"), ("ticket_created", "A2", "T3")]


def test_e_a_customer_whom_a_person_chose_has_one_open_ticket(history: History) -> None:
    history.deliver({"phones": (P1,)})
    history.deliver({"phones": (P2,)}, record=1)
    history.people.move_ticket(0, 1)
    history.people.set_status(0)
    history.people.delete_account(0)
    history.deliver({"interested_products": ("Serum",)}, minutes=1)
    assert results(history)[2] == ("ticket_updated", "A2", "T2")


def test_e_a_ticket_on_another_account_with_the_winners_number_is_the_customers(history: History) -> None:
    history.deliver({"phones": (P1,)})
    history.deliver({"phones": (P2,)}, record=1)
    history.people.move_ticket(0, 1)
    history.people.set_status(0)
    history.people.delete_account(0)
    history.people.insert_older_account(1)
    history.deliver({"name": "An"}, record=1, minutes=1)
    history.people.move_ticket(1, 2)
    history.deliver({"interested_products": ("Serum",)}, minutes=1)
    assert results(history)[2:] == [("ticket_updated", "A3", "T2"), ("ticket_updated", "A2", "T2")]


def test_e_the_winners_number_counts_before_it_is_normalized(history: History) -> None:
    """The account is found by its contact, and has the number of the account that the ticket is on."""
    history.deliver({"phones": (P1,)}, minutes=None)
    history.people.set_status(0)
    history.deliver({"phones": (P3,), "name": "An"}, minutes=None)
    history.people.insert_account(0)
    history.deliver({"phones": (P1,), "interested_products": ("Serum",)}, minutes=None)
    history.people.merge_accounts(1, 2)
    history.deliver({"phones": (P3,)}, minutes=None)
    assert results(history)[2:] == [("ticket_updated", "A1", "T2"), ("ticket_updated", "A3", "T2")]
    ticket = next(each for each in history.state.tickets.values() if each.is_open)
    assert history.story.name(ticket.account) == "A1"


def test_e_the_winners_number_counts_while_another_accounts_is_not_normalized(history: History) -> None:
    history.deliver({"phones": (P2,)}, table=1)
    history.deliver({"phones": (P3,)}, record=1)
    history.people.set_status(0)
    history.people.merge_accounts(1, 0)
    history.deliver({"phones": (P1,)}, workspace=1)
    history.people.change_phone(2, 1)
    history.deliver({"phones": (P3, P1)}, record=2)
    assert results(history)[2:] == [("ticket_created", "A3", "T2"), ("ticket_updated", "A1", "T2")]


def test_e_a_new_number_of_the_records_account_counts_before_it_is_normalized(history: History) -> None:
    history.deliver({"phones": (P1,)})
    history.people.change_phone(0, 2)
    history.people.delete_ticket(0)
    history.people.insert_older_account(2)
    history.deliver({"phones": (P3,)}, record=1)
    history.deliver({"interested_products": ("Serum",)}, minutes=1)
    assert results(history)[1:] == [("ticket_created", "A2", "T2"), ("ticket_updated", "A1", "T2")]


def test_f_the_open_ticket_of_the_new_phones_customer_is_joined(history: History) -> None:
    history.deliver({"phones": (P1,)})
    history.deliver({"phones": (P2,)}, record=1)
    history.deliver({"phones": (P2,)}, minutes=1)
    assert results(history)[2] == ("ticket_updated", "A2", "T2")
    assert history.story.name(next(iter(history.state.tickets.values())).account) in ("A1", "A2")
    assert templates_sent(history)[-2:] == [LEAD_UPDATED, NEEDS_ATTENTION]


def test_f_a_record_keeps_its_ticket_that_a_person_moved_to_the_new_customer(history: History) -> None:
    history.deliver({"phones": (P1,)})
    history.deliver({"phones": (P2,)}, record=1)
    history.people.move_ticket(0, 1)
    history.deliver({"phones": (P2,)}, minutes=1)
    assert results(history)[2] == ("ticket_updated", "A2", "T1")


def test_g_the_phone_that_was_applied_decides_while_it_is_named(history: History) -> None:
    history.deliver({"phones": (P2,)}, record=1)
    history.people.set_status(0)
    history.deliver({"phones": (P1,)})
    history.deliver({"phones": (P2, P1)}, minutes=1)
    assert results(history)[2] == ("ticket_updated", "A2", "T2")
    assert account_of_contact(history, P2) == "A1"
    history.deliver({"phones": (P2,)}, minutes=2)
    assert results(history)[3] == ("ticket_updated", "A1", "T2")
    ticket = next(each for key, each in history.state.tickets.items() if history.story.name(key) == "T2")
    assert history.story.name(ticket.account) == "A1"


def test_g_a_phone_that_is_only_dropped_is_no_new_request(history: History) -> None:
    history.deliver({"phones": (P1, P2)})
    history.people.set_status(0)
    history.deliver({"phones": (P2,)}, minutes=1)
    assert results(history)[1] == ("contact_updated", "A1", "T1")


def test_h_a_deletion_of_an_unknown_record_counts_with_its_time_and_its_phones(history: History) -> None:
    history.deliver({"phones": (P1, P2)}, minutes=1, deletion=True)
    history.deliver({"phones": (P3,)}, minutes=0)
    history.deliver({"name": "An"}, minutes=2)
    history.deliver({"phones": (P2,)}, record=1)
    assert [result for result, _, _ in results(history)] == [
        "record_deleted",
        "stale",
        "ticket_created",
        "ticket_updated",
    ]
    assert account_of_contact(history, P1) == account_of_contact(history, P2) == "A1"
