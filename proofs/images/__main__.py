"""`scripts/images`: build the images, and run them as an installation does, under load against a sandbox."""

import asyncio
import subprocess
import tempfile
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from proofs.chaos.effects import Verdicts, check_stream
from proofs.images.containers import (
    IMAGES,
    PODMAN,
    TESTS,
    NotDone,
    build,
    build_machine,
    configure,
    find_base,
    require_containers,
    tag,
)  # fmt: skip
from proofs.images.installation import Compose, Installation, ServiceInstallation, wait_until
from proofs.images.pods import Pods
from proofs.images.session import MAX_SECONDS
from proofs.images.systemd import Systemd
from proofs.sender import Stream
from sandbox.postgres.server import Cluster
from sandbox.processes import ROOT
from sandbox.stack.signals import exit_on_sigterm

LEADS = 50
PER_SECOND = 10.0
STOP_AFTER_SECONDS = 2.0
MAX_STOP_SECONDS = 25.0
NOT_DONE = 3
LIST = ("edge-spool", "list", "--folder", "spool")
FAST_TESTS = """
version="$(python -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
ln -s /venv ".venv/$version"
echo "$(cksum <scripts/lock/dev.txt) $PWD/.venv/$version" >/venv/installed
echo "$(cksum <pyproject.toml) $PWD" >/venv/project
scripts/test --fast -q
"""
"""scripts/_environment finds the packages of the image installed."""


class Way(StrEnum):
    COMPOSE = "compose"
    SYSTEMD = "systemd"
    PODS = "pods"


WAYS: dict[Way, type[Installation]] = {Way.COMPOSE: Compose, Way.SYSTEMD: Systemd, Way.PODS: Pods}
app = typer.Typer(add_completion=False)


class Trial:
    """The leads that are sent to an installation, and what is seen."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.stream = Stream(installation.webhook_url, PER_SECOND, seed=1, new_share=1)
        self.seen: dict[str, Any] = {}
        self.failed: list[str] = []

    def see(self, what: str, value: Any, *, is_ok: bool) -> None:
        what = f"{self.installation.way}: {what}"
        self.seen[what] = value
        if not is_ok:
            self.failed.append(what)

    async def run(self) -> None:
        """Send leads and judge; of services, stop the handlers in the middle and start them again."""
        installation = self.installation
        seconds = round(installation.session.seconds)
        self.see("the four commands, s", seconds, is_ok=seconds <= MAX_SECONDS)
        if isinstance(installation, Pods):
            names = ", ".join(installation.names)
            self.see("migrations and backfill", names, is_ok=installation.have_jobs_ended_well)
        if isinstance(installation, ServiceInstallation):
            for name in ("handlers", "edge"):
                said, is_ok = installation.limits(name)
                self.see(f"service {name}", said, is_ok=is_ok)
            has_ended = installation.has_backfill_ended()
            self.see("backfill", "has ended" if has_ended else "has not ended well", is_ok=has_ended)
        posting = asyncio.create_task(self.stream.run())
        if isinstance(installation, ServiceInstallation):
            await asyncio.sleep(STOP_AFTER_SECONDS)
            await self._stop_and_start(installation)
        sent = self.stream.sent
        await asyncio.to_thread(wait_until, lambda: len({each.number for each in sent.versions}) >= LEADS)
        self.stream.stop()
        await posting
        await asyncio.to_thread(wait_until, installation.is_done)
        verdicts: Verdicts = check_stream(installation.database_url, installation.notifications_url, sent)
        self.see("leads", len(sent.versions), is_ok=len(sent.versions) >= LEADS)
        self.see("answers", dict(sent.answers), is_ok=not sent.non_2xx)
        self.see("effects", verdicts.as_json(), is_ok=verdicts.is_valid)
        if isinstance(installation, ServiceInstallation):
            await self._see_stop(installation, "edge")
            left = await asyncio.to_thread(installation.take_back)
            self.see("tables after the undo", left, is_ok=left == 0)

    async def _stop_and_start(self, installation: ServiceInstallation) -> None:
        await self._see_stop(installation, "handlers")
        listed = await asyncio.to_thread(installation.leads, *LIST)
        self.see("edge-spool list", f"{len(listed.splitlines())} lines", is_ok=".sealed" in listed)
        started = time.monotonic()
        await asyncio.to_thread(installation.start_again, "handlers")
        await asyncio.to_thread(wait_until, installation.is_ready)
        self.see("start of handlers, s", round(time.monotonic() - started, 1), is_ok=True)

    async def _see_stop(self, installation: ServiceInstallation, name: str) -> None:
        started = time.monotonic()
        await asyncio.to_thread(installation.stop, name)
        seconds = round(time.monotonic() - started, 1)
        self.see(f"stop of {name}, s", seconds, is_ok=seconds <= MAX_STOP_SECONDS)


@app.command()
def images(
    only: Annotated[list[Way] | None, typer.Option(help="Only this way; may be given again.")] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Write docs/install-compose.txt and docs/install-systemd.txt.")
    ] = False,
) -> None:
    """Build the images, and install in three ways by the four commands of docs/install.md.

    The ways are compose.production.yaml, the units on a Debian 13 with systemd in a container, and the
    pods of deploy/kubernetes; beside a sandbox, on the loopback interface. 50 leads are sent to each; the
    handlers are stopped under load and started again. Then the fast tests run with the Python of the
    images. Prints sizes and times. Exit codes: 0 nothing was lost, the commands of an installation took
    at most 5 minutes and a stop 25 s; 1 otherwise; 3 NOT DONE: what is needed and not here is named.
    """
    exit_on_sigterm()
    with tempfile.TemporaryDirectory(prefix="images-") as folder:
        try:
            configure(Path(folder))
            base = find_base(Path(folder))
            for name in (*IMAGES, *[TESTS] * (only is None)):
                started = time.monotonic()
                size = build(name, base)
                typer.echo(f"{tag(name)}: {size:.0f} MB, built in {time.monotonic() - started:.0f} s")
            require_containers()
            build_machine(base, Path(folder))
            failed = [each for way in only or Way for each in _try(WAYS[way], record=record)]
            failed += _run_fast_tests() if only is None else []
        except NotDone as reason:
            typer.echo(f"NOT DONE: the images were not all built and run: {reason}.", err=True)
            raise typer.Exit(NOT_DONE) from reason
        except subprocess.CalledProcessError as error:
            typer.echo(f"{' '.join(error.cmd)} failed:\n{error.stdout}\n{error.stderr}", err=True)
            raise typer.Exit(1) from error
    typer.echo(f"Failed: {', '.join(failed)}" if failed else "All as expected.")
    raise typer.Exit(1 if failed else 0)


def _run_fast_tests() -> list[str]:
    """Run `scripts/test --fast` of the clone with the Python of the images, and what it writes in a layer."""
    inside = [
        *PODMAN,
        "run",
        "--rm",
        "--network",
        "none",
        "--volume",
        f"{ROOT}:/clone:O",
        "--workdir",
        "/clone",
    ]
    done = subprocess.run(
        [*inside, "--tmpfs", "/clone/.venv", tag(TESTS), "bash", "-euc", FAST_TESTS],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    typer.echo(done.stdout if done.returncode else f"fast tests in the image: {done.stdout.splitlines()[-1]}")
    return ["fast tests in the image"] if done.returncode else []


def _try(way: type[Installation], *, record: bool) -> list[str]:
    """Install in one way and send leads; print what was seen, and return what was not as expected."""
    with Cluster() as cluster, way(cluster) as installation:
        trial = Trial(installation)
        try:
            asyncio.run(trial.run())
        finally:
            for what, value in trial.seen.items():
                typer.echo(f"{what}: {value}")
        if record and isinstance(installation, ServiceInstallation):
            typer.echo(f"wrote {installation.session.write().relative_to(ROOT)}")
    return trial.failed


if __name__ == "__main__":
    app()
