"""A session of requests; run it: API_URL=https://api.example python examples/requests_session.py"""

import os

import requests

from enkash_auth.adapters.requests import EnkashRequestsAuth

API_URL = os.environ["API_URL"]

with EnkashRequestsAuth.from_env(origins=[API_URL]) as auth, requests.Session() as session:
    session.auth = auth
    print(session.get(f"{API_URL}/api/echo", timeout=10).json())
