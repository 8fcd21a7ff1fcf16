"""The file `golive.yaml`: what the deployment cannot know by itself."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from ops.failures import WrongUsage, file_reason

SERVICES = ("edge", "handlers", "front_end")


@dataclass(frozen=True, slots=True)
class Service:
    """How a service is deployed and taken back: commands without a shell, and what it answers afterwards."""

    do: tuple[str, ...] = ()
    undo: tuple[str, ...] = ()
    back: tuple[str, ...] = ()
    """The command that brings the former version back, for the drill of tier 2."""

    version: str = ""
    former_version: str = ""
    """What /healthz of the handlers has to name, and what it names after `back`."""

    url: str = ""
    """The address at which the front end answers 200."""


@dataclass(frozen=True, slots=True)
class Pancake:
    """The connection that step 13 creates, as the options of `leads connection create`."""

    name: str
    workspace: int
    key_file: str
    webhook_url_file: str = "webhook-url.txt"
    api_url: str = "https://crm.pancake.vn/api"


@dataclass(frozen=True, slots=True)
class PlanFile:
    """The content of golive.yaml; all of it may be missing, then a person does these parts."""

    services: Mapping[str, Service] = field(default_factory=dict)
    pancake: Pancake | None = None
    source: str = ""
    """Name or Pancake's id of the only source that step 14 switches on."""

    roster: str = ""
    """A staff role whose active members join the default roster in step 14."""

    engine_manifest: str = ""
    """The file with the engine's Deployment or compose service, which `golive precheck` reads."""

    staging_url: str = ""
    """The engine of staging, whose metadata has to equal production's."""

    handler_processes: int = 1

    tell: tuple[str, ...] = ()
    """The command that tells people of a rollback: it gets channel, audience and text as arguments."""

    def service(self, name: str) -> Service:
        return self.services.get(name, Service())


def read_plan_file(path: Path) -> PlanFile:
    """Read the file; an empty plan if it does not exist. Raises WrongUsage."""
    try:
        document = yaml.safe_load(path.read_text("utf-8")) or {}
        return _read(document)
    except FileNotFoundError:
        return PlanFile()
    except OSError as error:
        raise WrongUsage(f"{path} cannot be read: {file_reason(error)}") from error
    except (UnicodeError, yaml.YAMLError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise WrongUsage(
            f"{path} is not a plan: {reason}. docs/runbook/go-live.md has an example."
        ) from error


def commands_of(plan: PlanFile) -> dict[str, str]:
    """Return the commands of the services by the words with which a step names them."""
    return {
        f"golive.yaml, services.{name}.{verb}": shlex.join(command)
        for name, service in plan.services.items()
        for verb, command in (("do", service.do), ("undo", service.undo))
        if command
    }


def _read(document: Mapping[str, Any]) -> PlanFile:
    _refuse_unknown("the file", document, {each.name for each in fields(PlanFile)})
    services = document.get("services") or {}
    _refuse_unknown("services", services, set(SERVICES))
    pancake = document.get("pancake")
    return PlanFile(
        services={name: _service(name, entry or {}) for name, entry in services.items()},
        pancake=Pancake(**pancake) if pancake else None,
        source=str(document.get("source") or ""),
        roster=str(document.get("roster") or ""),
        engine_manifest=str(document.get("engine_manifest") or ""),
        staging_url=str(document.get("staging_url") or ""),
        handler_processes=int(document.get("handler_processes") or 1),
        tell=tuple(shlex.split(str(document.get("tell") or ""))),
    )


def _service(name: str, entry: Mapping[str, Any]) -> Service:
    _refuse_unknown(name, entry, {each.name for each in fields(Service)})
    return Service(
        do=tuple(shlex.split(str(entry.get("do") or ""))),
        undo=tuple(shlex.split(str(entry.get("undo") or ""))),
        back=tuple(shlex.split(str(entry.get("back") or ""))),
        former_version=str(entry.get("former_version") or ""),
        version=str(entry.get("version") or ""),
        url=str(entry.get("url") or ""),
    )


def _refuse_unknown(where: str, entry: Mapping[str, Any], known: set[str]) -> None:
    if unknown := sorted(entry.keys() - known):
        raise ValueError(f"{where} has {', '.join(unknown)}; known are {', '.join(sorted(known))}")
