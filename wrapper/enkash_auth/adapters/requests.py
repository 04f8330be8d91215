"""EnkashRequestsAuth: the `auth` of a session of requests."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin

import requests
from requests.auth import AuthBase

from enkash_auth._calls import Call, Pinned, origin_of


class _Hook:
    """What requests calls with an answer. The answer holds it: pickled or copied with that, it does nothing."""

    def __init__(self, call: Call, on_response: Callable[..., requests.Response]) -> None:
        self.call, self._on_response = call, on_response

    def __call__(self, response: requests.Response, **options: Any) -> requests.Response:
        return self._on_response(self.call, response, **options)

    def __reduce__(self) -> tuple[Callable[[], object], tuple[()]]:
        return _no_hook, ()


def _no_hook() -> Callable[..., None]:
    return _nothing


def _nothing(response: requests.Response, **_: Any) -> None:
    pass


class EnkashRequestsAuth(Pinned, AuthBase):
    """The `auth` of a session or a request of requests; takes, does and raises what `EnkashAuth` does.

    A 401 after a redirect repeats the request that was redirected to.
    """

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        hooks = request.hooks["response"]
        before = [hook for hook in hooks if isinstance(hook, _Hook)]
        call = self._call(request.url or "", before[-1].call.signed if before else "")
        call.sign(request.headers, self._provider.token() if call.gets_token() else None)
        if call.signed:  # one hook, however often it is signed; a new list, for copies of a request share theirs
            others = [hook for hook in hooks if hook not in before]
            request.hooks = {**request.hooks, "response": [_Hook(call, self._on_response), *others]}
        return request

    def _on_response(self, call: Call, response: requests.Response, **options: Any) -> requests.Response:
        request = response.request
        in_memory = isinstance(request.body, bytes | str | None)  # a multipart form, too: requests has read its files
        adapter = getattr(response, "connection", None)  # not every adapter names itself
        if call.rejected(response.status_code, request.headers) and in_memory and adapter:
            try:
                fresh = self._provider.token()
            except BaseException:
                response.close()
                raise
            if seconds := call.pause(fresh):
                self._engine.runtime.pause(seconds)
            if call.gets_token():
                _ = response.content  # else its connection cannot be used again
                response.close()
                call.sign(request.headers, fresh)
                again = adapter.send(request, **options)
                again.history.append(response)
                response = again
        if response.is_redirect:  # elsewhere a Location may be anything
            target = urljoin(response.url, response.headers["Location"])
            if origin_of(target) != origin_of(response.url):  # requests keeps the header from http to https of one host
                call.sign(request.headers, None)
        return response
