"""What would change, for people: aligned by the columns that a terminal shows, within its width."""

from io import StringIO

import pytest
from rich.cells import cell_len
from rich.console import Console

from leads.cli.changes import ChangeBlock, changed_fields, print_block, shown


def printed(block: ChangeBlock, width: int = 80) -> list[str]:
    output = StringIO()
    print_block(block, Console(file=output, width=width))
    return output.getvalue().splitlines()


def test_fields_are_aligned_also_behind_names_in_vietnamese_and_in_wide_signs() -> None:
    decomposed = "Đặng Văn Khoa".replace("ặ", "a\u0323\u0306")
    lines = printed(ChangeBlock("roster", [(decomposed, "3", "4"), ("王小明", "1", "2"), ("An", None, "5")]))
    assert lines[0] == "  roster"
    assert {cell_len(line[: line.rindex(sign)]) for line, sign in zip(lines[1:], "315", strict=True)} == {19}


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_line_is_wider_than_the_terminal_and_nothing_is_cut(width: int) -> None:
    before, after = "Nguyễn Thị Trang " * 9, "x" * 150
    lines = printed(
        ChangeBlock("ticket", [("title", before, after), ("a_very_long_name_of_a_field", "1", "2")]), width
    )
    assert max(map(cell_len, lines)) <= width
    text = "".join("".join(lines).split())
    assert f"title{before.replace(' ', '')}→{after}" in text


def test_what_is_not_seen_is_escaped() -> None:
    (_, line) = printed(ChangeBlock("ticket", [("title", "a\u202eb", "a\x1b[31mb")]))
    assert line == "    title  a\\u202eb → a\\u001b[31mb"


def test_lists_have_no_brackets_and_objects_are_compared_key_by_key() -> None:
    before = {"tags": ["a"], "data": {"kept": 1, "name": None}}
    after = {"tags": [], "data": {"kept": 1, "name": "An"}}
    assert changed_fields(before, after) == [("data.name", "none", "An"), ("tags", "a", "none")]
    assert (shown(["a", "b"]), shown([{"a": 1}]), shown(True)) == ("a, b", '[{"a": 1}]', "true")
