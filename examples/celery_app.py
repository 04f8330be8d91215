"""A Celery worker; run it: cd examples; celery -A celery_app worker; send: celery -A celery_app call celery_app.fetch

Its broker is CELERY_BROKER_URL, its results go to CELERY_RESULT_BACKEND. With ENKASH_TOKEN_STORE all workers share one
token. Without it each process of a worker signs in by itself.
"""

import os
from functools import cache
from typing import Any

import httpx
from celery import Celery, Task

from enkash_auth import EnkashAuth, errors

app = Celery("orders")


@cache
def api() -> httpx.Client:
    """Return one client for a process, created at first use, after the fork: who only sends tasks needs no settings."""
    url = os.environ["API_URL"]
    return httpx.Client(base_url=url, auth=EnkashAuth.from_env(origins=[url]))


@app.task(bind=True, max_retries=5)
def fetch(self: Task) -> Any:
    try:
        answer = api().get("/api/echo")
    except errors.UnavailableError as error:  # no token now: retry the task later, for five minutes
        raise self.retry(exc=error, countdown=max(error.retry_after or 0, 10 * 2**self.request.retries)) from error
    return answer.raise_for_status().json()
