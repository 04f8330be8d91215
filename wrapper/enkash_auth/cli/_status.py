"""Reads what is known of an account without a request: from settings, store, and the count of passwords."""

from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

from attrs import frozen

from enkash_auth._policy.attempts import Decision, Ledger
from enkash_auth._policy.backoff import Backoff
from enkash_auth._policy.lifetime import Moment, TokenRecord
from enkash_auth._policy.outcome import Failure
from enkash_auth._provider import TokenProvider
from enkash_auth._runtime import call_within, current_runtime
from enkash_auth._settings.credentials import Credentials
from enkash_auth._settings.environment import attempts_path, load_token_store
from enkash_auth._signin.attempts_file import Attempts
from enkash_auth.stores import Store, StoreError

_PATIENCE = 2.0  # seconds with a store
_NO_STORE = "ENKASH_TOKEN_STORE names none: processes share no token"


@frozen
class State:
    """What is known; `trouble`: why the store cannot be read, or without one the file of attempts be written.

    `locked`: another process keeps that file locked, so that no password leaves.
    """

    credentials: Credentials
    store: str | None
    now: Moment
    trouble: str | None = None
    record: TokenRecord | None = None
    ledger: Ledger = Ledger()
    backoff: Backoff = Backoff()
    locked: bool = False

    @property
    def token(self) -> TokenRecord | None:
        """The token, if it is valid."""
        return self.record if self.record and self.record.alive(self.now) else None

    @property
    def decision(self) -> Decision:
        """What the passwords sent so far allow."""
        return self.ledger.decide(self.now, [one.id for one in self.ledger.attempts])

    @property
    def failure(self) -> Failure | None:
        """What forbids a sign-in now."""
        if self.decision.row:
            return self.decision.failure(self.credentials.origin[1], self.now.monotonic)
        return self.backoff.blocks(self.now.monotonic)

    @property
    def refusal(self) -> str:
        """`final` if these credentials must not be sent again, `limited` if they must not be sent now."""
        if self.trouble and not self.decision.row:
            return "unknown"
        return "final" if self.decision.final else "limited" if self.decision.row else "none"

    def as_json(self) -> dict[str, Any]:
        account = {
            "base_url": self.credentials.base_url,
            "username": _masked(self.credentials.username),
            "client_id": f"...{self.credentials.client_id[-3:]}",
        }
        token = backoff = None
        if record := self.token:
            life, sticky = record.life, record.sticky(self.now)
            renewal = max(self.now.wall, life.lower.wall - (0.0 if sticky else life.window))
            token = {
                "age": round(record.answered.until(self.now), 1),
                "left": round(self.now.until(life.lower), 1),
                "expires_at": record.token.expires_at.isoformat(timespec="seconds"),
                "renewal_at": datetime.fromtimestamp(renewal, UTC).isoformat(timespec="seconds"),
                "sticky": sticky,
            }
        if self.failure and self.refusal == "none":
            seconds = round(self.backoff.until - self.now.monotonic, 1)
            backoff = {"seconds": seconds, "reason": str(self.failure.to_exception())}
        limit = self.decision.limit(self.now.monotonic)
        return {
            "account": account,
            "store": {"kind": self.store, "trouble": self.trouble if self.store else _NO_STORE},
            "token": token,
            "refusal": self.refusal,
            "attempts": {
                "passwords": self.decision.passwords,
                "proven": self.ledger.proven,
                "row": self.decision.row,
                "seconds": limit and limit.seconds and round(limit.seconds, 1),
                "trouble": None if self.store else self.trouble,
            },
            "backoff": backoff,
            "ready": self.token is not None or self.failure is None,
        }

    def as_table(self) -> str:
        said = self.as_json()
        account, store, token, backoff = said["account"], said["store"], said["token"], said["backoff"]
        life = renewal = pause = "unknown" if self.trouble else "none"
        why = str(self.failure.to_exception()) if self.failure and self.decision.row else said["attempts"]["trouble"]
        if token:
            life = f"{token['age']:.0f} s old, expires in {token['left']:.0f} s, at {token['expires_at']}"
            renewal = f"about {token['renewal_at']}" + (", at expiry: the server is sticky" if token["sticky"] else "")
        if backoff:
            pause = f"{backoff['seconds']:.0f} s left: {backoff['reason']}"
        rows = {
            "account": f"{account['username']}, client {account['client_id']}, at {account['base_url']}",
            "store": (self.store or "none") + (f": {store['trouble']}" if store["trouble"] else ", answers"),
            "token": life,
            "renewal": renewal,
            "refusal": f"{self.refusal}: {why}" if why else self.refusal,
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
    """Read the store, or the count of passwords if no store is set."""
    runtime = current_runtime()
    if store is None:
        attempts = Attempts(attempts_path(), runtime)
        ledger, locked = attempts.look(credentials.fingerprint())
        why = f"another process keeps {attempts.path} locked" if locked else attempts.trouble or None
        return State(credentials, None, runtime.now(), why, None, ledger, locked=locked)
    from enkash_auth._fleet.shared import look  # needs an extra, whose presence the provider has checked

    try:
        found = look(store, credentials, runtime)
    except StoreError as error:
        return State(credentials, type(store).__name__, runtime.now(), str(error))
    return State(credentials, type(store).__name__, runtime.now(), None, *found)


def cannot_be_written(store: Store) -> str | None:
    """Return why a store takes nothing (a full disk), None if it does: take a lease that no sign-in needs."""
    from enkash_auth._fleet.shared import named  # as above

    try:
        if lease := call_within(_PATIENCE, partial(store.lock, "doctor", _PATIENCE)):
            lease.release()
    except Exception as error:
        return named(error)
    return None


def _masked(text: str) -> str:
    """Shorten a user name: enough to distinguish accounts in a log, too little to sign in."""
    local, at, domain = text.partition("@")
    return f"{local[:2]}...{at}{domain}"
