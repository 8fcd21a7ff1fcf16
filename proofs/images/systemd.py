"""The units of deploy/systemd and deploy/nginx on a Debian 13 with systemd, which a container is."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from ops.setup.answers import Way
from ops.setup.values import START
from proofs.images.containers import PODMAN, exec_in, run, tag
from proofs.images.installation import Installation, wait_until
from sandbox.postgres.server import Cluster, free_port
from sandbox.processes import ROOT

IMAGE = "systemd"
CLONE, SITE = "/root/pancake-diva", "/root/site"
PLACE = "/etc/pancake"
LEADS_SETUP = f"leads setup --answers {SITE}/answers.yaml --folder {PLACE}"
AUTHORITIES = ("/etc/ssl/certs", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates")
"""With a private authority pip of the container needs this machine's; see docs/cli.md."""


class Systemd(Installation):
    """Debian's packages, both `install` of the clone, the units."""

    way = "systemd"
    packages = (
        "apt-get update -qq && apt-get install -y -qq"
        " python3-venv postgresql-client nginx libnginx-mod-http-lua lua-cjson logrotate >/dev/null"
    )
    install = "deploy/systemd/install && deploy/nginx/install"
    setup = LEADS_SETUP
    certificate = f"RENEWED_LINEAGE={SITE}/certificate /etc/pancake-edge/copy-certificate"
    start_services = START[Way.SYSTEMD]
    finish = f"{LEADS_SETUP} --finish"
    switch = 'leads switch kill off --reason "go-live"'
    check = "leads doctor"
    back = (
        "systemctl disable --now pancake-edge pancake-handlers pancake-backfill",
        f"{LEADS_SETUP} --undo --yes",
    )

    def answers(self) -> dict[str, Any]:
        return super().answers() | {
            "way": Way.SYSTEMD.value,
            "public_url": f"https://127.0.0.1:{self.ops_ports['tls']}",
        }

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.ops_ports["tls"] = free_port()

    def prepare(self) -> None:
        """Start the machine, install packages and programs; what differs here: addresses, certificate."""
        self._make_certificate()
        mounts = {str(ROOT): f"{CLONE}:O", str(self.folder): SITE}
        mounts |= {path: f"{path}:ro" for path in AUTHORITIES if Path(path).is_dir()}
        variables = {"SSL_CERT_FILE": f"{SITE}/certificate/all.pem", "DEBIAN_FRONTEND": "noninteractive"}
        if "PIP_CERT" in os.environ:
            variables["PIP_CERT"] = "/etc/ssl/certs/ca-certificates.crt"
        run(
            *PODMAN, "run", "--detach", "--name", self.project, "--privileged", "--systemd", "always",
            "--network", "host", "--workdir", CLONE,
            *(word for name, value in variables.items() for word in ("--env", f"{name}={value}")),
            *(word for here, there in mounts.items() for word in ("--volume", f"{here}:{there}")),
            tag(IMAGE),
        )  # fmt: skip
        self.session.prefix = (*PODMAN, "exec", self.project)
        wait_until(lambda: self._exec("systemctl", "list-units").returncode == 0)
        self.session.run(self.packages)
        for path, name in self.listen_files():
            self._put(path.read_text(), f"/etc/pancake-edge/site/{name}")
        addresses = "".join(f"Environment={name}={value}\n" for name, value in self.addresses().items())
        self._put(f"[Service]\n{addresses}", "/etc/systemd/system/pancake-handlers.service.d/addresses.conf")
        self.session.run(self.install)
        self.session.run(self.certificate)

    def close(self) -> None:
        with suppress(subprocess.SubprocessError):
            run(*PODMAN, "rm", "--force", "--ignore", "--volumes", "--time", "5", self.project)
        super().close()

    def listen_files(self) -> list[tuple[Path, str]]:
        """The shipped file with addresses of the loopback interface, and one without TLS for the load."""
        files = super().listen_files()
        shipped = (ROOT / "deploy/nginx/site/listen.conf").read_text()
        plain, _ = files[0]
        own = plain.read_text().replace(" default_server", "")
        lines = shipped.replace("listen [::]:443 ssl default_server;\n", own)
        plain.write_text(lines.replace("listen 443 ", f"listen 127.0.0.1:{self.ops_ports['tls']} "))
        return files

    def read(self, name: str) -> str:
        return self._exec("cat", f"{PLACE}/{name}").stdout

    def leads(self, *words: str) -> str:
        return self._exec("leads", *words).stdout

    def count_spooled(self) -> int:
        found = self._exec("find", "/var/lib/pancake-edge/spool", "-name", "[!.]*.sealed")
        return len(found.stdout.splitlines())

    def stop(self, name: str) -> None:
        self._exec("systemctl", "stop", f"pancake-{name}").check_returncode()

    def start_again(self, name: str) -> None:
        self._exec("systemctl", "start", f"pancake-{name}").check_returncode()

    def have_jobs_ended(self) -> bool:
        words = ("systemctl", "show", "pancake-backfill", "--property", "ActiveState,Result")
        return set(self._exec(*words).stdout.split()) == {"ActiveState=inactive", "Result=success"}

    def limits(self, name: str) -> tuple[str, bool]:
        unit = f"pancake-{name}"
        found = self._exec("systemctl", "show", unit, "--property", "ActiveState,NRestarts,User,DynamicUser")
        values = dict(line.split("=", 1) for line in found.stdout.splitlines())
        is_ok = values["ActiveState"] == "active" and values["NRestarts"] == "0"
        return ", ".join(f"{key} {value}" for key, value in sorted(values.items()) if value), is_ok

    def _exec(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return exec_in(self.project, *words, seconds=120)

    def _put(self, text: str, path: str) -> None:
        """Write a file of the machine that the operator owns."""
        words = ("install", "-D", "-m", "644", "/dev/stdin", path)
        exec_in(self.project, *words, given=text).check_returncode()

    def _make_certificate(self) -> None:
        """Make a certificate of an authority of its own, and a list of authorities with it."""
        folder = self.folder / "certificate"
        folder.mkdir()
        run(
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            "-subj", "/CN=127.0.0.1",
            "-addext", "subjectAltName=IP:127.0.0.1",
            "-keyout", str(folder / "privkey.pem"), "-out", str(folder / "fullchain.pem"),
        )  # fmt: skip
        bundle = Path("/etc/ssl/certs/ca-certificates.crt")
        known = bundle.read_text() if bundle.exists() else ""
        (folder / "all.pem").write_text(known + (folder / "fullchain.pem").read_text())
