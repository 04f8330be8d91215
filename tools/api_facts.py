"""What of a package's Python API callers rely on, read from its source: nothing is imported."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe

from changes import Change, Fact, Facts, Level, compare
from codegen import differences

logging.getLogger("griffe").setLevel(logging.CRITICAL)  # it also logs the errors that it raises, with a traceback
_SAME = {f"{package}.{name}": "dataclasses.dataclass" for package in ("attr", "attrs") for name in ("define", "frozen")}
_SAME |= {"attrs.field": "dataclasses.field"}


class _Attrs(griffe.Extension):
    """Shows attrs classes to griffe as dataclasses, of which it knows the constructors."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        classes = [made for module in _modules(pkg) for made in module.classes.values() if not made.is_alias]
        for made in classes:
            for decorator in made.decorators:
                decorator.value = _renamed(decorator.value)
            for attribute in made.attributes.values():
                if isinstance(attribute.value, griffe.ExprCall):
                    attribute.value = _renamed(attribute.value)


def _renamed(value: Any) -> Any:
    if not isinstance(value, griffe.Expr) or value.canonical_path not in _SAME:
        return value
    name = griffe.ExprName(_SAME[value.canonical_path])
    if not isinstance(value, griffe.ExprCall):
        return name
    for argument in value.arguments:
        if isinstance(argument, griffe.ExprKeyword) and argument.name == "factory":
            argument.name = "default_factory"
    return griffe.ExprCall(name, value.arguments)


def _modules(module: griffe.Module) -> Iterator[griffe.Module]:
    yield module
    for inner in module.modules.values():
        if not inner.is_alias:
            yield from _modules(inner)


def facts(root: Path, package: str) -> Facts:
    """Return what each public module, class and function of a package in `root` promises, by its import paths."""
    found: Facts = {}
    if (root / package / "__init__.py").is_file():
        loaded = griffe.load(
            package, search_paths=[root], try_relative_path=False, allow_inspection=False,
            extensions=griffe.load_extensions(_Attrs()), resolve_aliases=True, resolve_external=False,
        )  # fmt: skip
        _look(loaded, package, package, found)
    return found


def _look(thing: Any, path: str, package: str, found: Facts) -> None:
    def say(item: str, text: str, needed: bool = False) -> None:
        new = {"added": Level.MAJOR, "how": "added, and required"} if needed else {}
        found[(*path.split("."), *([item] if item else []))] = Fact(path, item, text, text if item else "", **new)

    say("", thing.kind.value)
    if thing.is_function:
        say("returns", f"{'async ' * ('async' in thing.labels)}{thing.returns}")
        for parameter in _parameters(thing):
            say(*parameter)
        return
    for name, member in thing.all_members.items():
        if member.is_alias and not member.target_path.startswith(f"{package}."):
            continue  # another package's
        inner = member.final_target if member.is_alias else member
        if name == "__init__" and inner.is_function:
            for parameter in _parameters(inner):
                say(*parameter)
        elif not member.is_public or name.startswith("__"):
            continue
        elif inner.is_attribute:
            if not str(inner.value).startswith("TypeVar("):
                fixed = "class-attribute" in inner.labels or thing.is_module  # an enum's member, an alias of a type
                say(f".{name}", str(inner.annotation or (f"= {inner.value}" if fixed else "attribute")))
        elif not (inner.is_module and member.is_alias and inner.is_public):  # that is reported under its own path
            _look(inner, f"{path}.{name}", package, found)
    for base in (getattr(base, "canonical_path", str(base)) for base in getattr(thing, "bases", [])):
        if "._" not in f".{base}":
            say(f"base {base}", "")


def _parameters(function: griffe.Function) -> Iterator[tuple[str, str, bool]]:
    """Yield each parameter's name, text, and if callers must pass it."""
    skipped = function.parent is not None and function.parent.is_class and "staticmethod" not in function.labels
    kinds = griffe.ParameterKind
    for place, one in enumerate([*function.parameters][skipped:], 1):
        star = {kinds.var_positional: "*", kinds.var_keyword: "**"}.get(one.kind, "")
        where = f"no. {place}: " if one.kind in (kinds.positional_only, kinds.positional_or_keyword) else ""
        default = f" = {one.default}" if one.default is not None and not star else ""
        yield f"({star}{one.name.lstrip('_')})", f"{where}{one.annotation}{default}", not star and one.default is None


def changes(old: Path, new: Path, package: str) -> list[Change]:
    """Return what changed in the public API of a package between two source roots, largest first."""
    inside = [Change(Level.PATCH, package, "", "changed inside; its API did not")]
    other = differences(old / package, new / package)
    return compare(facts(old, package), facts(new, package), inside if other else [])
