"""The scripts with programs in the place of what they call, `.env` as data, and the lock files."""

import json
import os
import re
import shutil
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ops.golive.criterion import Source, load_criteria
from ops.golive.judgement import read_evidence_file
from ops.setup.answers import QUESTIONS
from sandbox.edge import NEEDED
from tests.support import programs
from tests.support.programs import Done, write_program
from tests.support.suites import PATHS_WITH_SERVERS, belongs

ROOT = Path(__file__).parents[2]


def run(*command: Path | str, cwd: Path = ROOT, **variables: str) -> Done:
    return programs.run(*command, cwd=cwd, env={"PATH": "/usr/bin:/bin", **variables}, code=None)


def installed(clone: Path, *programs: str, lines: str) -> Path:
    """Give a clone an environment that looks complete, with programs of these lines; return their folder."""
    (clone / "scripts" / "lock").mkdir(parents=True)
    venv = clone / ".venv" / "{}.{}".format(*sys.version_info[:2])
    for name in programs:
        write_program(venv / "bin" / name, lines)
    for name in ("scripts/lock/dev.txt", "pyproject.toml"):
        (clone / name).write_text("")
    empty = run("cksum", "/dev/null").stdout.removesuffix(" /dev/null\n")
    (venv / "installed").write_text(f"{empty} {venv}\n")
    (venv / "project").write_text(f"{empty} {clone}\n")
    return venv / "bin"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("scripts/check --nope", "usage: scripts/check"),
        ("scripts/check --fix --nope", "usage: scripts/check"),
        ("scripts/audit --now", ""),
        ("scripts/pin_images --now", "usage: scripts/pin_images"),
        ("scripts/test --fast --engine", "--fast and --engine exclude each other.\nusage: scripts/test"),
        ("scripts/test --genuine -x", "--genuine takes --hasura URL"),
        ("scripts/test --junit", "--junit needs a file.\n"),
        ("scripts/test --engine --junit x.xml", "--junit and --engine exclude each other.\n"),
        (".ci/run --nope", "usage: .ci/run"),
    ],
)
def test_words_that_a_script_does_not_know_are_refused_before_anything_is_done(words: str, said: str) -> None:
    done = run(*words.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(said)


# --- scripts/check runs every check, names those that failed, and never leaves one out silently

LOCKED = ("ruff", "lint-imports", "mypy", "squawk", "shellcheck", "yamllint", "hadolint")
FROM_APT = ("luacheck", "docker-compose")
CHECKS = [
    "ruff format (product)", "ruff check (product)", "lint-imports (product)", "mypy (product)",
    "squawk (up)", "squawk (down)", "shellcheck", "yamllint", "hadolint", "luacheck", "compose.yaml",
]  # fmt: skip


@pytest.fixture
def checked(tmp_path: Path) -> Path:
    """A clone in which every tool records that it ran and succeeds, and a PATH with nothing else."""
    bin_folder = installed(tmp_path, *LOCKED, *FROM_APT, lines='echo "ran ${0##*/}"')
    for name in ("check", "_environment"):
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts")
    (tmp_path / "Dockerfile").write_text("")
    for name in (".ci", "deploy", "proofs", "sandbox", "system"):
        (tmp_path / name).mkdir()
    write_program(bin_folder / "python", "echo SECRET=1")
    write_program(bin_folder / "docker", "exit 1")
    for name in ("bash", "env", "dirname", "cat", "cksum", "mkdir", "find", "grep"):
        (tmp_path / "system" / name).symlink_to(str(shutil.which(name)))
    (tmp_path / "bin").symlink_to(bin_folder)
    return tmp_path


def check(clone: Path, uid: int = 1000, **variables: str) -> Done:
    write_program(clone / "bin" / "id", f"echo {uid}")
    given = {"PATH": str(clone / "system"), "PYTHON": sys.executable} | variables
    return run(clone / "scripts" / "check", cwd=clone, **given)


def test_every_tool_runs_and_those_that_fail_are_named_after_all_have_run(checked: Path) -> None:
    done = check(checked)
    assert (done.returncode, done.stderr) == (0, "")
    assert {line[4:] for line in done.stdout.splitlines() if line[:4] == "ran "} == {*LOCKED, *FROM_APT}
    assert done.stdout.endswith("All checks passed.\n")
    (checked / "bin" / "squawk").unlink()
    done = check(checked)
    assert done.returncode == 1, "a tool from the lock file is never optional"
    assert "Failed: squawk (up), squawk (down)\n" in done.stderr
    for name in (*LOCKED, *FROM_APT):
        write_program(checked / "bin" / name, "exit 1")
    done = check(checked)
    assert (done.returncode, done.stderr) == (1, f"Failed: {', '.join(CHECKS)}\n")


def test_without_the_tools_from_apt_a_user_reads_what_was_not_checked(checked: Path) -> None:
    for name in FROM_APT:
        (checked / "bin" / name).unlink()
    done = check(checked)
    luacheck = "luacheck is not installed. Install it with: apt-get install lua-check\n"
    compose = "docker-compose is not installed. Install it with: apt-get install docker-compose\n"
    said = f"== luacheck: not checked. {luacheck}== compose.yaml: not checked. {compose}"
    assert (done.returncode, done.stderr) == (0, said)
    assert done.stdout.endswith("Passed. Not checked: luacheck, compose.yaml\n")
    for refused in (check(checked, uid=0), check(checked, CI="true")):
        expected = f"{luacheck}{compose}Failed: luacheck, compose.yaml\n"
        assert (refused.returncode, refused.stderr) == (1, expected)


# --- .ci/run

CALLS = re.findall(
    r"^ *scripts/(\S.*?)(?: (?:\|\||#) .*)?$", (ROOT / ".ci" / "run").read_text("utf-8"), re.MULTILINE
)
STEPS = [each for each in CALLS if "dist/" not in each]
SCRIPTS = ("check", "audit", "pin_images", "images", "release", "test", "chaos", "loadtest")


def ci(folder: Path, codes: Mapping[str, int], key: str = "") -> tuple[Done, list[str]]:
    """Run .ci/run with scripts that end with these codes, else with 0; return the calls of them too."""
    shutil.copytree(ROOT / ".ci", folder / ".ci", dirs_exist_ok=True)
    write_program(folder / "bin" / "id", "echo 1000")
    for path in (folder / "bin" / "ssh-keygen", *(folder / "scripts" / name for name in SCRIPTS)):
        write_program(path, f'echo "{path.name}" "$@" >>{folder}/called\nexit {codes.get(path.name, 0)}')
    done = run(folder / ".ci" / "run", PATH=f"{folder}/bin:/usr/bin:/bin", GOLIVE_CI_KEY=key)
    return done, (folder / "called").read_text().splitlines()


@pytest.mark.parametrize("failing", SCRIPTS)
def test_any_failure_ends_ci(tmp_path: Path, failing: str) -> None:
    done, called = ci(tmp_path, {failing: 2}, key="ci.key")
    assert (done.returncode, called[-1].split()[0]) == (2, failing)


def test_images_without_digests_or_not_built_do_not_end_ci(tmp_path: Path) -> None:
    done, called = ci(tmp_path, {})
    assert {"check", "audit --allow-unchecked", "test", "test --slow", "test --engine"} <= set(called)
    assert (done.returncode, done.stderr, called) == (0, "", STEPS)
    done, _ = ci(tmp_path, {"audit": 3, "pin_images": 1, "images": 3, "release": 3})
    assert done.returncode == 0
    assert [line.partition(".")[0] for line in done.stderr.splitlines()] == [
        "NOT DONE: known vulnerabilities of the packages above",
        "NOT DONE: the images above are not pinned by digest",
    ]


def test_ci_makes_and_signs_what_proves_criteria_with_the_key_that_it_is_given(tmp_path: Path) -> None:
    done, called = ci(tmp_path, {}, key="ci.key")
    assert done.returncode == 0, done.stderr
    cures = [each.remediation for each in load_criteria() if each.source is Source.FILE]
    wanted = {name for cure in cures for name in re.findall(r"(?:> golive/|--junit )([^ ,]+)", cure)}
    signed = [each.rpartition("/")[2] for each in called if each.startswith("ssh-keygen")]
    assert wanted == {*signed} == {path.name for path in (tmp_path / "dist").iterdir()} | {"junit.xml"}
    assert "ssh-keygen -q -Y sign -f ci.key -n golive.ci dist/junit.xml" in called
    assert "test --junit dist/junit.xml" in called
    assert "test" not in called


def test_ci_installs_the_packages_without_which_tests_of_the_edge_are_skipped() -> None:
    installed = (ROOT / ".ci" / "run").read_text().partition("packages=(")[2].partition(")")[0].split()
    skips = r'"[^"{\n]*: apt-get install ([a-z0-9-]+)'
    texts = [path.read_text() for path in (ROOT / "tests" / "edge").glob("*.py")]
    asked_for = {package for text in texts for package in re.findall(skips, text)}
    assert asked_for >= {"systemd", "libseccomp2", "libfaketime", "strace"}
    assert asked_for | {package for _, package in NEEDED} <= set(installed)
    assert [path for path in PATHS_WITH_SERVERS if not (ROOT / path).exists()] == []


# --- deploy/systemd: the handlers and leads without Docker

VENV = """
case "$*" in
    "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; cp "${0%/*}/leads" "$3/bin" ;;
    *" install "*) [ ! -e "$FAIL" ] ;;
esac
"""


def test_a_version_is_installed_beside_the_one_before_and_can_be_left_again(tmp_path: Path) -> None:
    clone, root, fail = tmp_path / "clone", tmp_path / "root", tmp_path / "fail"
    shutil.copytree(ROOT / "deploy" / "systemd", clone / "deploy" / "systemd")
    write_program(tmp_path / "bin" / "python3", VENV)
    write_program(tmp_path / "bin" / "leads", 'printf \'%s\\n\' "$*" "$VERSION" "$DATABASE_URL"')
    write_program(tmp_path / "bin" / "git", 'case "$1" in rev-parse) cat commit ;; esac')

    def install(*words: str) -> Done:
        variables = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "DESTDIR": str(root), "FAIL": str(fail)}
        return run(clone / "deploy/systemd/install", *words, cwd=clone, **variables)

    def current() -> str:
        return (root / "opt/pancake/current").readlink().name

    (clone / "pyproject.toml").write_text('version = "0.1.0"\n')
    assert install("--now").returncode == 2
    assert install("--back").returncode == 1
    for commit, whole in (("a" * 40, True), ("b" * 40, False), ("b" * 40, True)):
        (clone / "commit").write_text(commit)
        fail.unlink(missing_ok=True) if whole else fail.touch()
        assert install().returncode == (0 if whole else 1)
        assert current() == f"0.1.0-{commit[:12] if whole else 'a' * 12}"
    assert install().stdout.endswith("Next: leads setup --folder /etc/pancake --way systemd\n"), "again"
    assert (install("--back").returncode, current()) == (0, "0.1.0-" + "a" * 12)
    assert (install("--back").returncode, current()) == (0, "0.1.0-" + "b" * 12)
    for unit in ("pancake-handlers", "pancake-backfill"):
        assert (root / f"etc/systemd/system/{unit}.service").exists()
    assert not (root / "etc/pancake").exists(), "the files of leads setup are not its business"

    text = (root / "usr/local/bin/leads").read_text()
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/ops.env").write_text("DATABASE_URL=postgresql://a@b/c?d=1&e=$x\n")
    write_program(
        tmp_path / "leads", text.replace("/opt/", f"{root}/opt/").replace("/etc/pancake", f"{tmp_path}/etc")
    )
    done = run(tmp_path / "leads", "edge-spool", "list")
    assert done.stdout.splitlines() == ["edge-spool list", "0.1.0", "postgresql://a@b/c?d=1&e=$x"]
    done = run(tmp_path / "leads", "status", DATABASE_URL="mine")
    assert done.stdout.splitlines() == ["status", "0.1.0", "mine"]


# --- scripts/audit and scripts/pin_images ask no service here

CLEAN = {"name": "one", "version": "1.0", "vulns": []}
UNKNOWN = {"name": "two", "skip_reason": "Dependency not found"}
FLAW: dict[str, Any] = {"id": "PYSEC-2026-1", "fix_versions": ["3.1"], "aliases": [], "description": ""}
VULNERABLE = {"name": "three", "version": "3.0", "vulns": [FLAW]}
NOT_REACHED = "NOT CHECKED for known vulnerabilities: the service could not be reached."
UNPINNED = ("compose.yaml", "compose.production.yaml", "Dockerfile", "deploy/nginx/Dockerfile")
DIGEST = "sha256:" + "ab" * 32


def as_report(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


@pytest.mark.parametrize(
    ("report", "code", "expected", "said"),
    [
        (as_report(CLEAN), 0, 0, "Checked 1 of 1 packages, 0 known vulnerabilities."),
        (as_report(CLEAN, VULNERABLE), 1, 1, "three 3.0: PYSEC-2026-1, fixed in 3.1"),
        (as_report(CLEAN, UNKNOWN), 0, 3, "NOT CHECKED, because the service did not know them: two"),
        (as_report(UNKNOWN), 0, 1, "Checked 0 of 1 packages"),
        ("", 1, 1, NOT_REACHED),
        ("Traceback", 1, 1, NOT_REACHED),
    ],
)
def test_the_exit_code_of_the_audit_says_whether_all_some_or_none_was_checked(
    tmp_path: Path, report: str, code: int, expected: int, said: str
) -> None:
    (tmp_path / "report").write_text(report)
    cases = f"cyclonedx_py) for last; do :; done; echo '{{}}' >\"$last\" ;;\npip_audit) cat {tmp_path}/report"
    python = tmp_path / "python"
    write_program(python, f'case "$2" in\n{cases}; exit {code} ;;\n*) exec {sys.executable} "$@" ;;\nesac')
    done = run(ROOT / "scripts" / "audit", tmp_path / "sbom.json", AUDIT_PYTHON=str(python))
    assert done.returncode == expected, done.stderr
    assert said in done.stdout + done.stderr
    assert (tmp_path / "sbom.json").exists()
    allowed = run(
        ROOT / "scripts" / "audit", "--allow-unchecked", tmp_path / "sbom.json", AUDIT_PYTHON=str(python)
    )
    is_known = "PYSEC" in report
    assert allowed.returncode == (1 if is_known else 3 if expected else 0)


def pin(clone: Path, *arguments: str, docker: str = "exit 1") -> Done:
    write_program(clone / "bin" / "docker", docker)
    return run(clone / "scripts" / "pin_images", *arguments, PATH=f"{clone}/bin:/usr/bin:/bin")


def test_every_image_gets_its_newest_digest_or_nothing_changes(tmp_path: Path) -> None:
    for name in (*UNPINNED, "scripts/pin_images"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)

    def texts() -> list[str]:
        return [(tmp_path / name).read_text() for name in UNPINNED]

    before = texts()
    assert pin(tmp_path, "--check").returncode == 1
    for docker in ("exit 1", "echo not-a-digest", "echo 'sha256:00; rm -rf /'"):
        done = pin(tmp_path, docker=docker)
        assert (done.returncode, texts()) == (3, before)
        assert "The registry gave no digest of postgres:" in done.stderr
    done = pin(tmp_path, docker=f"echo {DIGEST}")
    assert (done.returncode, len(done.stdout.split())) == (0, 9), done.stderr
    assert [text.replace(f"@{DIGEST}", "") for text in texts()] == before
    assert pin(tmp_path, "--check").returncode == 0
    newer = DIGEST.replace("ab", "cd")
    assert pin(tmp_path, docker=f"echo {newer}").returncode == 0
    assert ("".join(texts()).count(newer), "".join(texts()).count(DIGEST)) == (11, 0)


# --- the lock files hold what pyproject.toml declares, and install from any index

LOCK = ROOT / "scripts" / "lock"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
# A pinned package with its marker, then one hash per line: `name==1.2 ; marker \` and `    --hash=sha256:…`.
ENTRY = re.compile(r"^([a-z0-9-]+)==(\S+)[^\\\n]*((?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n", re.MULTILINE)


def group(name: str) -> list[str]:
    """The requirements of a dependency group and of the groups that it includes."""
    entries = PYPROJECT["dependency-groups"][name]
    return [
        need
        for entry in entries
        for need in (group(entry["include-group"]) if isinstance(entry, dict) else [entry])
    ]


def test_the_lock_files_pin_a_fitting_release_of_every_requirement_with_hashes_and_nothing_else() -> None:
    texts = {path.stem: path.read_text("utf-8") for path in LOCK.glob("*.txt")}
    pins = {name: {found[1]: found[2] for found in ENTRY.finditer(text)} for name, text in texts.items()}
    assert {name: ENTRY.sub("", text) for name, text in texts.items()} == dict.fromkeys(texts, "")
    assert pins["runtime"].items() | pins["build"].items() <= pins["dev"].items(), "as the image has"
    runtime = PYPROJECT["project"]["dependencies"]
    declared = {"runtime": runtime, "build": [*PYPROJECT["build-system"]["requires"], *group("build")]}
    for name, texts_of_needs in (declared | {"dev": [*runtime, *group("dev")]}).items():
        for need in map(Requirement, texts_of_needs):
            assert need.specifier.contains(pins[name].get(canonicalize_name(need.name), "0")), (name, need)


def item(*marks: str, path: str = "tests/leads/x.py", fixtures: tuple[str, ...] = ()) -> Any:
    """A collected test, as far as the choice of suites looks at it."""
    return SimpleNamespace(
        nodeid=f"{path}::t",
        fixturenames=fixtures,
        get_closest_marker=lambda name: name if name in marks else None,
    )


@pytest.mark.parametrize(
    ("test", "suites", "suites_with_junit"),
    [
        (item(), "fast default full", "fast default full"),
        (item(fixtures=("cluster",)), "default full", "default full"),
        (item(path="tests/edge/x.py"), "default full", "default full"),
        (item("slow"), "slow full", "slow full"),
        (item("slow", "full"), "full", "full"),
        (item("slow", "test_case"), "slow full", "default slow full"),
    ],
)
def test_marks_and_fixtures_choose_suites(test: Any, suites: str, suites_with_junit: str) -> None:
    for wanted, wants_cases in ((suites, False), (suites_with_junit, True)):
        names = ("fast", "default", "slow", "full")
        assert [each for each in names if belongs(test, each, wants_cases=wants_cases)] == wanted.split()


TESTS = """
import pytest

@pytest.mark.test_case("TC-013-003")
def test_a(subtests):
    for number in (2, 1):
        with subtests.test(number=number):
            assert number == 1

@pytest.mark.test_case("TC-013-004")
def test_b():
    pass

@pytest.mark.test_case("TC-013-005")
def test_c(subtests):
    with subtests.test():
        pytest.skip("needs something")
"""


def test_a_test_case_with_a_failed_or_a_skipped_subtest_is_named_and_does_not_pass(tmp_path: Path) -> None:
    """Run in a process of xdist, as scripts/test does."""
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = test_case(id): id\n")
    file = tmp_path / "junit.xml"
    plugins = ["-p", "xdist", "-p", "tests.support.suites", "-p", "no:cacheprovider"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", *plugins, f"--junit-xml={file}", "-n", "1", tmp_path]
    output = programs.run(*command, cwd=tmp_path, env=environment, code=1).stdout
    assert "test cases: 1 of 3 passed (33.3%)" in output
    assert "TC-013-003 did not pass" in output
    criterion = next(each for each in load_criteria() if each.id == "test-cases-breaker-W3")
    found = read_evidence_file(criterion, file.read_bytes())
    assert (found.total, found.bad) == (3, 2)
    assert found.details == "failed: TC-013-003 TC-013-005"
    (suite,) = ElementTree.fromstring(file.read_bytes()).findall("testsuite")
    stated = {each.get("name"): each.get("value") for each in suite.iterfind("properties/property")}
    assert stated["suite"] == "a part of the suite"
    head = run("git", "rev-parse", "HEAD")
    assert str(stated["commit"]).endswith(head.stdout.strip())


def test_no_script_takes_a_module_from_the_folder_that_one_stands_in(tmp_path: Path) -> None:
    for name in ("typer", "json", "psycopg", "rich"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('of the folder')\n")
    for script in ("leads", "bench", "loadtest"):
        done = programs.run(ROOT / "scripts" / script, "--help", cwd=tmp_path)
        assert done.stderr == "", script
        assert "Usage:" in done.stdout
    starts = re.compile(r"""(?i:python3?)["'}]* -|^(?:exec |ExecStart=)\S+/bin/(?:leads|pancake)""", re.M)
    for path in [*(ROOT / "scripts").iterdir(), *(ROOT / "deploy/systemd").iterdir()]:
        if path.is_file() and path.suffix != ".py" and (start := starts.search(text := path.read_text())):
            assert re.search(r"PYTHONSAFEPATH=1|/_environment", text[: start.start()]), path


# --- `.env` in the clone is data for operators' commands, never run; set variables take precedence

OPERATING = ("backfill_normalized_phone", "leads")
SHARED = ("_env_file", "_environment", "read_env")
OTHERS = ("bench", "chaos", "demo", "sandbox", "test")
PRINT_VARIABLES = 'echo "database: $DATABASE_URL, key: $ENCRYPTION_KEYS"'


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with the scripts, a `.env`, and programs that print the variables they were started with."""
    installed(tmp_path, "python", "pytest", "uvicorn", lines=PRINT_VARIABLES)
    for name in (*SHARED, *OPERATING, *OTHERS):
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts")
    write(tmp_path, "DATABASE_URL=from-the-file\nENCRYPTION_KEYS='k:with space'\n")
    return tmp_path


def write(clone: Path, text: str, mode: int = 0o600) -> None:
    """Write `.env`."""
    (clone / ".env").write_bytes(text.encode())
    (clone / ".env").chmod(mode)


def call(clone: Path, name: str, *arguments: str, **variables: str) -> Done:
    """Run a script of the clone."""
    given = {"PATH": os.environ["PATH"], "PYTHON": sys.executable} | variables
    return run(clone / "scripts" / name, *arguments, cwd=clone, **given)


def output(clone: Path, name: str, **variables: str) -> str:
    """The output of a script of the clone that succeeds."""
    done = call(clone, name, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_an_operators_command_reads_the_file_and_prefers_the_environment(
    clone: Path, subtests: pytest.Subtests
) -> None:
    for name in OPERATING:
        with subtests.test(name=name):
            assert output(clone, name) == "database: from-the-file, key: k:with space"
            assert (
                output(clone, name, DATABASE_URL="given $1 'x'")
                == "database: given $1 'x', key: k:with space"
            )
            assert output(clone, name, DATABASE_URL="") == "database: , key: k:with space"
    for name in OTHERS:
        assert output(clone, name) == "database: , key:", name
    (python,) = (clone / ".venv").glob("*/bin/python")
    write_program(python, 'echo "from the file: $LEADS_ENV_FILE_NAMES"')
    assert output(clone, "leads") == "from the file: DATABASE_URL ENCRYPTION_KEYS"
    assert output(clone, "leads", DATABASE_URL="") == "from the file: ENCRYPTION_KEYS"


def test_an_operators_command_needs_its_own_packages_only(clone: Path) -> None:
    (everything,) = (clone / ".venv").iterdir()
    own = everything.rename(f"{everything}-ops")
    (clone / "scripts" / "lock" / "ops.txt").write_text("")
    stamp = own / "installed"
    stamp.write_text(stamp.read_text().replace(str(everything), str(own)))
    assert output(clone, "leads") == "database: from-the-file, key: k:with space"


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("DATABASE_URL=", ""),
        ("  DATABASE_URL=a  ", "a"),
        ("DATABASE_URL=a # a comment", "a"),
        ("DATABASE_URL=a#b;c&d|e=f", "a#b;c&d|e=f"),
        ("DATABASE_URL='a # \"$(touch ran)\" `b` \\ ${C}'\t# a comment", 'a # "$(touch ran)" `b` \\ ${C}'),
        ('DATABASE_URL="it\'s # text"', "it's # text"),
        ("DATABASE_URL=Việt", "Việt"),
        ("# a comment\n\n\t# $(touch ran)\nDATABASE_URL=a", "a"),
    ],
)
def test_a_value_is_taken_as_it_is_written(clone: Path, line: str, value: str) -> None:
    write(clone, line)
    assert output(clone, "leads") == f"database: {value}, key:"
    assert not (clone / "ran").exists()


@pytest.mark.parametrize(
    ("reason", "lines"),
    [
        ("expected NAME=value",
         ("touch ran", "export BIND=hidden", "BIND =hidden", "9A=hidden", "BIND[$(touch ran)]=hidden")),
        ("BIND must be in single quotes",
         ("BIND=$(touch ran)", "BIND=`touch ran`", "BIND=hidden; touch ran", "BIND=$HOME",
          'BIND="$(touch ran)"', 'BIND="hidden\\n"', "BIND=hidden'quoted'", "BIND='hidden' more",
          "BIND='hidden\nVERSION=c'")),
        ("control character", ("BIND=hidden\r", "BIND=hid\x1b[2Kden")),
        ("is not a variable of this product",
         ("PATH=.", "LD_PRELOAD=hidden", "PYTHONPATH=hidden", "BASH_ENV=hidden", "OPENSSL_CONF=hidden",
          "SSLKEYLOGFILE=hidden", "GLIBC_TUNABLES=hidden", "EDGE=hidden", "XPGHOST=hidden", "PGHOST2=hidden",
          "DATABASE_URL2=hidden", "SSL_CERT_FILES=hidden")),
        ("DATABASE_URL stands in line 1 too", ("DATABASE_URL=hidden",)),
    ],
)  # fmt: skip
def test_any_other_line_is_refused_by_its_number(
    clone: Path, reason: str, lines: tuple[str, ...], subtests: pytest.Subtests
) -> None:
    for line in lines:
        with subtests.test(line=line):
            write(clone, f"DATABASE_URL=a\n{line}\n")
            done = call(clone, "leads")
            assert (done.returncode, done.stdout) == (2, "")
            assert done.stderr.startswith(f"{clone}/.env, line 2: ")
            assert reason in done.stderr
            assert "hidden" not in done.stderr
            assert not (clone / "ran").exists()


def test_a_file_that_other_users_can_read_or_change_is_refused(
    clone: Path, subtests: pytest.Subtests
) -> None:
    """Also behind a link, whose own mode says nothing."""
    target = clone / "elsewhere"
    (clone / ".env").rename(target)
    (clone / ".env").symlink_to("elsewhere")
    refused = f"{clone}/.env: other users can read or change it. Run: chmod 600 {clone}/.env\n"
    for mode in (0o640, 0o620, 0o604, 0o602, 0o644, 0o666):
        with subtests.test(mode=mode):
            target.chmod(mode)
            done = call(clone, "leads")
            assert (done.returncode, done.stdout, done.stderr) == (2, "", refused), oct(mode)
    target.chmod(0o400)
    assert output(clone, "leads") == "database: from-the-file, key: k:with space"


def test_a_shell_gets_the_variables_from_read_env_or_nothing_of_a_file_that_it_refuses(clone: Path) -> None:
    """Of any file. They replace those that the shell has, so that a changed file can be read again."""
    value = 'a "$(touch ran)" `b` \\ ${C} # Việt'
    write(clone, f"WEBHOOK_URL='{value}'\nPGUSER=\"it's\"\nDATABASE_URL=\n")
    (clone / ".env").rename(clone / "other")
    shell = 'eval "$(scripts/read_env other)"; printenv WEBHOOK_URL PGUSER DATABASE_URL'
    for sh in ("bash", "sh"):
        done = run(sh, "-c", shell, cwd=clone, PATH=os.environ["PATH"], DATABASE_URL="before")
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{value}\nit's\n\n", "")
    assert not (clone / "ran").exists()
    write(clone, "BIND=a\ntouch ran\n")
    done = call(clone, "read_env")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{clone}/.env, line 2: ")
    assert call(clone, "read_env", "missing").stderr == "missing: cannot be read\n"
    assert call(clone, "read_env", "--nope").returncode == 2


def test_the_files_of_this_repository_are_accepted(clone: Path) -> None:
    """.env.example, also with all variables set; the secrets for compose.yaml; what `setup` reads."""
    printed = programs.run(sys.executable, "-m", "sandbox", "secrets", cwd=ROOT).stdout
    example = (ROOT / ".env.example").read_text("utf-8")
    asked = "".join(f"{each.variable}=\n" for each in QUESTIONS.values() if each.variable)
    besides = "".join(
        f"{name}=\n"
        for name in ("PGHOST", "PGSSLMODE", "FORWARDED_ALLOW_IPS", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE")
    )
    for text in (example, re.sub(r"(?m)^#(?=[A-Z_]+=)", "", example), printed, asked, besides):
        write(clone, text)
        done = call(clone, "read_env")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count("export ") == len([line for line in text.splitlines() if line[:1].isupper()])
