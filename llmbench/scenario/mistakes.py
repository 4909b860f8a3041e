"""Messages about invalid scenarios: the place of a key, what is wrong and the closest valid key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from itertools import accumulate
from typing import Any

from pydantic_core import ErrorDetails

from llmbench.errors import one_line, printable, shown
from llmbench.runs.redaction import masked
from llmbench.scenario.schema import FORMS, Scenario
from llmbench.scenario.yaml_text import KeyPath

MAX_MISTAKES = 10  # shown at once
MAX_LENGTH = 1600  # characters of all of them
MAX_STEP, MAX_REASON = 60, 400  # characters
MAX_PLACES = 2  # of a key elsewhere
DOTTED_KEY = re.compile(r"([\w-]+(?:\.[\w-]+)*): ")


def place_of(origins: Mapping[KeyPath, str], at: KeyPath) -> str:
    """Return where a key was set (file and line, or override).

    If nothing set it as a whole, return where one of its keys was set, or else its closest parent.
    """
    if at not in origins:
        inner = (place for key, place in origins.items() if at and key[: len(at)] == at)
        if place := next(inner, None):
            return place
    while at not in origins:
        at = at[:-1]
    return origins[at]


def at_place(place: str, key: str) -> str:
    """Return the start of a message: a place and a key, without ``sweep`` for ``tune --over``."""
    if place.startswith("--over "):
        key = key.removeprefix("sweep").removeprefix(".")
    return f"{place}: {key}: " if key else f"{place}: "


def locate(message: str, origins: Mapping[str, str]) -> str:
    """Return a message that begins with a dotted key, with the place where the key was set.

    ``origins`` has places by dotted key; a key that is not among them has its parent's. A message
    that begins otherwise is returned unchanged.
    """
    match = DOTTED_KEY.match(message)
    key = match[1] if match else ""
    while key and key not in origins:
        key = key.rpartition(".")[0]
    return f"{origins[key]}: {message}" if key else message


def explain(
    mistakes: Sequence[ErrorDetails], spec: dict[str, Any], origins: Mapping[KeyPath, str]
) -> str:
    """Return pydantic's errors as lines such as ``file:line: key: problem``."""
    by_key: dict[KeyPath, list[ErrorDetails]] = {}
    for mistake in mistakes:
        by_key.setdefault(_written(mistake["loc"], spec), []).append(mistake)
    lines = [_explain(at, by_key[at], origins) for at in list(by_key)[:MAX_MISTAKES]]
    ends = accumulate(map(len, lines))
    lines = (
        lines[:1] + [line for line, end in zip(lines, ends, strict=True) if end < MAX_LENGTH][1:]
    )
    if len(by_key) > len(lines):
        lines.append(f"and {len(by_key) - len(lines):,} more mistakes")
    return "\n".join(lines)


def _explain(at: KeyPath, errors: Sequence[ErrorDetails], origins: Mapping[KeyPath, str]) -> str:
    """Return the line about a key; several errors are those of the alternatives of its value."""
    key = ".".join(one_line(str(step), MAX_STEP) for step in at) or "scenario"
    place = place_of(origins, at)
    found = f", found {_shown(errors[0])}"
    reason, *others = (_reason(error) for error in errors)
    if others:
        either = [reason, *(other.removeprefix("must be ") for other in others)]
        reason = " or ".join(text.removesuffix(found) for text in either) + found
    return f"{at_place(place, key)}{reason}{_list_remedy(errors[0], key, place)}"


def _list_remedy(error: ErrorDetails, key: str, place: str) -> str:
    """Return how to write a list where its items were given without brackets."""
    given = masked(error["input"], str(error["loc"][-1])) if error["type"] == "list_type" else None
    if isinstance(given, dict) and key.startswith("sweep."):
        return "; write each swept key with dots, such as load.rate: [2, 4]"
    if not isinstance(given, str | int | float):
        return ""
    items = ", ".join(item.strip() for item in one_line(str(given), MAX_STEP).split(","))
    is_override = place.startswith("--set ")
    return f"; write --set '{key}=[{items}]'" if is_override else f"; write [{items}]"


def _written(loc: KeyPath, spec: Any) -> KeyPath:
    """Return pydantic's location without the names of a union's types."""
    at: list[str | int] = []
    for index, step in enumerate(loc):
        if at and spec is not None and not isinstance(spec, dict | list):
            break  # what is left names an alternative of this value
        inner = _child(spec, step)
        is_tag = inner is None and index + 1 < len(loc) and step in (_kind(spec), *FORMS)
        if not is_tag:
            at.append(step)
            spec = inner
    return tuple(at[:-1] if at and at[-1] in (_kind(spec), *FORMS) else at)


def _child(spec: Any, step: str | int) -> Any:
    try:
        return spec[step]
    except (KeyError, IndexError, TypeError):
        return None


def _kind(spec: Any) -> Any:
    return spec.get("kind", spec.get("policy")) if isinstance(spec, dict) else spec


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
            key = context.get("discriminator", "'kind'").strip("'")
            return f"expected keys such as `{key}: ...`, found {_shown(error)}"
        case "value_error" | "secret":
            # neither the whole scenario nor a secret helps a reader
            whole = not error["loc"] or error["type"] == "secret"
            reason = printable(str(context.get("error", error["msg"])), MAX_REASON)
            return reason + ("" if whole else f", found {_shown(error)}")
        case "int_parsing" | "int_type" | "int_from_float":
            message = "must be a whole number"
        case "float_parsing" | "float_type":
            message = "must be a number"
        case "list_type":
            message = "must be a list"
        case _:
            message = error["msg"].removeprefix("Input ").replace("should ", "must ", 1)
    return f"{message}, found {_shown(error)}"


def _shown(error: ErrorDetails) -> str:
    """Return what was found as messages show it, without the secrets in it."""
    name = str(error["loc"][-1]) if error["loc"] else ""
    return shown(masked(error["input"], name))


def _no_such_kind(context: dict[str, Any]) -> str:
    known = [name.strip(" '") for name in context["expected_tags"].split(",")]
    near = get_close_matches(context["tag"], known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    key = context["discriminator"].strip("'")
    return f"no such {key} {shown(context['tag'])}; {hint}known: {', '.join(known)}"


def _nearest_key(error: ErrorDetails) -> str:
    """Return where a key of this name is valid, else the closest key here, else all keys here."""
    *parents, key = error["loc"]
    if elsewhere := _places().get(str(key)):
        return f"; did you mean {' or '.join(elsewhere[:MAX_PLACES])}?"
    known = _keys_at(parents)
    if near := get_close_matches(str(key), known, n=1):
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(known)}" if known else ""


@cache
def _schema() -> dict[str, Any]:
    return Scenario.model_json_schema()


@cache
def _places() -> dict[str, list[str]]:
    """Return where each key is valid, in words: at the top, in a section, in an item of a list."""
    places: dict[str, list[str]] = {}
    for section, node in _schema()["properties"].items():
        places.setdefault(section, []).append(repr(section))
        kinds: dict[str, list[str]] = {}
        for key, kind in _inner_keys(node):
            kinds.setdefault(key, []).append(kind)
        for key, its_kinds in kinds.items():
            places.setdefault(key, []).append(_place(section, key, its_kinds, "items" in node))
    return places


def _place(section: str, key: str, kinds: list[str], in_items: bool) -> str:  # noqa: FBT001 (a fact, not a switch)
    if in_items:
        return f"'{section}: [{{kind: {kinds[0]}, {key}: ...}}]'"
    of_kind = f" of {', '.join(kinds)}" if all(kinds) else ""
    return f"'{section}.{key}'{of_kind}"


def _inner_keys(node: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each key in a section or in its items, with the kind of part that has it, if any."""
    node = _resolve(node, _schema()["$defs"])
    properties = node.get("properties", {})
    kind = properties.get("kind", {}).get("const", "")
    yield from ((key, kind) for key in properties if key not in ("kind", "name"))
    alternatives = [*node.get("oneOf", ()), *node.get("anyOf", ())]
    for alternative in [*alternatives, *([node["items"]] if "items" in node else [])]:
        yield from _inner_keys(alternative)


def _keys_at(loc: Iterable[str | int]) -> list[str]:
    """Return the valid keys at a location of a scenario, from its JSON Schema."""
    schema = _schema()
    node: dict[str, Any] = schema
    for step in (step for step in loc if step not in FORMS):
        node = _required(_resolve(_inside(node, step), schema["$defs"]))
    return sorted(node.get("properties", {}))


def _required(node: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a section that may be absent or a number, without that alternative."""
    alternatives = [*node.get("anyOf", ()), *node.get("oneOf", ())]
    options = [o for o in alternatives if o.get("type") not in ("null", "integer")]
    return _resolve(options[0], _schema()["$defs"]) if len(options) == 1 else node


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
