"""The Debian packages of the real edge: which are missing on this machine."""

from collections.abc import Sequence
from pathlib import Path

import typer

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
