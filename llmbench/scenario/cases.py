"""Cases: the expansion of a scenario into one backend and one sweep point each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import product
from typing import Any

from pydantic import ValidationError

from llmbench.errors import ScenarioError, one_line
from llmbench.scenario.replicas import main_key
from llmbench.scenario.rng import repeat_seed
from llmbench.scenario.schema import Scenario
from llmbench.scenario.server_settings import is_endpoint, is_server_key, with_setting, written_at
from llmbench.units import UNITS, parse_seconds

SHORTHAND = {"model": "source", "workload": "kind", "load": "kind", "queue": "policy"}
OF_THIS_VERSION = ("on_limit", "rerun_contaminated", "resources", "nodes")  # or of the parent
OLD_LIMITS = {"queue": "wait", "drop": "drop"}
MAX_KEY_PARTS = 32


@dataclass(frozen=True)
class Case:
    """One backend at one sweep point, as measured by a run.

    ``backend`` is the kind of the backend, ``slug`` the name as a valid folder name. ``spec`` is
    the scenario in normal form (see `normal`), with only this backend and with the point applied.
    Imported cases have a spec that is not a scenario.
    """

    name: str
    slug: str
    backend: str
    point: dict[str, Any]
    spec: dict[str, Any]

    @classmethod
    def of(cls, scenario: Scenario, point: dict[str, Any], name: str | None = None) -> Case:
        """Return the case of a single-backend scenario, named after the backend and the point."""
        backend = scenario.backends[0]
        name = name or case_name(backend.name, point)
        case = cls(name, slug_of(name), backend.kind, point, normal(scenario))
        vars(case)["scenario"] = scenario
        return case

    @cached_property
    def scenario(self) -> Scenario:
        """The validated scenario, with every default; raises ScenarioError if it is not valid."""
        try:
            return Scenario.model_validate(self.spec)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            raise ScenarioError(
                f"case {self.name}: {key}: {first['msg']}; correct the scenario and run it again"
            ) from None

    @property
    def backend_options(self) -> Any:
        """The options of the case's backend, with its ``kind`` and ``name``."""
        return self.scenario.backends[0]

    @property
    def backend_name(self) -> str:
        """The name of the backend: its ``name``, else its kind."""
        name: str = (self.spec.get("backends") or [{}])[0].get("name", self.backend)
        return name

    @property
    def is_seeded_per_repeat(self) -> bool:
        """Whether each repeat draws its own arrivals, lengths and contents."""
        return bool(self.spec.get("seed_per_repeat", True))

    def spec_of(self, repeat: int) -> dict[str, Any]:
        """Return the spec for one repeat: with the repeat's seed, unless all share one."""
        spec = {key: value for key, value in self.spec.items() if key != "seed_per_repeat"}
        if not self.is_seeded_per_repeat:
            return spec
        return {**spec, "seed": repeat_seed(spec.get("seed", 0), repeat)}

    def __str__(self) -> str:
        return self.name


def normal(scenario: Scenario) -> dict[str, Any]:
    """Return the explicitly set keys as plain data: no shorthand, SI units, current spellings."""
    return scenario.model_dump(mode="json", exclude_unset=True)


def normal_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored run's spec (unnormalized up to schema version 4) in normal form.

    In a spec that is not a valid scenario (imported, or with a plugin that is not installed), only
    the shorthand of the main keys is expanded and objectives become numbers. Raises ValueError if
    an objective is not a duration.
    """
    try:
        return normal(Scenario.model_validate(spec))
    except ValidationError:
        opened = {key: _opened(key, value) for key, value in spec.items()}
        if isinstance(slo := spec.get("slo"), dict) and slo:
            opened["slo"] = {key: parse_seconds(bound) for key, bound in slo.items()}
        return opened


def _opened(key: str, value: Any) -> Any:
    """Return the value of a main key of a spec with its shorthand expanded."""
    if key == "backends" and isinstance(value, list):
        return [{"kind": item} if isinstance(item, str) else item for item in value]
    return {SHORTHAND[key]: value} if key in SHORTHAND and isinstance(value, str) else value


def readable(spec: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a spec with durations, sizes and rates as text with units."""
    try:
        scenario = Scenario.model_validate(spec)
    except ValidationError:
        return deepcopy(spec)
    return scenario.model_dump(mode="json", exclude_unset=True, context=UNITS)


def portable(spec: dict[str, Any]) -> dict[str, Any]:
    """Return a spec that workers of every version read: in its spelling, with its keys."""
    known = {k: v for k, v in spec.items() if k not in OF_THIS_VERSION}
    if "on_limit" in spec:
        known["behind"] = OLD_LIMITS[spec["on_limit"]]
    if "engine" in spec:
        defaults = {"threads": "auto", "queue": {"policy": "fifo"}}
        known["engine"] = {k: v for k, v in spec["engine"].items() if v != defaults.get(k)}
    return known


def case_name(backend: str, point: Mapping[str, Any]) -> str:
    """Return the name of a case, from its backend and point: ``eager, load.rate=4``."""
    return one_line(", ".join([backend, *(f"{key}={value}" for key, value in point.items())]))


def slug_of(name: str) -> str:
    """Return a case's name as a valid folder name: other characters become ``-``."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.") or "case"


def points(spec: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every combination of the swept values of a scenario as plain data."""
    sweep: dict[str, list[Any]] = spec.get("sweep") or {}
    for values in product(*sweep.values()):
        yield dict(zip(sweep, values, strict=True))


def set_key(spec: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key in plain data, expanding shorthand (``load: closed``) where needed.

    The part of ``spec`` that the key is in is copied, since other specs may share it. A key such as
    ``server.arguments.max-num-seqs`` is set in the server of every endpoint. Raises ValueError when
    the key's parent has no keys, or the key is too long.
    """
    if (parts := key.count(".") + 1) > MAX_KEY_PARTS:
        raise ValueError(f"expected a key of at most {MAX_KEY_PARTS} parts, found {parts:,}")
    if is_server_key(key):
        spec["backends"] = with_setting(spec.get("backends"), key, value)
        return
    *parents, last = key_path(key)
    if parents and parents[0] in spec:
        spec[parents[0]] = deepcopy(spec[parents[0]])
    reduce(_descend, parents, spec)[last] = value


def key_path(key: str) -> tuple[str, ...]:
    """Return the steps of a dotted key; after ``sweep.``, a whole dotted key is one step."""
    section, _, swept = key.partition(".")
    return (section, swept) if section == "sweep" and swept else tuple(key.split("."))


def key_paths(key: str, spec: Mapping[str, Any]) -> list[tuple[str | int, ...]]:
    """Return where `set_key` sets a key: in its own place, or in the server of every endpoint."""
    if not is_server_key(key):
        return [key_path(key)]
    endpoints = (index for index, b in enumerate(spec["backends"]) if is_endpoint(b))
    return [("backends", index, *written_at(key)) for index in endpoints]


def _main_key(key: str, value: Any) -> str | None:
    """Return the key that a short form of a section is the value of; None for a long form."""
    if key == "replicas":
        return main_key(value)
    return SHORTHAND.get(key) if isinstance(value, str) else None


def _descend(spec: dict[str, Any], key: str) -> dict[str, Any]:
    inner = spec.setdefault(key, {})
    if main := _main_key(key, inner):
        inner = spec[key] = {main: inner}
    if not isinstance(inner, dict):
        raise ValueError(f"{key!r} has no keys: it is a list or a single value")  # noqa: TRY004 (the user's mistake, not a type error)
    return inner
