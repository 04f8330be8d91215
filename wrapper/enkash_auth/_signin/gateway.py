"""The gateway: the only importer of the generated client. A grant goes in, an outcome comes out, nothing is raised."""

import encodings.idna  # noqa: F401  # looking up a host needs it, and a flight must not import (a fork may come)
import ssl
import zlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from importlib.metadata import version
from time import monotonic, time
from typing import Any

import httpx

from enkash_auth._policy.outcome import Issued, Malformed, Outcome, Refused, Unavailable
from enkash_auth._policy.token import read_access_token, read_life
from enkash_auth._settings.credentials import Credentials
from enkash_auth.errors import ConfigurationError, ProtocolError
from enkash_auth_client import Client
from enkash_auth_client.api.authentication import get_authentication_token
from enkash_auth_client.models import SnakeTokenResponse, TokenRequest, TokenResponse
from enkash_auth_client.types import UNSET, Unset

from .answers import read_error_code, read_retry_after

_LARGEST_ANSWER = 64 * 1024
_END = "enkash_auth.end"
_USER_AGENT = f"enkash-auth/{version('enkash-auth')}"
_request: ContextVar[tuple[float, Callable[[], None]]] = ContextVar("request")


class _StoppedError(Exception):
    """Carries an outcome out of httpx; never leaves this module."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__("stopped")
        self.outcome = outcome


class _BoundedStream(httpx.SyncByteStream):
    """A body, unpacked, that ends at a size and a time: a server that drips bytes beats every read timeout."""

    def __init__(self, inner: httpx.SyncByteStream, end: float, host: str, encoding: str) -> None:
        self._inner, self._end, self._host = inner, end, host
        # none was asked for, but a proxy may do it anyway; httpx would unpack 500 bytes to 400 MB
        self._unpacker = zlib.decompressobj(47) if encoding in ("gzip", "x-gzip", "deflate") else None  # either kind

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for chunk in self._inner:
            if self._unpacker:
                chunk = self._unpacker.decompress(chunk, _LARGEST_ANSWER + 1)
            size += len(chunk)
            if size > _LARGEST_ANSWER:
                raise _StoppedError(Unavailable("the answer is larger than 64 KiB", self._host))
            if monotonic() > self._end:
                raise _StoppedError(Unavailable("the answer took too long", self._host, late=True))
            yield chunk

    def close(self) -> None:
        self._inner.close()


class Gateway:
    """Signs in with one account's credentials."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        transport: httpx.BaseTransport | None = None,
        verify: bool | ssl.SSLContext = True,
    ) -> None:
        self.lead = 0.0 if transport else 1.0  # seconds to connect in before the header leaves, which another may not tell
        self.origin = credentials.origin
        self.host = self.origin[1]
        self._credentials, self._shared = credentials, transport is not None  # others may use that one
        self._client = Client(
            base_url=credentials.base_url,
            timeout=httpx.Timeout(5.0),  # each request brings its own
            headers={
                "User-Agent": _USER_AGENT,
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "Connection": "close",  # the next grant is minutes away, and a fork would share the connection
            },
            verify_ssl=verify,
            follow_redirects=False,
            httpx_args={
                "auth": httpx.BasicAuth(
                    credentials.basic_client_id or credentials.client_id, credentials.client_secret.reveal()
                ),
                "transport": transport,
                "mounts": {"http://": None},  # that is for loopback: no proxy may see it
                "event_hooks": {"request": [self._on_request], "response": [self._on_response]},
            },
        )
        try:
            self._client.get_httpx_client()  # here, not in a grant
            return
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            why = type(error).__name__
        raise ConfigurationError(
            f"HTTPS_PROXY, HTTP_PROXY or ALL_PROXY: httpx cannot use the proxy that is named ({why})"
        )

    def grant(self, timeout: float, leave: Callable[[], None] = lambda: None) -> Outcome:
        """Send one token request (RFC 6749 section 4.3), `timeout` seconds for it all, and return how it ended.

        `leave` is called when there is a connection, before the header leaves.
        """
        _request.set((timeout, leave))
        try:
            body = TokenRequest(
                username=self._credentials.username,
                password=self._credentials.password.reveal(),
                client_id=self._credentials.client_id,
            )
            answer = get_authentication_token.sync_detailed(client=self._client, body=body).parsed
            assert isinstance(answer, SnakeTokenResponse | TokenResponse)  # a 200; _on_response ends all else
            # typed as the spec has them (a server may differ), so that mypy finds these lines when the spec changes
            access_token: str | Unset = answer.access_token
            expires_in: int | Unset = answer.expires_in
            return Issued(read_access_token(access_token), read_life(None if expires_in is UNSET else expires_in))
        except _StoppedError as stop:
            return stop.outcome
        except ProtocolError as error:
            return Malformed(str(error), self.host)
        except (httpx.ReadTimeout, httpx.WriteTimeout, httpx.PoolTimeout):
            return Unavailable(f"no answer within {timeout:.3g} s", self.host, late=True)
        except httpx.HTTPError as error:
            return Unavailable(f"the connection failed ({type(error).__name__})", self.host)
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError, zlib.error):
            # what the generated parser raises on a body that is no JSON object of the spec's
            return Malformed("the body is not the JSON object of the spec", self.host)
        except Exception as error:  # a flight that ends in no outcome would keep its waiters till their deadline
            return Unavailable(f"the request failed ({type(error).__name__})", self.host)

    def close(self) -> None:
        """Close the connections."""
        self._client.get_httpx_client().close()

    def abandon(self) -> None:
        """Cut off a grant that does not end: a server that drips headers beats every timeout."""
        if not self._shared:
            self.close()

    def _on_request(self, request: httpx.Request) -> None:
        timeout, leave = _request.get()
        # a host may have several addresses, the first of them dead
        limits, end = httpx.Timeout(timeout, connect=timeout / 3).as_dict(), monotonic() + timeout

        def trace(name: str, info: dict[str, Any]) -> None:
            if not name.endswith("send_request_headers.started") or info["request"].method == b"CONNECT":
                return
            leave()
            # connecting took too long, or this process stood still: by now the password may have been refused
            if monotonic() > end:
                raise _StoppedError(Unavailable("no time was left", self.host, late=True))

        request.extensions = {**request.extensions, "timeout": limits, "trace": trace, _END: end}
        request.headers.pop("Cookie", None)  # each sign-in stands alone

    def _on_response(self, response: httpx.Response) -> None:
        """Bound the body, and end all but a 200 before the generated parser, which knows no status 520, sees it."""
        stream = response.stream
        assert isinstance(stream, httpx.SyncByteStream)
        encoding = response.headers.pop("Content-Encoding", "")
        response.stream = _BoundedStream(stream, response.request.extensions[_END], self.host, encoding.lower())
        status = response.status_code
        if status == 200:
            return
        if status == 429 or status >= 500:
            after = read_retry_after(response.headers.get("Retry-After"), time())
            raise _StoppedError(Unavailable(f"status {status}", self.host, after))
        try:
            error, unread = read_error_code(response.read()), False
        except (httpx.HTTPError, zlib.error, _StoppedError):  # cut short, too long or too slow: the status still counts
            error, unread = None, True
        final = status == 401 or (status == 400 and (unread or error == "invalid_grant"))
        raise _StoppedError(Refused(status, error, final, self.host))
