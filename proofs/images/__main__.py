"""`scripts/images`: build the images, and run them as an installation does, under load against a sandbox."""

import asyncio
import subprocess
import tempfile
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from proofs.chaos.effects import check_stream
from proofs.images.containers import (
    IMAGES,
    PODMAN,
    TESTS,
    build,
    build_machine,
    configure,
    exit_unless_done,
    find_base,
    require_containers,
    tag,
)  # fmt: skip
from proofs.images.installation import MAX_SECONDS, Compose, Installation, wait_until
from proofs.images.pods import Pods
from proofs.images.systemd import Systemd
from proofs.sender import Stream
from sandbox.postgres.server import Cluster
from sandbox.processes import ROOT, exit_on_sigterm

LEADS = 50
PER_SECOND = 10.0
STOP_AFTER_SECONDS = 2.0
MAX_STOP_SECONDS = 25.0
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
        """Send leads, stop the handlers meanwhile and start them again, judge, and take all of it back."""
        installation = self.installation
        seconds = round(installation.session.seconds)
        self.see("the four commands, s", seconds, is_ok=seconds <= MAX_SECONDS)
        for name in ("handlers", "edge"):
            said, is_ok = installation.limits(name)
            self.see(f"service {name}", said, is_ok=is_ok)
        have_ended = installation.have_jobs_ended()
        self.see("jobs", "have ended" if have_ended else "have not ended well", is_ok=have_ended)
        posting = asyncio.create_task(self.stream.run())
        await asyncio.sleep(STOP_AFTER_SECONDS)
        await self._stop_and_start()
        sent = self.stream.sent
        await asyncio.to_thread(wait_until, lambda: len({each.number for each in sent.versions}) >= LEADS)
        self.stream.stop()
        await posting
        await asyncio.to_thread(wait_until, installation.is_done)
        verdicts = check_stream(installation.database_url, installation.notifications_url, sent)
        self.see("leads", len(sent.versions), is_ok=len(sent.versions) >= LEADS)
        self.see("answers", dict(sent.answers), is_ok=not sent.non_2xx)
        self.see("effects", verdicts.as_json(), is_ok=verdicts.is_valid)
        await self._see_stop("edge")
        is_refused = await asyncio.to_thread(installation.refuses_undo)
        self.see("undo while the handlers run", "refused" if is_refused else "not refused", is_ok=is_refused)
        left = await asyncio.to_thread(installation.take_back)
        self.see("left after the undo", left or "nothing", is_ok=not left)

    async def _stop_and_start(self) -> None:
        installation = self.installation
        await self._see_stop("handlers")
        listed = await asyncio.to_thread(installation.leads, *LIST)
        has_spooled = ".sealed" in listed
        is_ok = has_spooled or not installation.spools_without_handlers
        self.see("edge-spool list", f"{len(listed.splitlines())} lines", is_ok=is_ok)
        started = time.monotonic()
        await asyncio.to_thread(installation.start_again, "handlers")
        await asyncio.to_thread(wait_until, installation.is_ready)
        self.see("start of handlers, s", round(time.monotonic() - started, 1), is_ok=True)

    async def _see_stop(self, name: str) -> None:
        started = time.monotonic()
        await asyncio.to_thread(self.installation.stop, name)
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
    with (
        exit_unless_done("the images were not all built and run"),
        tempfile.TemporaryDirectory(prefix="images-") as folder,
    ):
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
    typer.echo(f"Failed: {', '.join(failed)}" if failed else "All as expected.")
    raise typer.Exit(1 if failed else 0)


def _run_fast_tests() -> list[str]:
    """Run `scripts/test --fast` of the clone with the Python of the images, and what it writes in a layer."""
    words = [
        *PODMAN, "run", "--rm", "--network", "none", "--volume", f"{ROOT}:/clone:O", "--workdir", "/clone",
        "--tmpfs", "/clone/.venv", tag(TESTS), "bash", "-euc", FAST_TESTS,
    ]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, check=False)
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
        if record and installation.is_recorded:
            typer.echo(f"wrote {installation.session.write().relative_to(ROOT)}")
    return trial.failed


if __name__ == "__main__":
    app()
