"""A client that openapi-python-client has generated, here `orders_client`; run it:

API_URL=https://api.example PYTHONPATH=where/it/lies python examples/generated_client.py
"""

import os

from orders_client import Client
from orders_client.api.default import get_echo

from enkash_auth import EnkashAuth, TokenProvider

API_URL = os.environ["API_URL"]

with TokenProvider.from_env() as provider:
    auth = EnkashAuth(provider, origins=[API_URL])
    # Not AuthenticatedClient: that one keeps the token which it was made with, past its end.
    with Client(base_url=API_URL, httpx_args={"auth": auth}, raise_on_unexpected_status=True) as client:
        print(get_echo.sync(client=client))
