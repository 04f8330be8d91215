"""A Celery worker; run it: cd examples; API_URL=https://api.example celery -A celery_app worker

With ENKASH_TOKEN_STORE all workers share one token. Without it each process of a worker signs in by itself.
"""

import os
from functools import cache
from typing import Any

import httpx
from celery import Celery, Task

from enkash_auth import EnkashAuth, TokenProvider, errors

API_URL = os.environ["API_URL"]

app = Celery("orders")  # its broker: CELERY_BROKER_URL, its results: CELERY_RESULT_BACKEND
provider = TokenProvider.from_env()  # can be forked: a child starts without a token


@cache
def api() -> httpx.Client:
    """Return the client, created at first use, after the fork: processes must not share a connection."""
    return httpx.Client(base_url=API_URL, auth=EnkashAuth(provider, origins=[API_URL]))


@app.task(bind=True, max_retries=5)
def fetch(self: Task) -> Any:
    try:
        answer = api().get("/api/echo")
    except errors.UnavailableError as error:  # no token now: retry the task later
        raise self.retry(countdown=error.retry_after or 10) from None
    return answer.raise_for_status().json()
