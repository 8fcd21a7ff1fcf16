"""The shortcut for plain mobile numbers says what libphonenumber's parser says."""

from hypothesis import example, given
from hypothesis import strategies as st

from leads.domain import phone

mobile = st.from_regex(r"(0|\+84)[1-9][0-9]{8}", fullmatch=True)
loose = st.from_regex(r"[+0]?[0-9]{6,15}", fullmatch=True)


@given(mobile | loose)
@example("0121012345")
@example("+84121012345")
@example("0٩12345678")
@example("0912345678\n")
@example("0591234567")
@example("0529876543")
@example("0921234567")
def test_the_shortcut_and_the_parser_agree(text: str) -> None:
    """The same number or the same reason, for mobile numbers, landlines and other digits."""
    assert phone._parse(text) == phone.parse_fully(text)


def test_most_mobile_prefixes_take_the_shortcut() -> None:
    """Every 10-digit mobile prefix in use is recognised without the parser."""
    for prefix in ("032", "056", "059", "070", "076", "081", "089", "090", "096", "098", "099"):
        assert phone._MOBILE.fullmatch(f"{prefix}8765432"), prefix
