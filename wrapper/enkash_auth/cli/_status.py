"""What is known of an account without asking the server: its settings, and what its store holds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from attrs import frozen

from enkash_auth._settings.credentials import Credentials
from enkash_auth._fleet.entries import Seen
from enkash_auth._policy.lifetime import TokenRecord, Moment
from enkash_auth._policy.outcome import Failure
from enkash_auth._runtime import Runtime
from enkash_auth._provider import TokenProvider
from enkash_auth.stores import Store, StoreError

_NO_STORE = "ENKASH_TOKEN_STORE names none, so what a process has no other can see"


@frozen
class State:
    """`seen` is None where there is no store or it does not answer; `trouble` says why."""

    credentials: Credentials
    store: str | None
    trouble: str | None
    seen: Seen | None
    now: Moment

    @property
    def token(self) -> TokenRecord | None:
        """The living token."""
        known = self.seen.known if self.seen else None
        return known if known and known.alive(self.now) else None

    @property
    def stop(self) -> Failure | None:
        """What forbids a sign-in now."""
        return self.seen.stop if self.seen else None

    @property
    def latch(self) -> str:
        """`closed` where the server has refused these very credentials for good."""
        if self.seen is None:
            return "unknown"
        return "closed" if self.stop and not self.seen.gate.failure else "open"

    def as_json(self) -> dict[str, Any]:
        account = {
            "base_url": self.credentials.base_url,
            "username": _masked(self.credentials.username),
            "client_id": f"...{self.credentials.client_id[-3:]}",
        }
        token = gate = None
        if known := self.token:
            life = known.life
            left, wait = self.now.until(life.lower), 0.0 if known.sticky(self.now) else life.window
            token = {
                "age": round(known.answered.until(self.now), 1),
                "left": round(left, 1),
                "expires_at": known.token.expires_at.isoformat(timespec="seconds"),
                "renewal_at": _at(max(self.now.wall, life.lower.wall - wait)),
                "sticky": known.sticky(self.now),
            }
        if self.stop and self.latch == "open" and self.seen:
            gate = {"opens_in": round(self.seen.gate.opens - self.now.monotonic, 1), "reason": _reason(self.stop)}
        return {
            "account": account,
            "store": {"kind": self.store, "trouble": self.trouble},
            "token": token,
            "latch": self.latch,
            "gate": gate,
            "ready": self.token is not None or self.stop is None,
        }

    def as_table(self) -> str:
        told = self.as_json()
        account, token, gate = told["account"], told["token"], told["gate"]
        life = renewal = "none" if self.seen else "unknown"
        open_ = "open" if self.seen else "unknown"
        if token:
            life = f"{token['age']:.0f} s old, ends in {token['left']:.0f} s, at {token['expires_at']}"
            renewal = f"about {token['renewal_at']}" + (", its end: the server is sticky" if token["sticky"] else "")
        latch = f"closed: {_reason(self.stop)}" if self.stop and self.latch == "closed" else self.latch
        rows = {
            "account": f"{account['username']}, client {account['client_id']}, at {account['base_url']}",
            "store": (self.store or "none") + (f": {self.trouble}" if self.trouble else ", answers"),
            "token": life,
            "renewal": renewal,
            "latch": latch,
            "gate": f"opens in {gate['opens_in']:.0f} s: {gate['reason']}" if gate else open_,
        }
        return "\n".join(f"{name:<9}{text}" for name, text in rows.items())


def provider_for(
    credentials: Credentials, store: Store | None, on_store_error: Literal["continue", "raise"] = "continue"
) -> TokenProvider:
    """Return a provider that closes its store; raise `ConfigurationError`."""
    provider = TokenProvider(credentials, store=store, on_store_error=on_store_error)
    provider._own_store = store
    return provider


def seen_by(provider: TokenProvider) -> State:
    """Look into the provider's store."""
    runtime, fleet, seen = Runtime(), provider._fleet, None
    name, trouble = (type(fleet.store).__name__, None) if fleet.store is not None else (None, _NO_STORE)
    try:
        seen = fleet.look(provider.credentials, runtime)
    except StoreError as error:
        trouble = str(error)
    return State(provider.credentials, name, trouble, seen, runtime.now())


def _masked(text: str) -> str:
    """Enough to tell accounts apart in a probe's log, too little to sign in with."""
    local, at, domain = text.partition("@")
    return f"{local[:2]}...{at}{domain}"


def _reason(failure: Failure) -> str:
    return str(failure.to_exception())


def _at(wall: float) -> str:
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="seconds")
