"""The dialects: how a server may refuse a password. No page of the vendor shows it, so the sandbox speaks them all."""

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ._answers import BASIC, JSON, NO_STORE, Answer

Kind = Literal["clear", "client", "maybe", "unknown", "not tried"]
_REASON = "(reason)"  # gives way to the reason: bad credentials, a locked account, a disabled user


@dataclass(frozen=True)
class Dialect:
    """One way of refusing; `kind` is what a careful client makes of it."""

    kind: Kind
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    sent: Literal["whole", "cut", "dropped", "silence"] = "whole"

    def refusal(self, reason: str) -> Answer:
        """The answer to a password that is refused for this reason."""
        headers = {name: value.replace(_REASON, reason) for name, value in self.headers.items()}
        return Answer(self.status, self.body.replace(_REASON.encode(), reason.encode()), headers, self.sent)


def _json(kind: Kind, status: int, value: object, headers: Mapping[str, str] | None = None) -> Dialect:
    return Dialect(kind, status, {"Content-Type": JSON, **NO_STORE, **(headers or {})}, json.dumps(value).encode())


def _oauth(kind: Kind, status: int, error: str, headers: Mapping[str, str] | None = None) -> Dialect:
    return _json(kind, status, {"error": error, "error_description": _REASON}, headers)


def _html(kind: Kind, status: int, title: str, headers: Mapping[str, str] | None = None) -> Dialect:
    page = Answer.page(status, title, headers)
    return Dialect(kind, status, page.headers, page.content())


_OTHER_CLIENT = {"WWW-Authenticate": f'Bearer error="invalid_client", error_description="{_REASON}"'}
_BEARER = {"WWW-Authenticate": f'Bearer error="unauthorized", error_description="{_REASON}"'}
_PACKED = {"Content-Type": JSON, "Content-Encoding": "gzip"}
# The vendor's own, documented for Rewards with status 200.
_ENVELOPE = {"response_code": 1, "response_message": "FAILURE", "payload": {"error_message": _REASON}}
_CUT = b'{"error":"invalid_gr'

DIALECTS: Mapping[str, Dialect] = {
    # It says so.
    "spring": _oauth("clear", 400, "invalid_grant", {"Connection": "close"}),
    "keycloak": _oauth("clear", 401, "invalid_grant"),
    "auth0": _oauth("clear", 403, "invalid_grant"),
    "invalid-grant-200": _oauth("clear", 200, "invalid_grant"),
    "invalid-grant-500": _oauth("clear", 500, "invalid_grant"),
    "invalid-grant-503": _oauth("clear", 503, "invalid_grant"),
    # It seems to speak of the client's Basic pair.
    "basic-401": _html("client", 401, _REASON, BASIC),
    "basic-json-401": _json("client", 401, {"status": 401, "error": "Unauthorized", "message": _REASON}, BASIC),
    "invalid-client-401": _oauth("client", 401, "invalid_client", _OTHER_CLIENT),
    "invalid-client-400": _oauth("client", 400, "invalid_client"),
    # It may be a refusal.
    "authlib": _oauth("maybe", 400, "invalid_request"),
    "envelope-400": _json("maybe", 400, _ENVELOPE),
    "envelope-200": _json("maybe", 200, _ENVELOPE),
    "empty-400": Dialect("maybe", 400),
    "text-400": Dialect("maybe", 400, {"Content-Type": "text/plain"}, _REASON.encode()),
    "html-400": _html("maybe", 400, _REASON),
    "list-400": _json("maybe", 400, [_REASON]),
    "gzip-400": Dialect("maybe", 400, _PACKED, gzip.compress(json.dumps(_ENVELOPE).encode(), mtime=0)),
    "bad-gzip-400": Dialect("maybe", 400, _PACKED, b'{"packed": false}'),
    "truncated-400": Dialect("maybe", 400, {"Content-Type": JSON}, _CUT, "cut"),
    "truncated-json-400": Dialect("maybe", 400, {"Content-Type": JSON}, _CUT),
    "json-401": _json("maybe", 401, {"message": _REASON}),
    "json-402": _json("maybe", 402, {"message": _REASON}),
    "json-403": _json("maybe", 403, {"message": _REASON}),
    "json-413": _json("maybe", 413, {"message": _REASON}),
    "html-406": _html("maybe", 406, "Not Acceptable"),
    "409": _json("maybe", 409, _ENVELOPE),
    "empty-409": Dialect("maybe", 409),
    "html-410": _html("maybe", 410, "Gone"),
    "412": _json("maybe", 412, _ENVELOPE),
    "html-412": _html("maybe", 412, "Precondition Failed"),
    "422": _json("maybe", 422, _ENVELOPE),
    "empty-422": Dialect("maybe", 422),
    "423": _json("maybe", 423, _ENVELOPE),
    "html-423": _html("maybe", 423, "Locked"),
    "empty-204": Dialect("maybe", 204),
    "json-200": _json("maybe", 200, {"message": _REASON}),
    "invalid-request-200": _oauth("maybe", 200, "invalid_request"),
    "empty-token-200": _json("maybe", 200, {"access_token": "", "token_type": "bearer"}),
    "null-token-200": _json("maybe", 200, {"accessToken": None, "expiresIn": 0}),
    "null-200": _json("maybe", 200, None),
    "list-200": _json("maybe", 200, [_REASON]),
    # Nobody knows whether it is one.
    "silence": Dialect("unknown", 0, sent="silence"),
    "dropped": Dialect("unknown", 0, sent="dropped"),
    "500": _oauth("unknown", 500, "server_error"),
    "html-500": _html("unknown", 500, "Internal Server Error"),
    "envelope-500": _json("unknown", 500, _ENVELOPE),
    "truncated-500": Dialect("unknown", 500, {"Content-Type": JSON}, _CUT, "cut"),
    "501": _html("unknown", 501, "Not Implemented"),
    "502": _html("unknown", 502, "502 Bad Gateway"),
    "504": _html("unknown", 504, "504 Gateway Time-out"),
    "520": _html("unknown", 520, "Web server is returning an unknown error"),
    "redirect": Dialect("unknown", 302, {"Location": "/login?error"}),
    "redirect-307": Dialect("unknown", 307, {"Location": "/login"}),
    "json-404": _json("unknown", 404, {"message": _REASON}),
    "json-405": _json("unknown", 405, {"message": _REASON}),
    "unauthorized-401": _oauth("unknown", 401, "unauthorized", _BEARER),
    "html-401": _html("unknown", 401, "Unauthorized"),
    "empty-401": Dialect("unknown", 401),
    "bearer-401": Dialect("unknown", 401, {"WWW-Authenticate": "Bearer"}),
    "firewall-200": _html("unknown", 200, "Request Rejected"),
    "firewall-403": _html("unknown", 403, "Access denied"),
    "empty-200": Dialect("unknown", 200),
    "truncated-200": Dialect("unknown", 200, {"Content-Type": JSON}, _CUT, "cut"),
    # It says that it did not look at the password. Where that is a lie, no client can help.
    "408": Dialect("not tried", 408),
    "421": Dialect("not tried", 421),
    "425": Dialect("not tried", 425),
    "429": _oauth("not tried", 429, "rate_limited", {"Retry-After": "1"}),
    "503": _html("not tried", 503, "Service Unavailable"),
    "html-404": _html("not tried", 404, "Not Found"),
    "html-405": _html("not tried", 405, "Method Not Allowed", {"Allow": "GET"}),
    "html-413": _html("not tried", 413, "Content Too Large"),
    "html-415": _html("not tried", 415, "Unsupported Media Type"),
}
