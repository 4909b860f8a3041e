"""Write docs/reference/: every key of a scenario, and the help of every subcommand.

    python tools/generate_reference.py

Keys come from the JSON Schema that `llmbench schema` prints, help texts from the argument parser.
A test checks that the pages are up to date.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from llmbench import plugins
from llmbench.cli import build_parser
from llmbench.plugins import KindName
from llmbench.scenario.schema import Scenario

FOLDER = Path(__file__).parent.parent / "docs" / "reference"
NOTE = "<!-- Written by tools/generate_reference.py; run it again to change this page. -->"
COLUMNS = "100"
PARTS = {"backend": "Backends", "load": "Loads", "workload": "Workloads", "collector": "Collectors"}

WORDS = {
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "": "anything",
}
QUANTITIES = {  # by the example that units.py gives in the schema
    "500 ms": ("a duration", "s"),
    "2 GiB": ("a size", "B"),
    "4/s": ("a rate", "/s"),
}
UNITS = (
    "Durations need a unit, as in `500 ms`; sizes and rates may have one, as in `2 GiB` and `4/s`. "
    "How the keys work together: [scenarios](../scenarios.md)."
)

Schema = dict[str, Any]


def pages() -> dict[str, str]:
    """Return the text of every page by its file name."""
    return {"scenario.md": _scenario_page(), "commands.md": _commands_page()}


# -- the command line ------------------------------------------------------------------------------


def _commands_page() -> str:
    os.environ["COLUMNS"] = COLUMNS  # argparse wraps its lines at this width
    parser = build_parser()
    sections = [_help_of("llmbench", parser)]
    sections += [_help_of(f"llmbench {name}", sub) for name, sub in subparsers(parser).items()]
    return "\n".join([f"{NOTE}\n\n# Command line\n", *sections])


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each subcommand by its name."""
    actions = parser._actions  # noqa: SLF001 (argparse has no public name for it)
    subcommands = next(a for a in actions if isinstance(a, argparse._SubParsersAction))  # noqa: SLF001
    return dict(subcommands.choices)


def _help_of(command: str, parser: argparse.ArgumentParser) -> str:
    return f"## {command}\n\n```text\n{parser.format_help().strip()}\n```\n"


# -- the scenario ----------------------------------------------------------------------------------


def _scenario_page() -> str:
    schema = Scenario.model_json_schema()
    definitions: dict[str, Schema] = schema["$defs"]
    parts = {f"{name}-{kind}" for kind in plugins.KINDS for name in plugins.names(kind)}
    shared = [definitions[name] for name in sorted(definitions.keys() - parts)]
    return "\n".join(
        [
            f"{NOTE}\n\n# Scenario keys\n",
            f"{_summary(schema)} {UNITS}\n",
            _table(schema, definitions),
            *(_parts(kind, definitions) for kind in plugins.KINDS),
            "## Shared sections\n",
            *(_section(one, definitions) for one in shared),
        ]
    )


def _parts(kind: KindName, definitions: Schema) -> str:
    names = [name for name in plugins.names(kind) if _is_builtin(kind, name)]
    sections = [
        f"### {kind} {name}\n\n{_introduction(kind, name)}\n\n"
        + _table(_without_kind(definitions[f"{name}-{kind}"]), definitions)
        for name in names
    ]
    return "\n".join([f"## {PARTS[kind]}\n", *sections])


def _is_builtin(kind: KindName, name: str) -> bool:
    """Whether a part ships with llmbench; other installed packages are not documented here."""
    (point,) = entry_points(group=f"llmbench.{kind}s", name=name)
    return point.dist is not None and point.dist.name == "llmbench"


def _introduction(kind: KindName, name: str) -> str:
    """Return the summary of a part and the example of its options."""
    part, options = plugins.find(kind, name), plugins.options_of(kind, name)
    example = (options.__doc__ or "").strip().partition("\n")[0].replace("``", "`")
    return f"{plugins.summary(part)}\n\n{example}"


def _without_kind(schema: Schema) -> Schema:
    """Leave out `kind`, which is the heading."""
    keys = {key: of for key, of in schema["properties"].items() if key != "kind"}
    return {**schema, "properties": keys}


def _section(schema: Schema, definitions: Schema) -> str:
    blocks = [f"### {_title(schema['title'])}", _summary(schema), _table(schema, definitions)]
    return "\n\n".join(filter(None, blocks))


def _title(name: str) -> str:
    """Return the name of a model as words: ``QualityOptions`` becomes *quality options*."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).strip("_").lower()


def _summary(of: Schema) -> str:
    """Return the first line of a description, or an empty string."""
    return str(of.get("description", "")).partition("\n")[0]


def _table(schema: Schema, definitions: Schema) -> str:
    rows = [_row(key, of, schema, definitions) for key, of in schema["properties"].items()]
    return "\n".join(["| key | value | default | meaning |", "|---|---|---|---|", *rows, ""])


def _row(key: str, of: Schema, schema: Schema, definitions: Schema) -> str:
    meant = definitions.get(_referred(of), {})
    default = "required" if key in schema.get("required", ()) else _default(of, meant)
    meaning = (_summary(of) or _summary(meant)).replace("<", "&lt;")
    cells = (f"`{key}`", _value(of), default, meaning)
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _referred(of: Schema) -> str:
    return str(of.get("$ref", "")).rpartition("/")[2]


def _default(of: Schema, meant: Schema) -> str:
    """Return a default as text; for a mapping, only the keys that differ from its own defaults."""
    default = of.get("default")
    if isinstance(default, dict):
        own = {key: inner.get("default") for key, inner in meant.get("properties", {}).items()}
        changed = [f"{k}: {value}" for k, value in default.items() if value not in (own.get(k), {})]
        return f"`{{{', '.join(changed)}}}`" if changed else ""
    if default in (None, [], ""):
        return ""
    return f"`{default:g} {QUANTITIES[_quantity(of)][1]}`" if _quantity(of) else _code(default)


def _quantity(of: Schema) -> str:
    """Return the example that marks a duration, a size or a rate, or an empty string."""
    return str(of["examples"][0]) if isinstance(of.get("type"), list) else ""


def _code(value: Any) -> str:
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _value(of: Schema) -> str:
    """Return in words what a key accepts."""
    return " or ".join(dict.fromkeys(_kinds(of))) + _bounds(of)


def _kinds(of: Schema) -> Iterator[str]:
    if name := _referred(of):
        yield _link(name)
    elif "enum" in of:
        yield ", ".join(map(_code, of["enum"]))
    elif "const" in of:
        yield _code(of["const"])
    elif choices := of.get("anyOf") or of.get("oneOf"):
        yield from (_value(choice) for choice in choices if choice.get("type") != "null")
    elif example := _quantity(of):
        yield QUANTITIES[example][0]
    elif of.get("type") == "array":
        yield f"a list of {_items(of)}"
    elif of.get("type") == "object":
        inner = of.get("additionalProperties")
        yield f"a mapping to {_value(inner)}" if isinstance(inner, dict) and inner else "a mapping"
    else:
        yield WORDS[of.get("type", "")]


def _items(of: Schema) -> str:
    fixed = of.get("prefixItems")
    return " and ".join(map(_value, fixed)) if fixed else _value(of.get("items", {}))


def _link(name: str) -> str:
    """Return a link to the section of a definition; parts are linked by kind."""
    kind = name.rpartition("-")[2]
    if kind in PARTS:
        return f"[a {kind}](#{PARTS[kind].lower()})"
    title = _title(name)
    return f"[{title}](#{title.replace(' ', '-')})"


def _bounds(of: Schema) -> str:
    signs = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    bounds = [f"{sign} {of[name]:,.12g}" for name, sign in signs.items() if name in of]
    return f", {', '.join(bounds)}" if bounds else ""


def main() -> None:
    """Write the pages."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
