"""The shell of a shared sign-in: carries out on the store, the server and the clock what the protocol says."""

from typing import Any

from attrs import evolve

from enkash_auth._policy.lifetime import LONG_AGO
from enkash_auth._policy.outcome import Unavailable
from enkash_auth._policy.sign_in import Result
from enkash_auth._runtime import Runtime
from enkash_auth._settings.credentials import Credentials
from enkash_auth._signin.account import Account, SignIn
from enkash_auth._signin.direct import Direct
from enkash_auth.events import Event
from enkash_auth.stores import Store, StoreError

from .commands import Delete, Lease, Pause, Read, Release, Save, Send, Source, Steps, Stored, TooSlowError
from .member import Found, Member
from .protocol import sign_in
from .sealed import Sealed

_DOWN = 5.0  # seconds without a store that has failed


def look(store: Store, credentials: Credentials, runtime: Runtime) -> Found:
    """Return what the store has of an account, and change nothing; raise `StoreError` if it does not answer."""
    member = Member(credentials.origin[1], 0.0, False, runtime.new_id, lambda: 0.5)
    sealed, steps = Sealed(store, credentials, runtime), member.look()
    try:
        command = next(steps)
        while True:
            assert isinstance(command, Read)
            command = steps.send((runtime.now(), sealed.load(command.kind)))
    except StopIteration as end:
        found: Found = end.value
        return found
    except Exception as error:
        why = named(error)
    raise StoreError(why)


class Shared:
    """Signs in through a store. `strict`: a store that fails is a failure, not a reason to go on without it."""

    def __init__(self, direct: Direct, store: Store, *, timeout: float, strict: bool) -> None:
        self._direct, self._runtime, self._store = direct, direct.runtime, store
        self._timeout, self._strict = timeout, strict
        self._members: dict[str, Member] = {}
        self._down_until = LONG_AGO  # monotonic; that while the store answers
        self._hung: list[Any] = []  # as `Sealed` keeps it
        self.events = direct.events

    def sign_in(self, given: SignIn) -> Result:
        """Adopt what a sibling has saved, then no request was sent; or sign in for all of them."""
        now, account = self._runtime.now(), given.account
        reachable = self._strict or now.monotonic >= self._down_until
        steps = sign_in(self._member(account), given.record, now, given.deadline, reachable=reachable)
        ended = self._carry_out(steps, given)
        if isinstance(ended.outcome, SignIn):
            return self.sign_in(ended.outcome)
        return given.result(ended.outcome, ended.requests)

    def reset(self, account: Account) -> None:
        """Let one more password through, for all processes; raise `UnavailableError` if strict and it was not saved."""
        given, member = SignIn(account, None, self._runtime.now(), lambda: None), evolve(self._member(account))
        self._members[account.identity.fingerprint] = member  # what began before must not write to its memory
        try:
            self._carry_out(member.reset(self._runtime.new_id(), given.deadline), given)
            return
        except StoreError as error:
            why = f"the reset may not be saved: {error}"
        if self._strict:
            raise Unavailable(why, account.identity.host).to_exception()

    def inherit(self) -> None:
        for member in self._members.values():
            member.memory = member.memory.inherited()

    def _member(self, account: Account) -> Member:
        host, runtime = account.identity.host, self._runtime
        made = Member(host, self._timeout, self._strict, runtime.new_id, runtime.draw, account.gateway.lead)
        return self._members.setdefault(account.identity.fingerprint, made)

    def _carry_out(self, steps: Steps, given: SignIn) -> Any:
        sealed = Sealed(self._store, given.account.credentials, self._runtime, self._hung)
        host, works = given.account.identity.host, set[bool]()
        try:
            command = next(steps)
            while True:
                if isinstance(command, Stored):
                    try:
                        value = self._done(command, sealed, given)
                        works.add(True)
                    except Exception as error:
                        works.add(False)
                        why, kind = named(error), TooSlowError if isinstance(error, TooSlowError) else StoreError
                        if self._down_until == LONG_AGO:
                            self.events.append(Event("store_down", host, reason=why))
                        self._down_until = self._runtime.monotonic() + _DOWN
                        command = steps.throw(kind(why))  # not `error`, whose traceback keeps the engine and a token
                        continue
                else:
                    value = self._done(command, sealed, given)
                command = steps.send((self._runtime.now(), value))
        except StopIteration as end:
            if works == {True} and self._down_until > LONG_AGO:
                self._down_until = LONG_AGO
                self.events.append(Event("store_back", host))
            return end.value
        finally:
            sealed.release()  # an interrupt must not keep the siblings waiting

    def _done(self, command: object, sealed: Sealed, given: SignIn) -> object:
        match command:
            case Source():
                return given.reread()
            case Pause(seconds):
                self._runtime.pause(seconds)
                sealed.renew_patience()
            case Send(record, deadline, leaves):
                outcome_and_answer = self._direct.request(evolve(given, record=record, deadline=deadline), leaves)
                sealed.renew_patience()
                return outcome_and_answer
            case Release():
                sealed.release()
            case Read(kind):
                return sealed.load(kind)
            case Save(kind, entry, seconds, written):
                return sealed.save(kind, entry, seconds, written)
            case Delete(kind):
                sealed.delete(kind)
            case Lease(seconds):  # pragma: no branch - there is no other command
                return sealed.lease(seconds)
        return None


def named(error: Exception) -> str:
    """Return why a store failed; the text of an exception that is not ours may hold secrets."""
    return str(error) if isinstance(error, StoreError) else f"the token store failed ({type(error).__name__})"
