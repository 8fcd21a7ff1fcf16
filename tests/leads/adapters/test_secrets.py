"""Secrets: encrypted, sealed for one use, compared."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.adapters.secrets import DecryptionError, KeyRing, matches
from leads.domain.errors import SecretUnreadable
from leads.services.sealed_secrets import Use, open_sealed, reseal, seal

OLD = KeyRing({"2025": bytes(32)})
RING = KeyRing({"2026": bytes([1]) * 32, "2025": bytes(32)})


@given(st.text(max_size=100).filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text)))
def test_a_ciphertext_decrypts_to_the_secret_and_does_not_contain_it(plaintext: str) -> None:
    sealed = RING.encrypt(plaintext, "api_key")
    assert RING.decrypt(sealed, "api_key") == plaintext
    assert len(plaintext) < 4 or plaintext.encode() not in sealed


def test_two_ciphertexts_of_one_secret_differ() -> None:
    assert RING.encrypt("secret", "api_key") != RING.encrypt("secret", "api_key")


def test_the_first_key_encrypts_and_the_others_still_decrypt() -> None:
    before = OLD.encrypt("secret", "api_key")
    assert RING.decrypt(before, "api_key") == "secret"
    assert (KeyRing.key_id(before), KeyRing.key_id(RING.encrypt("secret", "api_key"))) == ("2025", "2026")
    with pytest.raises(DecryptionError, match="key '2026' is not in the key ring"):
        OLD.decrypt(RING.encrypt("secret", "api_key"), "api_key")


def test_a_ciphertext_is_valid_for_one_use_only() -> None:
    with pytest.raises(DecryptionError, match="not sealed for this use, or key '2026' of the key ring"):
        RING.decrypt(RING.encrypt("secret", "api_key"), "webhook_secret")


@given(st.integers(0, 200), st.integers(1, 255))
def test_a_changed_ciphertext_is_refused(position: int, change: int) -> None:
    sealed = bytearray(RING.encrypt("a secret", "api_key"))
    sealed[position % len(sealed)] ^= change
    with pytest.raises(DecryptionError):
        RING.decrypt(bytes(sealed), "api_key")


@given(st.binary(max_size=60))
def test_invalid_ciphertexts_are_refused(data: bytes) -> None:
    with pytest.raises(DecryptionError):
        RING.decrypt(data, "api_key")


def test_a_key_ring_is_parsed_and_errors_never_contain_its_keys() -> None:
    first, second = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))
    ring = KeyRing.parse(f"new:{first}, old:{second},")
    assert ring.current == "new"
    assert ring.decrypt(KeyRing({"old": bytes([2]) * 32}).encrypt("x", "p"), "p") == "x"
    for bad in (f"a:{first[:-4]}", f":{first}", first, f"a:{first}é", "a:", f"{'i' * 256}:{first}"):
        with pytest.raises(ValueError) as caught:
            KeyRing.parse(f"ok:{first},{bad}")
        assert first[:20] not in str(caught.value)


def test_a_key_id_stands_in_a_key_ring_once() -> None:
    first, second = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))
    with pytest.raises(ValueError, match="key 2 has the id of an earlier key"):
        KeyRing.parse(f"k1:{first},k1:{second}")


def test_an_empty_key_ring_raises_a_clear_error() -> None:
    with pytest.raises(ValueError, match="empty"):
        KeyRing({}).encrypt("x", "p")


@pytest.mark.parametrize(
    ("given_", "secrets", "expected"),
    [
        ("current", ("current", "previous"), True),
        ("previous", ("current", "previous"), True),
        ("curren", ("current", "previous"), False),
        ("current ", ("current",), False),
        ("", ("current",), False),
        (None, ("current",), False),
        ("é", ("current",), False),
        ("current", (), False),
    ],
)
def test_a_secret_matches_the_current_or_the_previous_one(
    given_: str | None, secrets: tuple[str, ...], expected: bool
) -> None:
    assert matches(given_, secrets) is expected


OLD_KEY, NEW_KEY = bytes(32), bytes([1]) * 32
SEALING = KeyRing({"new": NEW_KEY, "old": OLD_KEY})
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
    sealed = seal(SEALING, "secret", KEY_USE)
    assert open_sealed(SEALING, sealed, KEY_USE) == "secret"
    for read in (open_sealed, reseal):
        with pytest.raises(SecretUnreadable, match="it was not sealed for this use, or key 'new'"):
            read(SEALING, sealed, other)


def test_other_secrets_open_whatever_the_base_url_is() -> None:
    sealed = seal(SEALING, "secret", Use("header_secret", "c1", "https://crm.pancake.vn/api"))
    assert open_sealed(SEALING, sealed, Use("header_secret", "c1")) == "secret"
    with pytest.raises(SecretUnreadable):
        open_sealed(SEALING, sealed, Use("webhook_secret", "c1"))


def test_a_secret_is_sealed_again_with_the_current_key_only_if_it_is_not() -> None:
    sealed = seal(KeyRing({"old": OLD_KEY}), "secret", KEY_USE)
    fresh = reseal(SEALING, sealed, KEY_USE)
    assert (SEALING.key_id(fresh), open_sealed(SEALING, fresh, KEY_USE)) == ("new", "secret")
    assert reseal(SEALING, fresh, KEY_USE) == fresh


@pytest.mark.parametrize("key", ["old", "new"])
def test_a_secret_that_was_sealed_for_its_kind_only_is_sealed_for_its_use(key: str) -> None:
    unbound = KeyRing({key: OLD_KEY if key == "old" else NEW_KEY}).encrypt("secret", "api_key")
    with pytest.raises(SecretUnreadable):
        open_sealed(SEALING, unbound, KEY_USE)
    fresh = reseal(SEALING, unbound, KEY_USE)
    assert (SEALING.key_id(fresh), open_sealed(SEALING, fresh, KEY_USE)) == ("new", "secret")
    with pytest.raises(SecretUnreadable):
        reseal(SEALING, unbound, Use("webhook_secret", "c1"))


def test_the_id_of_an_unknown_key_is_shown_without_control_characters() -> None:
    sealed = seal(KeyRing({"a\x1b[31m\u202e": OLD_KEY}), "secret", KEY_USE)
    with pytest.raises(SecretUnreadable, match=r"key 'a\\x1b\[31m\\u202e' is not in the key ring"):
        open_sealed(SEALING, sealed, KEY_USE)
