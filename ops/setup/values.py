"""What Docker Compose and Kubernetes read beside the environment files: `.env`, an overlay of Kustomize."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from ops.failures import CommandFailed, WrongUsage, file_reason
from ops.files import digest_of, write_file
from ops.golive.deploy.site import Site
from ops.golive.deploy.step import Action, Found, State, Step, function
from ops.metadata.directory import parse
from ops.settings import CLONE, read_variable, read_version
from ops.setup.answers import Answers, Way
from ops.setup.env_files import EDGE, HANDLERS, OPS, check_value

MARK = "# leads setup writes this file anew for another version, unless a person changed it: "
"""The first line, followed by the digest of the lines below it."""
ENV_FILE, COMPOSE_FILE = ".env", "compose.production.yaml"
IMAGES = NAMESPACE = "pancake-diva"
MONITORING, NO_MONITORING = "kube-prometheus-stack", "none"
"""The label of the shipped monitors and rules; the answer where there is no Prometheus Operator."""

WAYS = parse(Path(__file__).with_name("ways.yaml"))
START: Mapping[str, str] = {way: row["start"] for way, row in WAYS.items()}
SWITCH: Mapping[str, str] = {way: row["switch"] for way, row in WAYS.items()}
KUBECTL = "kubectl -n pancake-diva"
FOLDER_OF_COMPOSE = "pancake"


@dataclass(frozen=True, slots=True)
class ValueFile:
    """A file without secrets, and its wanted text: it is written unless a person changed it."""

    path: Path
    text: str

    def look(self) -> Found:
        """Compare what is there. Raises CommandFailed if it cannot be read."""
        if (there := self._read()) is None:
            return Found(State.ABSENT, f"{self.path} is missing")
        first, _, rest = there.partition("\n")
        if rest == self.text:
            return Found(State.DONE, f"{self.path} has the values of this version")
        if first == _mark(rest):
            return Found(State.PARTIAL, f"{self.path} is of another version, or of other answers")
        lines = there.splitlines()
        if self.path.name == ENV_FILE and not first.startswith(MARK):
            keys = {line.partition("=")[0] for line in lines}
            absent = [line for line in self.text.splitlines() if line.partition("=")[0] not in keys]
            if absent:
                text = f"Add these lines: {' · '.join(absent)} (a file of others is never overwritten)"
                return Found(State.PARTIAL, f"{self.path} is not of leads setup. {text}")
        lacking = [line.strip() for line in self.text.splitlines() if line not in lines]
        lacks = f"; for this version it lacks: {' · '.join(lacking)}" if lacking else ""
        return Found(State.DONE, f"{self.path} was changed by a person, and stays{lacks}")

    def is_due(self) -> bool:
        """Whether it has to be written: it is missing, or as a run before wrote it. Raises CommandFailed."""
        there = self._read()
        first, _, rest = (there or "").partition("\n")
        return there is None or (rest != self.text and first == _mark(rest))

    def _read(self) -> str | None:
        try:
            return self.path.read_text("utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeError) as error:
            raise CommandFailed(f"{self.path} cannot be read: {file_reason(error)}.") from error

    def write(self) -> None:
        """Write it. Raises OSError."""
        write_file(self.path, f"{_mark(self.text)}\n{self.text}")


def value_files(answers: Answers, folder: Path) -> list[ValueFile]:
    """Return what the way to run the services needs beside the folder. Raises WrongUsage."""
    if (way := answers["way"]) == Way.COMPOSE:
        return [ValueFile(folder.parent / ENV_FILE, _compose_values(answers, folder.parent))]
    if way == Way.KUBERNETES:
        texts = _overlay(answers, folder.name).items()
        return [
            ValueFile(folder.parent / name, yaml.safe_dump(text, sort_keys=False)) for name, text in texts
        ]
    return []


def finish_command(answers: Answers, folder: Path) -> str:
    """Return the third command. The pod of Kubernetes gets folder and project, and gives them back."""
    if (way := answers["way"]) != Way.KUBERNETES:
        return str(WAYS[way]["finish"]).format(folder=folder)
    project = answers["project"]
    in_pod = {each: Path(each).resolve().name for each in (str(folder), project) if each}
    to_pod = [f"{KUBECTL} cp {here} ops-0:/data" for here in in_pod]
    back = [f"{KUBECTL} cp ops-0:/data/{there} {here}" for here, there in in_pod.items()]
    moved = f" --project {in_pod[project]}" if project and in_pod[project] != project else ""
    finish = f"{KUBECTL} exec -it ops-0 -- leads setup --folder {in_pod[str(folder)]}{moved} --finish"
    return f"{' && '.join([*to_pod, finish])}\nAfter it, however it ended: {' && '.join(back)}"


def check_folder(answers: Answers, folder: Path) -> None:
    """Raise WrongUsage if the way reads another folder."""
    if answers["way"] == Way.COMPOSE and folder.name != FOLDER_OF_COMPOSE:
        raise WrongUsage(
            f"{COMPOSE_FILE} reads the folder {FOLDER_OF_COMPOSE}, not {folder}: leave --folder out, or "
            f"name one whose last part is {FOLDER_OF_COMPOSE}."
        )


def value_steps(answers: Answers, folder: Path) -> list[Step]:
    """Return the step that writes these files, if there are any."""
    files = value_files(answers, folder)

    def check(_: Site) -> Found:
        found = [each.look() for each in files]
        due = [each for each in found if each.state is not State.DONE]
        is_absent = all(each.state is State.ABSENT for each in found)
        state = State.ABSENT if is_absent else State.PARTIAL if due else State.DONE
        return Found(state, "; ".join(each.text for each in due or found))

    def do(_: Site) -> Sequence[Action]:
        due = [each for each in files if each.is_due()]
        paths = [str(each.path) for each in due]

        def write() -> str:
            for each in due:
                each.write()
            answers.remember()
            return f"wrote {', '.join(paths)}"

        return [function(("write", *paths), write)] if due else []

    step = Step(
        "values", f"Values for {answers['way']}", check, do,
        does=tuple(
            line for each in files
            for line in (f"write {each.path}, mode 600:", *(f"  {line}" for line in each.text.splitlines()))
        ),
        fix="Make the folder writable, then run this again.", do_by_hand="Then run this again.",
    )  # fmt: skip
    return [step] if files else []


def _mark(text: str) -> str:
    return f"{MARK}{digest_of(text.encode())}"


def _tag(answers: Answers) -> str:
    """Return the tag of the images: that of the image in which this runs, else the version."""
    of_image = "" if (CLONE / "pyproject.toml").exists() else read_variable("VERSION")
    return answers["image_tag"] or (of_image if of_image not in ("", "unknown") else read_version())


def _compose_values(answers: Answers, folder: Path) -> str:
    values = {
        "PANCAKE_IMAGES": answers["images"] or IMAGES,
        "VERSION": _tag(answers),
        "PUBLIC_HOST": urlsplit(answers["public_url"]).hostname or "",
        "HANDLERS_PUBLISH": _address(answers["handlers_url"]),
        "COMPOSE_FILE": COMPOSE_FILE if (folder / COMPOSE_FILE).exists() else "",
    }
    return "".join(f"{name}={check_value(name, value)}\n" for name, value in values.items() if value)


def _address(url: str) -> str:
    """Return the address to listen on: that of the URL if an engine elsewhere calls it by number."""
    parts = urlsplit(url)
    try:
        ip_address(parts.hostname or "")
    except ValueError:
        return ""
    return parts.netloc if parts.scheme == "http" and parts.port else ""


def _overlay(answers: Answers, folder: str) -> dict[str, Any]:
    """Return the documents of the overlay. An engine in our namespace needs no way opened."""
    base, tag, images = answers["manifests"], _tag(answers), answers["images"] or IMAGES
    engine = {"namespace": answers["engine_namespace"], "app": answers["engine_app"]}
    monitoring = answers["monitoring"]
    components = ["engine"] * (engine["namespace"] != NAMESPACE) + ["ops", "migrate"]
    components += ["monitoring"] * (monitoring != NO_MONITORING)
    overlay: dict[str, Any] = {
        "namespace": NAMESPACE,
        "resources": [base, *["engine.yaml"] * ("engine" in components)],
        "components": [f"{base}/{name}" for name in components],
        "secretGenerator": [
            {"name": file.removesuffix(".env"), "envs": [f"{folder}/{file}"]}
            for file in (HANDLERS, EDGE, OPS)
        ],
        "images": [
            {"name": f"{IMAGES}/{name}", "newName": f"{images}/{name}", "newTag": tag}
            for name in ("handlers", "edge", "ops")
        ],
    }  # fmt: skip
    if monitoring not in (MONITORING, NO_MONITORING):
        change = [{"op": "replace", "path": "/metadata/labels/release", "value": monitoring}]
        overlay["patches"] = [
            {"target": {"group": "monitoring.coreos.com"}, "patch": yaml.safe_dump(change)}
        ]  # fmt: skip
    of_engine = {
        "apiVersion": "v1", "kind": "ConfigMap",
        # It stays out of the cluster: the component `engine` takes its two values.
        "metadata": {"name": "engine", "annotations": {"config.kubernetes.io/local-config": "true"}},
        "data": engine,
    }  # fmt: skip
    files = {"kustomization.yaml": overlay, "engine.yaml": of_engine}
    return files if "engine" in components else {"kustomization.yaml": overlay}
