"""`scripts/images`: build the images, and run them as an installation does, under load against a sandbox."""

import asyncio
import subprocess
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import typer

from proofs.chaos.effects import Verdicts, check_stream
from proofs.images.containers import (
    IMAGES,
    PODMAN,
    TESTS,
    NotDone,
    build,
    configure,
    find_base,
    require_containers,
    tag,
)  # fmt: skip
from proofs.images.installation import FILES, Installation, wait_until
from proofs.images.pods import Pods
from proofs.sender import Stream
from sandbox.processes import ROOT
from sandbox.stack.signals import exit_on_sigterm

LEADS = 50
LEADS_OF_PODS = 10
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

app = typer.Typer(add_completion=False)


class Trial:
    """The leads that are sent to an installation, and what is seen."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.stream = Stream(installation.webhook_url, PER_SECOND, seed=1, new_share=1)
        self.seen: dict[str, Any] = {}
        self.failed: list[str] = []

    def see(self, what: str, value: Any, *, is_ok: bool) -> None:
        self.seen[what] = value
        if not is_ok:
            self.failed.append(what)

    async def run_compose(self) -> None:
        """Send leads; stop the handlers in the middle, and start them again; then stop everything."""
        installation, handlers = self.installation, self.installation.handlers
        for name in ("handlers", "edge"):
            said, is_ok = installation.limits(name)
            self.see(f"container of {name}", said, is_ok=is_ok)
        found = installation.list_folder_of_setup().split()
        self.see("the folder of setup in ops", found, is_ok=len(found) == len(FILES))
        posting = asyncio.create_task(self.stream.run())
        await asyncio.sleep(STOP_AFTER_SECONDS)
        seconds = await asyncio.to_thread(self._stop, "handlers")
        self.see("stop of the handlers, s", seconds, is_ok=seconds <= MAX_STOP_SECONDS)
        await asyncio.to_thread(handlers.stop)  # docker-compose itself has ended
        listed = await asyncio.to_thread(installation.leads, *LIST)
        self.see("edge-spool list in ops", f"{len(listed.splitlines())} lines", is_ok=".sealed" in listed)
        started = time.monotonic()
        await asyncio.to_thread(handlers.start)
        await asyncio.to_thread(handlers.wait_ready)
        self.see("start of the handlers, s", round(time.monotonic() - started, 1), is_ok=True)
        await self._end(posting, LEADS, f"{installation.project}_edge")
        seconds = await asyncio.to_thread(self._stop)
        self.see("stop of everything, s", seconds, is_ok=seconds <= MAX_STOP_SECONDS)
        await asyncio.to_thread(handlers.stop)
        await asyncio.to_thread(installation.edge.stop)

    async def run_pods(self) -> None:
        """Send leads to the pods of deploy/kubernetes."""
        with closing(Pods(self.installation)) as pods:
            started = time.monotonic()
            names = await asyncio.to_thread(pods.start)
            self.see(
                f"start of the pods {', '.join(names)}, s", round(time.monotonic() - started, 1), is_ok=True
            )
            is_ok = await asyncio.to_thread(pods.migrate)
            self.see("migrations by the Job", "done" if is_ok else "failed", is_ok=is_ok)
            posting = asyncio.create_task(self.stream.run())
            await self._end(posting, LEADS + LEADS_OF_PODS, pods.volume)
            listed = await asyncio.to_thread(pods.leads, *LIST)
            self.see("edge-spool list in the pod ops", listed.strip(), is_ok=".sealed" not in listed)

    def _stop(self, *names: str) -> float:
        started = time.monotonic()
        self.installation.compose("stop", *names)
        return round(time.monotonic() - started, 1)

    async def _end(self, posting: asyncio.Task[None], leads: int, volume: str) -> None:
        """Wait until so many leads were sent and all are processed; then judge."""
        sent = self.stream.sent
        await asyncio.to_thread(wait_until, lambda: len({each.number for each in sent.versions}) >= leads)
        self.stream.stop()
        await posting
        await asyncio.to_thread(wait_until, lambda: self.installation.is_done(volume))
        installation = self.installation
        verdicts: Verdicts = check_stream(installation.database_url, installation.notifications_url, sent)
        self.see("leads", len(sent.versions), is_ok=len(sent.versions) >= leads)
        self.see("answers", dict(sent.answers), is_ok=not sent.non_2xx)
        self.see("effects", verdicts.as_json(), is_ok=verdicts.is_valid)


@app.command()
def images() -> None:
    """Build the images; run compose.production.yaml and the pods of deploy/kubernetes with them.

    All are read-only, not root, and on the loopback interface, beside a sandbox. 50 leads are sent; the
    handlers are stopped under load and started again. Then the fast tests run with the Python of the
    images. Prints sizes and times. Exit codes: 0 nothing was lost and a stop took at most 25 s; 1
    otherwise; 3 NOT DONE: what is needed and not here is named.
    """
    exit_on_sigterm()
    with tempfile.TemporaryDirectory(prefix="images-") as folder:
        try:
            configure(Path(folder))
            base = find_base(Path(folder))
            for name in (*IMAGES, TESTS):
                started = time.monotonic()
                size = build(name, base)
                typer.echo(f"{tag(name)}: {size:.0f} MB, built in {time.monotonic() - started:.0f} s")
            require_containers()
            failed = _try() + _run_fast_tests()
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


def _try() -> list[str]:
    """Run both, print what was seen, and return what was not as expected."""
    with Installation() as installation:
        trial = Trial(installation)
        try:
            installation.wait_policy()
            asyncio.run(trial.run_compose())
            asyncio.run(trial.run_pods())
        finally:
            for what, value in trial.seen.items():
                typer.echo(f"{what}: {value}")
    return trial.failed


if __name__ == "__main__":
    app()
