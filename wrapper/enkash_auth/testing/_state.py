"""What the sandbox remembers and how it decides: no sockets, no threads, no web framework."""

import base64
import codecs
import secrets
import time
from collections.abc import Callable
from typing import Literal

from ._answers import NO_STORE, Answer
from ._asked import Asked
from ._dialects import DIALECTS
from ._options import choose, named
from ._spring import Refused, check_client, refused, scope_of
from ._tokens import CAMEL, Tokens
from ._traffic import Traffic


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
        disabled: bool = False,
        row_gap: float = 0.0,
        form_charset: str = "utf-8",
        token_in_401: bool = True,
        refresh_tokens: bool = True,
        clock: Callable[[], float] = time.time,
        username: str | None = None,
        password: str | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
        basic_client_id: str | None = None,
    ) -> None:
        super().__init__(clock)
        codecs.lookup(form_charset)  # a misspelt one would be taken for UTF-8
        self.life, self.sticky, self.latency, self.lock_after = life, sticky, latency, lock_after
        self.casing = choose(casing, ["snake", "camel"], "casing")
        self.dialect, self.disabled, self.row_gap = dialect, disabled, row_gap
        self.form_charset, self.token_in_401, self.refresh_tokens = form_charset, token_in_401, refresh_tokens
        if outage is not None:
            self.start_outage(outage)
        self.username = username or f"sandbox-{secrets.token_hex(4)}@example.com"
        self._passwords = [password or secrets.token_urlsafe(16)]
        self.client_id = client_id or "CEK" + secrets.token_hex(4)[:7].upper()
        self.client_secret = client_secret or secrets.token_hex(20)
        self.basic_client_id = basic_client_id or self.client_id
        self.attempts_refused = self.api_calls = self.api_unauthorized = self._failures = 0
        self._tokens = Tokens(clock)
        self._complete = True

    @property
    def password(self) -> str:
        """The account's password; a new one rotates it, and the old one stays a secret."""
        return self._passwords[-1]

    @password.setter
    def password(self, password: str) -> None:
        self._passwords.append(password)

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
    def tokens_issued(self) -> int:
        """How many different tokens there have been."""
        return len(self._tokens.made)

    @property
    def failed_passwords(self) -> int:
        """How many wrong passwords have come since the last right one, as the server counts them: up to the lock."""
        return self._failures

    @property
    def locked(self) -> bool:
        """Whether the account is locked."""
        return self._failures >= self.lock_after

    def lock(self) -> None:
        """Lock the account, as so many wrong passwords do: every password is refused."""
        with self._guard:
            self._failures = self.lock_after

    def unlock(self) -> None:
        """Unlock the account and forget its failures."""
        with self._guard:
            self._failures = 0

    def expire(self) -> None:
        """Let every token expire now: API calls meet a 401, and the next token request makes a new one."""
        with self._guard:
            self._tokens.end()

    def revoke(self) -> None:
        """Do what `expire` does, under the name for a token that did not just run out."""
        self.expire()

    def canaries(self) -> dict[str, list[str]]:
        """What must not show anywhere, by name."""
        pair = f"{self.basic_client_id}:{self.client_secret}"
        with self._guard:
            made = list(self._tokens.made.values())
        return {
            "password": list(self._passwords),
            "client secret": [self.client_secret],
            "Basic pair": [base64.b64encode(pair.encode()).decode()],
            "access token": [token.access for token in made],
            "refresh token": [token.refresh for token in made],
        }

    def grant(self, asked: Asked) -> Answer:
        """Decide one request at the token endpoint."""
        with self._guard:
            try:
                return self._grant(asked)
            except Refused as no:
                self.attempts_refused += asked.method == "POST"
                return no.answer

    def _grant(self, asked: Asked) -> Answer:
        check_client(asked, (self.basic_client_id, self.client_secret))
        form = asked.form(self.form_charset)
        scope = scope_of(form, self.basic_client_id)
        if form["grant_type"].strip() == "refresh_token":
            if not self.refresh_tokens:
                raise refused(401, "invalid_client", "Unauthorized grant type")
            old = self._tokens.refresh(form["refresh_token"])
            if old is None:
                raise refused(400, "invalid_grant", f"Invalid refresh token: {form['refresh_token']}")
            scope = old
        else:
            self._check_password(form.get("username", ""), form.get("password", ""))
        token, seconds = self._tokens.grant(scope, self.life, sticky=self.sticky, row_gap=self.row_gap)
        fields = token.fields(self.clock())
        if not self.refresh_tokens:
            del fields["refresh_token"]
        if self.casing == "camel":
            fields = {CAMEL[name]: value for name, value in fields.items() if name in CAMEL}
        return Answer(200, fields, NO_STORE, seconds=seconds)

    def _check_password(self, username: str, password: str) -> None:
        ours = username == self.username
        reason = "Bad credentials"
        if ours and self.locked:
            reason = "User account is locked"
        elif ours and self.disabled:
            reason = "User is disabled"
        elif ours and password == self.password:
            self._failures = 0
            return
        else:
            self._failures += ours
        raise Refused(DIALECTS[self._dialect].refusal(reason))

    def call(self, authorization: str) -> Answer:
        """Decide one call of the guarded API."""
        scheme, _, token = authorization.partition(" ")
        with self._guard:
            self.api_calls += 1
            error, problem = "unauthorized", "Full authentication is required to access this resource"
            if scheme.lower() == "bearer":
                error, found = "invalid_token", self._tokens.problem(token)
                if found is None:
                    return Answer(200, {"ok": True})
                # Up to 2.5.1 Spring names the token in body and header; a client must show neither.
                problem = f"{found}: {token}" if self.token_in_401 else found
            self.api_unauthorized += 1
        challenge = f'Bearer realm="oauth2-resource", error="{error}", error_description="{problem}"'
        body: dict[str, object] = {"error": error, "error_description": problem}
        return Answer(401, body, {**NO_STORE, "WWW-Authenticate": challenge})
