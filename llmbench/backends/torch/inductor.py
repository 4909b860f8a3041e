"""Options of torch.compile's compiler, inductor: checked against the ones that it has."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from llmbench.errors import InputError

Value = bool | int | float | str


def options_of(mode: str, own: Mapping[str, Value]) -> dict[str, Value]:
    """Return the options of a mode of torch.compile, with a scenario's own, which take precedence.

    Raise InputError for an option that inductor lacks, and for a value of another type.
    """
    from torch._inductor import config, list_mode_options  # noqa: PLC0415 (imports torch)

    known = config.get_config_copy()
    for name, value in own.items():
        _check(name, value, known)
    return {**list_mode_options(mode), **own}


def _check(name: str, value: Value, known: Mapping[str, object]) -> None:
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(
            f"backends: inductor has no option {name!r}{hint} "
            "(`torch._inductor.config` has them all)"
        )
    default = known[name]
    if default is not None and type(value) is not type(default):
        raise InputError(
            f"backends: inductor's option {name!r} is a {type(default).__name__} "
            f"(default: {default!r}), but {value!r} was given"
        )
