"""The cases i to p that docs/decisions/0006 decides, one short history each."""

from tests.support.histories.history import WAIT, History
from tests.support.histories.results import P1, P2, P3, account_of_contact, results, templates_sent
from tests.support.histories.state import LEAD_UPDATED, NEEDS_ATTENTION


def test_i_the_next_version_after_a_deletion_is_announced_even_without_a_change(history: History) -> None:
    history.deliver({"phones": (P1,)})
    history.deliver({}, minutes=1, deletion=True)
    assert templates_sent(history)[-1] == NEEDS_ATTENTION
    history.deliver({"phones": (P1,)}, minutes=2)
    assert templates_sent(history)[-1] == LEAD_UPDATED


def test_j_versions_with_and_without_a_time_are_ordered_by_their_arrival(history: History) -> None:
    history.deliver({"phones": (P1,), "name": "An"}, minutes=3, then=WAIT)
    history.deliver({"phones": (P1,), "name": "Bình"}, minutes=None)
    history.process_waiting()
    history.deliver({"phones": (P1,), "name": "An"}, minutes=1)
    history.deliver({"phones": (P1,), "name": "Bình"}, minutes=None, noise=1)
    assert [result for result, _, _ in results(history)] == [
        "stale",
        "ticket_created",
        "ticket_updated",
        "ticket_updated",
    ]


def test_j_a_version_without_a_time_between_two_others_is_what_the_third_is_compared_with(
    history: History,
) -> None:
    """The third has the content of the first, which is not the version that was applied last."""
    history.deliver({"phones": (P1,), "name": "An"}, minutes=1)
    history.deliver({"phones": (P1,), "name": "Bình"}, minutes=None)
    history.deliver({"phones": (P1,), "name": "An"}, minutes=2, noise=1)
    assert [result for result, _, _ in results(history)] == [
        "ticket_created",
        "ticket_updated",
        "ticket_updated",
    ]
    (ticket,) = history.state.tickets.values()
    assert ticket.fields["name"] == "An"


def test_k_nothing_is_written_to_a_closed_ticket_and_no_notice_is_sent(history: History) -> None:
    history.deliver({"phones": (P1,)})
    history.people.set_status(0)
    before, tickets = templates_sent(history), history.state.tickets
    history.deliver({"tags": ("vip",)}, minutes=1)
    assert results(history)[1] == ("contact_updated", "A1", "T1")
    assert (templates_sent(history), history.state.tickets) == (before, tickets)


def test_l_a_ticket_that_a_person_deleted_counts_as_closed(history: History) -> None:
    history.deliver({"phones": (P1,)})
    history.people.delete_ticket(0)
    history.deliver({"tags": ("vip",)}, minutes=1)
    assert (results(history)[1][0], history.state.tickets) == ("contact_updated", {})
    history.deliver({"interested_products": ("Serum",)}, minutes=2)
    assert results(history)[2] == ("ticket_created", "A1", "T2")


def test_m_the_contact_of_a_deleted_account_goes_to_the_new_customer(history: History) -> None:
    history.deliver({"phones": (P1,)})
    history.people.delete_account(0)
    history.deliver({"phones": (P2, P1)}, record=1)
    assert results(history)[1] == ("ticket_created", "A2", "T2")
    assert account_of_contact(history, P1) == "A2"


def test_n_a_new_ticket_of_a_known_record_has_the_fields_that_its_version_names(history: History) -> None:
    history.deliver({"phones": (P1,), "name": "An"})
    history.people.set_status(0)
    history.deliver({"interested_products": ("Serum",)}, minutes=1)
    assert results(history)[1] == ("ticket_created", "A1", "T2")
    ticket = next(each for key, each in history.state.tickets.items() if history.story.name(key) == "T2")
    assert ticket.fields == {"interested_products": ("Serum",)}


def test_o_a_key_that_a_version_does_not_name_keeps_its_phones(history: History) -> None:
    history.deliver({"phones": (P1,), "second": (P2,), "name": "An"})
    history.deliver({"phones": (P1,), "name": "An"}, minutes=1)
    history.deliver({"second": (P3,)}, minutes=2)
    history.deliver({"chat": (P2,)}, minutes=3)
    assert results(history) == [
        ("ticket_created", "A1", "T1"),
        ("no_change", "A1", "T1"),
        ("ticket_updated", "A1", "T1"),
        ("ticket_updated", "A1", "T1"),
    ]
    (ticket,) = history.state.tickets.values()
    assert ticket.fields == {"name": "An", "phones": (P1, P3, P2)}


def test_o_a_second_phone_of_another_customer_does_not_take_the_record_there(history: History) -> None:
    history.deliver({"phones": (P2,)}, record=1)
    history.deliver({"phones": (P1,)})
    history.deliver({"second": (P2,)}, minutes=1)
    assert results(history)[1:] == [("ticket_created", "A2", "T2"), ("ticket_updated", "A2", "T2")]


def test_o_a_key_without_a_usable_phone_takes_no_other_keys_phone_away(history: History) -> None:
    history.deliver({"phones": (P1,), "second": (P2,)})
    history.deliver({"phones": (), "name": "An"}, minutes=1)
    assert results(history)[1] == ("ticket_updated", "A1", "T1")
    (ticket,) = history.state.tickets.values()
    assert ticket.fields == {"name": "An", "phones": (P1, P2)}


def test_p_a_version_that_names_no_source_has_those_of_its_record(history: History) -> None:
    history.people.set_source(2, 1)
    history.deliver({"phones": (P1,), "sources": ("-1",)})
    history.deliver({"name": "An"}, minutes=1)
    history.deliver({"phones": (P2,)}, record=1)
    history.deliver({"phones": (P1,), "sources": ()}, minutes=2)
    assert [event.status for _, event in sorted(history.state.events.items())] == [
        "processed",
        "processed",
        "skipped_source_disabled",
        "skipped_source_disabled",
    ]
