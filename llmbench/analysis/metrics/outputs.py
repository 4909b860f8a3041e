"""How a run's outputs stand to the reference's."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from llmbench.analysis.metrics.named import Value
from llmbench.analysis.metrics.observed import floats
from llmbench.runs.run import QUALITY_SCHEMA, Quality

TOKEN_COLUMNS = QUALITY_SCHEMA.names
TOKEN_MEANS = {
    "kl_divergence": "kl_divergence",
    "top1_agreement": "agrees",
    "logit_mse": "logit_squared_error",
}


def quality_values(quality: Quality) -> dict[str, Value]:
    """Compute how the outputs stand to the reference's, from scored tokens and greedy answers."""
    return {**_of_tokens(quality), **_of_answers(quality)}


def _of_tokens(quality: Quality) -> dict[str, Value]:
    columns = {name: floats(quality.tokens[name].cast(pa.float64())) for name in TOKEN_COLUMNS}
    n = quality.tokens.num_rows
    if not n:
        names = ("perplexity", "reference_perplexity", "perplexity_ratio", *TOKEN_MEANS)
        return dict.fromkeys(names, Value(None, 0, quality.reason or "no tokens were scored"))
    means = {name: float(np.mean(column)) for name, column in columns.items()}
    found = {
        "perplexity": np.exp(means["nll"]),
        "reference_perplexity": np.exp(means["reference_nll"]),
        "perplexity_ratio": np.exp(means["nll"] - means["reference_nll"]),
        **{name: means[column] for name, column in TOKEN_MEANS.items()},
    }
    return {name: Value(float(value), n) for name, value in found.items()}


def _of_answers(quality: Quality) -> dict[str, Value]:
    answers = quality.answers
    if not answers:
        nothing = Value(None, 0, quality.reason or "no answers were compared")
        return dict.fromkeys(("exact_match", "first_divergence"), nothing)
    exact = [answer.alike == answer.tokens for answer in answers]
    alike = [answer.alike for answer in answers]
    return {
        "exact_match": Value(float(np.mean(exact)), len(answers)),
        "first_divergence": Value(float(np.mean(alike)), len(answers)),
    }
