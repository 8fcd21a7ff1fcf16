"""The file `golive.yaml`: what the deployment cannot know by itself."""

import shlex
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import yaml
from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from ops.failures import WrongUsage, file_reason

PLAN = Path("golive.yaml")
PlanOption = Annotated[Path, typer.Option("--file", help="What is special to your installation.")]
STRICT = ConfigDict(extra="forbid", coerce_numbers_to_str=True, defer_build=True)


def _words(given: Any) -> tuple[str, ...]:
    return given if isinstance(given, tuple) else tuple(shlex.split(str(given)))


Command = Annotated[tuple[str, ...], BeforeValidator(_words)]
"""A command without a shell; in the file it is one text."""
ServiceName = Literal["edge", "handlers", "front_end"]


@dataclass(frozen=True, slots=True, config=STRICT)
class Service:
    """How a service is deployed and taken back, and what it answers afterwards.

    `back` brings the former version back, for the drill of tier 2. /healthz of the handlers has to name
    `version`, and after `back` `former_version`; at `url` the front end answers 200.
    """

    do: Command = ()
    undo: Command = ()
    back: Command = ()
    version: str = ""
    former_version: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True, config=STRICT)
class Pancake:
    """The connection that step 13 creates, as the options of `leads connection create`."""

    name: str
    workspace: int
    key_file: str
    webhook_url_file: str = "webhook-url.txt"
    api_url: str = "https://crm.pancake.vn/api"


@dataclass(frozen=True, slots=True, config=STRICT)
class PlanFile:
    """The content of golive.yaml; all of it may be missing, then a person does these parts.

    Step 14 switches only `source` on, a name or Pancake's id, and lets the active members of `roster`, a
    staff role, join the default roster. `golive precheck` reads `engine_manifest`, the engine's Deployment or
    compose service, and compares the metadata of the engine at `staging_url`. The command `tell` tells people
    of a rollback: it gets channel, audience and text as arguments.
    """

    services: Mapping[ServiceName, Service] = field(default_factory=dict)
    pancake: Pancake | None = None
    source: str = ""
    roster: str = ""
    engine_manifest: str = ""
    staging_url: str = ""
    handler_processes: int = 1
    tell: Command = ()

    def service(self, name: ServiceName) -> Service:
        return self.services.get(name, Service())


def read_plan_file(path: Path) -> PlanFile:
    try:
        document = yaml.safe_load(path.read_text("utf-8"))
        return TypeAdapter(PlanFile).validate_python(_without_empty(document or {}))
    except FileNotFoundError:
        return PlanFile()
    except OSError as error:
        raise WrongUsage(f"{path} cannot be read: {file_reason(error)}") from error
    except ValidationError as error:
        fault = error.errors()[0]
        reason = f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
    except (UnicodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
    raise WrongUsage(f"{path} is not a plan: {reason}. docs/runbook/go-live.md has an example.")


def _without_empty(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: _without_empty(each) for name, each in value.items() if each is not None}


def commands_of(plan: PlanFile) -> dict[str, str]:
    """Return the commands of the services by the words with which a step names them."""
    return {
        f"golive.yaml, services.{name}.{verb}": shlex.join(command)
        for name, service in plan.services.items()
        for verb, command in (("do", service.do), ("undo", service.undo))
        if command
    }
