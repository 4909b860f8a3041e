"""Scenario files: reading and validation, with errors that name file, line and key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.tokens import TagToken

from llmbench.errors import ScenarioError
from llmbench.scenario.cases import Case, expand, set_key
from llmbench.scenario.schema import Scenario

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """A scenario file: its text, its content as plain data, and where each key was set.

    ``overrides`` are the ``key=value`` texts of the command line, in order.
    """

    text: str
    spec: dict[str, Any]
    origins: dict[KeyPath, str]
    overrides: tuple[str, ...]
    scenario: Scenario
    cases: tuple[Case, ...]


def load(path: str | Path, overrides: Iterable[str] = ()) -> Source:
    """Read a scenario file, apply overrides such as ``load.rate=8`` and expand its cases.

    Raises ScenarioError with the file, line and key, what was expected and found, and, for an
    unknown key, the closest valid one.
    """
    path, overrides = Path(path), tuple(overrides)
    text = _read(path)
    tree = _parse(text, path)
    spec, origins = _plain(tree), dict(_origins(tree, path, ()))
    origins[()] = f"{path}:1"
    for override in overrides:
        _apply(override, spec, origins)
    scenario = _validate(spec, origins)
    return Source(text, spec, origins, overrides, scenario, _cases(spec, origins))


def parse_override(text: str) -> tuple[str, Any]:
    """Split ``load.rate=8`` into its key and its value, read as YAML.

    Raises ScenarioError when there is no ``=`` or the value is not valid YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ScenarioError(f"--set {text}: expected KEY=VALUE, for example --set load.rate=8")
    try:
        return key.strip(), _plain(YAML(typ="rt", pure=True).load(value))
    except YAMLError as error:
        raise ScenarioError(
            f"--set {text}: the value is not valid YAML: {_problem(error)}"
        ) from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = get_close_matches(path.name, [p.name for p in path.parent.glob("*.yaml")], n=1)
        hint = f"; did you mean {path.parent / near[0]}?" if near else ""
        raise ScenarioError(f"{path}: no such scenario file{hint}") from None
    except IsADirectoryError:
        raise ScenarioError(f"{path}: is a folder; expected a scenario file") from None
    except UnicodeDecodeError as error:
        raise ScenarioError(
            f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from None
    except OSError as error:
        raise ScenarioError(
            f"{path}: cannot be read: {error.strerror}; check the permissions"
        ) from None


def _parse(text: str, path: Path) -> CommentedMap:
    try:
        _refuse_tags(text, path)
        tree = YAML(typ="rt", pure=True).load(text)
    except YAMLError as error:
        raise ScenarioError(f"{path}{_line_of(error)}: not valid YAML: {_problem(error)}") from None
    if not isinstance(tree, CommentedMap):
        raise ScenarioError(
            f"{path}:1: expected keys such as 'name: chat', found {type(_plain(tree)).__name__}"
        )
    return tree


def _refuse_tags(text: str, path: Path) -> None:
    for token in YAML(typ="rt", pure=True).scan(text):
        if isinstance(token, TagToken):
            line = token.start_mark.line + 1
            raise ScenarioError(
                f"{path}:{line}: YAML tags (!...) are not supported; remove the tag"
            )


def _line_of(error: YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f":{mark.line + 1}" if mark else ""


def _problem(error: YAMLError) -> str:
    problem = error.problem if isinstance(error, MarkedYAMLError) else None
    return (problem or str(error)).strip().replace("\n", " ")


def _plain(node: Any) -> Any:
    """Convert ruamel's round-trip nodes to dict, list and Python's own scalars."""
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(item) for item in node]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return None if node is None else str(node)


def _origins(node: Any, path: Path, at: KeyPath) -> Iterable[tuple[KeyPath, str]]:
    if isinstance(node, CommentedMap):
        for key, value in node.items():
            yield (*at, str(key)), f"{path}:{node.lc.key(key)[0] + 1}"
            yield from _origins(value, path, (*at, str(key)))
    elif isinstance(node, CommentedSeq):
        for index, value in enumerate(node):
            yield (*at, index), f"{path}:{node.lc.item(index)[0] + 1}"
            yield from _origins(value, path, (*at, index))


def _apply(override: str, spec: dict[str, Any], origins: dict[KeyPath, str]) -> None:
    key, value = parse_override(override)
    try:
        set_key(spec, key, value)
    except ValueError as error:
        raise ScenarioError(f"--set {override}: {error}") from None
    at = tuple(key.split("."))
    for replaced in [key_path for key_path in origins if key_path[: len(at)] == at]:
        del origins[replaced]
    origins[at] = f"--set {override}"


def _validate(spec: dict[str, Any], origins: dict[KeyPath, str]) -> Scenario:
    try:
        return Scenario.model_validate(spec)
    except ValidationError as error:
        raise ScenarioError("\n".join(_explain(e, spec, origins) for e in error.errors())) from None


def _cases(spec: dict[str, Any], origins: dict[KeyPath, str]) -> tuple[Case, ...]:
    cases = []
    for point, case_spec in expand(spec):
        swept: dict[KeyPath, str] = {
            tuple(key.split(".")): _origin(origins, ("sweep", key)) for key in point
        }
        cases.append(Case.of(_validate(case_spec, {**origins, **swept}), point))
    _refuse_duplicates(cases, origins)
    return tuple(cases)


def _refuse_duplicates(cases: list[Case], origins: dict[KeyPath, str]) -> None:
    for slug, count in Counter(case.slug for case in cases).items():
        if count > 1:
            name = next(case.name for case in cases if case.slug == slug)
            raise ScenarioError(
                f"{_origin(origins, ('backends',))}: backends: {count} cases are named {name!r}; "
                "give each a unique `name`, e.g. {kind: compiled, name: compiled-dynamic}"
            )


def _origin(origins: dict[KeyPath, str], at: KeyPath) -> str:
    """Return where a key was set (file and line, or override), or else its closest parent."""
    while at not in origins:
        at = at[:-1]
    return origins[at]


def _explain(error: ErrorDetails, spec: dict[str, Any], origins: dict[KeyPath, str]) -> str:
    """Format a pydantic error as ``file:line: key: problem``."""
    at = _written(error["loc"], spec)
    key = ".".join(map(str, at)) or "scenario"
    return f"{_origin(origins, at)}: {key}: {_reason(error)}"


def _written(loc: KeyPath, spec: Any) -> KeyPath:
    """Return pydantic's location without union tags, which are not in the file."""
    at: list[str | int] = []
    for index, step in enumerate(loc):
        inner = _child(spec, step)
        is_tag = inner is None and index + 1 < len(loc) and _kind(spec) == step
        if not is_tag:
            at.append(step)
            spec = inner
    return tuple(at[:-1] if at and at[-1] == _kind(spec) else at)


def _child(spec: Any, step: str | int) -> Any:
    try:
        return spec[step]
    except (KeyError, IndexError, TypeError):
        return None


def _kind(spec: Any) -> Any:
    return spec.get("kind") if isinstance(spec, dict) else spec


def _reason(error: ErrorDetails) -> str:
    context = error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            return f"no such key{_nearest_key(error)}"
        case "missing":
            return "is required and missing"
        case "union_tag_invalid":
            return _no_such_kind(context)
        case "union_tag_not_found" | "model_attributes_type" | "dict_type" | "model_type":
            return f"expected keys such as `kind: ...`, found {error['input']!r}"
        case "value_error":
            whole = not error["loc"]  # printing the whole scenario would not help
            return str(context["error"]) + ("" if whole else f", found {_short(error['input'])}")
    message = error["msg"].removeprefix("Input ").replace("should ", "must ", 1)
    return f"{message}, found {_short(error['input'])}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 (a line's worth)


def _no_such_kind(context: dict[str, Any]) -> str:
    known = [name.strip(" '") for name in context["expected_tags"].split(",")]
    near = get_close_matches(context["tag"], known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"no such kind {context['tag']!r}; {hint}known: {', '.join(known)}"


def _nearest_key(error: ErrorDetails) -> str:
    *parents, key = error["loc"]
    known = _keys_at(parents)
    near = get_close_matches(str(key), known, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(known)}" if known else ""


def _keys_at(loc: Iterable[str | int]) -> list[str]:
    """Return the valid keys at a location of a scenario, from its JSON Schema."""
    schema = Scenario.model_json_schema()
    node: dict[str, Any] = schema
    for step in loc:
        node = _resolve(_inside(node, step), schema["$defs"])
    return sorted(node.get("properties", {}))


def _inside(node: dict[str, Any], step: str | int) -> dict[str, Any]:
    if "discriminator" in node:
        return {"$ref": node["discriminator"]["mapping"].get(step, "")}
    inner: dict[str, Any] = node.get("properties", {}).get(step) or node.get("items") or {}
    return inner


def _resolve(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    definition: dict[str, Any] = definitions.get(
        node.get("$ref", "").removeprefix("#/$defs/"), node
    )
    return definition
