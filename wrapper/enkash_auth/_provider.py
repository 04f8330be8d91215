"""TokenProvider: the object that a service asks for a token."""

from __future__ import annotations

import os
import ssl
import weakref
from functools import partial
from typing import TYPE_CHECKING, Literal, NoReturn, Self, TypedDict, Unpack

from ._signin.direct import Alone
from ._settings.credentials import Credentials, load_token_store
from ._engine import Engine
from ._flight import Flight
from ._settings.origin import Origin
from ._policy.token import Token
from .errors import ConfigurationError
from .events import OnEvent

if TYPE_CHECKING:
    import httpx

    from ._fleet.shared import Fleet
    from .stores import Store


class Options(TypedDict, total=False):
    """What a `TokenProvider` takes by keyword, beside its store."""

    timeout: float
    transport: httpx.BaseTransport | None
    verify: bool | ssl.SSLContext
    on_event: OnEvent | None
    on_store_error: Literal["continue", "raise"]


class TokenProvider(Engine):
    """Hands out a valid token to any number of threads and event loops, with one token request for all of them.

    `timeout` is in seconds and bounds a caller's wait and a whole grant; `transport` and `verify` are httpx's.
    `on_event` gets each `events.Event`, on the grant's thread, once its callers have been answered. Processes with
    one `store` share the token, its renewal and a refusal; while the store does not answer they go on without it, or
    raise `UnavailableError` where they need it and `on_store_error` is "raise". Raises `ConfigurationError`.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        store: Store | None = None,
        timeout: float = 10.0,
        transport: httpx.BaseTransport | None = None,
        verify: bool | ssl.SSLContext = True,
        on_event: OnEvent | None = None,
        on_store_error: Literal["continue", "raise"] = "continue",
    ) -> None:
        from ._signin.gateway import Gateway  # the generated client: not at import, and never inside a flight
        from ._signin.tls import tls_context

        if on_store_error not in ("continue", "raise"):
            raise ConfigurationError('on_store_error is "continue" or "raise"')
        if not isinstance(timeout, int | float) or not 0 < timeout <= 3600:
            raise ConfigurationError("timeout must be a positive number of seconds, an hour at most")
        if transport is None:  # a transport brings its own
            verify = tls_context(verify)
        make = partial(Gateway, transport=transport, verify=verify)
        fleet = Alone() if store is None else _fleet(store, timeout, on_store_error == "raise")
        super().__init__(credentials, make, timeout, on_event, fleet)
        _providers.add(self)

    @classmethod
    def from_env(cls, *, profile: str | None = None, store: Store | None = None, **options: Unpack[Options]) -> Self:
        """Return a provider with `Credentials.load(profile)`, which looks there again while the server refuses.

        `ENKASH_TOKEN_STORE` names its store by URL (`stores.from_url`), unless a `store` is given; `options` are the
        constructor's. Raises `ConfigurationError` for missing or malformed settings.
        """
        own = load_token_store() if store is None else None
        provider = cls(Credentials.load(profile), store=own if store is None else store, **options)
        provider._own_store = own
        provider._source = partial(Credentials.load, profile)
        return provider

    @property
    def credentials(self) -> Credentials:
        """What the provider signs in with now."""
        return self._account.credentials

    @property
    def _origin(self) -> Origin:
        return self._account.exchange.origin

    def token(self) -> Token:
        """Return a valid token, from any thread; waits for at most one grant.

        Raises `RefusedError` (also without asking, after a final refusal), `UnavailableError` or `ProtocolError`.
        """
        if self._monotonic() < self._serve_until:
            return self._token
        deadline = self._monotonic() + self._timeout
        boarded = self._board()
        while isinstance(boarded, Flight):
            boarded.wait(deadline)
            boarded = self._landed(boarded, deadline)
        return boarded

    async def atoken(self) -> Token:
        """Return a valid token, from any asyncio event loop; as `token`, without blocking the loop."""
        if self._monotonic() < self._serve_until:
            return self._token
        deadline = self._monotonic() + self._timeout
        boarded = self._board()
        while isinstance(boarded, Flight):
            await boarded.seat(deadline)
            boarded = self._landed(boarded, deadline)
        return boarded

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        account = getattr(self, "_account", None)  # a traceback may show one that could not be made
        return f"<TokenProvider for {account.exchange.host}>" if account else "<TokenProvider>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("TokenProvider holds secrets and cannot be pickled")


def _fleet(store: Store, timeout: float, strict: bool) -> Fleet:
    if not all(callable(getattr(store, name, None)) for name in ("load", "save", "delete", "lock")):
        raise ConfigurationError("store is no stores.Store; stores.from_url makes one from a URL")
    try:
        from ._fleet.shared import Fleet
    except ImportError as missing:
        raise ConfigurationError("a store needs the extra enkash-auth[file] or enkash-auth[redis]") from missing
    return Fleet(store, timeout, strict)


_providers: weakref.WeakSet[TokenProvider] = weakref.WeakSet()


def _start_clean_in_child() -> None:  # pragma: no cover - a forked child's coverage is not written
    for provider in list(_providers):
        provider._after_fork()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(after_in_child=_start_clean_in_child)
