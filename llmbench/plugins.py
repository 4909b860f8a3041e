"""Lookup of parts by kind and name, through entry points for built-in and third-party parts alike.

A part is a backend, load, workload or collector: a class with a nested ``Options`` model, which
validates its keys in a scenario.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any, ClassVar, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from llmbench.errors import InputError, MissingExtraError

KindName = Literal["backend", "load", "workload", "collector", "client_host"]
KINDS: tuple[KindName, ...] = ("backend", "load", "workload", "collector")


class Options(BaseModel):
    """Base class of the options of a part; unknown keys and infinite numbers are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Part:
    """Base class of parts, which are constructed with validated options.

    ``needs`` maps each required module to the llmbench extra that installs it.
    """

    Options: ClassVar[type[Options]] = Options
    needs: ClassVar[Mapping[str, str]] = {}

    def __init__(self, options: Any) -> None:
        self.options = options


T = TypeVar("T", bound=Part)


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """A kind of part: its name in entry points and its base class.

    A part need not inherit from the base class; members that it lacks are added.
    """

    name: KindName
    base: type[T]

    def find(self, name: str) -> type[T]:
        """Import the class of a part; raises InputError, suggesting a name, if unknown."""
        return _completed(find(self.name, name), self.base)

    def part(self, options: Any) -> T:
        """Construct the part named by ``options.kind``, with these options."""
        return self.find(options.kind)(options)

    def require(self, name: str) -> None:
        """Raise MissingExtraError when a part needs a package that is not installed."""
        for module, extra in self.find(name).needs.items():
            if find_spec(module) is None:
                raise MissingExtraError(f"{self.name.replace('_', ' ')} {name!r}", module, extra)


def _completed(part: type, base: type[T]) -> type[T]:
    if issubclass(part, base):
        return part
    members = {"__doc__": part.__doc__, "__module__": part.__module__}
    return type(part.__name__, (part, base), members)


@cache
def _entry_points(kind: KindName) -> dict[str, EntryPoint]:
    points = {point.name: point for point in entry_points(group=f"llmbench.{kind}s")}
    if not points:  # those of llmbench itself are there once it is installed
        raise InputError(
            f"no {kind}s are registered: this copy of llmbench is not installed, or was installed "
            "before its last change. In its folder: pip install -e . -c constraints.txt"
        )
    return points


def names(kind: KindName) -> list[str]:
    """Return the names of all parts of a kind, sorted."""
    return sorted(_entry_points(kind))


def find(kind: KindName, name: str) -> type:
    """Import the class of a part; raises InputError, suggesting a name, if unknown."""
    try:
        part: type = _entry_points(kind)[name].load()
    except KeyError:
        near = get_close_matches(name, names(kind), n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        known = ", ".join(names(kind))
        raise InputError(f"no {kind} named {name!r}; {hint}known: {known}") from None
    return part


def options_of(kind: KindName, name: str) -> type[Options]:
    """Import a part and return its ``Options`` class."""
    options: type[Options] = getattr(find(kind, name), "Options", Options)
    return options


def summary(part: type) -> str:
    """Return the first line of a part's docstring."""
    return (part.__doc__ or "").strip().partition("\n")[0]
