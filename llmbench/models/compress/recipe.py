"""The options of pruning, quantization and distillation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from llmbench.plugins import Options

Scheme = Literal[
    "int8-weight-only", "int8-dynamic", "int4-weight-only", "int4-hqq", "int4-k-quant", "float8"
]
Ratio = Annotated[float, Field(gt=0, lt=1)]


class Magnitude(Options):
    """Zero the weights of smallest magnitude in each linear layer."""

    kind: Literal["magnitude"]
    ratio: Ratio = Field(description="fraction of each linear layer's weights to set to zero")

    def __str__(self) -> str:
        return f"magnitude {self.ratio:g}"


class TwoFour(Options):
    """Keep the two weights of largest magnitude in every group of four (2:4 semi-structured)."""

    kind: Literal["two-four"]

    def __str__(self) -> str:
        return "two-four"


class DropLayers(Options):
    """Drop whole layers: those listed, or those with the smallest block influence."""

    kind: Literal["layers"]
    ratio: Ratio | None = Field(default=None, description="fraction of the layers to drop")
    layers: tuple[int, ...] | None = Field(
        default=None, min_length=1, description="indices of the layers to drop, from 0"
    )

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
    """Compression of a model before it is served: pruned first, then quantized."""

    prune: Prune | None = Field(default=None, description="pruning: magnitude, two-four or layers")
    quantize: Scheme | None = Field(default=None, description="quantization of the linear layers")


class Distillation(Options):
    """Distillation of a student that starts from some of its teacher's layers."""

    teacher: str = Field(min_length=1, description="model source of the teacher")
    layers: int = Field(ge=1, description="number of student layers")
    steps: int = Field(default=500, ge=1, description="number of training steps, one batch each")
    batch: int = Field(default=4, ge=1, description="number of texts per batch")
    tokens: int = Field(default=128, ge=2, description="length of each training text in tokens")
    texts: int = Field(default=512, ge=1, description="number of texts that the teacher generates")
    text: str | None = Field(
        default=None, description="text file to train on instead of generated texts"
    )
    learning_rate: float = Field(default=5e-4, gt=0)
    temperature: float = Field(
        default=2.0, gt=0, description="softmax temperature in the loss, for both models"
    )
    kl_weight: float = Field(
        default=0.9,
        ge=0,
        le=1,
        description="weight of the KL divergence; the rest is cross-entropy",
    )
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    seed: int = Field(default=0, ge=0)
