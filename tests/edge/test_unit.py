"""deploy/nginx/pancake-edge.service: how much it leaves open, and that the edge works under it."""

import ctypes.util
import grp
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.edge.nginx import DEPLOY
from tests.support.edge.certificates import write_certificate
from tests.support.edge.confined import UNIT, allowed_calls, write_filter
from tests.support.edge.harness import TOKEN, EdgeHarness
from tests.support.waiting import eventually

HIGHEST_EXPOSURE = 3.0
NEEDS_SYSTEMD = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="systemd-analyze is not installed: apt-get install systemd",
)
NEEDS_SECCOMP = pytest.mark.skipif(
    ctypes.util.find_library("seccomp") is None,
    reason="libseccomp.so.2 is not installed: apt-get install libseccomp2",
)
NEEDS_SETPRIV = pytest.mark.skipif(
    shutil.which("setpriv") is None
    or "--seccomp-filter"
    not in subprocess.run(["setpriv", "--help"], capture_output=True, text=True, check=False).stdout,
    reason="setpriv has no --seccomp-filter: it needs util-linux 2.41 (Debian 13)",
)


@NEEDS_SYSTEMD
def test_the_unit_leaves_little_open() -> None:
    command = ["systemd-analyze", "--no-pager", "security", "--offline=true", str(UNIT)]
    report = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    (exposure,) = re.findall(r"Overall exposure level for pancake-edge.service: ([\d.]+)", report)
    assert float(exposure) <= HIGHEST_EXPOSURE, report


def test_the_unit_has_a_user_that_no_other_service_has() -> None:
    unit = UNIT.read_text()
    assert "\nUser=pancake-edge\nGroup=pancake-edge\n" in unit
    assert "\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\n" in unit


@pytest.mark.parametrize("is_active", [True, False], ids=["running", "before the first start"])
def test_the_copied_certificate_is_for_the_group_only_and_a_running_edge_reloads(
    tmp_path: Path, is_active: bool
) -> None:
    write_certificate(tmp_path)
    group = grp.getgrgid(os.getgid()).gr_name
    script = (DEPLOY / "copy-certificate").read_text().replace("-g pancake-edge", f"-g {group}")
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(
        f'#!/bin/sh\necho "$1" >>{tmp_path}/called\n[ "$1" = reload ] || {str(is_active).lower()}\n'
    )
    systemctl.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}", "RENEWED_LINEAGE": str(tmp_path),
        "EDGE_TLS_DIR": str(tmp_path / "tls"),
    }  # fmt: skip
    subprocess.run(["sh", "-c", script], env=environment, check=True, timeout=10)
    assert {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "tls").iterdir()} == {
        "fullchain.pem": 0o640, "privkey.pem": 0o640,
    }  # fmt: skip
    assert (tmp_path / "tls" / "privkey.pem").read_bytes() == (tmp_path / "privkey.pem").read_bytes()
    assert (tmp_path / "tls").stat().st_mode & 0o777 == 0o750
    called = (tmp_path / "called").read_text().split()
    assert called == (["is-active", "reload"] if is_active else ["is-active"])


@NEEDS_SYSTEMD
@NEEDS_SECCOMP
@NEEDS_SETPRIV
def test_the_edge_stores_drains_and_reloads_under_the_filter_of_system_calls(
    start_harness: Callable[..., EdgeHarness],
) -> None:
    harness = start_harness(started=False)
    calls = allowed_calls(UNIT.read_text())
    assert {"pwrite64", "fsync", "accept4"} <= calls
    assert not {"mount", "setuid", "chroot", "ptrace", "bpf"} & calls
    # setpriv calls capset after it has loaded the filter.
    write_filter(harness.edge.directory / "calls.bpf", sorted(calls | {"capset"}))
    harness.edge.run_under(
        ["setpriv", "--no-new-privs", "--seccomp-filter", str(harness.edge.directory / "calls.bpf")]
    )
    harness.edge.bring_up()
    assert harness.post_many([b"live"]) == ["received"]
    harness.stop_upstreams()
    assert harness.post_many([b"%d" % number for number in range(20)]) == ["spooled"] * 20
    harness.edge.kill_worker()
    harness.edge.reload()
    harness.start_upstreams()
    eventually(lambda: len(harness.bodies) == 21 and not harness.edge.held(), seconds=20)
    with harness.sender() as sender:
        assert sender.post(TOKEN, b"after").status == "received"
    assert "not permitted" not in harness.edge.errors()
