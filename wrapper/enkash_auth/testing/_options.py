"""A mistyped option says which there are."""

import functools
import inspect
from collections.abc import Callable, Collection
from difflib import get_close_matches
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def choose(name: str, among: Collection[str], what: str, error: type[Exception] = ValueError) -> str:
    """Return `name` if it is one of these, else raise an error that says which there are."""
    if name in among:
        return name
    near = get_close_matches(name, among, 1)
    hint = f"did you mean {near[0]!r}? There are" if near else "there are"
    raise error(f"unknown {what} {name!r}; {hint} {', '.join(among)}")


def named(function: Callable[P, T]) -> Callable[P, T]:
    """Let a function answer an option that it does not have with the names of those after its first parameter."""
    names = list(inspect.signature(function).parameters)[1:]

    @functools.wraps(function)
    def checked(*args: P.args, **options: P.kwargs) -> T:
        for name in options:
            choose(name, names, "option", TypeError)
        return function(*args, **options)

    return checked


class Complete:
    """Gets no new attribute once it is complete: a mistyped one is an `AttributeError` that says which there are."""

    _complete = False

    def __setattr__(self, name: str, value: object) -> None:
        if self._complete and not hasattr(self, name):
            names = ["dialect", "password", *(one for one in vars(self) if one[0] != "_")]
            choose(name, names, "option", AttributeError)
        super().__setattr__(name, value)
