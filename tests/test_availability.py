"""How soon proven credentials have a token again after an outage: `pytest -s tests/test_availability.py` prints it."""

from __future__ import annotations

from contextlib import suppress

import pytest

from conftest import Clock, wait_for_sign_ins
from enkash_auth import TokenProvider, stores
from enkash_auth.errors import EnkashAuthError
from enkash_auth.testing import Sandbox
from test_dialects import Reached

# seconds from the server's return to the first token, at most: one back-off, or what is left of a refused client's
LONGEST = {"server_error": 30, "silence": 30, "user_database_down": 30, "html_502": 30, "client_database_down": 60}
OUTAGE, PHASES = 60.0, range(0, 60, 5)  # seconds; when the token ends within the outage


@pytest.mark.parametrize("processes", [1, 8])
@pytest.mark.parametrize("kind", LONGEST)
def test_credentials_that_have_worked_have_a_token_soon_after_an_outage(
    clock: Clock, kind: str, processes: int
) -> None:
    waits = []
    for phase in PHASES:
        sandbox = Sandbox(life=300, clock=lambda: clock.monotonic)
        reached = Reached(sandbox, clock)
        store = stores.MemoryStore(clock=lambda: clock.monotonic) if processes > 1 else None
        fleet = [TokenProvider(sandbox.credentials(), store=store, transport=reached) for _ in range(processes)]
        for one in fleet:
            one.token()
        clock.passes(300 - phase)
        sandbox.start_outage(kind)
        began = clock.monotonic
        got = False
        while not got:
            if clock.monotonic >= began + OUTAGE:
                sandbox.end_outage()
            for one in fleet:
                with suppress(EnkashAuthError):
                    got = one.token().expires_at.timestamp() > clock.wall + 200
            wait_for_sign_ins()  # a renewal, behind its callers
            clock.passes(0.5)
        waits.append(max(0.0, clock.monotonic - began - OUTAGE))
        for one in fleet:
            one.close()
    print(f"{kind}, {processes} processes: median {sorted(waits)[len(waits) // 2]:.1f} s, at most {max(waits):.1f} s")
    assert max(waits) <= LONGEST[kind]
