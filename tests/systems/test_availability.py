"""How soon proven credentials have a token again after an outage; `pytest -s` on this file prints it."""

from contextlib import suppress
from random import Random

import pytest
from attrs import evolve

from conftest import Clock, wait_for_sign_ins
from enkash_auth import TokenProvider, stores
from enkash_auth._runtime import use_runtime
from enkash_auth.errors import EnkashAuthError
from enkash_auth.testing import Sandbox
from test_dialects import Reached

# seconds from the server's return to the last process's token: a back-off and its siblings' looks, or a client's minute
LONGEST = {"server_error": 31, "silence": 31, "user_database_down": 31, "html_502": 31, "client_database_down": 60}
OUTAGE, PHASES = 60.0, range(0, 60, 10)  # seconds; when the token ends within the outage


@pytest.mark.parametrize("processes", [1, 3])
@pytest.mark.parametrize("kind", LONGEST)
def test_proven_credentials_have_a_token_soon_after_an_outage(clock: Clock, kind: str, processes: int) -> None:
    waits = []
    for phase in PHASES:
        sandbox = Sandbox(life=300, clock=lambda: clock.monotonic)
        reached = Reached(sandbox, clock)
        store = stores.MemoryStore(clock=lambda: clock.monotonic) if processes > 1 else None
        with use_runtime(evolve(clock.runtime, draw=Random(phase).random)):
            fleet = [TokenProvider(sandbox.credentials(), store=store, transport=reached) for _ in range(processes)]
        first = {one.token() for one in fleet}
        clock.passes(300 - phase)
        sandbox.start_outage(kind)
        began, waiting = clock.monotonic, list(fleet)
        while waiting:
            if clock.monotonic >= began + OUTAGE:
                sandbox.end_outage()
            for one in fleet:
                with suppress(EnkashAuthError):
                    if one.token() not in first and one in waiting:
                        waiting.remove(one)
                wait_for_sign_ins()  # a renewal, behind its callers
            clock.passes(0.5)
        waits.append(max(0.0, clock.monotonic - began - OUTAGE))
        for one in fleet:
            one.close()
    print(f"{kind}, {processes} processes: median {sorted(waits)[len(waits) // 2]:.1f} s, at most {max(waits):.1f} s")
    assert max(waits) <= LONGEST[kind]
