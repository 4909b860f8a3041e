"""How far one model's logits are from another's, token by token."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import torch
from torch import Tensor

from llmbench.runs.run import QUALITY_SCHEMA


def compared(candidate: Tensor, reference: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Compare logits [rows, vocabulary] with the reference's for the tokens that came, [rows].

    Gives [rows] each: ``nll`` and ``reference_nll`` (negative log-likelihood of the target, nats),
    ``kl_divergence`` of the candidate from the reference (KL(reference || candidate), nats),
    ``agrees`` (the same most likely token) and ``logit_squared_error`` (mean over the vocabulary).
    Computed in float32 on the reference's device.
    """
    reference = reference.float()
    candidate = candidate.to(reference)
    wanted = targets.to(reference.device)[:, None]
    log_candidate, log_reference = candidate.log_softmax(-1), reference.log_softmax(-1)
    # rounding can bring it just below 0
    divergence = (log_reference.exp() * (log_reference - log_candidate)).sum(-1)
    return {
        "nll": -log_candidate.gather(-1, wanted)[:, 0],
        "reference_nll": -log_reference.gather(-1, wanted)[:, 0],
        "kl_divergence": divergence.clamp(min=0),
        "agrees": candidate.argmax(-1) == reference.argmax(-1),
        "logit_squared_error": (candidate - reference).square().mean(-1),
    }


def table(steps: Sequence[dict[str, Tensor]]) -> pa.Table:
    """Lay the comparisons of all steps out as columns, one row a token."""
    columns = {
        name: torch.cat([step[name] for step in steps]).cpu().numpy()
        for name in QUALITY_SCHEMA.names
    }
    return pa.table(columns).cast(QUALITY_SCHEMA)
