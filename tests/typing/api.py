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
provider: TokenProvider = TokenProvider(creds, store=None, timeout=10.0, transport=None, verify=True)
from_env: TokenProvider = TokenProvider.from_env()
from_profile: TokenProvider = TokenProvider.from_env(profile="uat", timeout=5.0, on_store_error="raise")
token: Token = provider.token()
text: str = token.access_token
end: datetime = token.expires_at
provider.invalidate(token)
provider.reset()
provider.close()
auth: EnkashAuth = EnkashAuth(provider, origins=())
client = httpx.Client(auth=EnkashAuth.from_env(origins=["https://api"]))
async_client = httpx.AsyncClient(auth=auth)
with EnkashAuth.from_env(timeout=5.0) as closing:
    checked: EnkashAuth = closing
second_client = httpx2.Client(auth=auth)
session = requests.Session()
session.auth = EnkashRequestsAuth.from_env(origins=["https://api"])


async def third() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(middlewares=[EnkashMiddleware(provider, ["https://api"])])


from_a_function: TokenProvider = TokenProvider(lambda: creds)
second_async_client = httpx2.AsyncClient(auth=auth)


def hear(event: events.Event) -> None:
    """Read what an event carries."""
    print(event.kind, event.seconds, event.grants)


watched: TokenProvider = TokenProvider(creds, on_event=hear)


async def main() -> Token:
    """Return a token on a loop."""
    return await provider.atoken()


def handle(error: errors.EnkashAuthError) -> float | int | None:
    """Read what the errors carry."""
    if isinstance(error, errors.UnavailableError):
        return error.retry_after
    return error.status if isinstance(error, errors.RefusedError) else None
