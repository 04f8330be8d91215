"""One line of the doctor's report."""

from __future__ import annotations

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

    def as_line(self) -> str:
        return f"{click.style(f'{self.level:<4}', fg=_COLOURS[self.level])}  {self.about}: {self.text}"

    def as_json(self) -> dict[str, str]:
        return asdict(self)
