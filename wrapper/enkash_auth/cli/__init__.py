"""`enkash-auth`, for a person at a terminal and for scripts; needs the extra `[cli]`."""

import sys


def main() -> None:
    """Run the command; it ends the process with the exit code that `--help` documents."""
    try:
        import click  # noqa: F401
    except ImportError:
        sys.exit("Error: this command needs the extra enkash-auth[cli]")
    from ._commands import cli

    cli(prog_name="enkash-auth")
