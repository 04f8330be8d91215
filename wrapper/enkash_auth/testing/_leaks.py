"""The leak check: the sandbox's secrets are random, so where one shows, a real one would."""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote, unquote_plus

if TYPE_CHECKING:
    from ._sandbox import Sandbox

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # rich colours a number in the middle of a word
_BREAK = re.compile(r"[\s|\u2502\u2503]+")  # a narrow terminal breaks lines, between the borders of a table, too


class LeakCheck:
    """A block in which no secret of `sandbox` may show: its password, client secret, Basic pair and tokens.

    It looks at log records from DEBUG up, at what Python writes to stdout and stderr, at warnings, and at the error
    that leaves the block, with its causes and notes. Raises `AssertionError`, which names each leak and where it was.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._seen: list[tuple[str, str]] = []  # place, text
        self._blocks: list[tuple[Any, ...]] = []  # a fixture's around a test's

    def look_at(self, *things: object) -> None:
        """Look at more, when the block ends: an error that was caught in it, an answer's text, any object."""
        for thing in things:
            self._seen.append((f"a {type(thing).__name__}", _text(thing)))

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            records = stack.enter_context(_kept_records())
            streams = {name: stack.enter_context(_copied(getattr(sys, name))) for name in ("stdout", "stderr")}
            warned = stack.enter_context(warnings.catch_warnings(record=True))
            self._blocks.append((records, streams, warned, stack.pop_all()))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        __tracebackhide__ = True
        records, streams, warnings_, stack = self._blocks.pop()
        stack.close()
        for warned in warnings_:
            self._seen.append((f"a warning ({warned.filename}:{warned.lineno})", _text(warned.message)))
            told = (warned.message, warned.category, warned.filename, warned.lineno, warned.file, warned.line)
            warnings.showwarning(*told)  # to whom it would have gone
        for made in records:
            place = f"a log record of {made.record.name!r} ({made.record.filename}:{made.record.lineno})"
            self._seen.append((place, made.text()))
        self._seen += [(name, text()) for name, text in streams.items()]
        if isinstance(error, AssertionError):
            return  # the test's own: a comparison of tokens may well show them
        if error is not None:
            self.look_at(error)
        seen, self._seen = self._seen, []
        secrets = {name: _forms(texts) for name, texts in self._sandbox.canaries().items()}
        leaks = [f"the {name} shows in {place}" for place, text in seen for name in _found(secrets, text)]
        if leaks:
            raise AssertionError("\n".join(dict.fromkeys(leaks))) from error


@contextmanager
def _copied(stream: Any) -> Iterator[Callable[[], str]]:
    """Remember what a stream gets, in the stream itself: handlers have kept it, and pytest puts it back at will."""
    place = getattr(stream, "buffer", stream)  # text ends there, too
    parts, write, before = list[bytes](), place.write, vars(place).get("write")
    encoding = getattr(stream, "encoding", None) or "utf-8"

    def copy(text: Any) -> Any:
        written = write(text)  # click tries bytes first, which a text stream refuses
        parts.append(text.encode(encoding, "replace") if isinstance(text, str) else bytes(text))
        return written

    stream.flush()  # what was written before is not the block's
    place.write = copy
    try:
        yield lambda: b"".join(parts).decode(encoding, "replace")
    finally:
        stream.flush()
        if before is None:
            del place.write
        else:
            place.write = before


class _Made:
    """A log record, and its message as it was when it was made: an argument may have changed since."""

    def __init__(self, record: logging.LogRecord) -> None:
        self.record, self._given, self._message = record, (record.msg, record.args), _shown(record.getMessage)

    def text(self) -> str:
        record = self.record
        texts = [*map(_text, vars(record).values()), _shown(record.getMessage)]
        if record.msg is self._given[0] and record.args is self._given[1]:  # no filter has struck anything out
            texts.append(self._message)
        if record.exc_info and record.exc_info[1]:
            texts.append(_text(record.exc_info[1]))
        return "\n".join(texts)


@contextmanager
def _kept_records() -> Iterator[list[_Made]]:
    # The factory, not a handler: it meets loggers that do not propagate, too. What a filter has struck out by
    # the end, or a logger has added, counts.
    records: list[_Made] = []
    make, root = logging.getLogRecordFactory(), logging.getLogger()
    level, disabled = root.level, root.manager.disable

    def keep(*given: Any, **more: Any) -> logging.LogRecord:
        record = make(*given, **more)
        records.append(_Made(record))
        return record

    logging.setLogRecordFactory(keep)
    root.setLevel(logging.DEBUG)
    logging.disable(logging.NOTSET)  # a test-suite may have silenced all logging
    try:
        yield records
    finally:
        logging.disable(disabled)
        root.setLevel(level)
        logging.setLogRecordFactory(make)


def _shown(show: Callable[[], str]) -> str:
    try:
        return show()
    except Exception:  # a message that its arguments do not fit, an object that cannot be shown
        return ""


def _text(thing: object) -> str:
    """Everything that a log, a terminal or an error tracker would show of it without its frames' locals."""
    texts = [_shown(partial(str, thing)), _shown(partial(repr, thing))]
    if isinstance(thing, BaseException):
        texts += traceback.format_exception(thing)
        for error in _with_causes(thing):
            parts = (error, error.args, *getattr(error, "__notes__", ()))
            texts += [_shown(partial(repr, part)) for part in parts]
    return "\n".join(texts)


def _with_causes(error: BaseException) -> list[BaseException]:
    found = [error]
    for one in found:  # it grows meanwhile
        found += [more for more in (one.__cause__, one.__context__) if more and more not in found]
    return found


def _forms(secrets: Iterable[str]) -> set[str]:
    """How the secrets show: as they are, in JSON with and without other letters than ASCII's, in a repr, as bytes."""
    return {
        form
        for text in secrets
        for form in (
            text,
            json.dumps(text)[1:-1],
            json.dumps(text, ensure_ascii=False)[1:-1],
            repr(text)[1:-1],
            ascii(text)[1:-1],
            repr(text.encode())[2:-1],
        )
    }


def _found(secrets: dict[str, set[str]], text: str) -> list[str]:
    plain = _COLOUR.sub("", text)
    texts = plain, unquote(plain), unquote_plus(plain)  # of a URL or a form, whichever letters its writer quotes
    joined = [_BREAK.sub("", one) for one in texts]
    return [
        name
        for name, forms in secrets.items()
        if any(form in one for form in forms for one in texts)
        or any((bare := _BREAK.sub("", form)) and bare in one for form in forms for one in joined)  # it may be all bars
    ]
