"""Find parts by kind and name; built-ins and third-party parts come through entry points alike.

A part is a class whose nested ``Options`` (a validated model) lists what a scenario may set.
"""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, ConfigDict

from llmbench.errors import InputError, MissingExtraError

Kind = Literal["backend", "load", "workload", "collector"]
KINDS: tuple[Kind, ...] = ("backend", "load", "workload", "collector")


class Options(BaseModel):
    """What a scenario may set on a part; a key that is not listed is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Part(Protocol):
    """Anything that a scenario can name."""

    Options: ClassVar[type[Options]]


@cache
def _found(kind: Kind) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"llmbench.{kind}s")}


def names(kind: Kind) -> list[str]:
    """List the parts of a kind by name, sorted."""
    return sorted(_found(kind))


def find(kind: Kind, name: str) -> Any:
    """Import the part of that kind and name.

    Raises InputError, with the nearest name, when there is none.
    """
    try:
        return _found(kind)[name].load()
    except KeyError:
        raise InputError(f"no {kind} named {name!r}; {_alternatives(kind, name)}") from None


def require(kind: Kind, name: str) -> None:
    """Raise MissingExtraError when a part needs a package that is not installed.

    A part names what it needs in ``needs``: the extra of llmbench that brings each module.
    """
    for module, extra in getattr(find(kind, name), "needs", {}).items():
        if find_spec(module) is None:
            raise MissingExtraError(f"{kind} {name!r}", module, extra)


def _alternatives(kind: Kind, name: str) -> str:
    near = get_close_matches(name, names(kind), n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}known are {', '.join(names(kind))}"


def summary(part: Any) -> str:
    """Give the first sentence of a part's docstring."""
    return (part.__doc__ or "").strip().partition("\n")[0]
