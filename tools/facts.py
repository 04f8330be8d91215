"""What callers rely on, as trees by owner: of the spec by operation and component, of Python by module and class."""

import logging
import re
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import griffe
import yaml  # type: ignore[import-untyped]  # it has no types, and its stubs are one package more

from changes import walk
from codegen import SPEC, GenerationError

Tree = dict[str, Any]
logging.getLogger("griffe").setLevel(logging.CRITICAL)  # it also logs the errors that it raises, with a traceback
_MADE = "__(init|repr|reduce|reduce_ex|getstate|setstate)__"  # the other methods of that kind callers write as syntax
_METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


def load(text: bytes | str, name: object = SPEC) -> Tree:
    """Return a spec; raise `GenerationError` for invalid YAML, a dangling `$ref` and two operations of one name."""
    try:
        owners = of_spec(document := yaml.safe_load(text))
        wrong, named = [], dict[str, str]()
        for path, node in walk(owners):
            if path[-1] == "$ref" and re.sub(r"#/components/(\w+?)s/", r"\1 ", str(node)) not in owners:
                wrong.append(f"{path[0]}, {'.'.join(path[1:])} {node!r} names nothing")
            elif path[1:] == ("operationId",):  # two of one name would have one module
                other = named.setdefault(re.sub(r"[\W_]", "", str(node)).lower(), path[0])
                wrong += [f"operationId {node!r} of {path[0]!r} is taken by {other!r}"] if other != path[0] else []
    except (AttributeError, TypeError):
        empty = [".".join(path) for path, node in walk(document) if node is None]
        wrong = [f"{', '.join(empty) or 'the document'} is not a mapping"]
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date that no calendar has; a node in itself
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        wrong = [f"invalid YAML: {where}{getattr(error, 'problem', None) or error}"]
    if wrong:
        raise GenerationError("\n".join(f"{name}: {one}" for one in wrong))
    return document


def of_spec(document: Tree) -> Tree:
    """Return what the spec says of each operation and component, and of the whole `document`."""
    owning = ("paths", "components")
    paths, components = (
        {k: part for k, part in document.get(name, {}).items() if not re.fullmatch("x-.*|examples", k)}
        for name in owning
    )
    found: Tree = {"document": {name: part for name, part in document.items() if name not in owning}}
    for url, path in paths.items():
        shared = {name: part for name, part in path.items() if name not in _METHODS}
        for name in path.keys() & _METHODS:
            tag = [*(path[name].get("tags") or ()), "default"][0]  # a name in the client; the others are none
            found[f"{name.upper()} {url}"] = {**path[name], "tags": tag, "path": shared}
    for kind, parts in components.items():
        found |= {f"{kind.removesuffix('s')} {name}": part for name, part in parts.items()}
    return found


def of_python(root: Path, package: str) -> Tree:
    """Return what each public module, class and function of a package promises; its source is read, not imported."""
    found: Tree = {}
    if (root / package).is_dir():  # a commit may be older than the package
        _look(griffe.load(package, search_paths=[root], try_relative_path=False, allow_inspection=False,
                          resolve_aliases=True, resolve_external=False), package, found)  # fmt: skip
    return found


def of_project(root: Path) -> Tree:
    """Return what an installation relies on: Python's version, the extras and the commands in pyproject.toml."""
    if not (root / "pyproject.toml").exists():
        return {}
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {"extra": project.get("optional-dependencies", {}), "command": project.get("scripts", {})}
    named |= project.get("entry-points", {})  # pytest's plugin
    said = {f"{kind} {name}": "" for kind, names in named.items() for name in names}
    return {"pyproject.toml": said | {"requires-python": project.get("requires-python", "")}}


def _look(thing: Any, path: str, found: Tree) -> None:
    found[path] = said = {"type": thing.kind.value}
    if not thing.is_module:
        said |= _parameters(thing) | {f"@{one.value}": "" for one in thing.decorators if str(one.value)[0] != "_"}
    if thing.is_function:
        said |= {"returns": f"{'async ' * ('async' in thing.labels)}{thing.returns}"}
        overloads = {", ".join(map(" ".join, _parameters(one).items())): one.returns for one in thing.overloads or ()}
        said |= {f"overload {given}": str(returns) for given, returns in overloads.items()}
        return
    if thing.is_class:  # it is what its private bases are
        said |= {f"base {base}": "" for one in (thing, *thing.mro()) for base in _bases(one) if "._" not in f".{base}"}
    for name, member in thing.all_members.items():
        if member.is_alias and not member.target_path.startswith(f"{path.partition('.')[0]}."):
            continue  # another package's
        inner = member.final_target if member.is_alias else member
        if not member.is_public or re.match(_MADE if thing.is_class and inner.is_function else "__", name):
            continue
        if "typing.Protocol" in _bases(thing) or "abstractmethod" in inner.labels:  # callers write it, too
            said[f"implement {name}"] = ", ".join(_parameters(inner)) if inner.is_function else ""
        if inner.is_attribute:
            fixed = "class-attribute" in inner.labels or thing.is_module  # an enum's member, an alias of a type
            known = "" if str(inner.annotation) in ("None", "TypeAlias", "Final") else str(inner.annotation)
            read_only = ", read-only" * (inner.labels & {"property", "writable"} == {"property"})
            said[f".{name}"] = (known or (f"= {inner.value}" if fixed else "attribute")) + read_only
        elif not (inner.is_module and member.is_alias and inner.is_public):  # that is reported under its own path
            _look(inner, f"{path}.{name}", found)


def _bases(of: Any) -> list[str]:
    return [getattr(base, "canonical_path", str(base)) for base in getattr(of, "bases", ())]


def _fields(of: Any) -> list[Any]:
    return [one for one in of.all_members.values() if one.is_attribute and "instance-attribute" in one.labels]


def _parameters(of: Any) -> dict[str, str]:
    """Return what callers pass to a function or a class, with its place if that counts."""
    owner, kinds, found = of if of.is_class else of.parent, griffe.ParameterKind, {}
    given = [*of.parameters][owner.is_class and "staticmethod" not in of.labels :]
    attrs = any(re.match(r"(attrs?\.)?(define|frozen)\b", str(one.value)) for one in of.decorators) and not given
    if attrs or "typing.NamedTuple" in _bases(of):
        given = [_field(one, str(one.value or "")) for one in _fields(of) if "init=False" not in str(one.value)]
    typed = [of] * ("typing.TypedDict" in _bases(of))
    if given and str(given[-1].annotation).startswith("Unpack["):
        with suppress(KeyError):  # another package's
            typed += [of.modules_collection[given[-1].annotation.slice.canonical_path]]
    for keys in typed:
        default = "..." if keys.keywords.get("total") == "False" else None
        given += [griffe.Parameter(key.name, annotation=key.annotation, kind=kinds.keyword_only, default=default)
                  for key in _fields(keys)]  # fmt: skip
    for place, one in enumerate(given, 1):
        star = {kinds.var_positional: "*", kinds.var_keyword: "**"}.get(one.kind, "")
        where = {kinds.positional_or_keyword: f"no. {place}: ", kinds.positional_only: f"only no. {place}: "}
        default = "" if star or one.default is None else f" = {one.default}"
        found[f"({star}{one.name.lstrip('_')})"] = f"{where.get(one.kind, '')}{one.annotation}{default}"
    return found


def _field(one: Any, value: str) -> griffe.Parameter:
    """Return the parameter that attrs makes of a field."""
    default = re.search(r"\b(?:default|factory)=([^,)]*)", value) if value.startswith("field(") else ["", value or None]
    kind = griffe.ParameterKind.keyword_only if "kw_only=True" in value else griffe.ParameterKind.positional_or_keyword
    return griffe.Parameter(one.name, annotation=one.annotation, kind=kind, default=default and default[1])
