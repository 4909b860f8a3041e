"""The options of a run's place in a fleet: the resources that it asks for, and on which nodes."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from llmbench import plugins
from llmbench.units import Bytes

Nodes = Literal["any", "each"]
MAX_DEVICES = 4096


class ResourcesOptions(plugins.Options):
    """What a run needs of a node of a fleet (`llmbench run --ray`).

    A run has its node to itself, whatever it asks for, unless it agrees to ``share`` it.
    """

    cpu: int | None = Field(
        default=None,
        strict=True,
        ge=1,
        le=MAX_DEVICES,
        description="fewest CPUs; with `share`, its CPUs",
    )
    gpu: int | None = Field(
        default=None,
        strict=True,
        ge=0,
        le=MAX_DEVICES,
        description="number of GPUs that it sees (default: all of the node; with `share`, none)",
    )
    memory: Bytes | None = Field(default=None, gt=0, description="least memory, such as 16 GiB")
    accelerator: str | None = Field(
        default=None, min_length=1, max_length=100, description="kind of GPU, such as H100"
    )
    custom: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict, description="resources that nodes were given names for, with amounts"
    )
    share: bool = Field(
        default=False,
        description="let other runs use the rest of the node meanwhile; measurements disturb each "
        "other",
    )

    @model_validator(mode="after")
    def _shares_a_part(self) -> Self:
        if self.share and self.cpu is None:
            raise ValueError("`share: true` needs the run's part of a node; add `cpu: 4`")
        return self
