"""What is known of an account without asking the server: its settings, and what its store holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from attrs import frozen

from enkash_auth._policy.lifetime import Moment, TokenRecord
from enkash_auth._policy.outcome import Failure
from enkash_auth._provider import TokenProvider
from enkash_auth._runtime import current_runtime
from enkash_auth._settings.credentials import Credentials
from enkash_auth._settings.environment import load_token_store
from enkash_auth.stores import Store, StoreError

if TYPE_CHECKING:
    from enkash_auth._fleet.entries import Seen

_NO_STORE = "ENKASH_TOKEN_STORE is not set, so no process sees what another one knows"


@frozen
class State:
    """`seen` is None without a store that answers; `trouble` says why."""

    credentials: Credentials
    store: str | None
    trouble: str | None
    seen: Seen | None
    now: Moment

    @property
    def token(self) -> TokenRecord | None:
        """The living token."""
        record = self.seen.record if self.seen else None
        return record if record and record.alive(self.now) else None

    @property
    def failure(self) -> Failure | None:
        """What forbids a sign-in now."""
        return self.seen.failure if self.seen else None

    @property
    def refusal(self) -> str:
        """`final` where the server has refused these very credentials for good."""
        if self.seen is None:
            return "unknown"
        return "final" if self.failure and not self.seen.backoff.failure else "none"

    def as_json(self) -> dict[str, Any]:
        account = {
            "base_url": self.credentials.base_url,
            "username": _masked(self.credentials.username),
            "client_id": f"...{self.credentials.client_id[-3:]}",
        }
        token = backoff = None
        if record := self.token:
            life = record.life
            left, window = self.now.until(life.lower), 0.0 if record.sticky(self.now) else life.window
            token = {
                "age": round(record.answered.until(self.now), 1),
                "left": round(left, 1),
                "expires_at": record.token.expires_at.isoformat(timespec="seconds"),
                "renewal_at": _at(max(self.now.wall, life.lower.wall - window)),
                "sticky": record.sticky(self.now),
            }
        if self.seen and self.failure and self.refusal == "none":
            seconds = round(self.seen.backoff.until - self.now.monotonic, 1)
            backoff = {"seconds": seconds, "reason": _reason(self.failure)}
        return {
            "account": account,
            "store": {"kind": self.store, "trouble": self.trouble},
            "token": token,
            "refusal": self.refusal,
            "backoff": backoff,
            "ready": self.token is not None or self.failure is None,
        }

    def as_table(self) -> str:
        said = self.as_json()
        account, token, backoff = said["account"], said["token"], said["backoff"]
        life = renewal = pause = "none" if self.seen else "unknown"
        if token:
            life = f"{token['age']:.0f} s old, expires in {token['left']:.0f} s, at {token['expires_at']}"
            renewal = f"about {token['renewal_at']}" + (", at expiry: the server is sticky" if token["sticky"] else "")
        if backoff:
            pause = f"{backoff['seconds']:.0f} s left: {backoff['reason']}"
        rows = {
            "account": f"{account['username']}, client {account['client_id']}, at {account['base_url']}",
            "store": (self.store or "none") + (f": {self.trouble}" if self.trouble else ", answers"),
            "token": life,
            "renewal": renewal,
            "refusal": f"final: {_reason(self.failure)}" if self.failure and self.refusal == "final" else self.refusal,
            "back-off": pause,
        }
        return "\n".join(f"{name:<9}{text}" for name, text in rows.items())


@contextmanager
def opened(
    profile: str | None, on_store_error: Literal["continue", "raise"] = "continue"
) -> Iterator[tuple[TokenProvider, Store | None]]:
    """Yield a provider and its store, and close both; raise `ConfigurationError`."""
    credentials, store = Credentials.load(profile), load_token_store()
    provider = TokenProvider(credentials, store=store, on_store_error=on_store_error)
    with closing(store) if store is not None else nullcontext(), provider:
        yield provider, store


def state_of(credentials: Credentials, store: Store | None) -> State:
    """Look into the store."""
    runtime = current_runtime()
    if store is None:
        return State(credentials, None, _NO_STORE, None, runtime.now())
    from enkash_auth._fleet.shared import look  # needs an extra, which the store's provider has found

    seen, trouble = None, None
    try:
        seen = look(store, credentials, runtime)
    except StoreError as error:
        trouble = str(error)
    return State(credentials, type(store).__name__, trouble, seen, runtime.now())


def _masked(text: str) -> str:
    """Enough to tell accounts apart in a probe's log, too little to sign in with."""
    local, at, domain = text.partition("@")
    return f"{local[:2]}...{at}{domain}"


def _reason(failure: Failure) -> str:
    return str(failure.to_exception())


def _at(wall: float) -> str:
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="seconds")
