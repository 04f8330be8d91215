"""The tokens that the sandbox has made, and how long each is valid."""

import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass

SCOPE = "read write trust"
CAMEL = {
    "access_token": "accessToken",
    "token_type": "tokenType",
    "refresh_token": "refreshToken",
    "expires_in": "expiresIn",
}
_READ = 0.001  # seconds between making a token and reading its life: a fresh life of 10 s reads 9


@dataclass
class Token:
    """An access token; `end` is None for one that never expires."""

    access: str
    refresh: str
    scope: str
    end: float | None

    def alive(self, now: float) -> bool:
        return self.end is None or now < self.end

    def fields(self, now: float) -> dict[str, object]:
        """The answer's fields in Spring's order."""
        life = {} if self.end is None else {"expires_in": int(self.end - now - _READ)}
        named = {"access_token": self.access, "token_type": "bearer", "refresh_token": self.refresh}
        return {**named, **life, "scope": self.scope}


class Tokens:
    """Every token ever made, by its text, and the one that each scope's next grant answers with."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.made: dict[str, Token] = {}
        self._current: dict[str, Token] = {}
        self._missing_until = 0.0

    def grant(self, scope: str, life: float | None, *, sticky: bool, row_gap: float) -> tuple[Token, float]:
        """The token of this scope, and the seconds for which its row is missing before it is answered."""
        now = self._clock()
        held = self._current.get(scope)
        if sticky and held and held.alive(now):
            self._missing_until = max(self._missing_until, now + row_gap)
            return held, row_gap
        end = None if life is None else now + life
        token = Token(secrets.token_urlsafe(20), secrets.token_urlsafe(20), scope, end)
        self.made[token.access] = self._current[scope] = token
        return token, 0.0

    def refresh(self, refresh_token: str) -> str | None:
        """End the access tokens of this refresh token, as stock Spring does; return their scope."""
        of_it = [token for token in self.made.values() if token.refresh == refresh_token]
        for token in of_it:
            token.end = -math.inf
        return of_it[-1].scope if of_it else None

    def end(self) -> None:
        """End every token now."""
        for token in self.made.values():
            token.end = -math.inf

    def problem(self, access: str) -> str | None:
        """What is wrong with a token that an API call brings, in Spring's words."""
        now, token = self._clock(), self.made.get(access)
        if token is None:
            return "Invalid access token"
        if not token.alive(now):
            return "Access token expired"
        return "Invalid access token" if token is self._current.get(token.scope) and now < self._missing_until else None
