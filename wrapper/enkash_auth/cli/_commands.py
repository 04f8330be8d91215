"""The commands, their options and exit codes."""

import json
import logging
import os
import shlex
import sys
import threading
from contextlib import suppress
from typing import Any

import click

from enkash_auth._provider import TokenProvider
from enkash_auth._settings.environment import attempts_path
from enkash_auth._versions import spec_version, version
from enkash_auth.errors import ConfigurationError

from ._doctor import examine
from ._group import CODES, Group
from ._status import opened, state_of

_EPILOG = """\b
Exit codes:
  0  done; status: there is a valid token, or nothing forbids a sign-in
  1  doctor: a finding is "fail"; reset: the file cannot be written, or is locked; any: the output cannot be written
  2  wrong usage
  3  settings are missing or malformed; reset: ENKASH_ATTEMPTS is off
  4  the server refused the sign-in, now or before
  5  no answer now: network, timeout, 5xx or 429
  6  the server's answer holds no token
"""
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"enkash-auth {version()} (spec {spec_version()})")
        ctx.exit()


@click.group(cls=Group, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--profile", metavar="NAME", help="The profile that settings come from, instead of ENKASH_PROFILE.")
@click.option("-v", "--verbose", count=True, help="Log to stderr; -vv logs more.")
@click.option("--no-color", is_flag=True, help="No colour. NO_COLOR in the environment does the same.")
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show version and spec."
)
@click.pass_context
def cli(ctx: click.Context, profile: str | None, verbose: int, no_color: bool) -> None:
    """Sign in to EnKash, and find out why that fails."""
    ctx.obj = profile
    plain = no_color or os.environ.get("NO_COLOR")  # noqa: TID251  # a convention of all commands, not one of our settings
    ctx.color = False if plain else None
    if verbose:
        level = logging.INFO if verbose == 1 else logging.DEBUG
        logging.basicConfig(level=level, format="%(asctime)s %(name)s %(levelname)s %(message)s")


@cli.command()
@click.option("--header", is_flag=True, help="Print the whole Authorization header.")
@_as_json
@click.pass_obj
def token(profile: str | None, header: bool, as_json: bool) -> None:
    """Print a valid access token and nothing else.

    \b
    curl -H "Authorization: Bearer $(enkash-auth token)" ...
    """
    if header and as_json:
        raise click.UsageError("--header and --json exclude each other")
    if sys.stdout is None:  # `>&-`
        raise click.ClickException("stdout is closed, and the token would be printed there; no token was asked for")
    with TokenProvider.from_env(profile=profile) as provider:
        got = provider.token()
    if sys.stdout.isatty():  # pragma: no cover - a test sees it on a terminal of its own
        click.echo("Warning: the next line is a secret, now on your screen.", err=True)
    if as_json:
        click.echo(json.dumps({"access_token": got.access_token, "expires_at": got.expires_at.isoformat()}))
    else:
        click.echo(f"Authorization: Bearer {got.access_token}" if header else got.access_token)


@cli.command()
@_as_json
@click.pass_obj
def status(profile: str | None, as_json: bool) -> None:
    """Show account, store, token, refusal and back-off.

    Sends no request. For probes: the exit code is 0 if the store has a valid token, or if nothing forbids a sign-in.
    """
    with opened(profile) as (provider, store):
        state = state_of(provider.credentials, store)
    click.echo(json.dumps(state.as_json()) if as_json else state.as_table())
    if state.failure and not state.token:
        error = state.failure.to_exception()
        if as_json:
            raise error
        click.get_current_context().exit(CODES[type(error)])  # the table has its text


@cli.command()
@click.option("--sign-in", is_flag=True, help="Also sign in, unless the credentials were refused.")
@_as_json
@click.pass_context
def doctor(ctx: click.Context, sign_in: bool, as_json: bool) -> None:
    """Check everything and say what to do.

    It checks settings, host, TLS, clock, store, refusal and extras. Without --sign-in it sends no password.
    """
    findings = examine(ctx.obj, sign_in)
    if as_json:
        click.echo(json.dumps({"findings": [finding.as_json() for finding in findings]}))
    else:
        click.echo("\n".join(finding.as_line() for finding in findings))
    ctx.exit(1 if any(finding.level == "fail" for finding in findings) else 0)


@cli.command()
@click.pass_obj
def reset(profile: str | None) -> None:
    """Delete refusal and token from the store, for all its processes.

    Without a store: the passwords counted for this user on this machine. The next call signs in, so correct refused
    credentials first.
    """
    with opened(profile, "raise") as (provider, store):
        state = state_of(provider.credentials, None) if store is None else None
        if state and state.trouble and not state.locked:  # a reset says that itself
            advice = "set ENKASH_ATTEMPTS to a writable file and restart them" if attempts_path() else "restart them"
            text = f"{state.trouble}: nothing was reset, for each process counts passwords by itself; {advice}"
            raise click.ClickException(text) if attempts_path() else ConfigurationError(text)
        provider.reset()
        host = provider.credentials.origin[1]
    what = "The store has no token and no refusal" if store is not None else "This user has no refusal"
    click.echo(f"{what} of {host} any more.")


@cli.command()
@click.option("--life", type=click.FloatRange(min=0), default=300, show_default=True, help="Seconds a token is valid.")
@click.option("--sticky/--fresh", default=True, show_default=True, help="Re-issue a token until it expires, or not.")
@click.option("--latency", type=click.FloatRange(min=0), default=0, show_default=True, help="Seconds until an answer.")
@click.option(
    "--lock-after", type=click.IntRange(min=1), default=3, show_default=True, help="Refusals that lock the account."
)
@click.option("--casing", type=click.Choice(["snake", "camel"]), default="snake", show_default=True)
@click.option("--dialect", default="spring", metavar="NAME", help="How a wrong password is refused: keycloak, 422, ...")
@click.option(
    "--fault", "faults", metavar="NAME", multiple=True, help="The next token request fails like this. Repeatable."
)
@click.option("--outage", metavar="NAME", help="Every token request fails like this: user_database_down, 502, ...")
def sandbox(faults: tuple[str, ...], **options: Any) -> None:
    """Run a token server to experiment with.

    It has a throw-away account and runs on a loopback port until Ctrl-C. It prints `export` lines; with these
    variables, enkash-auth and services use it. A wrong NAME is an error that lists the right ones.
    """
    from enkash_auth.testing import Sandbox

    try:
        server = Sandbox(**options)
        for fault in faults:
            server.fail_next(fault)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    try:
        server.serve()
    except ImportError as missing:
        raise ConfigurationError(str(missing)) from None
    with server, suppress(KeyboardInterrupt):  # pragma: no cover - a test ends it with a signal
        for name, value in {**server.environment(), "API_URL": server.base_url}.items():
            if name != "ENKASH_ATTEMPTS":  # a shell may come to real credentials next, whose passwords are counted
                click.echo(f"export {name}={shlex.quote(value)}")
        click.echo(f"The sandbox runs at {server.base_url} until Ctrl-C.", err=True)
        refused = 0
        while not threading.Event().wait(0.2):
            if server.attempts_refused > refused:
                refused = server.attempts_refused
                click.echo(f"refused: {server.failed_passwords} of {server.lock_after} wrong passwords", err=True)
