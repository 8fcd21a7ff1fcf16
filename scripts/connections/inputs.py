"""Where secrets come from and go to: prompts, files, the environment; never arguments, never logs."""

import os
import sys
from pathlib import Path

import typer

from leads.services.connection_secrets import new_secret


def read_secret(
    what: str, file: Path | None = None, variable: str | None = None, generate: bool = False
) -> str:
    """A secret from a file (`-` is standard input), a variable, made anew, or a hidden prompt.

    Raises typer.BadParameter if there is none.
    """
    if generate:
        return new_secret()
    if file is not None:
        value = sys.stdin.read() if str(file) == "-" else _read(file)
    elif variable is not None:
        value = os.environ.get(variable, "")
    elif sys.stdin.isatty():
        value = typer.prompt(what, hide_input=True, confirmation_prompt=True)
    else:
        raise typer.BadParameter(f"{what}: give --file or --variable, or run this in a terminal to be asked")
    value = value.strip()
    if not value or any(character.isspace() for character in value):
        raise typer.BadParameter(f"{what}: empty, or with white space inside")
    return value


def show_once(what: str, value: str, file: Path | None) -> None:
    """Print a secret that is stored nowhere, or write it to a new file that only its owner may read."""
    if file is None:
        typer.echo(f"{what}, shown this once:", err=True)
        typer.echo(value)
        return
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be made: {error.strerror}") from error
    with os.fdopen(descriptor, "w") as out:
        out.write(value + "\n")
    typer.echo(f"{what} is in {file}.", err=True)


def check_free(file: Path | None) -> None:
    """Raise typer.BadParameter if the file for a new secret exists, before anything is changed."""
    if file is not None and (file.exists() or not file.absolute().parent.is_dir()):
        raise typer.BadParameter(f"{file} exists already, or its folder does not")


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{file} cannot be read: {error}") from error
