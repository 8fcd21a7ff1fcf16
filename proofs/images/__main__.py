"""`scripts/images`: build the three images, run them under load against a sandbox, and stop the handlers.

buildah builds and podman runs them, as root, also where no registry can be reached.
https://github.com/containers/common/blob/main/docs/containers.conf.5.md explains CONFIGURATION. The limits
and the network are those that work inside a container, too.
"""

import asyncio
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any

import httpx
import typer

from ops.waiting import poll
from proofs.chaos.effects import check_stream, count_unfinished
from proofs.sender import Stream
from sandbox.edge import state_key
from sandbox.postgres.server import free_port
from sandbox.processes import ROOT, Service
from sandbox.stack.signals import exit_on_sigterm
from sandbox.stack.stack import Sandbox

PROGRAMS = {"buildah": "buildah", "podman": "podman", "runc": "runc"}
"""Each with its Debian package."""
IMAGES = {
    "handlers": ("--target", "handlers"),
    "ops": ("--target", "ops"),
    "edge": ("--file", "deploy/nginx/Dockerfile"),
}
OWN_BASE = "localhost/debian:trixie-slim"
UNNEEDED = (
    "var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale", "usr/share/man",
)  # fmt: skip
RELEASE = "trixie"
PACKAGES = "Identifier: Packages"
OF_RELEASE = re.compile(rf"deb (https?://\S+) {RELEASE}(?:-\S+)? \S+")
"""A line of sources.list that reaches the release, its updates or its security archive over the network."""
CONFIGURATION = """\
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=60000:60000"]
netns = "host"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
PODMAN = ("podman", "--runtime", "runc", "--cgroup-manager", "cgroupfs")
RESTRICTED = (
    "--rm", "--network", "host", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
    "--pids-limit", "200",
)  # fmt: skip
UNREACHABLE = re.compile(
    r".*(?:Could not resolve|Failed to fetch|Temporary failure in name|Network is unreachable|Max retries"
    r"|Connection (?:refused|reset|timed out)|CERTIFICATE_VERIFY_FAILED|No matching distribution).*"
)
"""The line in which apt-get or pip says that it cannot reach its packages from within a build."""


class NotDone(Exception):
    """A part that this machine does not have is needed; the message says which."""


def tag(name: str) -> str:
    return f"localhost/pancake-diva/{name}:ci"


def configure(folder: Path) -> None:
    """Let buildah and podman read CONFIGURATION. Raises NotDone if they cannot be used here."""
    if missing := [package for program, package in PROGRAMS.items() if shutil.which(program) is None]:
        raise NotDone(f"not installed: {', '.join(missing)} (apt-get install {' '.join(missing)})")
    if os.geteuid() != 0:
        raise NotDone("the images are built as root here")
    path = folder / "containers.conf"
    path.write_text(CONFIGURATION)
    os.environ["CONTAINERS_CONF"] = str(path)
    os.environ["PODMAN_IGNORE_CGROUPSV1_WARNING"] = "1"


def run(*words: str, seconds: float = 600) -> str:
    """Run a program and return its output. Raises CalledProcessError with it."""
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode != 0:
        output = done.stdout[-4000:], done.stderr[-4000:]
        raise subprocess.CalledProcessError(done.returncode, words[:3], *output)
    return done.stdout


def find_base(folder: Path) -> tuple[str, ...]:
    """Return the arguments for the base: none if the registry has it, else one made from packages."""
    default = (ROOT / "Dockerfile").read_text().partition("ARG DEBIAN=")[2].partition("\n")[0]
    try:
        run("buildah", "pull", "--quiet", f"docker.io/library/{default}", seconds=120)
        return ()
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pass
    try:
        run(*PODMAN, "image", "exists", OWN_BASE)
    except subprocess.CalledProcessError:
        _make_base(folder)
    return ("--build-arg", f"DEBIAN={OWN_BASE}")


def _make_base(folder: Path) -> None:
    """Make OWN_BASE of packages, from where apt of this machine has those of the release."""
    if shutil.which("debootstrap") is None:
        raise NotDone("no registry can be reached, and debootstrap is not installed")
    listed = run("apt-get", "indextargets", "--format", "deb $(REPO_URI) $(RELEASE) $(COMPONENT)", PACKAGES)
    sources = sorted({line for line in listed.splitlines() if OF_RELEASE.fullmatch(line)})
    mirror = next((line.split()[1] for line in sources if line.split()[2] == RELEASE), None)
    if mirror is None:
        raise NotDone(f"no registry can be reached, and apt of this machine has no source of {RELEASE}")
    root = folder / "root"
    try:
        run("debootstrap", "--variant=minbase", RELEASE, str(root), mirror)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise NotDone(f"no registry can be reached, and debootstrap failed: {error}") from error
    for name in UNNEEDED:
        shutil.rmtree(root / name, ignore_errors=True)
        (root / name).mkdir()
    (root / "etc/apt/sources.list").write_text("\n".join(sources) + "\n")
    container = run("buildah", "from", "scratch").strip()
    run("buildah", "add", "--quiet", container, str(root), "/")
    run("buildah", "commit", "--quiet", "--rm", container, OWN_BASE)
    shutil.rmtree(root)


def build(name: str, base: Iterable[str]) -> float:
    """Build an image from the clone; return its size in MB. A private authority is that of PIP_CERT."""
    own = os.environ.get("PIP_CERT")
    authority = ("--secret", f"id=ca,src={own}", "--build-arg", "PIP_CERT=/run/secrets/ca") if own else ()
    of_image = (*IMAGES[name], "--tag", tag(name), ".")
    try:
        run("buildah", "build", "--isolation", "chroot", "--layers", *base, *authority, *of_image)
    except subprocess.CalledProcessError as error:
        if unreachable := UNREACHABLE.search(f"{error.stdout}\n{error.stderr}"):
            raise NotDone(f"a build cannot reach its packages: {unreachable[0].strip()}") from error
        raise
    except subprocess.TimeoutExpired as error:
        raise NotDone(f"the build took longer than {error.timeout:.0f} s") from error
    return int(run(*PODMAN, "image", "inspect", "--format", "{{.Size}}", tag(name))) / 1e6


def require_containers() -> None:
    """Raise NotDone if this machine runs no container with the limits of RESTRICTED."""
    try:
        run(*PODMAN, "run", *RESTRICTED, "--entrypoint", "/bin/true", tag("handlers"), seconds=60)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise NotDone(f"podman runs no container here: {getattr(error, 'stderr', '') or error}") from error


def container(
    name: str, image: str, variables: Mapping[str, str], *options: str, memory: str = "256m"
) -> list[str]:
    """Return the command of a restricted container. It takes the variables from the environment of podman."""
    given = [word for each in variables for word in ("--env", each)]
    return [*PODMAN, "run", "--name", name, *RESTRICTED, "--memory", memory, *options, *given, tag(image)]


LEADS = 50
PER_SECOND = 10.0
STOP_AFTER_SECONDS = 2.0
MAX_STOP_SECONDS = 25.0
MAX_WAIT_SECONDS = 60.0
NOT_DONE = 3
EDGE_USER = 33
"""www-data, of the images `edge` and `ops`."""
HANDLERS = (
    "DATABASE_URL", "METADATA_DATABASE_URL", "HASURA_URL", "HASURA_SERVICE_TOKEN", "HANDLER_SECRET",
    "EDGE_SECRET", "ENCRYPTION_KEYS", "PANCAKE_API_HOSTS", "BIND", "OPS_BIND",
)  # fmt: skip
EDGE = ("HASURA_URL", "HANDLERS_URL", "HASURA_EDGE_TOKEN", "EDGE_SECRET", "EDGE_STATE_KEYS", "EDGE_WORKERS")

app = typer.Typer(add_completion=False)


class ImagesSandbox(Sandbox):
    """A sandbox whose handlers and edge are containers on the loopback interface of this machine."""

    def __init__(self) -> None:
        super().__init__()
        self.names = {name: f"pancake-{name}-{token_hex(4)}" for name in ("handlers", "edge")}
        self.volume = self.home / "edge"
        self.state_keys = state_key()
        self.edge_ops_port = free_port()

    def close(self) -> None:
        for name in self.names.values():
            subprocess.run([*PODMAN, "rm", "--force", "--time", "0", name], capture_output=True, check=False)
        super().close()

    def _handlers(self, name: str, *, is_shared: bool = False) -> Service:
        service = super()._handlers(name, is_shared=is_shared)
        service.environment = {
            **service.environment,
            "BIND": f"127.0.0.1:{self._ports['handlers']}", "OPS_BIND": f"127.0.0.1:{free_port()}",
        }  # fmt: skip
        service.arguments = container(self.names["handlers"], "handlers", dict.fromkeys(HANDLERS, ""))
        service.ready_path = "/healthz"
        return service

    def _edge(self) -> Service:
        """The edge listens on the loopback interface alone by files of its site/ that are mounted."""
        self.volume.mkdir(mode=0o700)
        os.chown(self.volume, EDGE_USER, EDGE_USER)
        mounts = ["--volume", f"{self.volume}:/var/lib/pancake-edge"]
        for name, port in (("listen", self._ports["edge"]), ("ops", self.edge_ops_port)):
            path = self.home / f"{name}.conf"
            path.write_text(f"listen 127.0.0.1:{port} default_server;\n")
            mounts += ["--volume", f"{path}:/etc/pancake-edge/site/{name}.conf:ro"]
        service = self._module("edge", "", ready="/healthz")
        service.arguments = container(
            self.names["edge"], "edge", dict.fromkeys(EDGE, ""), *mounts, memory="512m"
        )
        service.environment = {
            **service.environment, "EDGE_STATE_KEYS": self.state_keys, "EDGE_WORKERS": "2",
        }  # fmt: skip
        service.url = f"http://127.0.0.1:{self.edge_ops_port}"
        return service

    def wait_policy(self) -> None:
        """Wait until the edge knows the connection."""
        url = f"http://127.0.0.1:{self.edge_ops_port}/healthz"
        _wait_until(lambda: bool(httpx.get(url).json()["policy_connections"]))

    def is_done(self) -> bool:
        """Whether the spool is empty and every event is final."""
        spooled = list((self.volume / "spool").glob("[!.]*.sealed"))
        return not spooled and not count_unfinished(self.database_url)

    def leads(self, *words: str) -> str:
        """Run a verb in the image of the operators' command, with the volume of the edge."""
        given = {**self._service_variables(), "EDGE_STATE_KEYS": self.state_keys}
        command = container(
            f"pancake-ops-{token_hex(4)}", "ops", given, "--volume", f"{self.volume}:/var/lib/pancake-edge"
        )
        return subprocess.run(
            [*command, *words], env={**os.environ, **given}, capture_output=True, text=True, check=True
        ).stdout


async def send_and_stop(sandbox: ImagesSandbox) -> dict[str, Any]:
    """Send the leads; stop the handlers in the middle, and start them again. Return what was seen."""
    stream = Stream(sandbox.webhook_url, PER_SECOND, seed=1, new_share=1)
    posting = asyncio.create_task(stream.run())
    await asyncio.sleep(STOP_AFTER_SECONDS)
    started = time.monotonic()
    await asyncio.to_thread(run, *PODMAN, "stop", "--time", "30", sandbox.names["handlers"])
    stopped = time.monotonic() - started
    await asyncio.to_thread(sandbox.handlers.stop)  # podman itself has ended
    listed = await asyncio.to_thread(sandbox.leads, "edge-spool", "list", "--folder", "spool")
    started = time.monotonic()
    await asyncio.to_thread(sandbox.handlers.start)
    await asyncio.to_thread(sandbox.handlers.wait_ready)
    started_in = time.monotonic() - started
    await asyncio.to_thread(_wait_until, lambda: len({each.number for each in stream.sent.versions}) >= LEADS)
    stream.stop()
    await posting
    await asyncio.to_thread(_wait_until, sandbox.is_done)
    verdicts = check_stream(sandbox.database_url, sandbox.notifications_url, stream.sent)
    return {
        "leads": len(stream.sent.versions), "answers": dict(stream.sent.answers),
        "stop of the handlers, s": round(stopped, 1), "start of the handlers, s": round(started_in, 1),
        "edge-spool list in ops": f"{len(listed.splitlines())} lines", **verdicts.as_json(),
        "ok": verdicts.is_valid and not stream.sent.non_2xx and bool(listed) and stopped <= MAX_STOP_SECONDS,
    }  # fmt: skip


def _wait_until(is_reached: Callable[[], bool]) -> None:
    for _ in poll(MAX_WAIT_SECONDS, 0.1):
        if is_reached():
            return


@app.command()
def images() -> None:
    """Build the images, run them read-only, not as root, on the loopback interface, and send 50 leads.

    The handlers are stopped under load and started again. Prints sizes and times. Exit codes: 0 nothing was
    lost and the stop took at most 25 s; 1 otherwise; 3 NOT DONE: what is needed and not here is named.
    """
    exit_on_sigterm()
    with tempfile.TemporaryDirectory(prefix="images-") as folder:
        try:
            configure(Path(folder))
            base = find_base(Path(folder))
            for name in IMAGES:
                started = time.monotonic()
                size = build(name, base)
                typer.echo(f"{tag(name)}: {size:.0f} MB, built in {time.monotonic() - started:.0f} s")
            require_containers()
            result = _try()
        except NotDone as reason:
            typer.echo(f"NOT DONE: the images were not built and not run: {reason}.", err=True)
            raise typer.Exit(NOT_DONE) from reason
        except subprocess.CalledProcessError as error:
            typer.echo(f"{' '.join(error.cmd)} failed:\n{error.stdout}\n{error.stderr}", err=True)
            raise typer.Exit(1) from error
    for key, value in result.items():
        typer.echo(f"{key}: {value}")
    raise typer.Exit(0 if result["ok"] else 1)


def _try() -> Mapping[str, Any]:
    with ImagesSandbox() as sandbox:
        sandbox.wait_policy()
        return asyncio.run(send_and_stop(sandbox))


if __name__ == "__main__":
    app()
