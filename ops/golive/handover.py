"""`leads golive handover`: one file for those who operate the integration from now on."""

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from ops.checks.services import own_metadata
from ops.failures import CommandFailed, WrongUsage
from ops.files import digest_of, digest_of_file, replacing
from ops.golive.deploy.site import known_secrets
from ops.golive.gates import DEFAULT_RECORDS, RecordsFolder
from ops.golive.records import RECORDS
from ops.golive.sending import WEBHOOK_FILE, WebhookFile
from ops.output import AsJson, print_result
from ops.settings import CLONE, installed_commit

RESULTS = ("*.jsonl", "*.json", "*.sig", "report*.html", f"{RECORDS}/*")
"""What of the folder of the records goes over: no dump, and no evidence, which may name people."""

PAGES = ("README.md", "docs/**/*.md", "deploy/**/*.rules.yml", "deploy/alertmanager/*.yml", "CHANGELOG.md")
FOR_DEVELOPERS = ("docs/decisions/", "docs/architecture.md", "docs/extending.md", "docs/proofs.md")
"""How the paths of pages begin that are of no use to those who operate the integration."""
MIN_SECRET_CHARACTERS = 8


def handover(
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="The new file, .tar.gz.")],
    report: Annotated[
        Path | None, typer.Option(help="Folder with the signed report of the last wave.")
    ] = None,
    webhook_url_file: WebhookFile = WEBHOOK_FILE,
    folder: RecordsFolder = DEFAULT_RECORDS,
    as_json: AsJson = False,
) -> None:
    """Bundle documentation, results, journal and inventory, with their hashes.

    The inventory names the crons, triggers and actions that ops watch from now
    on. No dump and no evidence file goes in. Every file is searched for the
    secrets of the environment and of the webhook file; one that holds one ends
    it with exit code 1, and nothing is written.
    """
    if not to.parent.is_dir():
        raise WrongUsage(f"The folder {to.parent} does not exist. Make it, or give another file with --to.")
    if to.exists():
        raise WrongUsage(f"{to} exists already. Give another file with --to.")
    files = dict(_collect(folder, report))
    files["inventory.json"] = _text(_inventory())
    if leaking := _leaking(files, webhook_url_file):
        raise CommandFailed(
            f"A secret is in {', '.join(leaking)}. Nothing was written; remove it there first."
        )
    hashes = {name: digest_of(content) for name, content in sorted(files.items())}
    manifest = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"), "commit": installed_commit(), "sha256": hashes,
    }  # fmt: skip
    files["MANIFEST.json"] = _text(manifest)
    with replacing(to) as fresh, tarfile.open(fresh, "w:gz") as bundle:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            bundle.addfile(entry, io.BytesIO(content))
    digest = digest_of_file(to)
    text = f"{len(files)} files are in {to}.\nsha256 {digest}"
    print_result({"file": str(to), "sha256": digest, "files": len(files)}, text, as_json=as_json)


def _inventory() -> dict[str, Any]:
    metadata = own_metadata()
    tables = [table for source in metadata["sources"] for table in source["tables"]]
    return {
        "crons": [
            {"name": each["name"], "schedule_utc": each["schedule"], "comment": each.get("comment", "")}
            for each in metadata["cron_triggers"]
        ],
        "event_triggers": [
            trigger["name"] for table in tables for trigger in table.get("event_triggers", [])
        ],
        "actions": [each["name"] for each in metadata["actions"]],
    }


def _collect(folder: Path, report: Path | None) -> Iterator[tuple[str, bytes]]:
    for pattern in PAGES:
        for path in sorted(CLONE.glob(pattern)):
            name = path.relative_to(CLONE).as_posix()
            if not name.startswith(FOR_DEVELOPERS):
                yield name, path.read_bytes()
    for place, name in ((folder, "golive"), *([(report, "report")] if report else ())):
        for path in sorted(each for pattern in RESULTS for each in place.glob(pattern)):
            yield f"{name}/{path.relative_to(place)}", path.read_bytes()


def _leaking(files: Mapping[str, bytes], webhook_url_file: Path) -> list[str]:
    words = webhook_url_file.read_text("utf-8").split() if webhook_url_file.is_file() else []
    tokens = [word.rpartition("/")[2] for word in words if word != "X-Pancake-Secret:"]
    secrets = [each for each in (*known_secrets(), *tokens) if len(each) >= MIN_SECRET_CHARACTERS]
    return sorted(
        name for name, content in files.items() if any(secret.encode() in content for secret in secrets)
    )


def _text(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, ensure_ascii=False, indent=2) + "\n").encode()
