"""TokenProvider: holds the token, starts at most one flight, remembers a refusal."""

from __future__ import annotations

import os
import ssl
import threading
import weakref
from collections.abc import Callable
from functools import partial
from time import monotonic, time
from typing import TYPE_CHECKING, NoReturn, Self

from ._credentials import Credentials, token_store_url
from ._flight import Flight
from ._freshness import End, end_of_life, serve_until
from ._outcome import Issued, Outcome, Refused, Unavailable
from ._token import Token, make_token
from .errors import ConfigurationError

if TYPE_CHECKING:
    import httpx

    from ._exchange import Exchange as _Exchange

_SOURCE_LOOK = 5.0  # seconds between two looks at the source of refused credentials
_NEVER = float("-inf")


class TokenProvider:
    """Hands out a valid token to any number of threads and event loops, with one token request for all of them.

    `timeout` is in seconds and bounds a whole grant; `transport` and `verify` are httpx's. Raises
    `ConfigurationError` for a `store`, which this version does not have yet.
    """

    _flight: Flight | None
    _refusal: Refused | None

    def __init__(
        self,
        credentials: Credentials,
        *,
        store: None = None,
        timeout: float = 10.0,
        transport: httpx.BaseTransport | None = None,
        verify: bool | ssl.SSLContext = True,
    ) -> None:
        from ._exchange import Exchange  # the generated client: not at import time, and never inside a flight

        if store is not None:
            raise ConfigurationError("store: this version keeps tokens in memory only")
        if not 0 < timeout < float("inf"):
            raise ConfigurationError("timeout must be a positive number of seconds")
        self._make: Callable[[Credentials], _Exchange] = partial(
            Exchange, timeout=timeout, transport=transport, verify=verify
        )
        self.credentials = credentials
        self._timeout = timeout
        self._source: Callable[[], Credentials] | None = None
        self._looked = _NEVER
        self._exchange = self._make(credentials)
        self._closed = False
        self._generation = 0
        self._forget()
        _providers.add(self)

    @classmethod
    def from_env(cls) -> Self:
        """Return a provider with `Credentials.load()`, which looks there again while the server refuses.

        Raises `ConfigurationError` for missing or malformed settings.
        """
        if token_store_url() != "memory:":
            raise ConfigurationError("ENKASH_TOKEN_STORE: this version knows memory: only")
        provider = cls(Credentials.load())
        provider._source = Credentials.load
        return provider

    def token(self) -> Token:
        """Return a valid token, from any thread; waits for at most one grant.

        Raises `RefusedError` (also without asking, after a final refusal), `UnavailableError` or `ProtocolError`.
        """
        if monotonic() < self._serve_until:
            return self._token  # type: ignore[return-value]
        flight = self._board()
        return flight if isinstance(flight, Token) else self._landed(flight, flight.wait())

    async def atoken(self) -> Token:
        """Return a valid token, from any asyncio event loop; as `token`, without blocking the loop."""
        if monotonic() < self._serve_until:
            return self._token  # type: ignore[return-value]
        flight = self._board()
        return flight if isinstance(flight, Token) else self._landed(flight, await flight.wait_async())

    def invalidate(self, token: Token) -> None:
        """Forget `token` if it is still the one held."""
        with self._lock:
            if token is self._token:
                self._drop()

    def reset(self) -> None:
        """Forget a refusal and the held token: the next call asks the server."""
        with self._lock:
            self._generation += 1
            self._flight = self._refusal = None
            self._drop()

    def close(self) -> None:
        """Forget the token and close the connections; later calls raise `ConfigurationError`."""
        self.reset()
        self._closed = True
        self._exchange.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<TokenProvider for {self.credentials.origin[1]}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("TokenProvider holds secrets and cannot be pickled")

    def _forget(self) -> None:
        """Start clean: also in a forked child, where no thread flies and a lock may be held for ever."""
        self._lock = threading.Lock()
        self._generation += 1
        self._flight = self._refusal = None
        self._drop()

    def _drop(self) -> None:
        self._serve_until = _NEVER
        self._token: Token | None = None
        self._end = End(_NEVER, _NEVER)

    def _after_fork(self) -> None:
        refusal = self._refusal
        self._forget()
        self._refusal = refusal
        if not self._closed:
            self._exchange = self._make(self.credentials)  # the parent's sockets are the parent's

    def _board(self) -> Token | Flight:
        """Return the living token or the one flight, started here if there is none."""
        flight = self._flight
        if flight and flight.outcome is None and monotonic() < flight.end:
            return flight  # without the lock: 10,000 tasks may come in one turn of a loop
        if self._closed:
            raise ConfigurationError("this TokenProvider is closed")
        refused = self._refusal
        if refused and not self._changed():
            raise refused.raised()
        with self._lock:
            # a second look: a flight may have landed while this caller came for the lock
            self._serve_until = serve_until(self._end, now := monotonic(), time())
            if self._token and now < self._serve_until:
                return self._token
            flight = self._flight
            if flight and not flight.overdue and not isinstance(flight.outcome, Refused):
                return flight
            if self._refusal:
                raise self._refusal.raised()
            self._generation += 1
            generation, exchange = self._generation, self._exchange
            flight = self._flight = Flight(lambda: self._fly(generation, exchange.grant), now + self._timeout)
        flight.start()
        return flight

    def _fly(self, generation: int, grant: Callable[[], Outcome]) -> Outcome:
        started, started_wall = monotonic(), time()
        outcome = grant()
        with self._lock:
            if generation != self._generation:
                return outcome  # begun before reset(), close() or a fork: writes nothing
            self._flight = None
            if isinstance(outcome, Refused) and outcome.final:
                self._refusal = outcome
            elif isinstance(outcome, Issued):
                self._end = end_of_life(outcome.life, started, started_wall)
                self._token = make_token(outcome.access_token, self._end.wall)
                self._serve_until = serve_until(self._end, monotonic(), time())
        return outcome

    def _landed(self, flight: Flight, outcome: Outcome | None) -> Token:
        if outcome is None:
            outcome = Unavailable(f"no answer within {self._timeout:g} s", self._exchange.host)
        if not isinstance(outcome, Issued):
            raise outcome.raised()
        held = self._token
        if held and held.access_token == outcome.access_token:
            return held
        return make_token(outcome.access_token, time() + outcome.life)

    def _changed(self) -> bool:
        """Whether the source, looked at every 5 s at most, holds other credentials; they replace the refused ones."""
        with self._lock:
            now = monotonic()
            if self._source is None or now - self._looked < _SOURCE_LOOK:
                return False
            self._looked = now
            try:
                credentials = self._source()
            except ConfigurationError:
                return False  # half-way through a rotation
            if credentials == self.credentials:
                return False
            self.credentials, self._exchange = credentials, self._make(credentials)
            self._refusal = None
            return True


_providers: weakref.WeakSet[TokenProvider] = weakref.WeakSet()


def _after_fork() -> None:
    for provider in list(_providers):
        provider._after_fork()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)
