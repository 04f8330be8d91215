"""Searches for secrets in what a program prints, logs, pickles, raises, or stores in a shared cache's files."""

from __future__ import annotations

import io
import logging
import pickle
import tempfile
import traceback
from dataclasses import replace
from pathlib import Path

from peers import Account, load
from server import Control

HERE = str(Path(__file__).parents[1])


def _attempt(attempt: object) -> str:
    try:
        return str(pickle.dumps(attempt))
    except Exception:
        return ""


def _raised(error: BaseException, by_hand: bool) -> tuple[str, str]:
    """Return the texts of an error and its causes, and the locals of all frames outside the adapter."""
    raised = traceback.TracebackException.from_exception(error, capture_locals=True)
    messages, frames = "", ""
    while raised is not None:
        messages += str(raised)
        frames += str([frame.locals for frame in raised.stack if by_hand or not frame.filename.startswith(HERE)])
        raised = raised.__cause__ or raised.__context__
    return messages + repr(error), frames


def run(name: str, account: Account, server: Control, quick: bool) -> dict[str, str]:
    log = io.StringIO()
    logging.basicConfig(level=logging.DEBUG, stream=log)
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "store").mkdir(mode=0o700)
        adapter = load(name)
        peer = adapter.make(account, store=f"file://{directory}/store" if adapter.SHARES else None)
        got = peer.token()
        token = got if isinstance(got, str) else got.access_token
        peer.token()
        if hasattr(peer, "save"):
            peer.save()
        places = {
            "repr": repr(peer.shown) + str(peer.shown) + "".join(map(str, peer.shown)),
            "pickle": "".join(map(_attempt, peer.shown)),
            "files": "".join(path.read_text(errors="replace") for path in Path(directory, "store").iterdir()),
        }
    places["errors"] = places["frames"] = ""
    try:
        wrong = adapter.make(replace(account, username="wrong-one", password="canary-password-wrong"))
        wrong.token()
    except Exception as error:
        assert error.__traceback__ is not None
        error.__traceback__ = error.__traceback__.tb_next  # this frame belongs to the measure
        places["errors"], places["frames"] = _raised(error, by_hand=adapter.PACKAGE is None)
    places["debug log"] = log.getvalue()
    canaries = {"password": "canary-password", "client secret": "canary-secret", "token": token}
    canaries["refresh token"] = "canary-refresh"
    return {
        place: ", ".join(secret for secret, canary in canaries.items() if canary in text)
        for place, text in places.items()
    }
