"""Coverage by identity: what we hold of a listed record, and the ledger of a day."""

from datetime import UTC, datetime, timedelta

from domain.coverage import Held, covers, reckon, same_fields, uncovered
from domain.window import Version

T0 = datetime(2026, 5, 14, 2, 0, tzinfo=UTC)


def version(name: str, seconds: float | None, name_field: str | None = None) -> Version:
    fields = {} if name_field is None else {"name": name_field}
    return Version(name, None if seconds is None else T0 + timedelta(seconds=seconds), fields)


def test_a_version_is_covered_by_one_that_is_not_older_to_the_millisecond() -> None:
    assert covers(version("a", 5.0001), version("a", 5.0009))
    assert covers(version("a", 6), version("a", 5))
    assert not covers(version("a", 5.001), version("a", 5.002))
    assert not covers(version("b", 6), version("a", 5))


def test_without_a_time_on_either_side_the_mapped_fields_decide() -> None:
    assert covers(version("a", None, "Lan"), version("a", 5, "Lan"))
    assert covers(version("a", 5, "Lan"), version("a", None, "Lan"))
    assert not covers(version("a", None, "Lan"), version("a", None, "Mai"))


def test_only_what_nothing_covers_is_to_be_inserted() -> None:
    listed = [version("a", 5), version("b", 5), version("c", None, "x")]
    held = [version("a", 4), version("a", 5), version("b", 4), version("c", 1, "y")]
    assert uncovered(listed, held) == [version("b", 5), version("c", None, "x")]


def test_the_ledger_names_where_each_listed_record_stands() -> None:
    listed = [version(name, 5) for name in "abcdefg"]
    rows = [
        Held(version("a", 5), "processed"),
        Held(version("a", 6), "received"),
        Held(version("b", 7), "skipped_kill_switch"),
        Held(version("c", 5), "dead_letter", "invalid_phone"),
        Held(version("d", 5), "failed"),
        Held(version("e", 4), "processed"),
        Held(version("f", 5), "skipped_source_disabled"),
    ]
    ledger = reckon(listed, rows)
    assert ledger.processed == ("a",)
    assert ledger.held == ("b", "f")
    assert ledger.rejected == (("c", "invalid_phone"),)
    assert ledger.pending == ("d",)
    assert ledger.missing == ("e", "g")
    assert not ledger.closed
    assert reckon(listed[:3], rows).closed


def test_fields_that_only_one_body_mentions_do_not_count() -> None:
    """The webhook sends no `interested_product`, the list no tag objects."""
    assert same_fields({"name": "Lan"}, {"name": "Lan", "interested_products": ["x"]})
    assert not same_fields({"name": "Lan"}, {"email": "x"})
    assert not same_fields({}, {})
