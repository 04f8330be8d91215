"""A JDBC token store: each grant takes the living token's row away for a moment, and an API says 401 meanwhile."""

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
from attrs import evolve

from conftest import Clock
from enkash_auth import EnkashAuth, TokenProvider
from enkash_auth._runtime import use_runtime
from enkash_auth.testing import Sandbox

CALLERS, GRANTS = 8, 20


def test_twenty_grants_of_a_neighbour_under_eight_threads_surface_no_401(clock: Clock) -> None:
    sandbox = Sandbox(row_gap=0.001, clock=lambda: clock.wall)
    form = {"username": sandbox.username, "password": sandbox.password, "grant_type": "password"}
    # the row is back once all callers have met the 401
    met = threading.Barrier(CALLERS, action=lambda: clock.passes(0.05), timeout=30)

    def pause(seconds: float) -> None:
        if threading.current_thread().name.startswith("caller"):
            met.wait()

    with (
        use_runtime(evolve(clock.runtime, pause=pause)),
        TokenProvider(sandbox.credentials(), transport=sandbox.transport) as provider,
        httpx.Client(auth=EnkashAuth(provider), transport=sandbox.transport, base_url=sandbox.base_url) as client,
        httpx.Client(transport=sandbox.transport, base_url=sandbox.base_url) as neighbour,
        ThreadPoolExecutor(CALLERS, thread_name_prefix="caller") as pool,
    ):
        token = provider.token()
        for _ in range(GRANTS):
            answer = neighbour.post("/oauth/token", data=form, auth=(sandbox.basic_client_id, sandbox.client_secret))
            assert answer.json()["access_token"] == token.access_token
            statuses = list(pool.map(lambda _: client.get("/api/echo").status_code, range(CALLERS)))
            assert statuses == [200] * CALLERS
    assert sandbox.api_unauthorized == CALLERS * GRANTS
