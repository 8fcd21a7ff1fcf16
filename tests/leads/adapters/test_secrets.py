"""Encrypting and comparing secrets."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.adapters.secrets import DecryptionError, KeyRing, matches

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
