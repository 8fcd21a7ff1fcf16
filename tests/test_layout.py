"""Rules for the whole repository: where files stand, their size, and what import-linter cannot express."""

import ast
import re
import sys
from pathlib import Path
from statistics import median

import pytest

from app import HASURA_ROUTES
from leads.services.cron_runs import CRONS
from tests.support.source_tree import ROOT, functions, imports, lines, name, python, tracked

PRODUCTION = ("handlers", "cron", "leads")
TOP = {
    "pyproject.toml", "hasura", "handlers", "cron", "sql", "scripts", "tests", "Dockerfile", "README.md",
    "app.py", "leads", "sandbox", "deploy", "docs", "compose.yaml", "CHANGELOG.md",
    "CONTRIBUTING.md", "LICENSE",
}  # fmt: skip
HIDDEN = {".ci", ".github", ".gitignore", ".env.example", ".dockerignore", ".yamllint.yaml"}
ENGINE_TESTS = "sandbox/engine/tests"
MAX_LINES = {"handlers/": 200, "cron/": 200, "tests/support/": 250, "tests/": 300, "": 250}
"""By the beginning of the path; the first that fits."""


def test_the_top_level_holds_only_the_agreed_files() -> None:
    top = {path.relative_to(ROOT).parts[0] for path in tracked()}
    assert top - TOP - HIDDEN == set()
    required = {
        "app.py",
        "hasura",
        "handlers",
        "cron",
        "sql",
        "leads",
        "scripts",
        "tests",
        "README.md",
    }
    assert required <= top


def test_files_stay_within_their_limits() -> None:
    large = {
        name(path): lines(path)
        for path in python("app.py", *PRODUCTION, "sandbox", "scripts", "tests")
        if lines(path) > next(most for start, most in MAX_LINES.items() if name(path).startswith(start))
    }
    assert large == {}


@pytest.mark.parametrize(
    "places", [("app.py", *PRODUCTION), ("sandbox", "scripts")], ids=["production", "tools"]
)
def test_functions_are_short(places: tuple[str, ...]) -> None:
    lengths = functions(*places)
    assert {where: length for where, length in lengths.items() if length > 60} == {}
    assert median(lengths.values()) <= 10
    short = sum(length <= 25 for length in lengths.values())
    assert short / len(lengths) >= 0.9


def test_statements_stay_within_their_limit() -> None:
    large = [name(path) for path in (ROOT / "sql").rglob("*") if path.is_file() and lines(path) > 80]
    assert large == []
    assert {path.suffix for path in (ROOT / "sql").rglob("*") if path.is_file()} == {".sql"}


def test_the_domain_is_pure() -> None:
    for path in python("leads/domain"):
        text = path.read_text("utf-8")
        waits = (ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith)
        assert not any(isinstance(node, waits) for node in ast.walk(ast.parse(text))), name(path)
        assert not re.search(r"datetime\.now\(|utcnow\(|today\(\)", text), name(path)


def any_per_1000_lines(*places: str) -> float:
    """How often the type Any is used, imports left out."""
    trees = [ast.parse(path.read_text("utf-8")) for path in python(*places)]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    used = sum(
        (isinstance(node, ast.Name) and node.id == "Any")
        or (isinstance(node, ast.Attribute) and node.attr == "Any")
        for node in nodes
    )
    return 1000 * used / sum(lines(path) for path in python(*places))


def test_rules_and_services_name_their_types() -> None:
    assert any_per_1000_lines("leads/domain", "leads/services") < 10


def test_handlers_and_crons_read_no_clock_and_hold_no_sql() -> None:
    for path in python("handlers", "cron"):
        text = path.read_text("utf-8")
        assert not re.search(r"datetime\.now\(|utcnow\(", text), name(path)
        assert not re.search(r"[\"'](SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH) ", text), name(path)


def test_app_imports_production_code_and_starlette_only() -> None:
    """import-linter reads packages only, and app.py is a module."""
    outside = set(imports(ROOT / "app.py")) - sys.stdlib_module_names
    assert outside - {*PRODUCTION, "starlette"} == set()


def test_every_module_has_a_docstring_and_every_trigger_names_its_caller() -> None:
    for path in python("app.py", *PRODUCTION, "sandbox"):
        docs = ast.get_docstring(ast.parse(path.read_text("utf-8")))
        assert docs, name(path)
        if path.parent in (ROOT / "handlers", ROOT / "cron") and path.stem != "__init__":
            assert "Called by" in docs, name(path)


def test_every_handler_and_cron_has_its_test() -> None:
    for room in ("handlers", "cron"):
        for path in python(room):
            if path.stem != "__init__":
                assert list((ROOT / "tests" / room).glob(f"test_{path.stem}*.py")), name(path)


def test_every_cron_is_listed_and_has_a_route() -> None:
    """tests/hasura/test_metadata.py compares the routes with the triggers."""
    assert sorted(path.stem for path in python("cron") if path.stem != "__init__") == sorted(CRONS)
    routes = {served.path for served in HASURA_ROUTES if served.path.startswith("/cron/")}
    assert routes == {f"/cron/{cron}" for cron in CRONS}


def silent(source: str) -> list[int]:
    """Lines with a bare except, or a broad one that neither raises nor gives a reason."""

    def broad(caught: ast.expr) -> bool:
        names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
        return any(ast.unparse(name) in ("Exception", "BaseException") for name in names)

    def raises(node: ast.AST) -> bool:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            return False
        return isinstance(node, ast.Raise) or any(raises(child) for child in ast.iter_child_nodes(node))

    def excused(node: ast.ExceptHandler) -> bool:
        return raises(node) or re.search(r"noqa: BLE001 - \w+", written[node.lineno - 1]) is not None

    written = source.splitlines()
    handlers = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ExceptHandler)]
    return [node.lineno for node in handlers if node.type is None or (broad(node.type) and not excused(node))]


def test_a_broad_except_gives_a_reason() -> None:
    """It raises again, or has a reason after its noqa comment."""
    for path in python("app.py", *PRODUCTION, "sandbox", "scripts"):
        assert silent(path.read_text("utf-8")) == [], name(path)


def test_a_raise_outside_its_body_does_not_excuse_a_broad_except() -> None:
    caught = "try:\n    f()\nexcept {}:\n    {}\n\ndef g():\n    raise ValueError\n"
    for everything in ("Exception", "(OSError, BaseException)", "Exception as error"):
        assert silent(caught.format(everything, "pass")) == [3]
        assert silent(caught.format(everything, "def h():\n        raise KeyError")) == [3]
        assert silent(caught.format(everything, "if x: raise")) == []
    assert silent(caught.format("Exception:  # noqa: BLE001 - reported to the caller", "pass")) == []
    assert silent("try:\n    f()\nexcept:\n    raise\n") == [3]
    assert silent(caught.format("OSError", "pass")) == []


def test_no_unfinished_work_is_marked() -> None:
    words = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "X" * 3, "Not" + "ImplementedError")))
    for path in tracked():
        if path.suffix in {".py", ".sql", ".md", ".yaml", ".toml", ".lua", ".conf", ""}:
            assert not words.search(path.read_text("utf-8", errors="replace")), name(path)


def imported_tests(path: Path) -> set[str]:
    """The modules of tests/ that a file imports, tests.support left out."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found |= {f"{module}.{alias.name}" for alias in node.names} if module == "tests" else {module}
    of_tests = {module for module in found if module.startswith(("tests.", ".")) or module == "tests"}
    return {module for module in of_tests if not f"{module}.".startswith("tests.support.")}


def test_tests_share_code_through_tests_support_only() -> None:
    """A test imports nothing from a conftest or from another test."""
    found = {name(path): imported_tests(path) for path in python("tests") if imported_tests(path)}
    assert found == {}


def test_conftest_modules_hold_fixtures_and_hooks_only() -> None:
    for path in (ROOT / "tests").rglob("conftest.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            assert not isinstance(node, ast.ClassDef), f"{name(path)}: {node.name}"
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                marks = {ast.unparse(mark).partition("(")[0] for mark in node.decorator_list}
                is_hook = node.name.startswith("pytest_")
                assert is_hook or "pytest.fixture" in marks, f"{name(path)}: {node.name}"


SKIPS = ("pytest.skip", "pytest.xfail", "pytest.mark.skip", "pytest.mark.skipif", "pytest.mark.xfail")


def text_of(node: ast.expr | None, assigned: dict[str, ast.expr]) -> str:
    """The literal text of an argument, with `_` for each value in an f-string; empty if it is no text."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(text_of(value, assigned) or "_" for value in values)
        case ast.Name(id=variable) if variable in assigned:
            return text_of(assigned[variable], {})
    return ""


def unexplained_skips(source: str) -> list[int]:
    """Lines that skip a test, or expect it to fail, without a reason of three words or more."""
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    assigned = {
        node.targets[0].id: node.value
        for node in nodes
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    calls = {
        node.func: node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) in SKIPS
    }
    unexplained = []
    for node in nodes:
        if not isinstance(node, ast.Attribute) or ast.unparse(node) not in SKIPS:
            continue
        call = calls.get(node)
        given = {keyword.arg: keyword.value for keyword in call.keywords} if call else {}
        # A condition comes first in skipif and xfail as marks; in the others the reason does.
        has_condition = ast.unparse(node) in ("pytest.mark.skipif", "pytest.mark.xfail")
        first = call.args[0] if call and call.args and not has_condition else None
        if len(re.findall(r"\w+", text_of(given.get("reason", first), assigned))) < 3:
            unexplained.append(node.lineno)
    return unexplained


def test_a_skipped_test_says_why() -> None:
    found = {name(path): unexplained_skips(path.read_text("utf-8")) for path in python("tests", ENGINE_TESTS)}
    assert {path: skips for path, skips in found.items() if skips} == {}


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("pytest.skip('needs a second process')", []),
        ("pytest.skip(f'too old here: {version}')", []),
        ("pytest.skip(f'{version}')", [1]),
        ("pytest.skip()\nlog('this text is no reason')", [1]),
        ("pytest.skip(reason='later')", [1]),
        ("pytest.mark.skipif(x == 'a long condition is no reason')", [1]),
        ("pytest.mark.skipif(x, reason='only root may mount')", []),
        ("why = 'only root may mount'\npytest.mark.skip(reason=why)", []),
        ("pytest.mark.skip(reason=why)", [1]),
        ("@pytest.mark.skip\ndef test_a_b_c(): 'a docstring of words'", [1]),
        ("@pytest.mark.xfail(raises=KeyError)\ndef test(): pass", [1]),
    ],
)
def test_only_a_text_in_the_place_of_the_reason_explains_a_skip(source: str, lines: list[int]) -> None:
    assert unexplained_skips(source) == lines
