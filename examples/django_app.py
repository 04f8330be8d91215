"""A Django project in one file; run it: API_URL=https://api.example python examples/django_app.py runserver"""

import os
import sys
from functools import cache

import httpx
from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

from enkash_auth import EnkashAuth, errors

API_URL = os.environ["API_URL"]
settings.configure(
    ROOT_URLCONF=__name__, ALLOWED_HOSTS=["localhost", "127.0.0.1"], SECRET_KEY=os.environ.get("SECRET_KEY", "example")
)


@cache
def api() -> httpx.Client:
    """Return one client for all threads, created at first use: after a fork, and after gevent's patches."""
    return httpx.Client(base_url=API_URL, auth=EnkashAuth.from_env(origins=[API_URL]))


def orders(request: HttpRequest) -> JsonResponse:
    try:
        answer = api().get("/api/echo")
    except errors.UnavailableError as error:  # no token now: the caller can retry
        return JsonResponse({}, status=503, headers={"Retry-After": f"{max(1, round(error.retry_after or 10))}"})
    return JsonResponse(answer.raise_for_status().json())


urlpatterns = [path("orders", orders)]
application = get_wsgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
