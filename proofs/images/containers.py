"""Build the images with buildah and run them with podman, as root, also where no registry can be reached.

https://github.com/containers/common/blob/main/docs/containers.conf.5.md explains CONFIGURATION. The limits
and the network are those that work inside a container, too.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import typer

from sandbox.processes import ROOT

REPOSITORY = "localhost/pancake-diva"
VERSION = "ci"
PROGRAMS = {"buildah": "buildah", "podman": "podman", "runc": "runc"}
"""What builds and runs an image, each with its Debian package."""
INSTALLED_BY = {
    "docker-compose": "docker-compose", "kubectl": "kubernetes-client", "catatonit": "catatonit",
    "openssl": "openssl",
}  # fmt: skip
"""What runs compose.production.yaml and the pods."""
IMAGES = {
    "handlers": ("--target", "handlers"),
    "ops": ("--target", "ops"),
    "edge": ("--file", "deploy/nginx/Dockerfile"),
}
TESTS = "tests"
"""The image with what `scripts/test --fast` needs."""
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
# The format of Docker: that of OCI has no health check.
BUILD = ("buildah", "build", "--isolation", "chroot", "--layers", "--format", "docker")
RESTRICTED = (
    "--rm", "--network", "host", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
    "--pids-limit", "200",
)  # fmt: skip
NOT_STARTED = re.compile(
    r"runc: exec failed: unable to start container process:.*read init-p: connection reset"
)
"""What podman says if runc's own process ended before it entered the container: nothing ran in there."""
STARTS = 3
NOT_DONE = 3
UNREACHABLE = re.compile(
    r".*(?:Could not resolve|Failed to fetch|Temporary failure in name|Network is unreachable|Max retries"
    r"|Connection (?:refused|reset|timed out)|CERTIFICATE_VERIFY_FAILED|No matching distribution).*"
)
"""The line in which apt-get or pip says that it cannot reach its packages from within a build."""


class NotDone(Exception):
    """A part that this machine does not have is needed; the message says which."""


def tag(name: str, version: str = VERSION) -> str:
    return f"{REPOSITORY}/{name}:{version}"


def configure(folder: Path) -> None:
    """Let buildah and podman read CONFIGURATION. Raises NotDone if they cannot be used here."""
    _require(PROGRAMS)
    if os.geteuid() != 0:
        raise NotDone("the images are built as root here")
    path = folder / "containers.conf"
    path.write_text(CONFIGURATION)
    os.environ["CONTAINERS_CONF"] = str(path)
    os.environ["PODMAN_IGNORE_CGROUPSV1_WARNING"] = "1"


def _require(programs: Mapping[str, str]) -> None:
    if missing := [package for program, package in programs.items() if shutil.which(program) is None]:
        raise NotDone(f"not installed: {', '.join(missing)} (apt-get install {' '.join(missing)})")


def run(*words: str, seconds: float = 600) -> str:
    """Run a program and return its output. Raises CalledProcessError with it."""
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode != 0:
        output = done.stdout[-4000:], done.stderr[-4000:]
        command = [word for word in words if word not in PODMAN[1:]][:5]
        raise subprocess.CalledProcessError(done.returncode, command, *output)
    return done.stdout


def until_started(
    run_once: Callable[[], "subprocess.CompletedProcess[str]"],
) -> "subprocess.CompletedProcess[str]":
    """Run a program in a container that runs; again, and said so, while NOT_STARTED (under load).

    A program that a limit of the container keeps from its start is not run again.
    """
    for number in range(2, STARTS + 1):
        done = run_once()
        if done.returncode == 0 or not NOT_STARTED.search(f"{done.stdout}{done.stderr}"):
            return done
        typer.echo(f"runc did not start a program: start {number} of {STARTS}.", err=True)
    return run_once()


def exec_in(
    container: str, *words: str, given: str | None = None, seconds: float = 600
) -> "subprocess.CompletedProcess[str]":
    """Run a program in a container that runs, with `given` as its input."""
    interactive = ["--interactive"] if given is not None else []
    command = [*PODMAN, "exec", *interactive, container, *words]
    return until_started(lambda: subprocess.run(
        command, input=given, capture_output=True, text=True, timeout=seconds, check=False
    ))  # fmt: skip


def explain(error: subprocess.CalledProcessError | subprocess.TimeoutExpired) -> str:
    """Return what failed, and what it printed."""
    command = error.cmd if isinstance(error.cmd, str) else " ".join(map(str, error.cmd))
    how = (
        f"exit code {error.returncode}" if isinstance(error, subprocess.CalledProcessError)
        else f"not done after {error.timeout:.0f} s"
    )  # fmt: skip
    printed = [
        each.decode(errors="replace") if isinstance(each, bytes) else each
        for each in (error.stdout, error.stderr) if each
    ]  # fmt: skip
    return "\n".join([f"{command} failed: {how}", *(each.rstrip() for each in printed)])


def default_base() -> str:
    """Return the base image that the Dockerfile names."""
    return (ROOT / "Dockerfile").read_text().partition("ARG DEBIAN=")[2].partition("\n")[0]


def find_base(folder: Path) -> tuple[str, ...]:
    """Return the arguments for the base: none if the registry has it, else one made from packages."""
    try:
        run("buildah", "pull", "--quiet", f"docker.io/library/{default_base()}", seconds=120)
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


def build(name: str, base: Iterable[str], version: str = VERSION, commit: str = "unknown") -> float:
    """Build an image from the clone; return its size in MB. A private authority is that of PIP_CERT."""
    own = os.environ.get("PIP_CERT")
    authority = ("--secret", f"id=ca,src={own}", "--build-arg", "PIP_CERT=/run/secrets/ca") if own else ()
    given = ("--build-arg", f"VERSION={version}", "--build-arg", f"COMMIT={commit}")
    of_image = (*IMAGES.get(name, ("--target", name)), "--tag", tag(name, version), ".")
    try:
        run(*BUILD, *base, *authority, *given, *of_image)
    except subprocess.CalledProcessError as error:
        if unreachable := UNREACHABLE.search(f"{error.stdout}\n{error.stderr}"):
            raise NotDone(f"a build cannot reach its packages: {unreachable[0].strip()}") from error
        raise
    except subprocess.TimeoutExpired as error:
        raise NotDone(f"the build took longer than {error.timeout:.0f} s") from error
    return int(run(*PODMAN, "image", "inspect", "--format", "{{.Size}}", tag(name, version))) / 1e6


MACHINE = """\
ARG DEBIAN
FROM ${DEBIAN}
RUN apt-get update && apt-get install -y --no-install-recommends systemd-sysv ca-certificates \\
    && rm -rf /var/lib/apt/lists/* \\
    && printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d
STOPSIGNAL SIGRTMIN+3
CMD ["/sbin/init"]
"""
"""A Debian 13 with systemd. No package starts a service by itself there: nginx would listen on port 80."""


def build_machine(base: Iterable[str], folder: Path) -> str:
    """Build MACHINE, and return its name."""
    file = folder / "Machine"
    file.write_text(MACHINE)
    given = tuple(base) or ("--build-arg", f"DEBIAN={default_base()}")
    run(*BUILD, *given, "--file", str(file), "--tag", tag("systemd"), str(folder))
    return tag("systemd")


def require_containers() -> None:
    """Raise NotDone if this machine runs no container with the limits of RESTRICTED, or lacks a program."""
    _require(INSTALLED_BY)
    try:
        run(*PODMAN, "run", *RESTRICTED, "--entrypoint", "/bin/true", tag("handlers"), seconds=60)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise NotDone(f"podman runs no container here: {getattr(error, 'stderr', '') or error}") from error


@contextmanager
def exit_unless_done(what: str) -> Iterator[None]:
    """Print why it was not done, or what failed. Raises typer.Exit with NOT_DONE, or with 1."""
    try:
        yield
    except NotDone as reason:
        typer.echo(f"NOT DONE: {what}: {reason}.", err=True)
        raise typer.Exit(NOT_DONE) from reason
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        typer.echo(explain(error), err=True)
        raise typer.Exit(1) from error
