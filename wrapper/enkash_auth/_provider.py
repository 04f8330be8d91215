"""TokenProvider: the object that a service asks for a token."""

from __future__ import annotations

import os
import ssl
import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal, NoReturn, Self, TypedDict, Unpack

from ._engine import Engine
from ._flight import Flight
from ._forks import forks
from ._policy.cache import TokenCache
from ._policy.token import Token
from ._runtime import check_threads, current_runtime
from ._settings.credentials import Credentials, read_source
from ._settings.environment import attempts_path, load_token_store
from ._signin.account import Account, Signer
from .errors import ConfigurationError
from .events import OnEvent, check_hook

if TYPE_CHECKING:
    import httpx

    from ._signin.direct import Direct
    from .stores import Store


class Options(TypedDict, total=False):
    """What a `TokenProvider` takes by keyword, beside its store."""

    timeout: float
    transport: httpx.BaseTransport | None
    verify: bool | ssl.SSLContext
    on_event: OnEvent | None
    on_store_error: Literal["continue", "raise"]


class TokenProvider:
    """Hands out a valid token to any number of threads and event loops, with one token request for all of them.

    `credentials` may be a function that returns them: called now, and again while the server refuses them; an error of
    its own becomes an `UnavailableError` without that error's text, except a `ConfigurationError`. `timeout` is
    in seconds and bounds a caller's wait and a sign-in; `transport` and `verify` are httpx's. `on_event` gets each
    `events.Event` on the thread that signs in, once its callers have been answered. Processes with one `store` share
    the token, its renewal and a refusal; while the store does not answer they go on without it, or raise
    `UnavailableError` if they need it and `on_store_error` is "raise". Raises `ConfigurationError`.
    """

    def __init__(
        self,
        credentials: Credentials | Callable[[], Credentials],
        *,
        store: Store | None = None,
        timeout: float = 10.0,
        transport: httpx.BaseTransport | None = None,
        verify: bool | ssl.SSLContext = True,
        on_event: OnEvent | None = None,
        on_store_error: Literal["continue", "raise"] = "continue",
    ) -> None:
        if on_store_error not in ("continue", "raise"):
            raise ConfigurationError('on_store_error must be "continue" or "raise"')
        if not isinstance(timeout, int | float) or not 0 < timeout <= 3600:
            raise ConfigurationError("timeout must be a positive number of seconds, an hour at most")
        if transport is not None and not callable(getattr(transport, "handle_request", None)):
            raise ConfigurationError("transport must be a sync one of httpx, with handle_request()")
        check_hook(on_event)
        check_threads()
        source = None if isinstance(credentials, Credentials) else credentials
        given = credentials if isinstance(credentials, Credentials) else read_source(credentials)
        runtime = current_runtime()
        with forks.waiting():
            # not at import, for they take long; and never inside a sign-in, for a fork may come
            from ._signin.attempts_file import Attempts
            from ._signin.direct import Direct
            from ._signin.gateway import Gateway

            account = Account.of(given, partial(Gateway, transport=transport, verify=verify))
        direct = Direct(runtime, Attempts(attempts_path() if store is None else None, runtime))
        signer: Signer = direct
        if store is not None:
            signer = _shared(direct, store, timeout, on_store_error == "raise")
        rereads = source is not None or store is not None or direct.attempts.path is not None
        cache = TokenCache(account.identity, timeout, rereads)
        self._engine = Engine(cache, account, signer, runtime, source=source, on_event=on_event)
        self._held, self._timeout = self._engine.held, timeout
        self._own_store: Store | None = None
        _engines.add(self._engine)

    @classmethod
    def from_env(cls, *, profile: str | None = None, store: Store | None = None, **options: Unpack[Options]) -> Self:
        """Return a provider over `Credentials.load(profile)`, which is read again while the server refuses.

        `ENKASH_TOKEN_STORE` names its store by URL (`stores.from_url`), unless a `store` is given; `options` are the
        constructor's. Raises `ConfigurationError` for missing or malformed settings.
        """
        with forks.waiting():
            own = load_token_store() if store is None else None
        provider = cls(partial(Credentials.load, profile), store=own if store is None else store, **options)
        provider._own_store = own
        return provider

    def token(self) -> Token:
        """Return a valid token, from any thread; waits for a sign-in up to `timeout`.

        Raises `RefusedError` (also without asking, after a final refusal), `UnavailableError` or `ProtocolError`.
        """
        monotonic, until, token = self._held.serving
        if monotonic() < until:
            return token  # type: ignore[return-value]  # None is never to be served
        deadline, engine = monotonic() + self._timeout, self._engine
        answer = engine.join_or_start()
        while isinstance(answer, Flight):
            answer.wait(deadline)
            answer = engine.after_wait(answer, deadline)
        return answer

    async def atoken(self) -> Token:
        """Return a valid token, from any asyncio event loop; as `token`, without blocking the loop."""
        monotonic, until, token = self._held.serving
        if monotonic() < until:
            return token  # type: ignore[return-value]  # None is never to be served
        deadline, engine = monotonic() + self._timeout, self._engine
        answer = engine.join_or_start()
        while isinstance(answer, Flight):
            await answer.waiter(deadline)
            answer = engine.after_wait(answer, deadline)
        return answer

    def invalidate(self, token: Token) -> None:
        """Forget `token` if it is still the one held: an API has answered 401 to it.

        A valid token is forgotten twice at once and once more a minute at most; past that it stays in use.
        """
        self._engine.invalidate(token)

    def reset(self) -> None:
        """Forget a refusal and the token, in the store, too: the next call signs in.

        The credentials' source is read first; if that fails, nothing is reset. Raises `ConfigurationError`, and
        `UnavailableError`, also if `on_store_error="raise"` and the store does not answer, or if there is no store and
        another process keeps the file of attempts locked.
        """
        self._engine.reset()

    def close(self) -> None:
        """Forget the token and close the connections; later calls raise `ConfigurationError`."""
        self._engine.close()
        if self._own_store is not None:
            self._own_store.close()

    @property
    def credentials(self) -> Credentials:
        """What the provider signs in with now."""
        return self._engine.held.account.credentials

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        engine = getattr(self, "_engine", None)  # a traceback may show a provider that could not be made
        return f"<TokenProvider for {engine.held.account.identity.host}>" if engine else "<TokenProvider>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("TokenProvider holds secrets and cannot be pickled")


def engine_of(provider: TokenProvider) -> Engine:
    """Return what `EnkashAuth` needs beyond the public methods."""
    return provider._engine  # noqa: SLF001  # the class is this module's own


def _shared(direct: Direct, store: Store, timeout: float, strict: bool) -> Signer:
    if not all(callable(getattr(store, name, None)) for name in ("load", "save", "delete", "lock")):
        raise ConfigurationError("store must be a stores.Store; stores.from_url makes one from a URL")
    try:
        with forks.waiting():
            from ._fleet.shared import Shared
    except ImportError as missing:
        raise ConfigurationError(
            "a store needs the extra enkash-auth[file] or enkash-auth[redis]: install it"
        ) from missing
    return Shared(direct, store, timeout=timeout, strict=strict)


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def _start_clean_in_child() -> None:  # pragma: no cover - a forked child's coverage is not written
    for engine in list(_engines):
        engine.inherit()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(after_in_child=_start_clean_in_child)
