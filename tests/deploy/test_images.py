"""Every verb of `leads`, run in the image `ops` against a sandbox: read-only, not as root, with two volumes.

OPS_IMAGE names the image; scripts/images builds one, and .ci/run sets it.
"""

import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from ops.cli import app
from ops.golive.handover import FOR_DEVELOPERS, PAGES
from proofs.handed_in import make_key
from proofs.images.containers import PODMAN, RESTRICTED, configure
from sandbox.diva.project import copy_project
from sandbox.edge import NginxEdge
from sandbox.postgres.server import Cluster
from sandbox.processes import ROOT, Unprivileged
from sandbox.stack.stack import Sandbox
from tests.support.end_to_end import needs_edge
from tests.support.leads import body, numbered_lead
from tests.support.programs import run

IMAGE = os.environ.get("OPS_IMAGE", "")
pytestmark = [
    needs_edge,
    pytest.mark.slow("starts every verb in a container"),
    pytest.mark.skipif(not IMAGE, reason="OPS_IMAGE names no image: scripts/images builds one with buildah"),
]
NEVER = (
    "Traceback", "PermissionError", "Permission denied", "Read-only", "FileNotFound", "No module",
    "not on PATH",
)  # fmt: skip
CALLS = Path(__file__).with_name("verbs_of_image.txt").read_text().splitlines()
"""Each with its exit code; 124 is that of `timeout`, which ends what goes on for ever."""


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The volume /data, with what the verbs are given."""
    work = tmp_path / "work"
    copy_project(work / "project")
    (work / "keys").mkdir()
    make_key(work / "keys", "lan")
    (work / "evidence.txt").write_text("seen")
    (work / "captured.json").write_bytes(body(numbered_lead(1)))
    return work


@pytest.fixture
def leads(cluster: Cluster, work: Path, tmp_path: Path) -> Iterator[Callable[[str], tuple[int, str]]]:
    """What runs a verb in one container with everything around it; gives its exit code and output."""
    configure(tmp_path)
    with Sandbox(cluster) as sandbox:
        assert isinstance(sandbox.edge, NginxEdge)
        keys, state = sandbox.keys, sandbox.edge.state
        variables = {
            **sandbox._service_variables(), **sandbox.environment(),
            "PANCAKE_API_KEY": keys.pancake_api_key, "OWNER_DATABASE_URL": sandbox.database_url,
            "HASURA_OTHER_ADMIN_SECRET": keys.admin_secret,
            "GOLIVE_KEY": "/data/keys/lan", "GOLIVE_SIGNERS": "/data/keys/allowed_signers",
        }  # fmt: skip
        url = f"{sandbox.webhook_url}\nX-Pancake-Secret: {keys.header_secret}\n"
        (work / "webhook-url.txt").write_text(url)
        uid, gid = (each or 0 for each in (Unprivileged.choose().uid, Unprivileged.choose().gid))
        for path in (work, *work.rglob("*")):
            os.chown(path, uid, gid)
        container = run(
            *PODMAN, "run", "--detach", *RESTRICTED, "--user", f"{uid}:{gid}",
            "--volume", f"{work}:/data", "--volume", f"{state}:{state}", "--entrypoint", "sleep",
            *(word for name in variables for word in ("--env", name)), IMAGE, "infinity",
            env=os.environ | variables,
        ).stdout.strip()  # fmt: skip

        def call(line: str) -> tuple[int, str]:
            command = f"timeout {3 if line == 'tail' else 90} leads {line}"
            done = run(*PODMAN, "exec", container, "sh", "-c", command, code=None, timeout=120)
            return done.returncode, done.stdout + done.stderr

        yield call
        run(*PODMAN, "rm", "--force", "--time", "0", container)


def verbs(command: Any, *path: str) -> Iterator[str]:
    """Every verb with its subcommands, as it is called."""
    if not hasattr(command, "commands"):
        yield " ".join(path)
        return
    for name, each in command.commands.items():
        yield from verbs(each, *path, name)


def test_every_verb_runs_in_the_image(
    leads: Callable[[str], tuple[int, str]], work: Path, subtests: pytest.Subtests
) -> None:
    calls = [(int(line.split()[0]), line.partition(" ")[2]) for line in CALLS]
    called = tuple(f"{line} " for _, line in calls)
    assert [
        verb for verb in verbs(get_command(app)) if not any(line.startswith(f"{verb} ") for line in called)
    ] == []
    for code, line in calls:
        with subtests.test(line):
            found, output = leads(line)
            assert (found, [word for word in NEVER if word in output]) == (code, []), output
    pages = {path.relative_to(ROOT).as_posix() for pattern in PAGES for path in ROOT.glob(pattern)}
    with tarfile.open(work / "handover.tar.gz") as bundle:
        missing = pages - set(bundle.getnames())
    assert [page for page in missing if not page.startswith(FOR_DEVELOPERS)] == []
