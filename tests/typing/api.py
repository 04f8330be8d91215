"""Only type-checked: the public API as users write it."""

from datetime import datetime

import aiohttp
import httpx
import httpx2
import requests

import enkash_auth
from enkash_auth import Credentials, EnkashAuth, Token, TokenProvider, errors, events
from enkash_auth.adapters.aiohttp import EnkashMiddleware
from enkash_auth.adapters.requests import EnkashRequestsAuth

versions: tuple[str, str] = (enkash_auth.__version__, enkash_auth.__spec_version__)
creds: Credentials = Credentials(
    base_url="https://a", username="u", password="p", client_id="c", client_secret="s", basic_client_id=None
)
loaded: Credentials = Credentials.load(profile=None)


def hear(event: events.Event) -> None:
    """Read what an event carries."""
    print(event.kind, event.seconds, event.grants)


provider: TokenProvider = TokenProvider(
    creds, store=None, timeout=10.0, transport=None, verify=True, on_event=hear, on_store_error="continue"
)
from_a_function: TokenProvider = TokenProvider(lambda: creds)
from_env: tuple[TokenProvider, EnkashAuth] = (TokenProvider.from_env(), EnkashAuth.from_env())
from_profile: TokenProvider = TokenProvider.from_env(profile="uat", timeout=5.0, on_store_error="raise")
token: Token = provider.token()
shown: tuple[str, datetime] = (token.access_token, token.expires_at)
provider.invalidate(token)
provider.reset()
provider.close()

auth: EnkashAuth = EnkashAuth(provider, origins=())
with EnkashAuth.from_env(origins=["https://api"], timeout=5.0) as closing:
    checked: EnkashAuth = closing
clients = (httpx.Client(auth=auth), httpx2.Client(auth=auth))
async_clients = (httpx.AsyncClient(auth=auth), httpx2.AsyncClient(auth=auth))
session = requests.Session()
session.auth = EnkashRequestsAuth.from_env(origins=["https://api"])


async def main() -> tuple[Token, aiohttp.ClientSession]:
    """Return a token on a loop, and a session."""
    return await provider.atoken(), aiohttp.ClientSession(middlewares=[EnkashMiddleware(provider, ["https://api"])])


def handle(error: errors.EnkashAuthError) -> float | int | None:
    """Read what the errors carry."""
    if isinstance(error, errors.UnavailableError):
        return error.retry_after
    return error.status if isinstance(error, errors.RefusedError) else None
