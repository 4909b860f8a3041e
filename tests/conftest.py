"""What holds for all tests."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Waiting OpenMP threads spin, which makes torch ten times slower where tests share a machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(params=["llama", "gpt2", "gemma3"])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    """One model of each family."""
    import families  # noqa: PLC0415 (transformers takes seconds to import)

    return families.build(request.param)
