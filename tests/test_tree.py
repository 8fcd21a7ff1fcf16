"""The rules of scripts/check_tree.py find their faults, and pages that people act on agree with what runs.

The pages are those on privacy and the contract with Diva, and the series of runbooks.
"""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from app import HASURA_ROUTES
from ops.clients.db_session import QUERIES
from ops.daily.backfill_phones import MAX_AGE
from ops.daily.edge_spool import DEFAULT_MAX_DAYS
from scripts import check_tree
from scripts.check_tree import SECRET, Tree, fault, read_tree, secret_commands
from tests.support.programs import run
from tests.support.promql import faults, metrics
from tests.support.runbook import PAGES, queries_of_blocks, words_of_code

ROOT = Path(__file__).parents[1]
COPY = "-- name: a/b\nSELECT e.id FROM public.ticket AS t WHERE t.status = 'in_progress'"
SCAN = "-- name: a/b\n-- Load. Returns rows.\nSELECT e.id FROM public.account AS e WHERE true"
STATEMENT = '"kpi' + '/load_"'


@pytest.fixture(scope="module")
def tree() -> Tree:
    return read_tree()


def with_file(path: str, text: str) -> Callable[[Tree], Tree]:
    return lambda tree: {**tree, path: text}


def only(path: str, text: str) -> Callable[[Tree], Tree]:
    """For rules that look at each file alone: those of the whole tree take a second."""
    return lambda tree: {path: text}


def changed(path: str, old: str, new: str) -> Callable[[Tree], Tree]:
    def change(tree: Tree) -> Tree:
        assert old in tree[path], f"{path} has no {old!r}"
        return {**tree, path: tree[path].replace(old, new)}

    return change


FAULTS: list[tuple[Callable[[Tree], Iterator[str]], Callable[[Tree], Tree], str]] = [
    (check_tree.links, with_file("docs/cli.md", "[a](nowhere.md)"), "docs/cli.md:1: docs/nowhere.md"),
    (check_tree.links, with_file("docs/cli.md", "\n[a](#b)"), "docs/cli.md:2: docs/cli.md has no head"),
    (check_tree.links, with_file("docs/new.md", ""), "docs/new.md:1: no index links it"),
    (check_tree.names, with_file("docs/cli.md", "`leads/domain/gone.py`"), "cli.md:1: leads/domain/gone.py"),
    (check_tree.names, with_file("docs/cli.md", "`test_nothing_of_the_kind`"), "test_nothing_of_the_kind"),
    (check_tree.names, with_file("docs/cli.md", "`leads.domain.body.gone`"), "leads.domain.body.gone"),
    (check_tree.names, with_file("README.md", "from leads.domain.body import gone"), "README.md:1: gone"),
    (check_tree.attacks, changed("docs/security.md", "dump | the", "day | the"), "who has a dump"),
    (check_tree.attacks, changed("docs/security.md", "_costs_little`", "`"), "has no test_a_bomb."),
    (check_tree.walks, changed("docs/architecture.md", "`read_body`", "`read_bodies`"), "has no read_bodies"),
    (check_tree.walks, changed("docs/architecture.md", "| 6 | 5 |", "| 6 | 2 |"), "hop 2 does not lead to"),
    (check_tree.walks, with_file("docs/architecture.md", ""), "no table of hops"),
    (check_tree.codes, changed("docs/flow.md", "| `claim_expired` ", "| `claim_lost` "), "claim_expired"),
    (check_tree.crons, with_file("cron/new.py", ""), "cron/:1: new is not both here and in CRONS"),
    (check_tree.statements, with_file("leads/a.py", STATEMENT), "leads/a.py:1: a statement's name is built"),
    (check_tree.statements, with_file("cron/poll_records.py", ""), "no module sends poll_records/"),
    (check_tree.headers, with_file("sql/a.sql", "-- name: a/b\nSELECT 1"), "sql/a.sql:1: a/b has no comment"),
    (
        check_tree.copied_rules,
        with_file("sql/a.sql", COPY),
        "sql/a.sql:1: a/b spells out a rule. Use pancake_t",
    ),
    (check_tree.headers, with_file("sql/a.sql", SCAN), "sql/a.sql:1: a/b names no index of a large table"),
    (check_tree.cases, changed("docs/test-cases.md", "| TC-001 |", "| TC-901 |"), "TC-901 has no test"),
    (check_tree.cases, changed("docs/test-cases.md", "| TC-001 |", "| TC-901 |"), "TC-001 is not in"),
    (check_tree.cases, changed("docs/test-cases.md", "| TC-001 |", "| TC-002 |"), "stands twice"),
    (check_tree.sizes, only("leads/a.py", "\n" * 601), "leads/a.py:601: more than 600 lines"),
    (check_tree.sizes, only("tests/test_a.py", "\n" * 601), "tests/test_a.py:601: more than 600 lines"),
    (check_tree.sizes, only("leads/a.py", "def f():" + "\n" * 80 + " pass"), "leads/a.py:1: f has more"),
    (check_tree.sizes, only("leads/a.py", "\n" * 20_000), "app.py:1: the server has"),
    (check_tree.patterns, only("docs/cli.md", "a\nthe table is ours"), "docs/cli.md:2: `ours`"),
    (check_tree.patterns, only("app.py", "import httpx"), "app.py:1: `import httpx`"),
    (check_tree.patterns, only("leads/domain/a.py", "datetime.now(UTC)"), "`now` is an argument"),
    (check_tree.patterns, only("leads/a.py", "# noqa: BLE001"), "give the reason"),
    (check_tree.patterns, only("tests/test_a.py", "from tests.test_b import c"), "tests/support"),
    (check_tree.secrets, with_file("docs/cli.md", "\n`psql $OWNER_URL`"), "docs/cli.md:2: `psql $OWNER"),
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
    page = {**tree, "docs/cli.md": text}
    assert not any(
        line.startswith("docs/cli.md")
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


def test_what_holds_customers_or_secrets_is_for_its_owner_alone_and_not_committed(tree: Tree) -> None:
    """Each file that the runbook writes with `pg_dump` or `\\copy`, and what a clone may hold."""
    lines = tree["docs/runbook/rollback.md"].splitlines()
    writing = [line for line in lines if re.search(r"\bpg_dump .*--|\\copy \(.* TO '", line)]
    assert [line for line in writing if "umask 077" not in line] == []
    assert len(writing) == 3
    ignored = {"*.dump*", "*.key", "*.pem", ".env", "*.env", "webhook-url.txt", "pancake_metadata.csv"}
    assert ignored <= set(tree[".gitignore"].splitlines())


def test_no_service_of_compose_has_a_secret_as_an_argument() -> None:
    services: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    for name, service in services.items():
        words = [service.get("command", []), service.get("healthcheck", {}).get("test", [])]
        assert not SECRET.search(str(words)), name


# Pages

PRIVACY = (ROOT / "docs" / "security.md").read_text("utf-8")
CONTRACT = (ROOT / "docs" / "diva-contract.md").read_text("utf-8")
CRON_LINE = re.compile(r"^15 3 \* \* \* root (/\S.*|find .*)$", re.MULTILINE)
CLONE = "/srv/leads"
DAY_SECONDS = 24 * 60 * 60


def test_each_retention_is_on_the_page_with_its_default_and_its_queries_run(database: str) -> None:
    queries = re.findall(r"```sql\n(.*?)```", PRIVACY, re.S)
    assert len(queries) == 3
    with psycopg.connect(database) as db:
        (rules,) = db.execute("SELECT pancake_setting_rules()").fetchone() or ({},)
        for query in queries:
            db.execute(query.encode())
    defaults = {name: rule["default"] for name, rule in rules.items() if name.endswith("_retention_days")}
    written = {name: int(days) for name, days in re.findall(r"`(\w+_retention_days)` \((\d+)\)", PRIVACY)}
    assert written == defaults != {}
    assert f"--days {DEFAULT_MAX_DAYS}" in PRIVACY
    assert f"more than {MAX_AGE.days} days" in PRIVACY


def test_each_table_with_data_of_customers_is_on_the_page_and_no_role_of_hasura_reads_erasures() -> None:
    for table in ("pancake_webhook_event", "pancake_cron_run", "customer_erasure", "event_invocation_logs"):
        assert f"`{table}`" in PRIVACY
    metadata = [path.read_text("utf-8") for path in (ROOT / "hasura" / "metadata").rglob("*.yaml")]
    assert metadata
    assert not any("customer_erasure" in text for text in metadata)


def test_the_lines_for_cron_remove_what_is_too_old_with_nothing_in_the_environment(tmp_path: Path) -> None:
    """Only EDGE_STATE_DIR is set, to another folder; `scripts/leads` is the program with this Python."""
    clone, quarantine = tmp_path / "clone", tmp_path / "edge" / "quarantine"
    quarantine.mkdir(parents=True)
    clone.mkdir()
    kept: list[Path] = []
    removed: list[Path] = []
    for days, paths in ((29, kept), (32, removed)):
        arrived = time.time() - days * DAY_SECONDS
        paths.append(quarantine / f"{int(arrived * 1000)}-a-1.sealed")
        names = ("unusable.csv", "unusable.csv.12.partial", "dump", "dump.12.partial")
        paths += [clone / f"{days}.{name}" for name in names]
        for path in paths:
            path.touch()
            os.utime(path, (arrived, arrived))
    lines = CRON_LINE.findall(PRIVACY)
    assert len(lines) == PRIVACY.count("15 3 * * *") == 3
    for line in lines:
        command = line.replace(f"{CLONE}/scripts/leads ", f"{sys.executable} -m ops ")
        environment = {"PATH": "/usr/bin:/bin", "EDGE_STATE_DIR": str(tmp_path / "edge")}
        done = run("/bin/sh", "-c", command.replace(CLONE, str(clone)), env=environment, cwd=ROOT)
        assert done.stderr == "", line
    assert [path.exists() for path in (*kept, *removed)] == [True] * len(kept) + [False] * len(removed)


def columns_of_contract() -> set[str]:
    """Read the first table of the page: names in code, of which some have their type behind them."""
    table = CONTRACT.partition("| table | columns (type) |")[2].partition("\n\n")[0]
    found, name = set(), ""
    for line in table.splitlines()[2:]:
        first, columns, *_ = (cell.strip() for cell in line.strip("|").split("|"))
        name = first.strip("`") or name
        columns = columns.partition(";")[0]
        if not columns.startswith("index"):
            found |= {f"{name}.{code.split()[0]}" for code in re.findall("`([^`]+)`", columns)}
    return found


def test_the_precheck_looks_for_the_columns_of_the_contract() -> None:
    """All of the schema public; golive/check_migration_log reads the other one."""
    rows = re.findall(r"\('(\w+)', '([\w ]+)'\)", QUERIES["golive/check_diva_columns"].decode())
    asked = {f"{table}.{column}" for table, columns in rows for column in columns.split()}
    assert asked | {"controller.migration_log.timestamp"} == columns_of_contract()


SERIES = re.compile(r"\bpancake_\w+")
# Roles of Hasura and PostgreSQL, jobs of Prometheus, tables and functions of the database.
NO_SERIES = re.compile(
    r"pancake_((service|edge|handlers|operators)$|(webhook_event|cron_run|connection|source|assignee|switch"
    r"|integration|metadata|crm_integration|is_dry_run)\w*)"
)
MISSING = ("does not exist", "has no such label or value")


def queries(page: str) -> Iterator[str]:
    """The words of code that name a series of handlers or edge, and nothing of Hasura or SQL."""
    routes = {route.name for route in HASURA_ROUTES}
    for code in words_of_code(page):
        if any(name not in routes and not NO_SERIES.match(name) for name in SERIES.findall(code)):
            yield code


def missing(query: str) -> list[str]:
    """What a query names that does not exist. `name{label}` has any value, a histogram is its count."""

    def count_of(name: str) -> str:
        return f"{name}_count" if f"{name}_count" in metrics() else name

    def any_value(labels: str) -> str:
        return "{" + ",".join(f'{label}=~".*"' for label in labels.split(",")) + "}"

    written = SERIES.sub(lambda match: count_of(match[0]), query)
    written = re.sub(r"\{(\w+(?:,\w+)*)\}", lambda match: any_value(match[1]), written)
    return [fault for fault in faults(written) if fault.endswith(MISSING)]


def test_the_series_that_runbooks_name_exist_with_these_labels() -> None:
    named = [(page, query) for page in PAGES for query in queries(page)]
    blocks = [(page, query) for page in PAGES for query in queries_of_blocks(page)]
    assert len(named) + len(blocks) > 50
    assert [(*each, wrong) for each in named if (wrong := missing(each[1]))] == []
    assert [(*each, wrong) for each in blocks if (wrong := faults(each[1]))] == []
    assert missing("pancake_edge_spool_file") == ["pancake_edge_spool_file does not exist"]
    assert missing("pancake_edge_quarantined_total{raison}") != []
    assert missing('pancake_events_total{result="faild"}') != []
