"""A session of requests; run it: API_URL=https://api.example python examples/requests_session.py"""

import os
from functools import partial
from urllib.parse import urlsplit

import requests

from enkash_auth import Token, TokenProvider

API_URL = os.environ["API_URL"]


class EnkashAuth(requests.auth.AuthBase):
    def __init__(self, provider: TokenProvider, api_url: str) -> None:
        self.provider, self.origin = provider, urlsplit(api_url)[:2]

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if urlsplit(request.url)[:2] == self.origin:  # other origins must not get the token
            token = self.provider.token()
            request.headers["Authorization"] = f"Bearer {token.access_token}"
            request.register_hook("response", partial(self.repeat, token))
        return request

    def repeat(self, token: Token, answer: requests.Response, **options: object) -> requests.Response:
        again = answer.request.copy()  # may be a redirect to another origin, or a stream that was sent
        repeatable = urlsplit(again.url)[:2] == self.origin and isinstance(again.body, bytes | str | None)
        if answer.status_code != 401 or not repeatable:
            return answer
        self.provider.invalidate(token)
        if (fresh := self.provider.token().access_token) == token.access_token:
            return answer
        answer.close()
        again.headers["Authorization"] = f"Bearer {fresh}"
        return answer.connection.send(again, **options)


if __name__ == "__main__":
    with TokenProvider.from_env() as provider:
        print(requests.get(f"{API_URL}/api/echo", auth=EnkashAuth(provider, API_URL), timeout=10).json())
