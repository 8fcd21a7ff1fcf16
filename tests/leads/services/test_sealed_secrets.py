"""A sealed secret opens for the use that it was sealed for."""

import pytest

from leads.adapters.secrets import KeyRing
from leads.domain.errors import SecretUnreadable
from leads.services.sealed_secrets import Use, open_sealed, reseal, seal

OLD, NEW = bytes(32), bytes([1]) * 32
RING = KeyRing({"new": NEW, "old": OLD})
KEY_USE = Use("api_key", "c1", "https://crm.pancake.vn/api")


@pytest.mark.parametrize(
    "other",
    [
        Use("api_key", "c1", "https://crm.pancake.vn/api2"),
        Use("api_key", "c2", "https://crm.pancake.vn/api"),
        Use("header_secret", "c1", "https://crm.pancake.vn/api"),
        Use("api_key", "c1"),
    ],
)
def test_an_api_key_opens_for_its_connection_and_base_url_only(other: Use) -> None:
    sealed = seal(RING, "secret", KEY_USE)
    assert open_sealed(RING, sealed, KEY_USE) == "secret"
    for read in (open_sealed, reseal):
        with pytest.raises(SecretUnreadable, match="it was not sealed for this use, or key 'new'"):
            read(RING, sealed, other)


def test_other_secrets_open_whatever_the_base_url_is() -> None:
    sealed = seal(RING, "secret", Use("header_secret", "c1", "https://crm.pancake.vn/api"))
    assert open_sealed(RING, sealed, Use("header_secret", "c1")) == "secret"
    with pytest.raises(SecretUnreadable):
        open_sealed(RING, sealed, Use("webhook_secret", "c1"))


def test_a_secret_is_sealed_again_with_the_current_key_only_if_it_is_not() -> None:
    sealed = seal(KeyRing({"old": OLD}), "secret", KEY_USE)
    fresh = reseal(RING, sealed, KEY_USE)
    assert (RING.key_id(fresh), open_sealed(RING, fresh, KEY_USE)) == ("new", "secret")
    assert reseal(RING, fresh, KEY_USE) == fresh


@pytest.mark.parametrize("key", ["old", "new"])
def test_a_secret_that_was_sealed_for_its_kind_only_is_sealed_for_its_use(key: str) -> None:
    unbound = KeyRing({key: OLD if key == "old" else NEW}).encrypt("secret", "api_key")
    with pytest.raises(SecretUnreadable):
        open_sealed(RING, unbound, KEY_USE)
    fresh = reseal(RING, unbound, KEY_USE)
    assert (RING.key_id(fresh), open_sealed(RING, fresh, KEY_USE)) == ("new", "secret")
    with pytest.raises(SecretUnreadable):
        reseal(RING, unbound, Use("webhook_secret", "c1"))


def test_the_id_of_an_unknown_key_is_shown_without_control_characters() -> None:
    sealed = seal(KeyRing({"a\x1b[31m\u202e": OLD}), "secret", KEY_USE)
    with pytest.raises(SecretUnreadable, match=r"key 'a\\x1b\[31m\\u202e' is not in the key ring"):
        open_sealed(RING, sealed, KEY_USE)
