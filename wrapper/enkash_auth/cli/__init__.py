"""The command `enkash-auth`; it needs the extra `[cli]`."""

import sys


def main() -> None:
    """Run the command and exit with a code of `--help`."""
    try:
        try:
            import click  # noqa: F401
        except ImportError:
            sys.exit("Error: the command needs the extra enkash-auth[cli]")
        from ._commands import cli

        cli(prog_name="enkash-auth")
    except KeyboardInterrupt:  # while it loads, for half a second; after that click says the same
        sys.exit("Aborted!")
