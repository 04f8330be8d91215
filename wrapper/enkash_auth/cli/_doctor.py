"""The doctor: checks everything that a sign-in needs. Each finding says what to do."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import distributions, requires

import httpx

from enkash_auth._policy.attempts import Ledger
from enkash_auth._policy.cause import address
from enkash_auth._provider import TokenProvider
from enkash_auth._runtime import NoThreadError
from enkash_auth._settings.credentials import Credentials, Secret
from enkash_auth._settings.environment import SETTINGS, Place, all_places, load_origins
from enkash_auth._settings.origin import parse_origins
from enkash_auth.errors import ConfigurationError, EnkashAuthError
from enkash_auth.stores import Store

from ._finding import Finding, fail, ok, warn
from ._host import look_at_host, look_up
from ._status import cannot_be_written, opened, state_of

_SECRET = {"ENKASH_PASSWORD", "ENKASH_CLIENT_SECRET", "ENKASH_TOKEN_STORE"}
_POINTER = re.compile(r"(\. |; if that does not help, )run 'enkash-auth doctor'( for details)?$", re.IGNORECASE)
_READ = "changed files are read in 5 s, variables at a restart"
_USER = f"The settings are ENKASH_USERNAME and ENKASH_PASSWORD: {_READ}"
_LOCK = "Three wrong passwords lock the account"
_MEANING = {  # by what forbids a sign-in; None: only a pause
    "clear": f"{_LOCK}. {_USER}",
    "client": f"The settings are ENKASH_CLIENT_ID, ENKASH_CLIENT_SECRET and ENKASH_BASIC_CLIENT_ID: {_READ}",
    "maybe": f"{_LOCK}, so what may be a refusal counts. {_USER}",
    "open": f"{_LOCK}, so a password without an answer counts. {_USER}",
    "unknown": f"{_LOCK}, so they are sent minutes apart until one is answered. Services do that by themselves",
    None: "Services wait and ask again by themselves: there is nothing to do. Ask EnKash if it lasts",
}


def examine(profile: str | None, sign_in: bool) -> list[Finding]:
    """Return the findings; send the password only if `sign_in`, and never after a refusal.

    What a failure names is not ok: its line says so, though it was looked at before.
    """
    found = list(_examine(profile, sign_in))
    failures = [finding for finding in found if finding.level == "fail"]
    return [finding.unless_failed(failures) for finding in found]


def _examine(profile: str | None, sign_in: bool) -> Iterator[Finding]:
    yield from _settings(profile)
    yield _extras()
    with ExitStack() as stack:
        try:
            provider, store = stack.enter_context(opened(profile))
        except ConfigurationError as error:
            yield fail("configuration", f"{error}; fix this first, the rest was not checked")
            return
        yield from _shape(provider.credentials)
        try:
            yield from look_at_host(provider.credentials)
            yield from _origins(profile, provider.credentials)
        except NoThreadError as error:
            text = f"{error}, and a sign-in needs some: raise the limit of this user or container, or end processes"
            yield fail("threads", text)
        yield from _refusal(provider, store, sign_in)


def _settings(profile: str | None) -> Iterator[Finding]:
    try:
        found = all_places(profile)
    except ConfigurationError:
        return  # reported below
    for name, places in found.items():
        if not places:
            continue  # what is needed and missing is reported below
        first, *others = places
        if others:
            shadowed = " and ".join(other.name for other in others)
            yield warn(name, f"from {first.name}, which shadows {shadowed}: remove what is not meant")
        else:
            yield ok(name, f"from {first.name}")
        if name in _SECRET:
            yield from _mode(name, first)


def _mode(name: str, place: Place) -> Iterator[Finding]:
    try:
        loose = place.path and place.path.stat().st_mode & 0o007
    except OSError:
        return  # a file that cannot be read is reported below
    if loose:
        yield warn(name, f"every user of this machine can use {place.name}: chmod o= it")


def _extras() -> Finding:
    present: dict[str, bool] = {}
    for line in requires("enkash-auth") or []:
        if match := re.match(r"([\w.-]+).*; extra == ['\"](\w+)['\"]", line):
            present[match[2]] = present.get(match[2], True) and any(distributions(name=match[1]))
    missing = ", ".join(name for name, installed in present.items() if not installed)
    usable = ", ".join(name for name, installed in present.items() if installed)
    advice = f"; install what you need of the others: {missing}" if missing else ""
    return ok("extras", f"{usable} can be used{advice}")


def _shape(credentials: Credentials) -> Iterator[Finding]:
    for name in SETTINGS:
        value = getattr(credentials, name)
        text = value.reveal() if isinstance(value, Secret) else value or ""
        if text != text.strip():
            yield warn(f"ENKASH_{name.upper()}", "begins or ends with a blank: remove it if it is a mistake")
    if not re.fullmatch(r"CEK[A-Z0-9]{7}", credentials.client_id):
        text = "is not CEK and seven capitals or digits, as EnKash's company ids are: compare it with the portal"
        yield warn("ENKASH_CLIENT_ID", text)
    if path := httpx.URL(credentials.base_url).raw_path.decode().rstrip("/"):  # as sent: no control codes
        text = f"has a path: token requests go to {path}/oauth/token; remove the path if that is a mistake"
        yield warn("ENKASH_BASE_URL", text)
    if credentials.origin[0] == "http":
        yield warn("ENKASH_BASE_URL", "is plain http: use it only for a sandbox on this machine")


def _origins(profile: str | None, credentials: Credentials) -> Iterator[Finding]:
    try:
        listed = parse_origins(load_origins(profile))
    except ConfigurationError as error:
        yield fail("origins", str(error))
        return
    origins = sorted(listed or {credentials.origin})
    named = ", ".join(f"{scheme}://{address(host, port)}" for scheme, host, port in origins)
    advice = "" if listed else "; name APIs on other hosts in ENKASH_ORIGINS, or in code: EnkashAuth(origins=...)"
    yield ok("origins", f"tokens go to {named} only{advice}")
    for origin in sorted(listed - {credentials.origin}):
        yield look_up(origin, "ENKASH_ORIGINS")


def _refusal(provider: TokenProvider, store: Store | None, sign_in: bool) -> Iterator[Finding]:
    state, why_not = state_of(provider.credentials, store), "run doctor --sign-in to try it"
    if store is None:
        yield warn("store", "ENKASH_TOKEN_STORE names none: processes share no token; set it for several")
        if state.locked:
            text = f"{state.trouble}, so no password leaves: end it (it may be stopped, or an open sqlite3 shell)"
            yield fail("attempts", text)
            return
        if state.trouble:
            text = f"{state.trouble}: each restart may send one password more; set ENKASH_ATTEMPTS to a writable file"
            yield warn("attempts", text)
    elif state.trouble:
        yield fail("store", f"{state.trouble}: until it answers, each process signs in by itself")
        return  # the credentials may have been refused: send no password
    elif (sign_in or state.ledger != Ledger()) and (why := cannot_be_written(store)):  # else it may not be made yet
        text = f"{why}. It can be read, but keeps no new token and no refusal: check its space and permissions"
        yield fail("store", text)
        sign_in, why_not = False, "the store comes first"
    else:
        untried = "" if sign_in or state.ledger != Ledger() else "; whether it can be written, doctor --sign-in tries"
        yield ok("store", f"{state.store} answers{untried}")
    if state.failure:
        forbidden = _in_words(state.failure.to_exception())
        if state.refusal == "final":
            yield fail("refusal", forbidden)
            return
        yield warn("refusal" if state.refusal == "limited" else "back-off", forbidden)
    stored = state.token is not None
    signed_in = _signed_in(provider, stored) if sign_in else ok("sign-in", f"not tried: {why_not}")
    if not state.trouble and not state.failure and signed_in.level == "ok":
        yield ok("refusal", "no refusal of these credentials is known")
    yield signed_in


def _signed_in(provider: TokenProvider, stored: bool) -> Finding:
    try:
        token = provider.token()
    except EnkashAuthError as error:
        return fail("sign-in", _in_words(error))
    text = f"a token that expires at {token.expires_at.isoformat(timespec='seconds')}"
    return ok("sign-in", f"{text}, from the store: no request was sent" if stored else text)


def _in_words(error: EnkashAuthError) -> str:
    """Return an error with its meaning in place of its pointer to the doctor."""
    said = _POINTER.sub("", str(error))
    return f"{said}. {_MEANING[getattr(error, 'row', 'maybe')]}"  # no token in a 200, too
