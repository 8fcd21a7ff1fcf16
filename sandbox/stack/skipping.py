"""A sandbox before the go-live with a movable clock: its programs run under libfaketime."""

import subprocess
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import typer

from leads.domain.body import ICT
from ops.settings import installed_commit
from sandbox.edge import NginxEdge
from sandbox.postgres.server import Cluster, free_port
from sandbox.processes import ROOT, Service
from sandbox.stack.bare import BareSandbox

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime*.so.1"))
"""That for PostgreSQL and nginx, then the one with MT in its name, for programs with threads."""
READ_SECONDS = 2.2
"""A process reads its clock again when more than a whole second has passed."""
MORE_SOURCES = 36
"""Besides the six that have leads."""
CERTIFICATE = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 90 -subj /CN=localhost"
    " -addext subjectAltName=DNS:localhost"
)


def require_faketime() -> None:
    """Check that libfaketime is here. Raises typer.Exit with code 2, and prints what to install."""
    if len(LIBRARIES) != 2:
        typer.echo("libfaketime is not installed. Run: apt-get install libfaketime", err=True)
        raise typer.Exit(2)


class Clock:
    """The time of day of the sandbox: a file with the seconds by which it differs from the machine's.

    `variables` are of the programs that read it. Durations and the times of files stay as they are.
    """

    def __init__(self, folder: Path, now: datetime) -> None:
        folder.chmod(0o755)  # PostgreSQL and nginx run as other users
        self._path, self._ahead = folder / "clock", timedelta()
        self.variables = {
            "FAKETIME_TIMESTAMP_FILE": str(self._path), "FAKETIME_CACHE_DURATION": "1", "NO_FAKE_STAT": "1",
            "FAKETIME_DISABLE_SHM": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "LD_PRELOAD": str(LIBRARIES[0]),
        }  # fmt: skip
        self.move_to(now)

    def now(self) -> datetime:
        return datetime.now(ICT) + self._ahead

    def move_to(self, at: datetime) -> None:
        self._ahead += at - self.now()
        fresh = self._path.with_suffix(".new")
        fresh.write_text(f"{self._ahead.total_seconds():+f}\n")
        fresh.chmod(0o644)
        fresh.replace(self._path)
        time.sleep(READ_SECONDS)


class SkippingSandbox(BareSandbox):
    """Its edge has a TLS port too, with a certificate that the commands trust."""

    def __init__(self, cluster: Cluster, folder: Path, clock: Clock) -> None:
        super().__init__(cluster, folder)
        self._clock, self._tls_port = clock, free_port()

    def _edge(self) -> NginxEdge | Service:
        edge = super()._edge()
        assert isinstance(edge, NginxEdge)
        key, self._certificate = edge.directory / "privkey.pem", edge.directory / "fullchain.pem"
        command = [*CERTIFICATE.split(), "-keyout", str(key), "-out", str(self._certificate)]
        subprocess.run(command, check=True, capture_output=True)
        key.chmod(0o644)
        edge.add_environment(self._clock.variables)
        site, tls = edge.directory / "site", f"listen 127.0.0.1:{self._tls_port} ssl;\n"
        with (site / "main.conf").open("a") as main, (site / "listen.conf").open("a") as listen:
            main.writelines(f"env {name};\n" for name in self._clock.variables)
            listen.write(f"{tls}ssl_certificate {self._certificate};\nssl_certificate_key {key};\n")
        return edge

    def _pancake_arguments(self) -> list[str]:
        return [*super()._pancake_arguments(), f"--more-sources={MORE_SOURCES}"]

    def _service_environment(self) -> Mapping[str, str]:
        return {
            **super()._service_environment(),
            "LD_PRELOAD": str(LIBRARIES[1]),
            "COMMIT": installed_commit(),
        }

    def leads_environment(self) -> dict[str, str]:
        return {
            **super().leads_environment(), "PUBLIC_URL": f"https://localhost:{self._tls_port}",
            "SSL_CERT_FILE": str(self._certificate), "HASURA_OTHER_ADMIN_SECRET": self.keys.admin_secret,
            "COMMIT": installed_commit(), "COLUMNS": "100", "LD_PRELOAD": str(LIBRARIES[1]),
        }  # fmt: skip

    def _write_plan(self) -> None:
        super()._write_plan()
        manifest = ROOT / "deploy/kubernetes/own-engine/hasura.yaml"
        with (self.folder / "golive.yaml").open("a") as plan:
            plan.write(f"engine_manifest: {manifest}\nstaging_url: {self.hasura_url}\n")
