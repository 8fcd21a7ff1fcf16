"""deploy/nginx/check-versions: the edge does not start with packages that lack a security update."""

import os
import subprocess
from pathlib import Path

import pytest

from sandbox.edge.nginx import DEPLOY

NGINX, LUA = "1.26.3-3+deb13u11", "1:0.10.28-2"
"""The oldest versions that are accepted."""


def check(folder: Path, old: str = "", **packages: str) -> subprocess.CompletedProcess[str]:
    """Run the check on a machine with these packages: name with "_" for "-" -> state and version.

    `old`: EDGE_OLD_PACKAGES.
    """
    lines = "".join(
        f"{name.replace('_', '-')}) echo '{found}' ;;\n" for name, found in packages.items() if found
    )
    query = folder / "dpkg-query"
    query.write_text(f'#!/bin/sh\nfor name; do :; done\ncase "$name" in\n{lines}*) exit 1 ;;\nesac\n')
    query.chmod(0o755)
    return subprocess.run(
        [str(DEPLOY / "check-versions")],
        env={"PATH": f"{folder}:{os.environ['PATH']}", "EDGE_OLD_PACKAGES": old},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("nginx", [NGINX, "1.26.3-3+deb13u12", "1.28.1-2", "1.30.7-1~trixie"])
def test_packages_that_are_new_enough_pass_silently(tmp_path: Path, nginx: str) -> None:
    done = check(tmp_path, nginx=f"installed {nginx}", libnginx_mod_http_lua=f"installed {LUA}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("nginx", "lua", "said"),
    [
        ("installed 1.26.3-3+deb13u10", f"installed {LUA}", f"nginx 1.26.3-3+deb13u10 is older than {NGINX}"),
        ("installed 1.22.1-9+deb12u4", f"installed {LUA}", f"nginx 1.22.1-9+deb12u4 is older than {NGINX}"),
        (f"installed {NGINX}", "installed 1:0.10.23-1", "libnginx-mod-http-lua 1:0.10.23-1 is older than"),
        (f"installed {NGINX}", "", "libnginx-mod-http-lua is not installed"),
        (f"config-files {NGINX}", f"installed {LUA}", "nginx is not installed"),
    ],
)  # fmt: skip
def test_an_older_package_stops_the_start_by_its_name(
    tmp_path: Path, nginx: str, lua: str, said: str
) -> None:
    done = check(tmp_path, nginx=nginx, libnginx_mod_http_lua=lua)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(said)
    assert "apt-get install" in done.stderr


@pytest.mark.parametrize(("old", "code"), [("allow", 0), ("", 1), ("yes", 1)])
def test_an_operator_can_allow_old_packages_for_a_while(tmp_path: Path, old: str, code: int) -> None:
    """An edge that does not start costs more deliveries than an old one."""
    done = check(tmp_path, old, nginx="installed 1.26.3-3", libnginx_mod_http_lua=f"installed {LUA}")
    assert done.returncode == code
    assert done.stderr.startswith("nginx 1.26.3-3 is older than")


def test_unit_and_container_check_before_nginx_starts() -> None:
    for name in ("pancake-edge.service", "container/start"):
        text = (DEPLOY / name).read_text()
        assert "/etc/pancake-edge/check-versions\n" in text.partition("nginx -")[0], name
    assert "COPY deploy/nginx/check-versions /etc/pancake-edge/\n" in (DEPLOY / "Dockerfile").read_text()


def test_the_readme_names_the_versions() -> None:
    page = (DEPLOY / "README.md").read_text()
    assert f"`{NGINX}`" in page
    assert f"`{LUA}`" in page
