"""`scripts/test --genuine`: the tests that need an engine, against the image that the Dockerfile pins.

Exit codes: 0 all passed, 1 a test failed, 2 Docker is missing, 3 Docker or a service did not start,
130 stopped.
"""

import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from ops.failures import ExitCode
from proofs.genuine.containers import ROOT, Containers, DockerMissing, NotStarted, require_docker
from proofs.genuine.report import SuiteResult, read_results, render, replace_section
from sandbox.secrets import new_secrets
from sandbox.stack.signals import exit_on_sigterm

REPORT = Path("docs/engine-report.md")
SUITES = {
    "contract suite": (
        "sandbox/engine", "tests/contract",
        "--hasura=http://127.0.0.1:8087", "--hasura-webhook-host=host.docker.internal",
    ),
    "end-to-end tests": (".", "tests/end_to_end", "--hasura=http://127.0.0.1:8081"),
}  # fmt: skip
"""Name → the folder in which pytest runs, and its arguments. Both take the secret from the environment."""


def main() -> ExitCode:
    """Start everything, run both suites, write the report, and stop everything, also after Ctrl-C."""
    exit_on_sigterm()
    try:
        require_docker()
        with Containers(new_secrets()) as containers:
            containers.start()
            version = containers.engine_version()
            results = _run_suites(containers)
    except DockerMissing as error:
        print(error, file=sys.stderr)
        return ExitCode.USAGE
    except NotStarted as error:
        print(error, file=sys.stderr)
        return ExitCode.UNREACHABLE
    except KeyboardInterrupt:
        print("Stopped. The report is unchanged.", file=sys.stderr)
        return ExitCode.INTERRUPTED
    text = render(version, results, datetime.now(UTC))
    page = ROOT / REPORT
    page.write_text(replace_section(page.read_text(), text))
    print(f"{text}\nWritten to {REPORT}.")
    return ExitCode.OK if all(result.is_ok for result in results) else ExitCode.FAILED


def _run_suites(containers: Containers) -> list[SuiteResult]:
    with tempfile.TemporaryDirectory(prefix="genuine-") as folder:
        results = []
        for number, (name, (where, *arguments)) in enumerate(SUITES.items()):
            path = Path(folder) / f"{number}.xml"
            command = ["pytest", *arguments, f"--junitxml={path}"]
            done = subprocess.run(command, cwd=ROOT / where, env=containers.test_environment(), check=False)
            results.append(read_results(name, path, done.returncode))
        return results


if __name__ == "__main__":
    sys.exit(main())
