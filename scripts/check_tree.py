"""Rules of the clone that no linter knows: names in docs, statements, test cases, secrets, words, sizes.

`python -m scripts.check_tree` prints a line `file:line: what is wrong, and how to mend it` for each finding.
Exit codes: 0 none, 1 findings, 2 the files could not be listed.
"""

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from posixpath import dirname, join, normpath
from typing import Any

import typer

from app import HASURA_ROUTES
from leads.adapters.database import split
from leads.domain.errors import Contended, DatabaseUnavailable, Final, IntegrationError
from leads.services.cron_runs import CRONS
from ops.cli import app
from ops.clients.db_session import QUERIES
from tests.support.attacks import read_attacks
from tests.support.runbook import PAGES, commands

ROOT = Path(__file__).parents[1]
Tree = Mapping[str, str]
"""The text of each file by its path from the root."""
MAX_LINES = 600
MAX_FUNCTION_LINES = 80
MAX_SERVER_LINES = 12_608
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
MAX_PAGE_LINES = {"docs/install.md": 120}
"""An installation is no more to read than this; what it does not need has an appendix."""
MAX_DECISION_LINES = 40
NOT_SPLIT_YET = {"tests/ops/test_status.py"}
DECISION = re.compile(r"docs/decisions/\d")
INDEXES = ("README.md", "docs/decisions/README.md")
ARCHITECTURE = "docs/architecture.md"
SECURITY = "docs/security.md"
SERVER = ("app.py", "handlers/", "cron/", "leads/")
PRODUCT = (*SERVER, "ops/")
FOLDERS = "app|cron|deploy|docs|handlers|hasura|leads|ops|proofs|sandbox|scripts|sql|tests"
FENCE = re.compile(r"^ *```")
# A link of Markdown without an address of the web: its text, then the path and the heading.
LINK = re.compile(r"\[[^\]]*\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
# A path from the root, not the end of a longer one; `leads/s` and `hasura/graphql-engine` are none.
PATH = re.compile(rf"(?<![\w./@-])(?:{FOLDERS})(?!/s\b|/graphql-engine\b)(?:/[\w*.-]+)+")
# A file without its folder, for example `apply.py`.
FILE = re.compile(r"(?<![\w./*…-])[\w-]+\.(?:py|lua|sql|md|yaml|yml|toml)\b")
TEST = re.compile(r"\btest_\w+\b(?!\.py)")
# A dotted name of code, not the end of a path or of a file name; and an import.
MODULE = re.compile(
    r"(?<![\w/.-])(?:leads|ops|handlers|cron|proofs|sandbox)(?:\.(?!py\b|md\b|yaml\b|conf\b|txt\b|env\b|sbom\b)[a-z_]+)+\b"
)
IMPORT = re.compile(
    r"^ *from ((?:leads|ops|handlers|cron|proofs|sandbox|tests)[\w.]*) import (\w+(?:, \w+)*)$"
)
# What the recipes of docs/extending.md and an overlay of Kubernetes create, the console's test of a trigger,
# and a mark of pytest.
EXAMPLE = re.compile(
    r"count_(leads|event|status)|ops/(daily/)?events|ops/test_events|test_events$|test_it_counts_|_gender_"
    r"|test_ping|test_case$|^engine\.yaml$"
    # Files that `leads setup` reads and writes.
    r"|^answers\.yaml$|^for-the-dba\.sql$"
)
HOP = re.compile(r"^\| (\d+) \| (\d*) \| `([^`]+)` \| `([^`]+)`")
SECRET = re.compile(
    r"\$\{?\w*(?:SECRET|TOKEN|PASSWORD|KEYS?|DATABASE_URL|OWNER_URL|OPERATORS_URL)\b| postgres(?:ql)?://"
)
BUILT_IN = {"printf", "echo", "read", "export", "eval", "test", "["}
"""Commands of a shell that start no process, so that other processes cannot read their arguments."""
MODULES_OF_APP = "|".join(sorted(sys.stdlib_module_names | {"handlers", "cron", "leads", "starlette"}))
# Where, what must not stand there, and how to mend it.
PATTERNS = [
    (r"(?!tests/|proofs/|sandbox/|scripts/check_tree).*",
     r"(?i)\b(nobody|whoever|what became of|goes by|ours|of its own|reckon\w*|situations?)\b",
     "use a plain word"),
    (r"(?!.*\.(svg|html|json|png)).*", r"\b(TO" r"DO|FIX" r"ME|X{3})\b", "finish it"),
    (r"app\.py", rf"^(?:from|import) (?!({MODULES_OF_APP})\b).*", "import it in leads/adapters"),
    (r"(leads/domain|handlers|cron)/.*\.py", r"datetime\.now\(|utcnow\(|\btoday\(\)", "`now` is an argument"),
    (r"leads/domain/.*\.py", r"^\s*(async|await) |= await ", "the domain waits for nothing: use a service"),
    (r"(handlers|cron)/.*\.py", r"[\"'](SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH) ", "write it into sql/"),
    (r"(app|(handlers|cron|leads|ops|proofs|sandbox)/.*)\.py", r"noqa: BLE001(?! - \w)",
     "give the reason after ` - `"),
    (r"tests/.*\.py", r"^(from|import) tests\.(?!support\b).*", "share code through tests/support"),
    (r"(proofs/|sandbox/(?!engine)|tests/).*\.py", r"\"--database-url\"", "use a variable"),
]  # fmt: skip


def read_tree() -> Tree:
    """Read every file of the clone that git knows or would add."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return {
        name: (ROOT / name).read_text("utf-8", errors="replace") for name in names if (ROOT / name).is_file()
    }


def pages(tree: Tree) -> Iterator[str]:
    """Every page but those of sandbox/engine, which is a separate project."""
    return (name for name in tree if name.endswith(".md") and not name.startswith("sandbox/engine/"))


def python(tree: Tree, *places: str) -> Iterator[str]:
    return (name for name in tree if name.endswith(".py") and name.startswith(places))


def folders(tree: Tree) -> set[str]:
    return {str(parent) for name in tree for parent in PurePosixPath(name).parents}


def text_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines of a page with their numbers, without the blocks between fences."""
    is_fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        if FENCE.match(line):
            is_fenced = not is_fenced
        elif not is_fenced:
            yield number, line


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = (line.lstrip("#").strip() for _, line in text_lines(text) if line.startswith("#"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def defines(tree: Tree, module: str, name: str) -> bool:
    path = module.replace(".", "/")
    text = tree.get(f"{path}.py", tree.get(f"{path}/__init__.py", ""))
    definition = rf"^(?:(?:async )?def |class )?{name}\b|^from .* import .*\b{name}\b|^    {name},$"
    return f"{path}/{name}.py" in tree or re.search(definition, text, re.M) is not None


def links(tree: Tree) -> Iterator[str]:
    """A relative link leads to a file and a heading; the index links every page."""
    known, linked = {*tree, *folders(tree)}, set()
    for page in pages(tree):
        for number, line in text_lines(tree[page]):
            for path, heading in LINK.findall(line):
                target = normpath(join(dirname(page), path)) if path else page
                linked |= {target} if page in INDEXES else set()
                if target not in known:
                    yield f"{page}:{number}: {target} does not exist. Correct the link."
                elif heading and heading not in anchors(tree[target]):
                    yield f"{page}:{number}: {target} has no heading #{heading}. Correct the link."
    for page in pages(tree):
        if page.startswith("docs/") and page not in linked:
            yield f"{page}:1: no index links it. Add it to {' or '.join(INDEXES)}."


def names(tree: Tree) -> Iterator[str]:
    """Modules, files and tests that docs, a README or CONTRIBUTING name exist."""
    known = {*tree, *folders(tree)}
    files = {PurePosixPath(name).name for name in tree}
    tests = {PurePosixPath(name).stem for name in tree if name.endswith(".py")}
    for test in python(tree, "tests/", "proofs/", "sandbox/"):
        tests |= set(re.findall(r"^ *(?:async )?def (test_\w+)", tree[test], re.M))

    def exists(path: str) -> bool:
        form = re.escape(path).replace(r"\*", "[^/]*")
        return path in known or ("*" in path and any(re.fullmatch(form, name) for name in known))

    def is_module(name: str) -> bool:
        path, (module, _, attribute) = name.replace(".", "/"), name.rpartition(".")
        return f"{path}.py" in tree or path in known or defines(tree, module, attribute)

    for page in pages(tree):
        if not (page.startswith("docs/") or page.endswith(("README.md", "CONTRIBUTING.md"))):
            continue
        for number, line in enumerate(tree[page].splitlines(), 1):
            missing = {name for name in MODULE.findall(line) if not is_module(name)}
            missing |= {path for path in PATH.findall(line) if not exists(path.rstrip("./"))}
            missing |= {name for name in FILE.findall(line) if name not in files}
            missing |= {name for name in TEST.findall(line) if name not in tests}
            for module, imported in IMPORT.findall(line):
                missing |= {name for name in imported.split(", ") if not defines(tree, module, name)}
            for name in sorted(name for name in missing if not EXAMPLE.search(name)):
                yield f"{page}:{number}: {name} does not exist. Name what replaced it."


def walks(tree: Tree) -> Iterator[str]:
    """The tables that follow a webhook and a cron: each hop exists, and the one it names leads to it."""
    hops: dict[int, str] = {}
    for number, line in enumerate(tree[ARCHITECTURE].splitlines(), 1):
        if not (row := HOP.match(line)):
            continue
        hop, path, name = int(row[1]), row[3], row[4]
        hops = {} if hop == 1 else hops
        word = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
        if path not in tree or not (path == f"sql/{name}.sql" or word.search(tree[path])):
            yield f"{ARCHITECTURE}:{number}: {path} has no {name}. Correct the hop."
        source = tree.get(hops.get(int(row[2] or 0), ""), "")
        if hop != len(hops) + 1 or not (hop == 1 or word.search(source)):
            yield f"{ARCHITECTURE}:{number}: hop {row[2]} does not lead to {name}. Correct the hop."
        hops[hop] = path
    if not hops:
        yield f"{ARCHITECTURE}:1: it has no table of hops. Follow one webhook and one cron."


def table(text: str, heading: str) -> list[set[str]]:
    """The words of code in the first cell of each row of the table with this first heading."""
    rows = text.partition(f"\n| {heading} |")[2].partition("\n\n")[0].splitlines()[2:]
    return [set(re.findall(r"`(\w+)`", row.strip("|").split(" | ")[0])) for row in rows]


def codes(tree: Tree) -> Iterator[str]:
    """docs/flow.md explains each code that the `error_code` of an event can hold, and no other."""
    written = {Contended.code, DatabaseUnavailable.code, IntegrationError.code}
    written |= {kind.code for kind in Final.__subclasses__()}
    for path in python(tree, "leads/domain/", "leads/services/process_record.py"):
        if path != "leads/domain/errors.py":
            for line in re.findall(r"\bcode ?= ?(\".*)", tree[path]):
                written |= set(re.findall(r'(?:^|else )"(\w+)"', line))
            written |= set(re.findall(r'error_code="(\w+)"', tree[path]))
    for path in tree:
        if path.endswith("up.sql") or path.startswith("sql/"):
            written |= set(re.findall(r"^ +error_code = .*'(\w+)'", tree[path], re.M))
    for code in sorted(written ^ set().union(*table(tree["docs/flow.md"], "error code"))):
        yield f"docs/flow.md:1: error code {code} is not both written and explained. Add or remove its row."


def crons(tree: Tree) -> Iterator[str]:
    """Modules, names, routes and both tables of docs/runbook/crons-and-engine.md are the same crons."""
    modules = {PurePosixPath(path).stem for path in python(tree, "cron/")} - {"__init__"}
    routes = {route.path.removeprefix("/cron/") for route in HASURA_ROUTES if route.path.startswith("/cron/")}
    page = "docs/runbook/crons-and-engine.md"
    shown, explained = (
        set().union(*table(tree[page], heading)) for heading in ("cron | UTC", "cron | you see")
    )
    for place, found in (("cron/", modules), ("app.py", routes), (page, shown), (page, explained)):
        for name in sorted(found ^ set(CRONS)):
            yield f"{place}:1: {name} is not both here and in CRONS of leads/services/cron_runs.py. Add it."


def fault(command: str) -> str | None:
    """What is wrong with a call of `leads`: a verb or an option that does not exist, a word too many."""
    node: Any = typer.main.get_command(app)
    words = shlex.split(command)
    while words and hasattr(node, "commands"):
        if "…" in words[0]:
            return None
        if words[0] not in node.commands:
            return f"no verb {words[0]}"
        node = node.commands[words.pop(0)]
    options = {name: option for option in node.params for name in (*option.opts, *option.secondary_opts)}
    places = [option for option in node.params if option.param_type_name == "argument"]
    given = 0
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            given += 1
        elif word not in options:
            return f"no option {word}"
        elif not getattr(options[word], "is_flag", False) and words:
            words.pop(0)
    return None if given <= len(places) or any(place.nargs == -1 for place in places) else "a word too many"


def runbook_commands(tree: Tree) -> Iterator[str]:
    for page in PAGES:
        for command in commands(page):
            if said := fault(command):
                yield f"docs/{page}.md:1: leads {command}: {said}. Give a command that exists."


def statements(tree: Tree) -> Iterator[str]:
    """A statement is named in full by a module of the product, or by the data of the go-live."""
    senders = "|".join(sorted({name.partition("/")[0] for name in QUERIES}))
    full = re.compile(rf"[\"']((?:{senders})/\w+)[\"']")
    built = re.compile(
        rf"f[\"'](?:{senders})/|(?<!startswith\()[\"'](?:{senders})/(?:\w*_|\w*(?:%s|\{{\w*\}})\w*)?[\"']"
    )
    criteria = "".join(text for path, text in tree.items() if re.match(r"ops/golive/.*\.yaml", path))
    unnamed = set(QUERIES) - set(re.findall(r"sql: (\S+)\n", criteria))
    for path in python(tree, *PRODUCT, "scripts/", "proofs/", "sandbox/", "tests/"):
        for number, line in enumerate(tree[path].splitlines(), 1):
            if built.search(line):
                yield f"{path}:{number}: a statement's name is built from parts. Write it in full."
            for name in full.findall(line) if path.startswith(PRODUCT) else ():
                unnamed.discard(name)
    for name in sorted(unnamed):
        yield f"sql:1: no module sends {name}. Delete it."


def headers(tree: Tree) -> Iterator[str]:
    """A statement says what it does, which rows it returns, and on which index of a large table it relies."""
    for path in (path for path in tree if path.startswith("sql/") and path.endswith(".sql")):
        for name, text in split(tree[path]):
            header = " ".join(line for line in text.splitlines()[:5] if line.startswith("-- "))
            if not text.startswith("-- ") or "Returns" not in header:
                yield f"{path}:1: {name} has no comment with what it does and `Returns`. Write it first."
            searches = re.search(r"\b(JOIN|WHERE|UPDATE|DELETE)\b", text)
            is_large = re.search(r"\bpublic\.(pancake_webhook_event|account|ticket)\b", text)
            if searches and is_large and not re.search("elies on|Reads the whole table", header):
                yield f"{path}:1: {name} names no index of a large table. Write `Relies on …`."


SOURCES = re.compile(r"\bpancake_source(?:\s+AS)?\s+(?!WHERE|SET|ON|ORDER|JOIN)(\w+)")
SHOWING = {
    "switches/list_switches", "switches/set_setting", "switches/set_source", "status/list_connections",
    "status/list_rosters", "metrics/count_source_events", "golive/load_sources",
    "golive/check_diva_columns", "golive/list_migrations",
    "golive/insert_thousand_events", "golive/load_opening", "golive/load_settings", "golive/update_settings",
    "engine/try_lead",
}  # fmt: skip
"""Statements that show or turn switches, or check the installation; they decide about no lead."""


def copied_rules(tree: Tree) -> Iterator[str]:
    """A statement uses the function of a rule, and does not spell the rule out."""
    for path in (path for path in tree if path.startswith("sql/") and path.endswith(".sql")):
        for name, statement in split(tree[path]):
            text = re.sub("--.*", "", statement)
            aliases = "|".join({"pancake_source", *SOURCES.findall(text)})
            spelled = {
                "view_pancake_setting": "app_setting",
                "pancake_active_source": rf"\b(?:{aliases})\.is_active\b|(?<!\.)\bis_active\b",
                "pancake_payload_hash": r"sha256\(",
                "pancake_applied_version": r"'stale'|\bapplied_at IS NOT NULL\b",
                "pancake_roster_source": r"\barray_position\(\s*(?:\w+\.)?source_ids\b",
                "pancake_event_is_unassigned": r"\bevidence\s*#>>?\s*'{assignment,settled}'"
                r"|'settled'.*\bIS NULL",
                "pancake_applied_event": r"\bapplied_at DESC\b",
                "pancake_record_table": r"'account', 'contact'\) THEN",
                "pancake_ticket_is_open": r"'in_progress'",
                "pancake_event_is_waiting": r"IN \('received', 'ingested'\)",
                "pancake_event_is_held": r"IN \('skipped_kill_switch', 'skipped_source_disabled'\)",
                "pancake_error_fault": r"'(?:missing_record_id|too_deep|too_large|unstorable|test_ping)'"
                r"|LIKE 'invalid",
                "pancake_event_was_held_or_replayed": r"\bheld_at IS NOT NULL\b",
            }
            if "pancake_source" not in text:
                del spelled["pancake_active_source"]
            if "pancake_applied_version" in text:
                del spelled["pancake_applied_event"]
            for rule, pattern in spelled.items() if name not in SHOWING else ():
                if re.search(pattern, text):
                    yield f"{path}:1: {name} spells out a rule. Use {rule}."


def cases(tree: Tree) -> Iterator[str]:
    """Each test case of docs/test-cases.md has one title and a test, and no other is marked."""
    page = "docs/test-cases.md"
    titles = re.findall(r"^\| (TC-[\d-]+) \| (.+) \|$", tree[page], re.M)
    marked = {
        case: path
        for path in python(tree, "tests/")
        for case in re.findall(r'^@pytest\.mark\.test_case\("(.+?)"\)', tree[path], re.M)
    }
    if not len(titles) == len(dict(titles)) == len({title for _, title in titles}):
        yield f"{page}:1: a test case or a title stands twice. Remove one."
    for case in sorted(dict(titles).keys() - marked.keys()):
        yield f"{page}:1: {case} has no test. Mark the test that proves it."
    for case in sorted(marked.keys() - dict(titles).keys()):
        yield f"{marked[case]}:1: {case} is not in {page}. Add its title."


def attacks(tree: Tree) -> Iterator[str]:
    """What docs/security.md promises against an attacker is shown by tests, which exist and were counted."""
    promises = tree[SECURITY].partition("\n| attacker | has |")[2].partition("\n\n")[0]
    promised = {row.removeprefix("| ").partition(" | ")[0] for row in promises.splitlines()[2:]}
    listed = list(read_attacks(tree[SECURITY]))
    for attacker in sorted(promised ^ {each for attack in listed for each in attack.attackers}):
        yield f"{SECURITY}:1: {attacker} is not in both tables. Promise something, and name tests of it."
    for attack in listed:
        for path, name in (test.split("::") for test in attack.tests):
            if not re.search(rf"^(?:async )?def {name}\(", tree.get(path, ""), re.M):
                yield f"{SECURITY}:1: {path} has no {name}. Name what replaced it."
        if not re.fullmatch(r" [1-9][\d,]* \| [\d,]+ \| nothing \|", attack.counts):
            tests = attack.tests[0]
            yield f"{SECURITY}:1: {tests} is not counted, or something opened. Run scripts/test --attacks."


def sizes(tree: Tree) -> Iterator[str]:
    for path in python(tree, *PRODUCT, "tests/"):
        if (length := tree[path].count("\n")) > MAX_LINES and path not in NOT_SPLIT_YET:
            yield f"{path}:{length}: more than {MAX_LINES} lines. Split it by subject."
    for path, most in MAX_PAGE_LINES.items():
        if (length := tree.get(path, "").count("\n")) > most:
            yield f"{path}:{length}: more than {most} lines. Move what not every installation needs."
    for path in tree:
        if DECISION.match(path) and (length := tree[path].count("\n")) > MAX_DECISION_LINES:
            yield f"{path}:{length}: more than {MAX_DECISION_LINES} lines. Keep what binds."
    for path in python(tree, *PRODUCT):
        functions = (each for each in ast.walk(ast.parse(tree[path])) if isinstance(each, FUNCTION))
        for each in functions:
            if (each.end_lineno or 0) - each.lineno >= MAX_FUNCTION_LINES:
                yield f"{path}:{each.lineno}: {each.name} has more than {MAX_FUNCTION_LINES} lines. Split it."
    if (length := sum(tree[path].count("\n") for path in python(tree, *SERVER))) > MAX_SERVER_LINES:
        yield f"app.py:1: the server has {length} lines, more than {MAX_SERVER_LINES}. Remove some."


def patterns(tree: Tree) -> Iterator[str]:
    for where, form, remedy in PATTERNS:
        place, wrong = re.compile(where), re.compile(form, re.M)
        for path in filter(place.fullmatch, tree):
            for found in wrong.finditer(tree[path]):
                number = tree[path].count("\n", 0, found.end()) + 1
                yield f"{path}:{number}: `{found[0].strip()}`: {remedy}."


def secret_commands(script: str) -> Iterator[str]:
    """The commands of a shell script that have a secret among their arguments."""
    lines = re.sub(r"\\\n\s*", " ", script).splitlines()
    for command in (part.strip() for line in lines for part in re.split(r"\|\|?|&&|;|\$\(", line)):
        words = re.sub(r"^(?:\w+=(?:\"[^\"]*\"|'[^']*'|\S*)\s*)+", "", command)
        if words and words.split()[0] not in BUILT_IN and SECRET.search(words.split("#")[0]):
            yield command


def secrets(tree: Tree) -> Iterator[str]:
    """No documented command, script or image has a secret as an argument, which every process can read."""
    scripts = [
        name
        for name in tree
        if re.fullmatch(r"scripts/\w+|(deploy/nginx/)?Dockerfile|deploy/nginx/container/start", name)
    ]
    for path in (*pages(tree), *scripts, "sandbox/engine/README.md"):
        text = tree[path]
        blocks = re.findall(r"^\s*```\w*\n(.*?)^\s*```", text, re.DOTALL | re.MULTILINE)
        inline = (code for code in re.findall(r"`([^`\n]+)`", text) if " " in code)
        for script in (*blocks, *inline) if path.endswith(".md") else [text]:
            for command in secret_commands(script):
                number = text.count("\n", 0, max(text.find(command[:30]), 0)) + 1
                yield f"{path}:{number}: `{command}` shows a secret. Use a variable or stdin."


RULES: tuple[Callable[[Tree], Iterator[str]], ...] = (
    links, names, walks, codes, crons, runbook_commands, statements, headers, copied_rules, cases, attacks,
    sizes, patterns, secrets,
)  # fmt: skip


def main() -> int:
    try:
        tree = read_tree()
    except (OSError, subprocess.CalledProcessError):
        print("git could not list the files of the clone. Run it in a clone, with git.", file=sys.stderr)
        return 2
    found = [line for rule in RULES for line in rule(tree)]
    print(
        "\n".join([*found, f"{len(found)} findings in {len(tree)} files" if found else f"{len(tree)} files"])
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
