"""The real edge of deploy/nginx/ on free ports of 127.0.0.1, and the packages that it needs."""

import base64
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import typer

from ops.waiting import poll
from sandbox.postgres.server import free_port
from sandbox.processes import NotReady, Processes, Unprivileged
from sandbox.serving import find_value, scrape

NGINX = Path("/usr/sbin/nginx")
NEEDED = (
    (NGINX, "nginx"),
    (Path("/usr/lib/nginx/modules/ngx_http_lua_module.so"), "libnginx-mod-http-lua"),
    (Path("/usr/share/lua/5.1/cjson"), "lua-cjson"),
)


def missing_packages() -> list[str]:
    """Return the Debian packages that the real edge lacks here; empty if it can run."""
    return [package for path, package in NEEDED if not path.exists()]


def require_edge_packages() -> None:
    """Check that the real edge can run here. Raises typer.Exit with code 2, and prints what to install."""
    if missing := missing_packages():
        typer.echo(f"The real edge is not installed. Run: apt-get install {' '.join(missing)}", err=True)
        raise typer.Exit(2)


def describe_edge(missing: Sequence[str]) -> str:
    """Say which edge the sandbox starts if these packages are missing."""
    if not missing:
        return "The edge is the real one: nginx with Lua."
    return (
        "The edge is a stand-in without signatures, limits and spool; the real one needs the packages "
        f"{', '.join(missing)}."
    )


TIMEOUT_SECONDS = 10
POLL_SECONDS = 0.01
DEPLOY = Path(__file__).resolve().parents[1] / "deploy" / "nginx"
FOLDERS = ("spool", "unknown", "quarantine")


def state_key(name: str = "k1") -> str:
    """Return a new random key for EDGE_STATE_KEYS."""
    return f"{name}:" + base64.b64encode(os.urandom(32)).decode()


@dataclass
class EdgeSettings:
    """Settings of one edge: upstreams, credentials, and deviations from the defaults.

    `workers`: number of worker processes. `environment`: further EDGE_* variables. `site`: files that replace
    those of site/, by name. `port`: the public port, 0 for a free one.
    """

    hasura_url: str
    handlers_url: str
    hasura_token: str
    edge_secret: str
    workers: int = 2
    environment: Mapping[str, str] = field(default_factory=dict)
    site: Mapping[str, str] = field(default_factory=dict)
    port: int = 0


class NginxEdge:
    """One edge. Its directory lives as long as `processes`; it can be stopped, killed and started again."""

    def __init__(self, processes: Processes, settings: EdgeSettings) -> None:
        self._processes = processes
        self._settings = settings
        self._owner = Unprivileged.choose()
        self.state_keys = state_key()
        self._running: subprocess.Popen[str] | None = None
        self._launcher: list[str] = []
        self.port = settings.port or free_port()
        self.ops_port = free_port()
        self.directory = processes.directory("pancake-edge-", self._owner)
        self.state = self.directory / "state"
        self._lay_out()

    @property
    def url(self) -> str:
        """Public base URL. The webhook URL of a connection is this + /api/pancake/record/{token}."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ops_url(self) -> str:
        """Base URL of /healthz and /metrics."""
        return f"http://127.0.0.1:{self.ops_port}"

    def operators_environment(self) -> dict[str, str]:
        """Return what the operators' commands need on the machine of the edge."""
        return {
            "EDGE_STATUS_URL": self.ops_url,
            "EDGE_STATE_KEYS": self.state_keys,
            "EDGE_STATE_DIR": str(self.state),
        }

    @property
    def limits_file(self) -> Path:
        """The file with rate, burst and deny list. It may be replaced while the edge runs."""
        return self.state / "limits.json"

    def add_environment(self, environment: Mapping[str, str]) -> None:
        """Add environment variables, from the next start on."""
        self._settings.environment = {**self._settings.environment, **environment}

    def edit(self, module: str, text: str, replacement: str) -> None:
        """Replace text in a Lua module. Raises LookupError unless the module holds it exactly once."""
        path = self.directory / "lua" / "pancake" / module
        program = path.read_text()
        if program.count(text) != 1:
            raise LookupError(f"{module} holds {text!r} {program.count(text)} times, not once")
        path.write_text(program.replace(text, replacement))

    def run_under(self, launcher: Sequence[str]) -> None:
        """Let another program start the server from now on, for example one that takes rights away."""
        self._launcher = list(launcher)

    def start(self) -> None:
        arguments = [str(NGINX), "-p", f"{self.directory}/", "-c", "nginx.conf", "-g", "daemon off;"]
        with (self.directory / "stderr.log").open("a") as errors:
            self._running = self._processes.start(
                [*self._launcher, *arguments], env=self._environment(), cwd=self.directory,
                stderr=errors, owner=self._owner,
            )  # fmt: skip

    def bring_up(self) -> None:
        """Start it and return once it answers and has a policy. Raises NotReady."""
        self.start()
        self.wait_ready()
        self.wait_policy()

    def wait_ready(self, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        """Return once it answers. Raises NotReady with the error log."""
        for _ in poll(timeout_seconds, POLL_SECONDS):
            if self._running is None or self._running.poll() is not None:
                break
            try:
                httpx.get(f"{self.ops_url}/healthz", timeout=1).raise_for_status()
            except httpx.HTTPError:
                continue
            return
        raise NotReady(f"the edge did not start: {self.errors()}")

    def wait_policy(self, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        """Return once it has a policy with at least one connection. Raises NotReady with the error log."""
        for _ in poll(timeout_seconds, POLL_SECONDS):
            if self.health()["policy_connections"]:
                return
        raise NotReady(f"the edge got no policy from the handlers: {self.errors()}")

    def stop(self) -> None:
        if self._running is not None:
            self._processes.stop(self._running)
            self._running = None

    def reload(self) -> None:
        """Send SIGHUP: new workers start, the old ones finish their requests."""
        assert self._running is not None
        self._running.send_signal(signal.SIGHUP)

    @property
    def pid(self) -> int | None:
        """The process id of the master while it runs."""
        running = self._running
        return None if running is None else running.pid

    def workers(self) -> list[int]:
        """Return the process ids of the workers, oldest first."""
        master = self.pid
        assert master is not None
        return [int(pid) for pid in Path(f"/proc/{master}/task/{master}/children").read_text().split()]

    def kill_worker(self) -> None:
        """Send SIGKILL to the oldest worker. The master starts another one."""
        os.kill(self.workers()[0], signal.SIGKILL)

    def kill(self) -> None:
        """Send SIGKILL to the master and all workers, and wait until they are gone."""
        assert self._running is not None
        workers = self.workers()
        for pid in (self._running.pid, *workers):
            os.kill(pid, signal.SIGKILL)
        for pid in workers:
            # A zombie ("Z") holds no port and no file any more; only its parent could remove it.
            while Path(f"/proc/{pid}/stat").exists() and ") Z " not in Path(f"/proc/{pid}/stat").read_text():
                time.sleep(POLL_SECONDS)
        self.stop()

    def errors(self) -> str:
        """Return everything that nginx and the Lua program wrote to the error logs."""
        paths = (self.directory / name for name in ("stderr.log", "scratch/error.log"))
        return "".join(path.read_text() for path in paths if path.exists())

    def access_log(self) -> str:
        path = self.directory / "scratch" / "access.json"
        return path.read_text() if path.exists() else ""

    def health(self) -> dict[str, Any]:
        return dict(httpx.get(f"{self.ops_url}/healthz", timeout=5).json())

    def metric(self, series: str) -> float:
        """Return the value of a series of /metrics, named as there; 0 if there is none yet."""
        return find_value(scrape(self.ops_url), series) or 0

    def taken(self, path: str) -> int:
        """Return the number of deliveries that one path took: "hasura" or "handlers"."""
        return int(self.metric(f'pancake_edge_upstream_seconds_count{{upstream="{path}",result="ok"}}'))

    def held(self, folder: str = "spool") -> list[Path]:
        """Return the files of deliveries in spool, unknown or quarantine; oldest first."""
        return sorted((self.state / folder).glob("[!.]*.sealed"))

    def _environment(self) -> dict[str, str]:
        settings = self._settings
        return {
            "HASURA_URL": settings.hasura_url,
            "HANDLERS_URL": settings.handlers_url,
            "HASURA_EDGE_TOKEN": settings.hasura_token,
            "EDGE_SECRET": settings.edge_secret,
            "EDGE_STATE_KEYS": self.state_keys,
            "EDGE_STATE_DIR": str(self.state),
            **settings.environment,
        }

    def _lay_out(self) -> None:
        here = self.directory
        for folder in ("site", "scratch", "state", *(f"state/{name}" for name in FOLDERS)):
            (here / folder).mkdir()
            if self._owner.uid is not None and self._owner.gid is not None:
                os.chown(here / folder, self._owner.uid, self._owner.gid)
        (here / "nginx.conf").write_text((DEPLOY / "nginx.conf").read_text())
        # Copied, not linked: the unprivileged server may not be able to read the clone.
        for module in sorted((DEPLOY / "lua" / "pancake").glob("*.lua")):
            target = here / "lua" / "pancake" / module.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(module.read_text())
        for name, text in self._site().items():
            (here / "site" / name).write_text(text)
        for path in (here / "lua", here / "lua" / "pancake", here / "site"):
            path.chmod(0o755)

    def _site(self) -> dict[str, str]:
        scratch = self.directory / "scratch"
        temporary = "\n".join(
            f"{kind}_temp_path {scratch}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        return {
            "main.conf": f"worker_processes {self._settings.workers};\npid {scratch}/nginx.pid;\n"
            f"error_log {scratch}/error.log error;\n",
            "http.conf": f"access_log {scratch}/access.json edge if=$edge_logged;\n{temporary}\n",
            "listen.conf": f"listen 127.0.0.1:{self.port} default_server;\n"
            f"error_log {scratch}/error.log emerg;\n",
            "ops.conf": f"listen 127.0.0.1:{self.ops_port} default_server;\n",
            **self._settings.site,
        }
