"""Distributions of token lengths, drawn from a seeded stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from llmbench import plugins

LONGEST = 10_000_000  # tokens, of the longest context known
Positive = Annotated[int, Field(ge=1, le=LONGEST)]


class _Normal(plugins.Options):
    mean: float = Field(gt=0, description="mean length in tokens")
    sd: float = Field(ge=0, description="standard deviation in tokens")


class _Lognormal(plugins.Options):
    median: float = Field(gt=0, description="median length in tokens")
    sigma: float = Field(ge=0, description="standard deviation of the logarithm")


class Length(plugins.Options):
    """A distribution of token counts; a plain number is a fixed length.

    ``64`` · ``{uniform: [16, 64]}`` · ``{normal: {mean: 64, sd: 8}}`` ·
    ``{lognormal: {median: 64, sigma: 0.5}}`` · ``{empirical: [12, 80, 80, 256]}``;
    ``min`` and ``max`` bound any of them.
    """

    fixed: Positive | None = Field(default=None, description="constant length in tokens")
    uniform: tuple[Positive, Positive] | None = Field(
        default=None, description="uniform distribution between two inclusive bounds, in tokens"
    )
    normal: _Normal | None = Field(default=None, description="normal distribution of lengths")
    lognormal: _Lognormal | None = Field(
        default=None, description="lognormal distribution of lengths, with a long tail"
    )
    empirical: Annotated[list[Positive], Field(min_length=1)] | None = Field(
        default=None, description="lengths in tokens, drawn with equal probability"
    )
    min: Positive = Field(default=1, description="minimum length in tokens")
    max: Positive | None = Field(default=None, description="maximum length in tokens")

    @model_validator(mode="after")
    def _is_one_distribution(self) -> Length:
        kinds = ("fixed", "uniform", "normal", "lognormal", "empirical")
        given = [kind for kind in kinds if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"expected exactly one of {', '.join(kinds)}, got {given or 'none'}")
        if self.uniform and self.uniform[0] > self.uniform[1]:
            raise ValueError("expected uniform as [lower, upper]")
        if self.max is not None and self.max < self.min:
            raise ValueError("expected `max` to be at least `min`")
        return self

    def draw(self, rng: np.random.Generator) -> int:
        """Draw one length in tokens, within ``min`` and ``max``, and never above LONGEST."""
        return round(min(max(self.min, self._draw(rng)), self.max or LONGEST))

    def _draw(self, rng: np.random.Generator) -> float:
        if self.uniform:
            return int(rng.integers(self.uniform[0], self.uniform[1] + 1))
        if self.normal:
            return float(rng.normal(self.normal.mean, self.normal.sd))
        if self.lognormal:
            with np.errstate(over="ignore"):  # infinite draws are bounded too
                return float(self.lognormal.median * np.exp(rng.normal(0, self.lognormal.sigma)))
        if self.empirical:
            return self.empirical[int(rng.integers(len(self.empirical)))]
        return self.fixed or 1

    def stream(self, rng: np.random.Generator) -> Iterator[int]:
        """Yield random lengths in tokens, endlessly."""
        while True:
            yield self.draw(rng)


def _from_shorthand(value: Any) -> Any:
    return {"fixed": value} if isinstance(value, int) and not isinstance(value, bool) else value


Lengths = Annotated[Length, BeforeValidator(_from_shorthand)]
