"""One line of the doctor's report."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from typing import Literal

import click
from attrs import asdict, frozen

Level = Literal["ok", "warn", "fail"]
_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@frozen
class Finding:
    """What was checked, the result, and what to do."""

    level: Level
    about: str
    text: str

    def unless_failed(self, failures: Iterable[Finding]) -> Finding:
        """Return a finding that agrees with these failures: a setting, or the extras, that one names is not ok."""
        if self.level != "ok" or not (self.about.startswith("ENKASH_") or self.about == "extras"):
            return self
        name = rf"\b{'extra' if self.about == 'extras' else self.about}(_FILE)?\b"
        named = [one.about for one in failures if re.search(name, one.text)]
        return Finding("fail", self.about, f"{self.text}; see {named[0]!r} below") if named else self

    def as_line(self) -> str:
        return f"{click.style(f'{self.level:<4}', fg=_COLOURS[self.level])}  {self.about}: {self.text}"

    def as_json(self) -> dict[str, str]:
        return asdict(self)


ok, warn, fail = partial(Finding, "ok"), partial(Finding, "warn"), partial(Finding, "fail")
