"""scripts/check_tree.py finds what each of its rules is for, and leaves the rest alone."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import check_tree
from scripts.check_tree import SECRET, Tree, fault, read_tree, secret_commands

ROOT = Path(__file__).parents[1]
SCAN = "-- Load. Returns rows.\nSELECT e.id FROM public.account AS e WHERE true"
STATEMENT = '"kpi' + '/load_"'


@pytest.fixture(scope="module")
def tree() -> Tree:
    return read_tree()


def with_file(path: str, text: str) -> Callable[[Tree], Tree]:
    return lambda tree: {**tree, path: text}


def changed(path: str, old: str, new: str) -> Callable[[Tree], Tree]:
    def change(tree: Tree) -> Tree:
        assert old in tree[path], f"{path} has no {old!r}"
        return {**tree, path: tree[path].replace(old, new)}

    return change


FAULTS: list[tuple[Callable[[Tree], Iterator[str]], Callable[[Tree], Tree], str]] = [
    (check_tree.links, with_file("docs/logs.md", "[a](nowhere.md)"), "docs/logs.md:1: docs/nowhere.md"),
    (check_tree.links, with_file("docs/logs.md", "\n[a](#b)"), "docs/logs.md:2: docs/logs.md has no head"),
    (check_tree.links, with_file("docs/new.md", ""), "docs/new.md:1: no index links it"),
    (
        check_tree.names,
        with_file("docs/logs.md", "`leads/domain/gone.py`"),
        "logs.md:1: leads/domain/gone.py",
    ),
    (check_tree.names, with_file("docs/logs.md", "`test_nothing_of_the_kind`"), "test_nothing_of_the_kind"),
    (check_tree.names, with_file("docs/logs.md", "`leads.domain.body.gone`"), "leads.domain.body.gone"),
    (check_tree.names, with_file("README.md", "from leads.domain.body import gone"), "README.md:1: gone"),
    (check_tree.walks, changed("README.md", "`read_body`", "`read_bodies`"), "has no read_bodies"),
    (check_tree.walks, changed("README.md", "| 6 | 5 |", "| 6 | 2 |"), "hop 2 does not lead to read_body"),
    (check_tree.walks, with_file("README.md", ""), "no table of hops"),
    (check_tree.codes, changed("docs/flow.md", "| `claim_expired` ", "| `claim_lost` "), "claim_expired"),
    (check_tree.crons, with_file("cron/new.py", ""), "cron/:1: new is not both here and in CRONS"),
    (check_tree.statements, with_file("leads/a.py", STATEMENT), "leads/a.py:1: a statement's name is built"),
    (check_tree.statements, with_file("leads/a.py", '"poll_records/set_watermark"'), "is another module's"),
    (check_tree.statements, with_file("cron/poll_records.py", ""), "no module sends it"),
    (check_tree.headers, with_file("sql/a/b.sql", "SELECT 1"), "sql/a/b.sql:1: no comment with what it does"),
    (check_tree.headers, with_file("sql/a/b.sql", SCAN), "sql/a/b.sql:1: no index of a large table"),
    (check_tree.cases, changed("docs/test-cases.md", "| TC-001 |", "| TC-901 |"), "TC-901 has no test"),
    (check_tree.cases, changed("docs/test-cases.md", "| TC-001 |", "| TC-901 |"), "TC-001 is not in"),
    (check_tree.cases, changed("docs/test-cases.md", "| TC-001 |", "| TC-002 |"), "stands twice"),
    (check_tree.sizes, with_file("leads/a.py", "\n" * 601), "leads/a.py:601: more than 600 lines"),
    (check_tree.patterns, with_file("docs/logs.md", "a\nthe table is ours"), "docs/logs.md:2: `ours`"),
    (check_tree.patterns, with_file("app.py", "import httpx"), "app.py:1: `import httpx`"),
    (check_tree.patterns, with_file("leads/domain/a.py", "datetime.now(UTC)"), "`now` is an argument"),
    (check_tree.patterns, with_file("leads/a.py", "# noqa: BLE001"), "give the reason"),
    (check_tree.patterns, with_file("tests/test_a.py", "from tests.test_b import c"), "tests/support"),
    (check_tree.patterns, with_file("leads/a.py", "class Arrival:"), "docs/glossary.md"),
    (check_tree.secrets, with_file("docs/logs.md", "\n`psql $OWNER_URL`"), "docs/logs.md:2: `psql $OWNER"),
]


def test_each_rule_finds_its_fault(tree: Tree, subtests: pytest.Subtests) -> None:
    for rule, plant, line in FAULTS:
        with subtests.test(f"{rule.__name__}: {line}"):
            found = [*rule(plant(tree))]
            assert any(line in each for each in found), found


def test_findings_end_it_with_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(check_tree, "RULES", (lambda tree: iter(["a:1: wrong. Mend it."]),))
    assert check_tree.main() == 1
    assert capsys.readouterr().out.startswith("a:1: wrong. Mend it.\n1 findings in ")
    monkeypatch.setattr(check_tree, "RULES", ())
    assert check_tree.main() == 0


def test_plain_words_and_examples_of_recipes_are_left_alone(tree: Tree) -> None:
    text = "two hours, yours, what it became, Diva's own index, `cron/count_leads.py`"
    page = {**tree, "docs/logs.md": text}
    assert not any(
        line.startswith("docs/logs.md")
        for rule in (check_tree.patterns, check_tree.names)
        for line in rule(page)
    )


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("replya 17", "no verb replya"), ("metadata 9c", "no verb 9c"), ("status now", "a word too many"),
        ("replay 17 --dryrun", "no option --dryrun"), ("replay --status dead_letter --dry-run", None),
        ("connection set-…", None),
    ],
)  # fmt: skip
def test_a_call_of_leads_that_it_does_not_take_is_found(command: str, said: str | None) -> None:
    assert fault(command) == said


@pytest.mark.parametrize(
    ("script", "count"),
    [
        ('psql "$DATABASE_URL" -c x', 1),
        ('curl --header "X-Secret: $HASURA_ADMIN_SECRET" \\\n  "$HASURA_URL"', 1),
        ('A=1 hasura migrate --admin-secret "${HASURA_ADMIN_SECRET}"', 1),
        ('true && psql "$OWNER_URL"', 1),
        ("python -m graphql_engine --database-url postgresql://…", 1),
        ('printf \'header = "X: %s"\' "$EDGE_SECRET" | curl --config - "$HANDLERS_URL/edge/policy"', 0),
        ('HASURA_GRAPHQL_ADMIN_SECRET="$HASURA_ADMIN_SECRET" hasura migrate apply', 0),
        ("read -rs HASURA_ADMIN_SECRET && export HASURA_ADMIN_SECRET", 0),
        ("psql -c 'SELECT 1'  # not $DATABASE_URL", 0),
    ],
)
def test_a_secret_among_arguments_is_found_but_not_in_input_and_environment(script: str, count: int) -> None:
    assert len([*secret_commands(script)]) == count


def test_no_service_of_compose_has_a_secret_as_an_argument() -> None:
    services: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    for name, service in services.items():
        words = [service.get("command", []), service.get("healthcheck", {}).get("test", [])]
        assert not SECRET.search(str(words)), name
