"""A mistyped option says which there are."""

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from ._dialects import choose

P = ParamSpec("P")
T = TypeVar("T")


def named(function: Callable[P, T]) -> Callable[P, T]:
    """Let a function answer an option that it does not have with the names of those after its first parameter."""
    names = {name: None for name in list(inspect.signature(function).parameters)[1:]}

    @functools.wraps(function)
    def checked(*args: P.args, **options: P.kwargs) -> T:
        for name in options:
            try:
                choose(name, names, "option")
            except ValueError as error:
                raise TypeError(str(error)) from None
        return function(*args, **options)

    return checked


class Complete:
    """Gets no new attribute once it is complete: a mistyped one is an `AttributeError` that says which there are."""

    _complete = False

    def __setattr__(self, name: str, value: object) -> None:
        if self._complete and not hasattr(self, name):
            names = ["dialect", "password", *(one for one in vars(self) if one[0] != "_")]
            try:
                choose(name, dict.fromkeys(names), "option")
            except ValueError as error:
                raise AttributeError(str(error)) from None
        super().__setattr__(name, value)
