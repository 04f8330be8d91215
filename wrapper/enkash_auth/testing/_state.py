"""What the sandbox remembers and how it decides: no sockets, no threads, no web framework."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Literal
from urllib.parse import parse_qsl, quote_plus

from ._answers import NO_STORE, Answer, Body, Fault
from ._dialects import DIALECTS, choose
from ._options import named
from ._traffic import Traffic

SCOPE = "read write trust"
_REQUIRED = ("username", "password", "clientId")


class State(Traffic):
    """Account, tokens, faults and counters, behind one lock."""

    @named
    def __init__(
        self,
        life: float | None = 300,
        *,
        sticky: bool = True,
        casing: Literal["snake", "camel"] = "snake",
        latency: float = 0.0,
        lock_after: int = 3,
        dialect: str = "spring",
        outage: str | None = None,
        clock: Callable[[], float] = time.time,
        username: str | None = None,
        password: str | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
        basic_client_id: str | None = None,
    ) -> None:
        if casing not in ("snake", "camel"):
            raise ValueError("casing is 'snake' or 'camel'")
        super().__init__(clock)
        self.life, self.sticky, self.casing, self.latency = life, sticky, casing, latency
        self.lock_after, self.dialect = lock_after, dialect
        if outage is not None:
            self.start_outage(outage)
        self.username = username or f"sandbox-{secrets.token_hex(4)}@example.com"
        self.password = password or secrets.token_urlsafe(16)
        self.client_id = client_id or "CEK" + secrets.token_hex(4)[:7].upper()
        self.client_secret = client_secret or secrets.token_hex(20)
        self.basic_client_id = basic_client_id or self.client_id
        self.attempts_refused = 0
        self.tokens_issued = 0
        self.api_calls = 0
        self.api_unauthorized = 0
        self._failures = 0
        self._minted: list[tuple[str, str]] = []
        self._live: dict[str, float | None] = {}
        self._current: tuple[str, str] | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(life={self.life}, sticky={self.sticky}, casing={self.casing!r})"

    @property
    def dialect(self) -> str:
        """How this server refuses a password: one of `enkash_auth.testing.DIALECTS`."""
        return self._dialect

    @dialect.setter
    def dialect(self, name: str) -> None:
        self._dialect = choose(name, DIALECTS, "dialect")

    @property
    def failed_passwords(self) -> int:
        """How many wrong passwords have come since the last right one, as the server counts them: up to the lock."""
        return self._failures

    @property
    def locked(self) -> bool:
        """Whether the account is locked."""
        return self._failures >= self.lock_after

    def lock(self) -> None:
        """Lock the account, as so many wrong passwords do: every grant is refused."""
        with self._guard:
            self._failures = self.lock_after

    def unlock(self) -> None:
        """Unlock the account and forget its failures."""
        with self._guard:
            self._failures = 0

    def expire(self) -> None:
        """End every live token now: API calls meet a 401, and the next grant makes a new token."""
        with self._guard:
            self._live.clear()
            self._current = None

    def revoke(self) -> None:
        """Do what `expire` does, under the name for a token that did not just run out."""
        self.expire()

    def canaries(self) -> dict[str, list[str]]:
        """What must not show anywhere, by name, in each form that it takes on the wire."""
        pair = f"{self.basic_client_id}:{self.client_secret}"
        with self._guard:
            access, refresh = zip(*self._minted, strict=True) if self._minted else ((), ())
        return {
            "password": [self.password, quote_plus(self.password)],
            "client secret": [self.client_secret, quote_plus(self.client_secret)],
            "Basic pair": [base64.b64encode(pair.encode()).decode()],
            "access token": [*access],
            "refresh token": [*refresh],
        }

    def answer(self, fault: Fault | None, authorization: str, content_type: str, body: bytes) -> Answer:
        """Answer one token request with the fault that it met, if any."""
        if fault and fault.answer:
            return fault.answer
        answer = self.grant(authorization, content_type, body)
        return replace(answer, sent="dropped") if fault and fault.lost else answer

    def grant(self, authorization: str, content_type: str, body: bytes) -> Answer:
        """Decide one token request."""
        with self._guard:
            refusal = self._refusal(authorization, content_type, body)
            if refusal is None:
                self._failures = 0
                return Answer(200, self._token(), NO_STORE)
            self.attempts_refused += 1
            return refusal

    def _refused(self, reason: str) -> Answer:
        return DIALECTS[self._dialect].refusal(reason)

    def _refusal(self, authorization: str, content_type: str, body: bytes) -> Answer | None:
        if _basic_pair(authorization) != (self.basic_client_id, self.client_secret):
            # Not OAuth JSON: the Basic filter refuses before the token endpoint is reached.
            refusal = {"timestamp": int(self.clock() * 1000), "status": 401, "error": "Unauthorized"}
            refusal |= {"message": "Bad credentials", "path": "/oauth/token"}
            return Answer(401, refusal, {"WWW-Authenticate": 'Basic realm="oauth2/client"'})
        if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
            return Answer.error(400, "invalid_request", "The body must be a form")
        try:
            pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=64)
        except ValueError:
            return Answer.error(400, "invalid_request", "The body cannot be decoded")
        form = dict(pairs)
        if len(form) != len(pairs):
            return Answer.error(400, "invalid_request", "A field is repeated")
        if form.get("client_id", self.basic_client_id) != self.basic_client_id:
            return Answer.error(401, "invalid_client", "Given client ID does not match authenticated client")
        if not form.get("grant_type"):
            return Answer.error(400, "invalid_request", "Missing grant type")
        if form["grant_type"] != "password":
            return Answer.error(400, "unsupported_grant_type", "Unsupported grant type")
        if not all(form.get(name) for name in _REQUIRED):
            return Answer.error(400, "invalid_request", "A required field is missing")
        if form["username"] == self.username and self.locked:
            return self._refused("User account is locked")
        wanted = (self.username, self.password, self.client_id)
        if tuple(form[name] for name in _REQUIRED) != wanted:
            self._failures += form["username"] == self.username
            return self._refused("Bad credentials")
        return None

    def _token(self) -> Body:
        now = self.clock()
        if not (self.sticky and self._current and self._alive(self._current[0], now)):
            self._current = (secrets.token_urlsafe(20), secrets.token_urlsafe(20))
            self._live[self._current[0]] = None if self.life is None else now + self.life
            self._minted.append(self._current)
            self.tokens_issued += 1
        access, refresh = self._current
        answer: dict[str, object] = {"access_token": access, "token_type": "bearer", "refresh_token": refresh}
        end = self._live[access]
        if end is not None:
            answer["expires_in"] = int(end - now)
        if self.casing == "snake":
            return {**answer, "scope": SCOPE}
        names = {"access_token": "accessToken", "token_type": "tokenType", "refresh_token": "refreshToken"}
        return {names.get(name, "expiresIn"): value for name, value in answer.items()}

    def _alive(self, token: str, now: float) -> bool:
        end = self._live.get(token, 0.0)
        return end is None or now < end

    def call(self, authorization: str) -> Answer:
        """Decide one call of the guarded API."""
        scheme, _, token = authorization.partition(" ")
        with self._guard:
            self.api_calls += 1
            bearer = scheme.lower() == "bearer"
            if bearer and self._alive(token, self.clock()):
                return Answer(200, {"ok": True})
            self.api_unauthorized += 1
        # Old Spring puts the token itself into the text; a client must not log it.
        error = ("invalid_token", f"Access token expired: {token}") if bearer else ("unauthorized", "No token was sent")
        challenge = f'Bearer realm="oauth2-resource", error="{error[0]}"'
        return Answer.error(401, *error, WWW_Authenticate=challenge)


def _basic_pair(authorization: str) -> tuple[str, str] | None:
    scheme, _, encoded = authorization.partition(" ")
    try:
        # Nothing is percent-decoded: whether the vendor does is unknown, and httpx.BasicAuth does not encode.
        name, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:
        return None
    return (name, secret) if colon and scheme.lower() == "basic" else None
