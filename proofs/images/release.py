"""`scripts/release`: what a tag publishes: wheel, images with digests and SBOMs, and the compose file.

https://cyclonedx.org/docs/1.6/json/ and https://github.com/package-url/purl-spec explain the SBOM.
"""

import io
import json
import os
import re
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from proofs.images.containers import (
    IMAGES,
    NOT_DONE,
    PODMAN,
    build,
    configure,
    exit_unless_done,
    find_base,
    run,
    tag,
)  # fmt: skip
from sandbox.processes import ROOT

COMPOSE = ROOT / "compose.production.yaml"
PROXY = "deploy/proxy/Caddyfile"
UNIT = "deploy/systemd/pancake-compose.service"
IMAGE = re.compile(r"\$\{PANCAKE_IMAGES:-pancake-diva\}/(\w+):\$\{VERSION:-[^}]+\}")
DEBIAN = "pkg:deb/debian/${Package}@${Version}?arch=${Architecture}\\n"
PYTHON = """
import importlib.metadata
for each in importlib.metadata.distributions():
    print(f"pkg:pypi/{each.name.lower()}@{each.version}")
"""

app = typer.Typer(add_completion=False)


@app.command()
def release(
    to: Annotated[Path, typer.Option(metavar="DIR", help="The folder for the files; it is made.")] = Path(
        "dist"
    ),
    expected: Annotated[str, typer.Option("--tag", help="Refuse if this is not v and the version.")] = "",
) -> None:
    """Make what a tag publishes: wheel, images, an SBOM of each, and an archive with the compose file.

    PANCAKE_IMAGES names the repository that the images are pushed to, for example
    registry.example.com/pancake; log in with buildah login before. The compose file
    then names each image by its digest. Exit codes: 0 done, 1 it failed, 2 another
    version, 3 NOT DONE: the message says what, and why.
    """
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    if expected not in ("", f"v{version}"):
        typer.echo(f"The tag is {expected}, and the version of pyproject.toml is {version}.", err=True)
        raise typer.Exit(2)
    to.mkdir(parents=True, exist_ok=True)
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(to.resolve()))
    with (
        exit_unless_done("no images, and no compose file"),
        tempfile.TemporaryDirectory(prefix="release-") as folder,
    ):
        names = _publish(Path(folder), to, version)
    write_archive(to / f"pancake-diva-{version}-compose.tar.gz", names)
    for path in sorted(to.iterdir()):
        typer.echo(path)
    if not os.environ.get("PANCAKE_IMAGES"):
        typer.echo("NOT DONE: the images were not pushed: PANCAKE_IMAGES names no repository.", err=True)
        raise typer.Exit(NOT_DONE)


def _publish(folder: Path, to: Path, version: str) -> dict[str, str]:
    """Build the images, push them if there is a repository, and return the name of each."""
    configure(folder)
    base = find_base(folder)
    commit = run("git", "rev-parse", "HEAD").strip()
    repository = os.environ.get("PANCAKE_IMAGES", "")
    names = {}
    for name in IMAGES:
        build(name, base, version, commit)
        (to / f"{name}.sbom.json").write_text(json.dumps(sbom(name, version), indent=1))
        names[name] = f"{repository or 'pancake-diva'}/{name}:{version}"
        if repository:
            file = folder / "digest"
            run("buildah", "push", "--digestfile", str(file), tag(name, version), f"docker://{names[name]}")
            names[name] += f"@{file.read_text().strip()}"
    if repository:
        (to / "digests.txt").write_text("".join(f"{name}\n" for name in names.values()))
    return names


def sbom(name: str, version: str) -> dict[str, Any]:
    """List the packages of Debian and of Python in an image."""
    inside = [*PODMAN, "run", "--rm", "--network", "none", "--entrypoint"]
    found = run(*inside, "dpkg-query", tag(name, version), "--show", f"--showformat={DEBIAN}").splitlines()
    if name != "edge":
        found += run(*inside, "python", tag(name, version), "-c", PYTHON).splitlines()
    components = []
    for purl in sorted(set(found)):
        package, _, installed = purl.rpartition("/")[2].partition("@")
        component = {"type": "library", "name": package, "version": installed.partition("?")[0]}
        components.append({**component, "purl": purl.replace("+", "%2B"), "bom-ref": purl})
    image = {"type": "container", "name": f"pancake-diva/{name}", "version": version}
    return {
        "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
        "metadata": {"component": image}, "components": components,
    }  # fmt: skip


def write_archive(path: Path, names: dict[str, str]) -> None:
    """Write compose.production.yaml as compose.yaml, with these images, and the files beside it."""
    text = IMAGE.sub(lambda match: names[match[1]], COMPOSE.read_text())
    unit = (ROOT / UNIT).read_text().replace(COMPOSE.name, "compose.yaml")
    with tarfile.open(path, "w:gz") as archive:
        proxy = (ROOT / PROXY).read_text()
        for name, content in (("compose.yaml", text), (PROXY, proxy), (UNIT, unit)):
            member = tarfile.TarInfo(f"pancake/{name}")
            member.size, member.mode = len(content.encode()), 0o644
            archive.addfile(member, io.BytesIO(content.encode()))


if __name__ == "__main__":
    app()
