"""Reading records one by one: the tables that are asked, and records that do not exist."""

from typing import Any

from leads.adapters.pancake_api import Access, Pancake
from leads.services.connections import Connection
from leads.services.pancake_lists import look_up

ACCESS = Access("c1", "https://crm.pancake.test/api", 123, "key")
CONNECTION = Connection("c1", "test", "active", ("lead", "contact"), "UTC", None, ACCESS)


class FakePancake(Pancake):
    """Has some records by table and id, and records the requests."""

    def __init__(self, *held: tuple[str, str]) -> None:
        self.held = held
        self.asked: list[tuple[str, str]] = []

    async def record(self, access: Access, table: str, record_id: str) -> dict[str, Any] | None:
        self.asked.append((table, record_id))
        return {"id": record_id} if (table, record_id) in self.held else None


async def test_a_record_of_a_known_table_is_requested_only_there() -> None:
    pancake = FakePancake(("contact", "a"), ("lead", "b"))
    assert await look_up(pancake, CONNECTION, {"a": "contact", "b": "contact"}) == {"a": {"id": "a"}}
    assert pancake.asked == [("contact", "a"), ("contact", "b")]


async def test_a_record_of_an_unknown_table_is_requested_in_each_table_until_found() -> None:
    pancake = FakePancake(("lead", "a"), ("contact", "b"))
    found = await look_up(pancake, CONNECTION, {"a": None, "b": None, "gone": None})
    assert found == {"a": {"id": "a"}, "b": {"id": "b"}}
    assert [name for table, name in pancake.asked if table == "lead"] == ["a", "b", "gone"]
    assert [name for table, name in pancake.asked if table == "contact"] == ["b", "gone"]
