"""The engine's settings, which no API tells: from its Deployment of Kubernetes or its compose file."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ops.failures import CommandFailed, file_reason

IMAGE = "graphql-engine"
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
DOCKER_GRACE_SECONDS, KUBERNETES_GRACE_SECONDS = 10.0, 30.0
"""What applies if the file names nothing."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """How the engine is started. `image` is its tag, for example v2.50.6."""

    image: str
    replicas: int
    grace_seconds: float
    environment: Mapping[str, str]

    def number(self, name: str, default: float) -> float:
        """Return a numeric variable HASURA_GRAPHQL_…; `default` is the engine's own. Raises NotRead."""
        text = self.environment.get(f"HASURA_GRAPHQL_{name}", "")
        try:
            return float(text) if text else default
        except ValueError as error:
            raise CommandFailed(
                f"HASURA_GRAPHQL_{name} of the manifest is {text!r}, not a number."
            ) from error


def read_manifest_file(path: Path) -> Manifest:
    """Read the engine's part of a file. Raises CommandFailed."""
    try:
        documents = [each for each in yaml.safe_load_all(path.read_text("utf-8")) if isinstance(each, dict)]
        for document in documents:
            if found := _from_kubernetes(document) or _from_compose(document):
                return found
    except (OSError, UnicodeError) as error:
        raise CommandFailed(f"{path} cannot be read: {file_reason(error)}") from error
    except (yaml.YAMLError, AttributeError, TypeError, KeyError, ValueError) as error:
        raise CommandFailed(f"{path} is no Deployment and no compose file: {file_reason(error)}") from error
    raise CommandFailed(f"{path} has no container of the image {IMAGE}.")


def _from_kubernetes(document: Mapping[str, Any]) -> Manifest | None:
    if document.get("kind") not in ("Deployment", "StatefulSet"):
        return None
    pod = document["spec"]["template"]["spec"]
    for container in pod["containers"]:
        if IMAGE in container["image"]:
            variables = {each["name"]: str(each.get("value", "")) for each in container.get("env", [])}
            grace = float(pod.get("terminationGracePeriodSeconds", KUBERNETES_GRACE_SECONDS))
            replicas = int(document["spec"].get("replicas", 1))
            return Manifest(_tag(container["image"]), replicas, grace, variables)
    return None


def _from_compose(document: Mapping[str, Any]) -> Manifest | None:
    for service in (document.get("services") or {}).values():
        if IMAGE not in str(service.get("image", "")):
            continue
        given = service.get("environment") or {}
        if isinstance(given, list):
            given = dict(str(each).partition("=")[::2] for each in given)
        variables = {name: "" if value is None else str(value) for name, value in given.items()}
        replicas = int(((service.get("deploy") or {}).get("replicas")) or 1)
        grace = _seconds(str(service.get("stop_grace_period", DOCKER_GRACE_SECONDS)))
        return Manifest(_tag(service["image"]), replicas, grace, variables)
    return None


def _tag(image: str) -> str:
    found = re.search(r":(v?\d+\.\d+\.\d+)", image)
    return found[1] if found else ""


def _seconds(text: str) -> float:
    """Read a time of Docker Compose: 180s, 3m, 1m30s."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not parts:
        raise ValueError(text)
    return sum(float(number) * UNITS[unit] for number, unit in parts)
