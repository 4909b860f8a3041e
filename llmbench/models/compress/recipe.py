"""What a scenario may say of compression."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from llmbench.plugins import Options

Scheme = Literal[
    "int8-weight-only",
    "int8-dynamic",
    "int4-weight-only",
    "int4-hqq",
    "int4-k-quant",
    "float8",
]
Ratio = Annotated[float, Field(gt=0, lt=1)]


class Magnitude(Options):
    """Set the weights of least magnitude in each linear layer to zero."""

    kind: Literal["magnitude"]
    ratio: Ratio = Field(description="share of the weights")

    def __str__(self) -> str:
        return f"magnitude {self.ratio:g}"


class TwoFour(Options):
    """Keep the two largest of every four weights in a row (2:4 semi-structured)."""

    kind: Literal["two-four"]

    def __str__(self) -> str:
        return "two-four"


class DropLayers(Options):
    """Drop whole layers: those named, or those that change their input least."""

    kind: Literal["layers"]
    ratio: Ratio | None = Field(default=None, description="share of the layers")
    layers: tuple[int, ...] | None = Field(default=None, min_length=1, description="counted from 0")

    @model_validator(mode="after")
    def _one_of_both(self) -> DropLayers:
        if (self.ratio is None) == (self.layers is None):
            raise ValueError("expected either `ratio` or `layers`")
        return self

    def __str__(self) -> str:
        named = self.layers is not None
        return f"layers {', '.join(map(str, self.layers or ())) if named else f'{self.ratio:g}'}"


Prune = Annotated[Magnitude | TwoFour | DropLayers, Field(discriminator="kind")]


class Recipe(Options):
    """How a model is made smaller before it is served: pruned first, then quantized."""

    prune: Prune | None = Field(default=None, description="magnitude, two-four or layers")
    quantize: Scheme | None = Field(default=None, description="scheme of the linear layers")


class Distillation(Options):
    """How a student is made of a teacher: some of its layers, trained to say what it says."""

    teacher: str = Field(min_length=1, description="source of the model")
    layers: int = Field(ge=1, description="layers of the student")
    steps: int = Field(default=500, ge=1, description="batches to train on")
    batch: int = Field(default=4, ge=1, description="texts in a batch")
    tokens: int = Field(default=128, ge=2, description="tokens of a text")
    texts: int = Field(default=512, ge=1, description="texts that the teacher writes")
    text: str | None = Field(default=None, description="a file to learn from instead")
    learning_rate: float = Field(default=5e-4, gt=0)
    temperature: float = Field(default=2.0, gt=0, description="that softens both distributions")
    kl_weight: float = Field(default=0.9, ge=0, le=1, description="the rest is cross-entropy")
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    seed: int = Field(default=0, ge=0)
