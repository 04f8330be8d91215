"""Errors of a command: one line on stderr and an exit code, even if stdout or stderr cannot be written."""

import os
import sys
from io import TextIOWrapper
from typing import Any, TextIO

import click

from enkash_auth.errors import ConfigurationError, EnkashAuthError, ProtocolError, RefusedError, UnavailableError

CODES = {ConfigurationError: 3, RefusedError: 4, UnavailableError: 5, ProtocolError: 6}


class Group(click.Group):
    def main(self, *args: Any, **kwargs: Any) -> Any:
        if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
            sys.stdout.reconfigure(errors="backslashreplace")  # a path may hold bytes that are no text; as stderr does
        try:
            return super().main(*args, **kwargs)
        except OSError as error:  # for example a full disk; click handles a closed pipe
            why = error.strerror or type(error).__name__
        _say(f"the output cannot be written: {why}")
        _drop(sys.stdout)
        sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EnkashAuthError as error:
            _say(str(error))
            code = CODES[type(error)]
        ctx.exit(code)


def _say(error: str) -> None:
    """Print an error to stderr; if that fails, the exit code still shows it."""
    try:
        click.echo(f"Error: {error}", err=True)
    except OSError:
        _drop(sys.stderr)


def _drop(stream: TextIO) -> None:
    """Discard unwritten output: else the interpreter fails on it again at exit, with code 120."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
