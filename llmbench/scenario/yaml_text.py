"""YAML text as plain data, with the line of every key.

ruamel.yaml parses the text into events. They are composed here, so that depth, aliases and integers
are bounded, merge keys and aliases keep the lines of what they repeat, and tags construct nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from io import StringIO
from types import MappingProxyType
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.scanner import Scanner

from llmbench.errors import shown

KeyPath = tuple[str | int, ...]
MAX_DEPTH = 32
MAX_NODES = 20_000  # keys and items, with aliases expanded
MAX_DIGITS = 100
COMMENT_COLUMN, MAX_WIDTH = 40, 1_000_000  # of written lines
TOO_DEEP = f"found more than {MAX_DEPTH} levels; nest less deeply"
MERGE = "<<"
KINDS = {SequenceStartEvent: "a list", MappingStartEvent: "a mapping", AliasEvent: "an alias"}
UNREADABLE = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)  # YAML 1.2.2, section 5.1
UNUSABLE = re.compile("[\0\ud800-\udfff]")  # escapes can write them


class YamlTextError(Exception):
    """Text that is not usable YAML; ``line`` counts from 1."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line


@dataclass(frozen=True, slots=True)
class Node:
    """A value and its line; that of a value with a key is the line of the key.

    ``content`` is a scalar, a list of nodes or a dictionary of nodes. ``size`` counts the nodes in
    it and ``depth`` their levels, with aliases expanded.
    """

    line: int
    content: Any
    size: int = 1
    depth: int = 1

    @classmethod
    def of(cls, line: int, content: list[Node] | dict[str, Node]) -> Node:
        """Return a list or a mapping of nodes as a node."""
        inner = list(content.values()) if isinstance(content, dict) else content
        depth = max((node.depth for node in inner), default=0)
        return cls(line, content, 1 + sum(node.size for node in inner), 1 + depth)

    def plain(self) -> Any:
        """Return the value as dictionaries, lists and scalars."""
        if isinstance(self.content, dict):
            return {key: node.plain() for key, node in self.content.items()}
        if isinstance(self.content, list):
            return [node.plain() for node in self.content]
        return self.content

    def lines(self, at: KeyPath = ()) -> Iterator[tuple[KeyPath, int]]:
        """Yield the path and the line of every key and list item."""
        inner: Iterator[tuple[str | int, Node]] = iter(())
        if isinstance(self.content, dict):
            inner = iter(self.content.items())
        elif isinstance(self.content, list):
            inner = iter(enumerate(self.content))
        for step, node in inner:
            yield (*at, step), node.line
            yield from node.lines((*at, step))


def compose(text: str) -> Node:
    """Return the only document of a YAML text; an empty text is null.

    Raises YamlTextError if it is not valid YAML, has tags, or exceeds a bound of this module.
    """
    if unreadable := UNREADABLE.search(text):
        raise YamlTextError(
            text.count("\n", 0, unreadable.start()) + 1, _unreadable(unreadable.group())
        )
    composer = _Composer(text)
    try:
        return composer.document()
    except YAMLError as error:
        raise _located(error, text) from None
    except (
        ValueError,
        OverflowError,
        AssertionError,
    ) as error:  # an escape beyond Unicode, YAML 1.7
        raise YamlTextError(composer.line, str(error)) from None


def write(spec: Mapping[str, Any], comments: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return plain data as YAML text, one main key a line, with ``comments`` by main key."""
    root = CommentedMap({key: _in_flow_style(value) for key, value in spec.items()})
    for key in root.keys() & comments.keys():
        root.yaml_add_eol_comment(comments[key], key, COMMENT_COLUMN)
    yaml, text = YAML(), StringIO()
    yaml.width = MAX_WIDTH
    yaml.brace_single_entry_mapping_in_flow_sequence = True
    yaml.dump(root, text)
    return text.getvalue()


def _in_flow_style(value: Any) -> Any:
    if isinstance(value, dict):
        value = CommentedMap({key: _in_flow_style(inner) for key, inner in value.items()})
    elif isinstance(value, list):
        value = CommentedSeq(map(_in_flow_style, value))
    else:
        return value
    value.fa.set_flow_style()
    return value


def _unreadable(character: str) -> str:
    hint = "is it UTF-16? Save it as UTF-8" if character == "\0" else "remove it"
    return f"found the control character U+{ord(character):04X}; {hint}"


def _located(error: YAMLError, text: str) -> YamlTextError:
    """Return a parser's error with its line."""
    mark = getattr(error, "problem_mark", None)
    problem = error.problem if isinstance(error, MarkedYAMLError) else None
    message = " ".join((problem or str(error)).split())
    if mark is None:
        return YamlTextError(1, message)
    is_tab = text[mark.index : mark.index + 1] == "\t"
    return YamlTextError(mark.line + 1, message + ("; indent with spaces" if is_tab else ""))


class _Scanner(Scanner):
    """A scanner that does not look far ahead in deeply nested brackets, which takes seconds."""

    def fetch_flow_collection_start(self, *token: Any, **kind: Any) -> None:
        if self.flow_level >= MAX_DEPTH:
            raise YamlTextError(self.reader.line + 1, TOO_DEEP)
        super().fetch_flow_collection_start(*token, **kind)


class _Composer:
    """Composes the events of one text; each method consumes those of its part."""

    def __init__(self, text: str) -> None:
        self._yaml = YAML(typ="safe", pure=True)
        self._yaml.Scanner = _Scanner
        self._events = self._yaml.parse(text)
        self._anchors: dict[str, Node] = {}
        self._size = 0
        self.line = 1  # of the last event

    def document(self) -> Node:
        self._next()  # the start of the stream
        if isinstance(self._next(), StreamEndEvent):
            return Node(1, None)
        root = self._node(self._next(), 1)
        self._next()  # the end of the document
        if not isinstance(after := self._next(), StreamEndEvent):
            raise YamlTextError(_line(after), "expected a single document; remove the second one")
        return root

    def _next(self) -> Any:
        event = next(self._events)
        self.line = _line(event)
        return event

    def _node(self, event: Any, depth: int) -> Node:
        line = _line(event)
        if isinstance(event, AliasEvent):
            return self._alias(event, depth)
        _refuse_tag(event)
        self._check(line, 1, depth)
        if isinstance(event, ScalarEvent):
            node = Node(line, self._scalar(event))
        elif isinstance(event, SequenceStartEvent):
            node = self._sequence(line, depth)
        else:
            node = self._mapping(line, depth)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, event: Any, depth: int) -> Node:
        line = _line(event)
        if event.anchor not in self._anchors:
            raise YamlTextError(line, f"found no anchor {shown(event.anchor)} before this alias")
        node = replace(self._anchors[event.anchor], line=line)
        self._check(line, node.size, depth + node.depth - 1)
        return node

    def _check(self, line: int, size: int, depth: int) -> None:
        """Count nodes; raise YamlTextError when there are too many, or too many levels."""
        self._size += size
        if self._size > MAX_NODES:
            raise YamlTextError(
                line, f"found more than {MAX_NODES:,} keys and values, with aliases expanded"
            )
        if depth > MAX_DEPTH:
            raise YamlTextError(line, TOO_DEEP)

    def _sequence(self, line: int, depth: int) -> Node:
        items = []
        while not isinstance(event := self._next(), SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return Node.of(line, items)

    def _mapping(self, line: int, depth: int) -> Node:
        entries: dict[str, Node] = {}
        merged: dict[str, Node] | None = None
        while not isinstance(event := self._next(), MappingEndEvent):
            key, is_merge = self._key(event)
            value = self._node(self._next(), depth + 1)
            if key in entries or (is_merge and merged is not None):
                raise YamlTextError(_line(event), f"found duplicate key {shown(key)}")
            if is_merge:
                merged = _merged(value, _line(event))
            else:
                entries[key] = replace(value, line=_line(event))
        return Node.of(line, {**(merged or {}), **entries})

    def _key(self, event: Any) -> tuple[str, bool]:
        """Return a key as it is written, and whether it is a merge key."""
        if not isinstance(event, ScalarEvent):
            kind = KINDS[type(event)]
            raise YamlTextError(_line(event), f"expected a key of text or a number, found {kind}")
        _refuse_tag(event)
        key: str = _usable(event)
        if event.anchor:
            self._anchors[event.anchor] = Node(_line(event), key)
        return key, key == MERGE and event.implicit[0]

    def _scalar(self, event: Any) -> Any:
        text = _usable(event)
        tag = str(self._yaml.resolver.resolve(ScalarNode, text, event.implicit))
        match tag.rpartition(":")[2]:
            case "null":
                return None
            case "bool":
                return text.lower() in ("true", "yes", "on", "y")
            case "int":
                return self._integer(text, _line(event))
            case "float":
                return _float(text)
        return text

    def _integer(self, text: str, line: int) -> int | str:
        """Return an integer; some texts, such as ``+_``, only resemble one."""
        if len(text) > MAX_DIGITS:
            raise YamlTextError(
                line, f"found an integer of {len(text):,} digits, which exceeds 64 bits"
            )
        try:
            value: int = self._yaml.constructor.construct_yaml_int(ScalarNode(None, text))
        except ValueError:
            return text
        if not -(2**63) <= value < 2**63:
            raise YamlTextError(line, f"found the integer {text}, which exceeds 64 bits")
        return value


def _line(event: Any) -> int:
    line: int = event.start_mark.line
    return line + 1


def _refuse_tag(event: Any) -> None:
    if event.tag is not None:
        raise YamlTextError(_line(event), "YAML tags (!...) are not supported; remove the tag")


def _usable(event: Any) -> str:
    """Return the text of a scalar, unless it has characters that no file or message can have."""
    text: str = event.value
    if unusable := UNUSABLE.search(text):
        raise YamlTextError(_line(event), _unreadable(unusable.group()))
    return text


def _float(text: str) -> float | str:
    """Return a floating-point number; some texts, such as ``._``, only resemble one."""
    try:
        return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        return text


def _merged(value: Node, line: int) -> dict[str, Node]:
    """Return the entries of the mapping or mappings that a merge key names; the first one wins."""
    sources = value.content if isinstance(value.content, list) else [value]
    merged: dict[str, Node] = {}
    for source in sources:
        if not isinstance(source.content, dict):
            raise YamlTextError(line, "a merge key (<<) takes a mapping or a list of mappings")
        merged = {**source.content, **merged}
    return merged
