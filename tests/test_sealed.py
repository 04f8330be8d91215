"""What a sealed entry may hold."""

from __future__ import annotations

import pytest

from conftest import credentials
from enkash_auth._fleet.sealed import Sealed
from enkash_auth._runtime import Runtime
from enkash_auth.stores import MemoryStore


@pytest.mark.parametrize("text", ["{}", '{"seconds": "9"}', '{"seconds": null}', "[]", "1", "null", "NaN", "{"])
def test_an_entry_of_another_shape_counts_as_missing(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    sealed = Sealed(MemoryStore(), credentials(), Runtime())
    with monkeypatch.context() as patched:
        patched.setattr("enkash_auth._fleet.sealed.json.dumps", lambda _: text)
        sealed.save("token", {}, 60.0)
    assert sealed.load("token") is None
