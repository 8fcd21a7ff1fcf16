"""Secrets at rest and secrets compared."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.adapters.secrets import DecryptionError, KeyRing, matches

OLD = KeyRing({"2025": bytes(32)})
RING = KeyRing({"2026": bytes([1]) * 32, "2025": bytes(32)})


@given(st.text(max_size=100).filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text)))
def test_what_was_encrypted_comes_back_and_does_not_show(plaintext: str) -> None:
    sealed = RING.encrypt(plaintext, "api_key")
    assert RING.decrypt(sealed, "api_key") == plaintext
    assert len(plaintext) < 4 or plaintext.encode() not in sealed


def test_the_same_secret_never_looks_the_same_twice() -> None:
    assert RING.encrypt("secret", "api_key") != RING.encrypt("secret", "api_key")


def test_the_first_key_encrypts_and_the_others_still_decrypt() -> None:
    before = OLD.encrypt("secret", "api_key")
    assert RING.decrypt(before, "api_key") == "secret"
    assert (KeyRing.key_id(before), KeyRing.key_id(RING.encrypt("secret", "api_key"))) == ("2025", "2026")
    with pytest.raises(DecryptionError, match="not in the key ring"):
        OLD.decrypt(RING.encrypt("secret", "api_key"), "api_key")


def test_a_ciphertext_serves_one_purpose_alone() -> None:
    with pytest.raises(DecryptionError):
        RING.decrypt(RING.encrypt("secret", "api_key"), "webhook_secret")


@given(st.integers(0, 200), st.integers(1, 255))
def test_a_changed_ciphertext_is_refused(position: int, change: int) -> None:
    sealed = bytearray(RING.encrypt("a secret", "api_key"))
    sealed[position % len(sealed)] ^= change
    with pytest.raises(DecryptionError):
        RING.decrypt(bytes(sealed), "api_key")


@given(st.binary(max_size=60))
def test_bytes_that_are_no_ciphertext_are_refused(data: bytes) -> None:
    with pytest.raises(DecryptionError):
        RING.decrypt(data, "api_key")


def test_a_ring_is_read_from_text_and_its_keys_are_never_quoted() -> None:
    first, second = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))
    ring = KeyRing.parse(f"new:{first}, old:{second},")
    assert ring.current == "new"
    assert ring.decrypt(KeyRing({"old": bytes([2]) * 32}).encrypt("x", "p"), "p") == "x"
    for bad in (f"a:{first[:-4]}", f":{first}", first, f"a:{first}é", "a:", f"{'i' * 256}:{first}"):
        with pytest.raises(ValueError) as caught:
            KeyRing.parse(f"ok:{first},{bad}")
        assert first[:20] not in str(caught.value)


def test_an_empty_ring_says_so() -> None:
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
