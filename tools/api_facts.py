"""The facts of a package's Python API that callers rely on, read from its source: nothing is imported."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe
from attrs import evolve

from changes import Change, Fact, Facts, Level, diff, in_order

logging.getLogger("griffe").setLevel(logging.CRITICAL)  # it also logs the errors that it raises, with a traceback
_ATTRS = {f"{package}.{name}" for package in ("attr", "attrs") for name in ("define", "frozen", "mutable")}
_ENUMS = {f"enum.{name}" for name in ("Enum", "IntEnum", "StrEnum", "Flag", "IntFlag")}
MOVED = griffe.BreakageKind.PARAMETER_MOVED.value.lower()
_STARS = {griffe.ParameterKind.var_positional: "*", griffe.ParameterKind.var_keyword: "**"}


class _Attrs(griffe.Extension):
    """Adds the constructor of attrs classes, which griffe does not know (only that of dataclasses)."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        for module in _modules(pkg):
            for made in module.classes.values():
                if not made.is_alias and "__init__" not in made.members and _is_attrs(made):
                    self._construct(made)

    def _construct(self, made: griffe.Class) -> None:
        own = griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword)
        fields: dict[str, griffe.Parameter] = {}
        for base in [*reversed(made.mro()), made]:
            if _is_attrs(base):
                fields |= {field.name: field for field in map(_field, base.attributes.values()) if field}
        last = griffe.ParameterKind.keyword_only
        ordered = sorted(fields.values(), key=lambda field: field.kind is last)
        init = griffe.Function("__init__", parameters=griffe.Parameters(own, *ordered))
        init.labels.add("attrs")
        made.set_member("__init__", init)


def _modules(module: griffe.Module) -> Iterator[griffe.Module]:
    yield module
    for inner in module.modules.values():
        if not inner.is_alias:
            yield from _modules(inner)


def _is_attrs(made: griffe.Class) -> bool:
    return any(_called(decorator.value) in _ATTRS for decorator in made.decorators)


def _called(value: Any) -> str:
    """Return the full name that an expression calls or names."""
    value = value.function if isinstance(value, griffe.ExprCall) else value
    return value.canonical_path if isinstance(value, griffe.Expr) else str(value)


def _field(attribute: griffe.Attribute) -> griffe.Parameter | None:
    if attribute.annotation is None or _is_property(attribute):
        return None
    said, default = {}, attribute.value
    if isinstance(attribute.value, griffe.ExprCall) and _called(attribute.value) in ("attrs.field", "attr.ib"):
        said = {a.name: a.value for a in attribute.value.arguments if isinstance(a, griffe.ExprKeyword)}
        default = said.get("default", f"{said['factory']}()" if "factory" in said else None)
    if str(said.get("init")) == "False":
        return None
    kinds = griffe.ParameterKind
    kind = kinds.keyword_only if str(said.get("kw_only")) == "True" else kinds.positional_or_keyword
    name = str(said["alias"]).strip("'\"") if "alias" in said else attribute.name.lstrip("_")
    return griffe.Parameter(name, annotation=attribute.annotation, kind=kind, default=default)


def _is_property(attribute: griffe.Attribute) -> bool:
    return "property" in attribute.labels


def load(root: Path, package: str) -> griffe.Module | None:
    """Return the package in the folder `root`, or None."""
    if not (root / package / "__init__.py").is_file():
        return None
    found = griffe.load(
        package, search_paths=[root], try_relative_path=False, allow_inspection=False,
        extensions=griffe.load_extensions(_Attrs()), resolve_aliases=True, resolve_external=False,
    )  # fmt: skip
    assert isinstance(found, griffe.Module)
    return found


def facts(package: griffe.Module | None) -> dict[str, dict[str, Fact]]:
    """Return what each public module, class and function promises, by every path that it can be imported by."""
    found: dict[str, dict[str, Fact]] = {}
    if package is not None:
        _module(package, package.path, found)
    return found


def _module(module: griffe.Module, path: str, found: dict[str, dict[str, Fact]]) -> None:
    own = found[path] = {"": Fact("module")}
    for name, member in module.members.items():
        thing = _resolved(member, module.package.path)
        if thing is None or not member.is_public or name.startswith("__"):
            continue
        if isinstance(thing, griffe.Module):
            if thing is member or _hidden(thing.path):  # a public module is reported under its own path only
                _module(thing, f"{path}.{name}", found)
        elif isinstance(thing, griffe.Class):
            _class(thing, f"{path}.{name}", found)
        elif isinstance(thing, griffe.Function):
            found[f"{path}.{name}"] = dict(_function(thing))
        elif isinstance(thing, griffe.Attribute) and not str(thing.value).startswith("TypeVar("):
            own[name] = _attribute(thing, with_value=thing.annotation is None)


def _hidden(path: str) -> bool:
    return any(part.startswith("_") for part in path.split("."))


def _resolved(member: griffe.Object | griffe.Alias, package: str) -> griffe.Object | None:
    """Return the object of a name, None if another package defines it."""
    if not isinstance(member, griffe.Alias):
        return member
    if not member.target_path.startswith(f"{package}."):
        return None
    target = member.final_target
    return target if isinstance(target, griffe.Object) else None


def _class(made: griffe.Class, path: str, found: dict[str, dict[str, Fact]]) -> None:
    own = found[path] = {"": Fact("class")}
    package = made.package.path
    bases = [_called(base) for one in (made, *made.mro()) for base in one.bases]
    own |= {f"base {base}": Fact("") for base in bases if not _hidden(base)}
    taken: dict[str, str] = {}
    for name, member in made.all_members.items():
        thing = _resolved(member, package)
        if isinstance(thing, griffe.Function) and name == "__init__":
            own |= _parameters(thing)
            if "attrs" in thing.labels:  # its parameters are also its attributes: one line for both
                taken = {parameter.name: str(parameter.annotation) for parameter in thing.parameters}
    for name, member in made.all_members.items():
        thing = _resolved(member, package)
        if thing is None or not member.is_public or name in ("__init__", "__slots__"):
            continue
        if isinstance(thing, griffe.Class):
            _class(thing, f"{path}.{name}", found)
        elif isinstance(thing, griffe.Function):
            found[f"{path}.{name}"] = dict(_function(thing))
        elif isinstance(thing, griffe.Attribute) and taken.get(name) != str(thing.annotation):
            own[f".{name}"] = _attribute(thing, with_value=any(base in _ENUMS for base in bases))


def _attribute(attribute: griffe.Attribute, with_value: bool) -> Fact:
    text = str(attribute.annotation) if attribute.annotation is not None else "attribute"
    return Fact(f"{text} = {attribute.value}" if with_value else text)


def _function(function: griffe.Function) -> Iterator[tuple[str, Fact]]:
    yield "", Fact("async function" if "async" in function.labels else "function")
    yield "returns", Fact(str(function.returns))
    yield from _parameters(function).items()


def _parameters(function: griffe.Function) -> dict[str, Fact]:
    listed = list(function.parameters)
    if function.parent is not None and function.parent.is_class and "staticmethod" not in function.labels:
        listed = listed[1:]
    found = {}
    for parameter in listed:
        star = _STARS.get(parameter.kind, "")
        optional = bool(star) or parameter.default is not None
        text = str(parameter.annotation) + ("" if star or not optional else f" = {parameter.default}")
        found[f"({star}{parameter.name})"] = Fact(text, required=not optional)
    return found


def compare(old: griffe.Module | None, new: griffe.Module | None) -> list[Change]:
    """Return what changed for callers: the difference of the facts, and what only griffe finds."""
    before, after = facts(old), facts(new)
    homes = _homes(old, before) | _homes(new, after)
    found = _once(diff(before, after), homes)
    if old is not None and new is not None:
        names = {homes[path]: path for path in sorted(homes, key=len, reverse=True)}
        found += [change for change in _griffes(old, new, names) if not _reported(change, found)]
    return in_order(found)


def _homes(package: griffe.Module | None, facts: Facts) -> dict[str, str]:
    """Return where each public path's object is defined."""
    if package is None:
        return {}
    return {path: package[path.partition(".")[2]].canonical_path if "." in path else path for path in facts}


def _once(changes: list[Change], homes: dict[str, str]) -> list[Change]:
    """Drop changes of an owner that was added or removed itself; merge changes with several import paths."""
    whole = {change.owner for change in changes if not change.item and change.what in ("added", "removed")}
    once: dict[object, Change] = {}
    for change in sorted(changes, key=lambda change: (len(change.owner), change.owner)):
        if change.owner.rpartition(".")[0] in whole:
            continue
        key = (homes[change.owner], evolve(change, owner=""))
        first = once.setdefault(key, change)
        if first is not change:
            once[key] = evolve(first, others=(*first.others, change.owner))
    return list(once.values())


def _griffes(old: griffe.Module, new: griffe.Module, names: dict[str, str]) -> Iterator[Change]:
    for breakage in griffe.find_breaking_changes(old, new):
        path, item = breakage.obj.canonical_path, ""
        values = [value for value in (breakage.old_value, breakage.new_value) if isinstance(value, griffe.Parameter)]
        if values:
            item, path = f"({values[0].name})", path.removesuffix(".__init__")
        elif breakage.kind is griffe.BreakageKind.RETURN_CHANGED_TYPE:
            item = "returns"
        elif breakage.obj.is_attribute:
            path, _, name = path.rpartition(".")
            item = f".{name}"
        yield Change(Level.MAJOR, names.get(path, path), item, breakage.kind.value.lower())


def _reported(change: Change, found: list[Change]) -> bool:
    for other in found:
        for owner in (other.owner, *other.others):
            same = not other.item or other.item.strip("().*") == change.item.strip("().*")
            if other.level is Level.MAJOR and owner == change.owner and same:
                return True
            if other.what == "removed" and not other.item and change.owner.startswith(f"{owner}."):
                return True
    return False


def lost_imports(package: griffe.Module, other: griffe.Module) -> list[tuple[Path, int, str]]:
    """Return file, line and name of each import of a name that `other` lacks.

    mypy overlooks a lost module where an older copy of `other` is installed: it looks for each module by itself.
    """
    found = []
    for module in _modules(package):
        for member in module.members.values():
            if isinstance(member, griffe.Alias) and member.target_path.startswith(f"{other.path}."):
                try:
                    other[member.target_path.removeprefix(f"{other.path}.")]
                except KeyError:
                    assert isinstance(module.filepath, Path)
                    found.append((module.filepath, member.alias_lineno or 1, member.target_path))
    return found
