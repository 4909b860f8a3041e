"""Scenario files: reading and validation, with errors that name file, line and key."""

from __future__ import annotations

import os
from collections import ChainMap, Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from llmbench.errors import ScenarioError, printable, shown
from llmbench.scenario import shipped
from llmbench.scenario.cases import Case, key_paths, points, set_key
from llmbench.scenario.mistakes import at_place, explain, place_of
from llmbench.scenario.schema import Scenario
from llmbench.scenario.server_settings import is_server_key, own_point, with_setting
from llmbench.scenario.yaml_text import KeyPath, YamlTextError, compose, write
from llmbench.units import UNITS, format_bytes

MAX_BYTES = 128 * 2**10
MAX_CASES = 1000
MAX_RUNS = 10_000
MAX_SHOWN = 10**9
MAX_SLUG = 200  # characters of a folder's name
MAX_OVERRIDE = 120  # characters shown
UTF16 = (b"\xff\xfe", b"\xfe\xff")

Origins = dict[KeyPath, str]


@dataclass(frozen=True, slots=True)
class Override:
    """A ``key=value`` text that replaces a key of a file, and the flag as it was typed."""

    text: str
    flag: str

    @classmethod
    def of(cls, override: str | Override) -> Override:
        """Return an override; a text is that of ``--set``."""
        return override if isinstance(override, Override) else cls(override, f"--set {override}")

    @classmethod
    def swept(cls, over: str) -> Override:
        """Return ``engine.slots=4,8`` of ``--over`` as a sweep, ``sweep.engine.slots=[4,8]``."""
        key, equals, values = over.partition("=")
        swept = cls(f"sweep.{key.strip()}=[{values}]", f"--over {over}")
        if not equals or not key.strip() or not values.strip():
            raise ScenarioError(
                f"{swept.typed}: expected KEY=VALUE,VALUE such as engine.slots=4,8,16"
            )
        return swept

    @property
    def typed(self) -> str:
        """The flag as it was typed, if it is short."""
        return printable(self.flag, MAX_OVERRIDE)

    def parsed(self) -> tuple[str, Any]:
        """Return the key, and the value read as YAML.

        Raises ScenarioError when there is no ``=`` or the value is not valid YAML.
        """
        key, equals, value = self.text.partition("=")
        if not equals or not key.strip():
            raise ScenarioError(f"{self.typed}: expected KEY=VALUE, for example --set load.rate=8")
        try:
            return key.strip(), compose(value).plain()
        except YamlTextError as error:
            raise ScenarioError(f"{self.typed}: the value is not valid YAML: {error}") from None


@dataclass(frozen=True, slots=True)
class Source:
    """A scenario file: its text, its content as plain data, and where each key was set.

    ``overrides`` are the ``key=value`` texts of the command line, in order.
    """

    text: str
    spec: dict[str, Any]
    origins: Origins
    overrides: tuple[str, ...]
    scenario: Scenario
    cases: tuple[Case, ...]

    @property
    def places(self) -> dict[str, str]:
        """Where each key was set, by dotted key."""
        return {".".join(map(str, at)): place for at, place in self.origins.items() if at}


def load(path: str | Path, overrides: Iterable[str | Override] = ()) -> Source:
    """Read a scenario file, apply overrides such as ``load.rate=8`` and expand its cases.

    A name that is no file, such as ``default``, is that of a scenario that ships with llmbench.
    Places have this name, or the path of a file without the folders that are of this machine only.
    Raises ScenarioError with the file, line and key, what was expected and found, and, for an
    unknown key, the closest valid one.
    """
    path, given = Path(path), [Override.of(override) for override in overrides]
    located = _located(path)
    text = _read(located)
    spec, origins = _parse(text, _named(path) if located == path else path.as_posix())
    scenario, cases = _expanded(spec, origins, given)
    return Source(text, spec, origins, tuple(each.text for each in given), scenario, cases)


def of_spec(
    spec: dict[str, Any],
    origins: Origins,
    overrides: Iterable[str | Override] = (),
    comments: Mapping[str, str] = MappingProxyType({}),
) -> Source:
    """Return a scenario that is in no file, from plain data and where its keys were set.

    Its text is written for it, with the overrides in it and with ``comments`` by main key. Raises
    ScenarioError as `load` does.
    """
    scenario, cases = _expanded(spec, origins, overrides)
    return Source(write(spec, comments), spec, origins, (), scenario, cases)


def _expanded(
    spec: dict[str, Any], origins: Origins, overrides: Iterable[str | Override]
) -> tuple[Scenario, tuple[Case, ...]]:
    """Apply overrides to plain data; return its validated scenario and cases."""
    for override in overrides:
        _apply(Override.of(override), spec, origins)
    scenario = _validate(spec, origins)
    return scenario, _cases(spec, scenario, origins)


def _named(path: Path) -> str:
    """Return a path relative to the working directory, or else without the home folder."""
    if not path.is_absolute():
        return str(path)
    for folder, start in ((Path.cwd(), ""), (os.path.expanduser("~"), "~/")):  # noqa: PTH111 (without an error if there is none)
        if path.is_relative_to(folder):
            return f"{start}{path.relative_to(folder)}"
    return str(path)


def _located(path: Path) -> Path:
    """Return the path of a scenario that was named by its file, or by its name if it is shipped."""
    name = path.as_posix()
    is_shipped = not path.is_file() and name in shipped.names()
    return shipped.path_of(name) if is_shipped else path


def _read(path: Path) -> str:
    try:
        return _decoded(_content(path), path)
    except FileNotFoundError:
        raise ScenarioError(f"{path}: no such scenario file{_hint(path)}") from None
    except OSError as error:
        raise ScenarioError(
            f"{path}: cannot be read: {error.strerror}; check the permissions"
        ) from None


def _hint(path: Path) -> str:
    """Return the closest file beside a missing one, or else the closest shipped scenario."""
    near = get_close_matches(path.name, [p.name for p in path.parent.glob("*.yaml")], n=1)
    if near:
        return f"; did you mean {path.parent / near[0]}?"
    name = path.with_suffix("").as_posix().removeprefix("scenarios/")
    near = get_close_matches(name, shipped.names(), n=1)
    return f"; did you mean {near[0]}, which ships with llmbench?" if near else ""


def _content(path: Path) -> bytes:
    """Return the bytes of a regular file; opening a pipe could wait forever."""
    if path.is_dir():
        raise ScenarioError(f"{path}: is a folder; expected a scenario file")
    if path.exists() and not path.is_file():
        raise ScenarioError(f"{path}: is a pipe or a device; expected a scenario file")
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ScenarioError(
            f"{path}: is longer than {format_bytes(MAX_BYTES)}; expected a scenario file"
        )
    return content


def _decoded(content: bytes, path: Path) -> str:
    """Return the text of UTF-8 bytes, with a line feed at the end of each line."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        kind = "is UTF-16 text" if content.startswith(UTF16) else "is not UTF-8 text"
        raise ScenarioError(f"{path}: {kind} (byte {error.start}); save it as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _parse(text: str, path: str) -> tuple[dict[str, Any], Origins]:
    try:
        root = compose(text)
    except YamlTextError as error:
        raise ScenarioError(f"{path}:{error.line}: not valid YAML: {error}") from None
    spec = root.plain()
    if not isinstance(spec, dict):
        kind = "a list" if isinstance(spec, list) else "nothing" if spec is None else shown(spec)
        raise ScenarioError(f"{path}:1: expected keys such as 'name: chat', found {kind}")
    origins: Origins = {(): f"{path}:1"}
    origins |= {at: f"{path}:{line}" for at, line in root.lines()}
    return spec, origins


def _apply(override: Override, spec: dict[str, Any], origins: Origins) -> None:
    key, value = override.parsed()
    try:
        set_key(spec, key, value)
    except ValueError as error:
        raise ScenarioError(f"{override.typed}: {error}") from None
    for at in key_paths(key, spec):
        for replaced in [place for place in origins if place[: len(at)] == at]:
            del origins[replaced]
        origins[at] = override.typed


def _validate(spec: dict[str, Any], origins: Mapping[KeyPath, str]) -> Scenario:
    try:
        return Scenario.model_validate(spec, context=UNITS)
    except ValidationError as error:
        raise ScenarioError(explain(error.errors(include_url=False), spec, origins)) from None


def _cases(spec: dict[str, Any], scenario: Scenario, origins: Origins) -> tuple[Case, ...]:
    _refuse_many(scenario, origins)
    _refuse_server_keys(spec, scenario, origins)
    cases, unswept = [], set()
    for point in points(spec):
        for index, backend in enumerate(spec["backends"]):
            own = own_point(point, backend)
            if own != point and (index, repr(own)) in unswept:
                continue  # a backend without a server is measured once
            unswept.add((index, repr(own)))
            cases.append(_case(spec, backend, own, origins))
    _refuse_names(cases, origins)
    return tuple(cases)


def _case(spec: dict[str, Any], backend: Any, point: dict[str, Any], origins: Origins) -> Case:
    case_spec = _case_spec(spec, backend, point, origins)
    swept: Origins = {at: _swept(key, origins) for key in point for at in key_paths(key, case_spec)}
    return Case.of(_validate(case_spec, ChainMap(swept, origins)), point)


def _case_spec(
    spec: dict[str, Any], backend: Any, point: dict[str, Any], origins: Origins
) -> dict[str, Any]:
    """Return a scenario's plain data with one backend, at one point of the sweep."""
    case_spec = {key: value for key, value in spec.items() if key != "sweep"}
    case_spec["backends"] = [backend]
    for key, value in point.items():
        try:
            set_key(case_spec, key, value)
        except ValueError as error:
            raise ScenarioError(f"{_at_sweep(origins, key)}{error}") from None
    return case_spec


def _at_sweep(origins: Origins, *key: str) -> str:
    at = ("sweep", *key)
    return at_place(place_of(origins, at), ".".join(at))


def _swept(key: str, origins: Origins) -> str:
    return place_of(origins, ("sweep", key))


def _refuse_server_keys(spec: dict[str, Any], scenario: Scenario, origins: Origins) -> None:
    """Raise ScenarioError if a setting of servers is swept, and no backend has a server."""
    for key in filter(is_server_key, scenario.sweep):
        try:
            with_setting(spec["backends"], key, None)
        except ValueError as error:
            raise ScenarioError(f"{_at_sweep(origins, key)}{error}") from None


def _refuse_many(scenario: Scenario, origins: Origins) -> None:
    """Raise ScenarioError before a sweep is expanded into too many cases or runs."""
    cases = len(scenario.backends)
    for values in scenario.sweep.values():
        cases *= len(values)
    if cases > MAX_CASES:
        number = f"{cases:,}" if cases < MAX_SHOWN else "over a billion"
        raise ScenarioError(
            f"{_at_sweep(origins)}found {number} cases (every backend at every combination of "
            f"values); at most {MAX_CASES:,} are possible, list fewer values"
        )
    if cases * scenario.repeats > MAX_RUNS:
        raise ScenarioError(
            f"{place_of(origins, ('repeats',))}: repeats: found {cases * scenario.repeats:,} runs "
            f"({scenario.repeats:,} of each case); at most {MAX_RUNS:,} are possible"
        )


def _refuse_names(cases: list[Case], origins: Origins) -> None:
    """Raise ScenarioError if two cases would share a folder, or its name would be too long."""
    where = f"{place_of(origins, ('backends',))}: backends"
    for slug, count in Counter(case.slug for case in cases).items():
        if count > 1:
            name = next(case.name for case in cases if case.slug == slug)
            raise ScenarioError(
                f"{where}: {count} cases are named {shown(name)}; "
                "give each a unique `name`, e.g. {kind: compiled, name: compiled-dynamic}"
            )
        if len(slug) > MAX_SLUG:
            raise ScenarioError(
                f"{where}: found a case with a name of {len(slug):,} characters, {shown(slug)}; "
                f"with a shorter backend `name` or shorter `sweep` values, keep to {MAX_SLUG}"
            )
