"""A seeded generator of Vietnamese leads: names, phones as people type them, sources, busy hours."""

import random
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

SOURCES = (
    ("-1", "Facebook", 40),
    ("-3", "Instagram", 15),
    ("-5", "TikTok", 20),
    ("-12", "Web form", 8),
    ("-9", "Google", 5),
    ("24895", "Cộng tác viên", 12),
)
"""Id, name, share in percent. Built-in sources have negative ids, the workspace's own positive ones."""

_FAMILY = ("Nguyễn", "Trần", "Lê", "Phạm", "Hoàng", "Huỳnh", "Phan", "Vũ", "Võ", "Đặng", "Bùi", "Đỗ", "Ngô")
_MIDDLE = ("Thị", "Văn", "Ngọc", "Minh", "Thanh", "Thu", "Hồng", "Kim", "Quỳnh", "Hải", "Đức", "Gia", "")
_GIVEN = (
    "Lan", "Hương", "Linh", "Trang", "Mai", "Hà", "Anh", "Nga", "Tuấn", "Dũng", "Huy", "Phúc", "Yến", "Vy",
)  # fmt: skip
_MOBILE = ("32", "33", "34", "35", "36", "37", "38", "39", "70", "76", "77", "78", "79", "81", "82", "83",
           "84", "85", "86", "88", "90", "91", "93", "94", "96", "97", "98")  # fmt: skip
_OLD = {"32": "162", "33": "163", "34": "164", "35": "165", "36": "166", "37": "167", "38": "168",
        "39": "169", "70": "120", "76": "126", "77": "122", "78": "128", "79": "121"}  # fmt: skip
"""Prefixes since 2018, and the 11-digit ones that they replaced."""
_STREETS = ("Hàng Trống", "Lê Lợi", "Nguyễn Huệ", "Trần Hưng Đạo", "Hai Bà Trưng", "Điện Biên Phủ")
_CITIES = ("Quận Hoàn Kiếm, Hà Nội", "Quận 1, TP. Hồ Chí Minh", "Quận Hải Châu, Đà Nẵng", "TP. Cần Thơ")
_PRODUCTS = ("Trị nám", "Nâng mũi", "Tắm trắng", "Triệt lông", "Chăm sóc da")
PAGE_ID = "104943019063372"
TAGS = ((f"{PAGE_ID}_11", "Khách nóng", "#c0392b"), (f"{PAGE_ID}_12", "Gọi lại", "#138809"))
_HOURS = (1, 1, 1, 1, 1, 2, 4, 7, 12, 18, 20, 19, 16, 12, 14, 16, 17, 18, 20, 26, 30, 24, 12, 4)
"""Leads per hour of the day in Vietnam, relative to each other: peaks in late morning and evening."""


def relative_rate(moment_ict: datetime) -> float:
    """Return the rate of leads at that hour, as a multiple of the average."""
    return _HOURS[moment_ict.hour] * len(_HOURS) / sum(_HOURS)


@dataclass
class Leads:
    """Generate leads with different phones; equal seeds give equal leads."""

    seed: int = 0
    created: int = 0
    _random: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def uuid(self) -> str:
        return str(UUID(int=self._random.getrandbits(128), version=4))

    def chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def lead(self) -> dict[str, Any]:
        pick = self._random.choice
        number = self.created
        self.created += 1
        name = " ".join(part for part in (pick(_FAMILY), pick(_MIDDLE), pick(_GIVEN)) if part)
        (source,) = self._random.choices(SOURCES, [share for _, _, share in SOURCES])
        lead = {
            "id": self.uuid(),
            "name": name,
            "phone_number": self.phone(number),
            "email": f"khach{number}@example.com" if self.chance(0.3) else None,
            "pancake_tags": [pick(TAGS)[0]] if self.chance(0.2) else [],
            "source": [source[0]],
            "full_address": f"Số {self._random.randint(1, 300)} {pick(_STREETS)}, {pick(_CITIES)}, Việt Nam"
            if self.chance(0.4)
            else None,
            "interested_product": [pick(_PRODUCTS)],
            "gender": ("female", "male", None)[number % 3],
            "utm_campaign": ("tet-2027", None)[number % 2],
            "page_id": PAGE_ID,
            "conversation_id": f"{PAGE_ID}_{8_342_103_555_000_000 + number}",
        }
        return {key: value for key, value in lead.items() if value is not None}

    def phone(self, number: int) -> str:
        """Return the phone of the nth lead in one of the usual notations; unique for n below 27 million."""
        # Different seeds begin at different numbers; 1,000,003 is prime, so that they spread evenly.
        number += self.seed * 1_000_003 % 9_000_000
        prefix, rest = _MOBILE[number % len(_MOBILE)], f"{number // len(_MOBILE) % 10_000_000:07d}"
        national = prefix + rest
        forms = [
            f"0{national}",
            f"+84{national}",
            f"84{national}",
            f"0{prefix} {rest[:3]} {rest[3:]}",
            f"0{prefix}.{rest[:3]}.{rest[3:]}",
        ]
        if prefix in _OLD:
            forms.append(f"0{_OLD[prefix]}{rest}")
        return self._random.choices(forms, [60, 12, 8, 8, 8, 4][: len(forms)])[0]

    def edit(self, lead: dict[str, Any]) -> dict[str, Any]:
        """Return the lead with another tag, product or address."""
        pick = self._random.choice
        change = pick(("pancake_tags", "interested_product", "full_address"))
        value: Any = f"Số {self._random.randint(301, 999)} {pick(_STREETS)}, {pick(_CITIES)}, Việt Nam"
        if change == "pancake_tags":
            value = [tag for tag, _, _ in TAGS if [tag] != lead.get("pancake_tags")]
        elif change == "interested_product":
            value = sorted(set(lead.get("interested_product") or []) ^ {pick(_PRODUCTS)}) or [_PRODUCTS[0]]
        return {**lead, change: value}
