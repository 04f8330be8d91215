"""A mistyped option says which there are."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec

from ._dialects import choose

P = ParamSpec("P")


def named(init: Callable[P, None]) -> Callable[P, None]:
    """Let an `__init__` answer an option that it does not have with the names of those that it has."""
    names = {name: None for name in list(inspect.signature(init).parameters)[1:]}

    @functools.wraps(init)
    def checked(*args: P.args, **options: P.kwargs) -> None:
        for name in options:
            try:
                choose(name, names, "option")
            except ValueError as error:
                raise TypeError(str(error)) from None
        init(*args, **options)

    return checked
