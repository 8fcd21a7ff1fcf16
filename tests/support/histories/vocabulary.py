"""The words of a history: few workspaces, records, phones and texts, so that they often meet."""

import unicodedata
from collections.abc import Mapping
from datetime import timedelta

WORKSPACES = ("W1", "W2")
RECORDS = ("r1", "r2", "r3")
TABLES = ("lead", "contact", "account")
SOURCES = ("-1", "-3", "(none)")

FIRST_LINE = "=== Pancake (tự động cập nhật, xin ghi chú bên ngoài khung này) ==="
LAST_LINE = "=== Hết phần Pancake ==="
"""The lines between which a description is ours."""

SECOND = timedelta(seconds=1)
"""Between two steps."""

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
FAR = timedelta(days=400)

PHONES = {
    "0905111001": "+84905111001",
    "0905111002": "+84905111002",
    "0905111003": "+84905111003",
    "+84 905 111 001": "+84905111001",
    "khong co so": None,
}
"""Phones as Pancake has them, and the numbers that they are."""

NUMBERS = tuple(dict.fromkeys(number for number in PHONES.values() if number))
NATIONAL = tuple(f"0{number.removeprefix('+84')}" for number in NUMBERS)

KEYS = {
    "name": "name",
    "phones": "phone_number",
    "email": "email",
    "address": "full_address",
    "sources": "source",
    "tags": "pancake_tags",
    "interested_products": "interested_product",
    "utm_campaign": "utm_campaign",
    "birthday": "birthday",
}
"""The mapped fields and the keys of a body. Phones have two more keys, `second` and `chat` in a history."""

OF_REQUEST = ("sources", "tags", "interested_products", "utm_campaign")
"""The fields of a request. The other ones are of the customer."""
UNTOLD = frozenset({"utm_campaign", "birthday"})
"""Fields whose change alone is no news."""

SECOND_PHONE, CHAT_PHONE = "second", "chat"
PHONES_OF = {
    "phones": "phone_number",
    SECOND_PHONE: "secondary_phone_number",
    CHAT_PHONE: "pancake_customer_obj",
}
"""The keys of a body that name phones. Each keeps its phones in a version that names others only."""

NAMES = ("An", "Bình", "", " Bi\u0300nh ")
"""The last one is the second, decomposed and with spaces around it."""
EMAILS = ("a@example.com", "b@example.com", "")
ADDRESSES = ("1 Lê Lợi", "")
TAGS = (("vip",), ("hot", "vip"), ())
PRODUCTS = (("Serum",), ("Mask",), ("Mask", "Serum"), ())
CAMPAIGNS = ("tet-2027", "")
BIRTHDAYS = ("1994-08-12", "")
SOURCE_LISTS = (("-1",), ("-3",), ("-1", "-3"), ())
ROSTER_SOURCE = ("W1", "-3")
"""The source that may have a roster of its members."""

TELESALES = tuple(f"c0000000-0000-4000-8000-00000000000{n}" for n in range(1, 4))
MANAGERS = tuple(f"b0000000-0000-4000-8000-00000000000{n}" for n in range(1, 3))
ADMINS = tuple(f"a0000000-0000-4000-8000-00000000000{n}" for n in range(1, 4))
STAFF = dict(
    zip(TELESALES + MANAGERS + ADMINS, ("S1", "S2", "S3", "M1", "M2", "D1", "D2", "D3"), strict=True)
)
"""The ids of Diva's base data, and their names in a history."""


def local_form(number: str) -> str:
    """Return a number as telesales read it."""
    national = f"0{number.removeprefix('+84')}"
    return f"{national[:4]} {national[4:7]} {national[7:]}"


def source_name(source: str) -> str:
    return f"Nguồn {source}"


def as_compared(value: str | tuple[str, ...]) -> str | tuple[str, ...]:
    """Return a text in NFC and without spaces at its ends; a list stays."""
    return unicodedata.normalize("NFC", value).strip() if isinstance(value, str) else value


def number_of(text: str) -> str | None:
    """Return the number of a phone as Pancake has it, or as a person corrected it."""
    return text if text in NUMBERS else PHONES[text]


def flattened(typed: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the phones of all keys, each once; of the chat only a new number, or the only phone."""
    main, second, chat = (typed.get(key, ()) for key in PHONES_OF.values())
    phones = list(dict.fromkeys((*main, *second)))
    for text in chat:
        if text not in phones and (not phones or number_of(text) not in (None, *map(number_of, phones))):
            phones.append(text)
    return tuple(phones)


def usable(phones: tuple[str, ...]) -> tuple[str, ...]:
    """Return the numbers of phones, each once."""
    return tuple(dict.fromkeys(number for phone in phones if (number := number_of(phone))))
