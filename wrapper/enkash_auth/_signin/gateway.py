"""The gateway: the only importer of the generated client. A request goes out, a reply comes back, nothing is raised."""

import encodings.idna  # noqa: F401  # looking up a host needs it, and a sign-in must not import (a fork may come)
import zlib
from contextlib import suppress
from functools import partial
from http.cookiejar import DefaultCookiePolicy

import httpx
from attrs import evolve

from enkash_auth._forks import forks
from enkash_auth._policy.cause import address, cause_of
from enkash_auth._policy.classification import Answer
from enkash_auth._policy.lifetime import LONG_AGO, Moment
from enkash_auth._policy.outcome import Issued, Malformed, Outcome, Unavailable
from enkash_auth._policy.token import read_access_token, read_life
from enkash_auth._runtime import NoThreadError, Runtime
from enkash_auth._settings.credentials import Credentials
from enkash_auth._versions import version
from enkash_auth.errors import ConfigurationError, ProtocolError
from enkash_auth_client import Client

# the module's whole name: mypy's cache overlooks a submodule that is imported as a name of its package
from enkash_auth_client.api.authentication.get_authentication_token import sync_detailed as get_authentication_token
from enkash_auth_client.models import SnakeTokenResponse, TokenRequest, TokenResponse
from enkash_auth_client.types import UNSET, Unset

from .answers import failure_of, has_basic_challenge, read_body, read_retry_after
from .call import BoundedStream, Call, Form, Reply, StoppedError, current_call
from .tls import Verify, certificates, tls_context

_LEAD = 1.0  # seconds to connect in: a caller comes so long before its header is to leave
_USER_AGENT = f"enkash-auth/{version()}"  # read once: a forked child may have no file descriptor left
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)


class Gateway:
    """Sends token requests with one account's credentials."""

    def __init__(
        self, credentials: Credentials, *, transport: httpx.BaseTransport | None = None, verify: Verify = True
    ) -> None:
        # `is None`, here and below: a transport may be false, as one that is an empty list of its requests
        self.lead = _LEAD if transport is None else 0.0  # another transport may not tell when its header leaves
        self.origin, self.host = credentials.origin, credentials.origin[1]
        # a given transport may have other users, and brings its own certificates
        self._credentials, self._transport, self._verify = credentials, transport, verify
        self._certificates = certificates() if verify is True and transport is None else None
        # no lock: a finalizer or a signal handler may close the provider amid any step
        self._calls, self._closed = dict[int, Call](), False
        self._client = self._connect()

    def _connect(self) -> Client:
        """Return a client that trusts the certificates of now."""
        who = self._credentials
        try:
            client = Client(
                base_url=who.base_url,
                verify_ssl=tls_context(self._verify) if self._transport is None else self._verify,
                headers={
                    "User-Agent": _USER_AGENT,
                    "Accept": "application/json",
                    "Accept-Encoding": "identity",
                    "Connection": "close",  # the next request is minutes away, and a fork would share the connection
                },
                follow_redirects=False,
                httpx_args={
                    "auth": httpx.BasicAuth(who.basic_client_id or who.client_id, who.client_secret.reveal()),
                    "transport": self._transport,
                    "mounts": {"http://": None},  # that is for loopback: no proxy may see it
                    "event_hooks": {"request": [self._on_request], "response": [self._on_response]},
                },
            )
            http = client.get_httpx_client()  # here, not in a sign-in
            http.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=()))  # each sign-in stands alone
            return client
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            why = "a SOCKS one needs httpx[socks]" if isinstance(error, ImportError) else type(error).__name__
        raise ConfigurationError(f"HTTPS_PROXY, HTTP_PROXY, ALL_PROXY or NO_PROXY: httpx cannot use it ({why}); fix it")

    def grant(self, deadline: Moment, runtime: Runtime, leaves: float = LONG_AGO) -> Reply:
        """Send one token request (RFC 6749 section 4.3) until `deadline`; its header leaves at `leaves` (monotonic)."""
        now, target = runtime.now(), address(*self.origin[1:])
        given = self._transport is not None  # and may send the password without reading the body here
        call = Call(self.host, deadline, runtime, now, now.until(deadline), leaves, target, departed=given)
        current_call.set(call)
        try:
            outcome = runtime.call_within(call.allowed, partial(self._carry_out, call))
        except TimeoutError:  # looking up a host, and a server that drips headers, outlast every timeout of httpx
            outcome = call.end()
        except NoThreadError as error:
            call.departed, outcome = False, Unavailable(str(error), self.host)
        return Reply(outcome, evolve(call.answer, departed=call.departed), call.sent)

    def _carry_out(self, call: Call) -> Outcome:
        self._calls[id(call)] = call
        try:
            if self._certificates and self._certificates != (rotated := certificates()):
                with suppress(ConfigurationError), forks.waiting():  # half-way through
                    self._client, self._certificates = self._connect(), rotated
            return self._send(call)
        finally:
            forks.leave(id(call))
            del self._calls[id(call)]
            self._close_unused()

    def _send(self, call: Call) -> Outcome:
        try:
            if self._closed:  # else, since `call` is one of `_calls`, nobody closes the client under it
                call.departed = False
                return Unavailable("the provider was closed", self.host)
            who = self._credentials
            body = TokenRequest(username=who.username, password=who.password.reveal(), client_id=who.client_id)
            answer = get_authentication_token(client=self._client, body=body).parsed
            assert isinstance(answer, SnakeTokenResponse | TokenResponse)  # a 200; _on_response ends all else
            # typed as the spec has them (a server may differ), so that mypy finds these lines when the spec changes
            access_token: str | Unset = answer.access_token
            expires_in: int | Unset = answer.expires_in
            if expires_in is UNSET:  # or in the other spelling
                other = answer.additional_properties
                expires_in = other.get("expires_in", other.get("expiresIn", UNSET))
            token = read_access_token(access_token)
            call.answer = evolve(call.answer, token=True)
            return Issued(token, read_life(None if expires_in is UNSET else expires_in))
        except StoppedError as stop:
            outcome: Outcome = stop.args[0]
            return outcome
        except ProtocolError as error:
            return Malformed(str(error), self.host)
        except _NEVER_SENT as error:
            call.departed = False
            return Unavailable(f"cannot connect to {call.target}: {cause_of(error)}", self.host)
        except (httpx.ReadTimeout, httpx.WriteTimeout):
            return call.end()
        except httpx.HTTPError as error:
            return Unavailable(f"the connection to {call.target} failed: {cause_of(error)}", self.host)
        except Exception as error:  # a sign-in that ends in no outcome would keep its waiters until their deadline
            if call.answer.status == 200:  # what the generated parser raises on a body that is no JSON object
                return Malformed("the body is not the JSON object of the spec", self.host)
            return Unavailable(f"the request failed ({type(error).__name__})", self.host)

    def close(self) -> None:
        """Cut running requests and close the connections; a transport that was given stays open for its other users."""
        self._closed = True
        for call in list(self._calls.values()):
            call.cut()
        self._close_unused()

    def _close_unused(self) -> None:
        if self._closed and not self._calls and self._transport is None:
            self._client.get_httpx_client().close()

    def _on_request(self, request: httpx.Request) -> None:
        call = current_call.get()
        seconds = max(0.0, call.seconds())
        # a host may have several addresses, the first of them dead
        limits = httpx.Timeout(seconds, connect=seconds / 3).as_dict()
        request.extensions = {**request.extensions, "timeout": limits, "trace": call.trace}
        if not (self._credentials.username + self._credentials.password.reveal()).isascii():
            request.headers["Content-Type"] += ";charset=UTF-8"  # else stock Spring reads Latin-1, and counts a failure
        request.stream = Form(request.content, call)

    def _on_response(self, response: httpx.Response) -> None:
        """Bound and read the body, and end all but a 200 before the generated parser, which knows no status 520."""
        call, stream, status = current_call.get(), response.stream, response.status_code
        assert isinstance(stream, httpx.SyncByteStream)
        response.stream = BoundedStream(stream, call, response.headers.pop("Content-Encoding", "").lower())
        basic = has_basic_challenge(response.headers.get_list("WWW-Authenticate"))
        call.answer = Answer(status, basic=basic)
        try:
            json, error = read_body(response.read())
            call.answer = evolve(call.answer, json=json, error=error)
        except (httpx.HTTPError, zlib.error, StoppedError):  # cut short, too long or too slow: the status still counts
            if status == 200:
                raise
        if status != 200:
            head, now = response.headers, call.runtime.wall()
            # a server and a proxy before it may say it each
            waits = [read_retry_after(value, head.get("Date", ""), now) for value in head.get_list("Retry-After")]
            after = max((seconds for seconds in waits if seconds is not None), default=None)
            raise StoppedError(failure_of(call.answer, self.host, after))
