"""Checks the way to the server, from DNS to its clock, without a password."""

import socket
import ssl
import time
from collections.abc import Callable, Container, Iterator
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpx

from enkash_auth._policy.cause import address, cause_of
from enkash_auth._runtime import call_within
from enkash_auth._settings.credentials import Credentials
from enkash_auth._settings.origin import Origin
from enkash_auth._signin.tls import tls_context
from enkash_auth._versions import version

from ._finding import Finding, fail, ok, warn

_PATIENCE = 5.0  # seconds for a name, and for each step of an answer
_SKEW = 5.0  # seconds
_SPRING = 'Basic realm="oauth2/client"'
# what a token endpoint, or something else, says to HEAD
_ANSWERS: tuple[tuple[Container[int], Callable[[str, str], Finding], str], ...] = (
    ([401], ok, "host and path are right, and the software is not stock Spring Security OAuth"),
    ([400, 405, 415], ok, "something at this path takes no HEAD, as a token endpoint may"),
    (range(300, 400), warn, "sign-ins follow no redirect: set ENKASH_BASE_URL to the host that it leads to"),
    ([403, 407], warn, "a proxy or firewall may forbid it: ask EnKash to allow-list this machine's address"),
    ([404, 410], warn, "it may have no token endpoint: compare host and path of ENKASH_BASE_URL with EnKash's"),
    ([429], warn, "it is busy: wait, services ask again by themselves"),
    (range(500, 600), fail, "it is out of order, and sign-ins will fail: wait, and ask EnKash if it lasts"),
    (range(1000), warn, "this may be no token endpoint: compare ENKASH_BASE_URL with EnKash's"),
)
_EXPIRES = 14.0  # days before expiry at which a certificate becomes a warning


def look_at_host(credentials: Credentials) -> Iterator[Finding]:
    """Look up the host, connect, send one HEAD to the token endpoint, without credentials."""
    scheme, host, port = credentials.origin
    yield (found := look_up(credentials.origin, "ENKASH_BASE_URL"))
    if found.level == "fail":
        return
    try:  # a server that drips headers outlasts every timeout of httpx
        yield from call_within(3 * _PATIENCE, partial(_ask, f"{credentials.base_url}/oauth/token"))
    except (httpx.HTTPError, TimeoutError) as error:
        target = address(host, port) + (", through the proxy that is set" if _proxied(scheme, host) else "")
        yield fail("connection", _trouble(error, target))


def _ask(url: str) -> list[Finding]:
    headers = {"User-Agent": f"enkash-auth/{version()}", "Cache-Control": "no-cache"}
    client = httpx.Client(headers=headers, timeout=_PATIENCE, verify=tls_context(True), mounts={"http://": None})
    # httpx reads where a redirect leads even if it does not follow, and may fail
    client.event_hooks["response"].append(lambda answer: answer.headers.pop("Location", None))
    began = time.time()
    with client, client.stream("HEAD", url) as answer:
        ended = time.time()
        connection = answer.extensions["network_stream"].get_extra_info("ssl_object")
        certificate = [] if connection is None else [_certificate(connection)]
        return [*certificate, _skew(answer.headers.get("Date"), began, ended), _software(answer)]


def look_up(origin: Origin, setting: str) -> Finding:
    """Look up the host that a setting names, unless a proxy will."""
    scheme, host, port = origin
    if _proxied(scheme, host):
        return ok("DNS", f"an https proxy is set, which looks up {host}")
    try:
        found = call_within(_PATIENCE, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError):  # TimeoutError is an OSError
        return fail("DNS", f"{host} has no address: check {setting} and this machine's resolver")
    return ok("DNS", f"{host} is {', '.join(sorted({str(entry[4][0]) for entry in found}))}")


def _proxied(scheme: str, host: str) -> bool:
    proxies = getproxies()
    return scheme == "https" and bool(proxies.get("https") or proxies.get("all")) and not proxy_bypass(host)


def _software(answer: httpx.Response) -> Finding:
    """Return what the answer to a HEAD without credentials says of the token endpoint."""
    status, challenge = answer.status_code, answer.headers.get("WWW-Authenticate", "")
    if status == 401 and challenge == _SPRING:
        return ok("server", f"answers as stock Spring Security OAuth (401 {challenge}): host and path are right")
    make, text = next((make, text) for known, make, text in _ANSWERS if status in known)
    return make("server", f"answers {status} to a request without credentials: {text}")


def _trouble(error: Exception, target: str) -> str:
    cause = cause_of(error)
    advice = "check firewall, proxy and EnKash's allow-list"
    if cause.endswith(("has expired)", "not yet valid)")):
        advice = "check the clock of this machine; if it is right, tell the operator of the host"
    elif cause.startswith("certificate"):
        advice = "set SSL_CERT_FILE if your proxy re-signs, else tell the operator of the host"
    elif cause.startswith("TLS"):
        advice = "check that ENKASH_BASE_URL names an https port"
    return f"no answer from {target}: {cause}; {advice}"


def _certificate(connection: Any) -> Finding:
    """`connection` comes from httpcore: an `ssl.SSLSocket`, behind a proxy an `ssl.SSLObject`."""
    left = (ssl.cert_time_to_seconds(connection.getpeercert()["notAfter"]) - time.time()) / 86_400
    text = f"{connection.version()}, the certificate expires in {left:.0f} days"
    return warn("TLS", f"{text}: tell the operator of the host") if left < _EXPIRES else ok("TLS", text)


def _skew(date: str | None, began: float, ended: float) -> Finding:
    try:
        theirs = parsedate_to_datetime(date or "").timestamp()
    except (ValueError, OverflowError):
        return warn("clock", "the server sends no time: check that NTP sets the clock of this machine")
    # the server read its clock during the round trip, and cut off the fraction
    skew = began - theirs - 1 if began > theirs + 1 else min(0.0, ended - theirs)
    if abs(skew) > _SKEW:
        way = "ahead of" if skew > 0 else "behind"
        return warn("clock", f"this machine is {abs(skew):.0f} s {way} the server: set its clock by NTP")
    return ok("clock", f"within {_SKEW:.0f} s of the server's")
