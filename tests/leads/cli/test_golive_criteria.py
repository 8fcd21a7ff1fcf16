"""The criteria as data: what is not valid is refused, every line has a criterion, and the docs show it."""

import os
import re
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from leads.adapters.queries import QUERIES
from leads.cli.golive.criterion import WAVES, Source
from leads.cli.golive.load import CHECKLIST, CRITERIA, CriteriaError, load_checklist, load_criteria
from leads.cli.golive.opening import GATE_PROBES
from leads.cli.golive.statements import STATEMENT_COLUMNS
from leads.cli.golive.text import number, sign
from tests.support.pages import anchors

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "go-live.md"
WRITE = "WRITE_DOCS=1 scripts/test tests/leads/cli/test_golive_criteria.py"
HEADING = "| line | what | criteria | source | target | owner |"
ENTRY: dict[str, Any] = {
    "id": "share", "lines": ["L1"], "title": {"vi": "Tỷ lệ", "en": "Share"}, "part": "gate", "waves": ["W1"],
    "source": "sql", "query": "kpi/load_success", "value": "ratio", "samples": ["processed", "failed"],
    "good": ["processed"], "operator": ">=", "target": 0.995, "owner": "BE", "remediation": "Mend it.",
}  # fmt: skip


def load(folder: Path, *entries: Any, checklist: str = "L1: a line\n") -> None:
    (folder / "a.yaml").write_text(yaml.safe_dump(list(entries), allow_unicode=True), "utf-8")
    (folder / "lines").write_text(checklist, "utf-8")
    load_criteria(folder, folder / "lines")


def test_a_complete_entry_is_read(tmp_path: Path) -> None:
    load(tmp_path, ENTRY)


@pytest.mark.parametrize("name", ["id", "lines", "title", "part", "source", "operator", "target", "owner"])
def test_a_missing_field_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(CriteriaError, match=rf"a.yaml: .*: {name} is missing"):
        load(tmp_path, {key: value for key, value in ENTRY.items() if key != name})


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"target": "0.9"}, "target is '0.9', not a number"),
        ({"target": True}, "target is True, not a number"),
        ({"target": float("nan")}, "target is nan, not a number"),
        ({"operator": "=="}, "operator is '==', not one of"),
        ({"waves": ["W5"]}, "part gate, and no other"),
        ({"waves": "W1"}, "waves is 'W1', not a list"),
        ({"part": "watch"}, "part gate, and no other"),
        ({"part": "gates"}, "part 'gates' is not a valid Part"),
        ({"id": "a b"}, "id is 'a b'"),
        ({"title": {"en": "Share"}}, "title is not a text in `vi`"),
        ({"max_age": "1 month"}, "max_age is '1 month'"),
        ({"min_samples": 0}, "min_samples is 0"),
        ({"same_commit": "yes"}, "same_commit is 'yes'"),
        ({"unknown": 1}, "unknown is unknown"),
        ({"query": "kpi/load_all"}, "'kpi/load_all' is not a statement"),
        ({"query": "process_record/claim_event"}, "is not a statement for criteria"),
        ({"value": "rate"}, "kpi/load_success has no column rate"),
        ({"bad": ["failed"]}, "its good or its bad"),
        ({"samples": ["processed", "processed"]}, "not a list of different names"),
        ({"range": [1, 5]}, "a range is for source person"),
        ({"source": "person"}, "a query is for every source but person"),
        ({"source": "file", "query": "excel"}, "'excel' is not a reader"),
        ({"source": "file", "query": "figures", "parameters": {"at_most": "a=1"}}, "no parameter at_most"),
        ({"lines": ["L2"]}, "L2 is no line of"),
        ({"owner": " "}, "owner is ' ', not a text"),
    ],
)  # fmt: skip
def test_what_is_not_valid_is_refused(tmp_path: Path, change: dict[str, Any], fault: str) -> None:
    with pytest.raises(CriteriaError, match=re.escape(fault)):
        load(tmp_path, ENTRY | change)


def test_a_line_without_a_criterion_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CriteriaError, match="L2 has no criterion"):
        load(tmp_path, ENTRY, checklist="L1: a\nL2: b\n")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("- id: a\n  id: b\n", "'id' is given twice"),
        ("a: 1\n", "not a list of criteria"),
        ("- [1]\n", "not a list of criteria"),
        ("- {\n", "not valid YAML"),
    ],
)
def test_a_file_that_is_not_a_list_of_entries_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(CriteriaError, match=fault):
        load_criteria(tmp_path, CHECKLIST)


def test_an_id_is_used_once(tmp_path: Path) -> None:
    with pytest.raises(CriteriaError, match="share is declared twice"):
        load(tmp_path, ENTRY, ENTRY)


def test_every_line_of_every_part_is_there() -> None:
    """The numbers of lines in the parts of the checklist; E1 has a line for each wave beside its criteria."""
    parts: dict[str, int] = {}
    for line in load_checklist():
        part = line.split(".")[0] if not line.startswith("E1.W") else "E1.W"
        parts[part] = parts.get(part, 0) + 1
    assert parts == {
        "E1": 12, "E1.W": 4 + 26, "E2": 28, "E3": 16, "E4": 14, "D0": 7, "D7": 6, "E6": 7 + 10 + 4, "E7": 18,
    }  # fmt: skip


def test_the_columns_of_the_statements_are_declared_as_they_are(database: str) -> None:
    params = {"from": None, "to": None, "migration": "all"}
    with psycopg.connect(database, autocommit=True) as connection:
        for name, columns in STATEMENT_COLUMNS.items():
            found = connection.execute(QUERIES[name], params).description or []
            assert {column.name for column in found} == set(columns), name


def test_what_gates_measure_by_a_program_exists() -> None:
    named = {
        each.query
        for each in load_criteria()
        if each.waves and each.source in (Source.COMMAND, Source.ENGINE)
    }
    assert named == set(GATE_PROBES)


def test_what_a_program_or_a_file_decides_has_a_place_in_a_runbook() -> None:
    decided = [each for each in load_criteria() if each.source is not Source.PERSON]
    assert [each.id for each in decided if "#" not in each.runbook] == []


def test_runbooks_exist() -> None:
    named = {each.runbook.partition("#")[::2] for each in load_criteria() if each.runbook}
    missing = [
        f"{path}#{heading}"
        for path, heading in sorted(named)
        if not (ROOT / path).is_file() or (heading and heading not in anchors(ROOT / path))
    ]
    assert missing == []


def test_the_files_of_the_criteria_are_read_all() -> None:
    assert {path.suffix for path in CRITERIA.iterdir()} == {".yaml"}


def table() -> str:
    """The lines of the checklist, each with its criteria."""
    criteria = load_criteria()
    rows = [HEADING, "|---|---|---|---|---|---|"]
    for line, words in load_checklist().items():
        answers = [each for each in criteria if line in each.lines]
        targets = (f"{sign(each.operator)} {number(each.target, each)}" for each in answers)
        cells = (
            " ".join(f"`{each.id}`" for each in answers),
            ", ".join(dict.fromkeys(each.source.value for each in answers)),
            ", ".join(dict.fromkeys(targets)),
            ", ".join(dict.fromkeys(each.owner for each in answers)),
        )
        rows.append(f"| {line} | {words} | {' | '.join(cells)} |")
    return "\n".join(rows)


def test_the_page_shows_the_entry_of_every_line() -> None:
    text = PAGE.read_text("utf-8")
    before, _, rest = text.partition(HEADING)
    after = rest[rest.index("\n\n") :]
    wanted = before + table() + after
    if os.environ.get("WRITE_DOCS"):
        PAGE.write_text(wanted, "utf-8")
    assert text == wanted, f"make the table with: {WRITE}"


def test_the_gates_have_their_waves() -> None:
    waves = {wave: sum(wave in each.waves for each in load_criteria()) for wave in WAVES}
    assert waves["W1"] < waves["W2"] < waves["W3"]
