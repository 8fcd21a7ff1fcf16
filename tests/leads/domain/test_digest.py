"""Keyed digests: what they show, what they hide, and the rotation of their keys."""

import json
from dataclasses import replace
from hashlib import sha256

import pytest

from leads.adapters.secrets import KeyRing
from leads.domain.canonical_json import payload_hash
from leads.domain.digest import NO_KEYS, PHONE, Digester
from leads.domain.lead import Lead, read_lead
from leads.domain.ticket_text import written_by_us, written_digests
from leads.domain.versions import changed_fields, is_new_request, is_unchanged
from tests.support.builders import EMPTY, applied, decide_on, lead_case

OLD, NEW = bytes([1] * 32), bytes([2] * 32)
BEFORE = KeyRing({"old": OLD}).digester()
ROTATED = KeyRing({"new": NEW, "old": OLD}).digester()
AFTER = KeyRing({"new": NEW}).digester()
RECORD = {
    "id": "r-1", "name": "An", "phone_number": "0905 111 222", "secondary_phone_number": "khong co",
    "interested_product": ["Gói A"], "source": ["-1"], "email": "an@example.com",
}  # fmt: skip


def lead(digester: Digester, **fields: object) -> Lead:
    return read_lead(json.loads(json.dumps(RECORD | fields)), digester=digester)


def test_a_digest_is_not_a_hash_that_anybody_can_compute() -> None:
    """All phones are tried in seconds; the digests of before were found so."""
    stored = lead(BEFORE).digests()["phones"][0]
    guesses = [["r-1", "phones", phone] for phone in ("+84905111222", "0905 111 222")]
    texts = [json.dumps(guess, separators=(",", ":"), ensure_ascii=False) for guess in guesses]
    for text in texts:
        assert sha256(text.encode()).hexdigest()[:16] not in stored
        assert payload_hash(text).hex()[:16] not in stored
    assert stored != lead(AFTER).digests()["phones"][0]


def test_a_digest_names_its_key_and_depends_on_its_purpose() -> None:
    assert BEFORE.digest(PHONE, "+84905111222").startswith("old:")
    assert ROTATED.digest(PHONE, "+84905111222").startswith("new:")
    assert BEFORE.digest(PHONE, "+84905111222") != BEFORE.digest("r-1", "phones", "+84905111222")
    assert len({digest.digest("a") for digest in (BEFORE, Digester({"old": OLD}))}) == 2, (
        "the key is derived, not that which seals"
    )


@pytest.mark.parametrize("digester", [BEFORE, ROTATED], ids=["same key", "rotated"])
def test_digests_stay_comparable_while_their_key_is_in_the_ring(digester: Digester) -> None:
    before = applied(lead_case(), digests=lead(BEFORE).digests())
    for fields, changed in (
        ({}, ()),
        ({"name": "B"}, ("name",)),
        ({"interested_product": ["B"]}, ("interested_products",)),
    ):
        later = lead(digester, **fields)
        known = replace(before, digests=later.restated(before.digests or {}))
        assert changed_fields(later, known) == changed
        assert is_unchanged(later, known) == (not changed)
        assert is_new_request(later, lead_case().phones, known) == ("interested_products" in changed)


def test_with_a_key_that_is_gone_every_field_counts_as_changed() -> None:
    later = lead(AFTER)
    known = applied(lead_case(), digests=later.restated(lead(BEFORE).digests()))
    assert set(changed_fields(later, known)) == set(later.fields())


def test_fields_that_a_version_does_not_name_keep_their_digests() -> None:
    stored = lead(BEFORE).digests()
    later = read_lead({"id": "r-1", "name": "An"}, digester=ROTATED)
    assert later.restated(stored) == stored | {"name": ROTATED.digest("r-1", "name", "An")}


def test_a_list_is_restated_item_by_item() -> None:
    stored = lead(BEFORE, interested_product=["A", "B"]).digests()
    restated = lead(ROTATED, interested_product=["B", "C"]).restated(stored)["interested_products"]
    assert restated == [stored["interested_products"][0], ROTATED.digest("r-1", "interested_products", "B")]


def test_texts_of_a_ticket_that_a_person_changed_are_known_after_a_rotation() -> None:
    plan = decide_on(lead_case(), EMPTY)
    assert plan.ticket is not None
    texts = {"title": "Lead Pancake: An", "description": "Email: a@example.com"}
    fields = {"written": written_digests(plan.ticket, texts, BEFORE)}
    present = texts | {"title": "Lead Pancake: An, gọi sau 17h"}
    assert written_by_us(fields, present, ROTATED) == {"description"}
    assert written_by_us(fields, texts, AFTER) == frozenset(), "the safe side: they count as changed"


def test_a_body_is_identified_with_the_oldest_key() -> None:
    """A body that is delivered again after a key was added is still a duplicate."""
    body = payload_hash("{}")
    assert BEFORE.identify(body) == ROTATED.identify(body) != AFTER.identify(body)
    assert BEFORE.identify(body) != body


def test_without_a_key_there_are_no_digests() -> None:
    with pytest.raises(ValueError, match="key"):
        NO_KEYS.digest("a")
