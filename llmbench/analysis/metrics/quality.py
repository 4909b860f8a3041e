"""Output quality of a run against the reference: scored tokens and greedy outputs."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from llmbench.analysis.metrics.record_arrays import floats
from llmbench.analysis.values import Value, unavailable
from llmbench.runs.run import QUALITY_SCHEMA, Quality

TOKEN_MEANS = {
    "kl_divergence": "kl_divergence",
    "top1_agreement": "agrees",
    "logit_mse": "logit_squared_error",
}


def quality_values(quality: Quality) -> dict[str, Value]:
    """Return the quality metrics of a run."""
    return {**_token_metrics(quality), **_output_agreement(quality)}


def _token_metrics(quality: Quality) -> dict[str, Value]:
    """Return perplexities and divergences.

    perplexity = exp(−mean log q(x))
    perplexity ratio = exp(mean log p(x) − mean log q(x))
    KL divergence = mean Σ p log(p / q), in nats per token
    top-1 agreement = mean [argmax p = argmax q]
    logit MSE = mean of the mean squared difference of logits

    where means are over the scored tokens x, and q and p are the next-token distributions of the
    run and of the reference.
    """
    n = quality.tokens.num_rows
    if not n:
        keys = ("perplexity", "reference_perplexity", "perplexity_ratio", *TOKEN_MEANS)
        return unavailable(keys, quality.reason or "no tokens were scored")
    means = {
        name: float(np.mean(floats(quality.tokens[name].cast(pa.float64()))))
        for name in QUALITY_SCHEMA.names
    }
    values = {
        "perplexity": np.exp(means["nll"]),
        "reference_perplexity": np.exp(means["reference_nll"]),
        "perplexity_ratio": np.exp(means["nll"] - means["reference_nll"]),
        **{key: means[column] for key, column in TOKEN_MEANS.items()},
    }
    return {key: Value(float(value), n) for key, value in values.items()}


def _output_agreement(quality: Quality) -> dict[str, Value]:
    """Return the agreement of greedy outputs.

    exact match = mean [a = n] and first divergence = mean a, over the outputs, where a is the
    number of leading tokens that equal the reference's and n the length of the reference's output.
    """
    answers = quality.answers
    if not answers:
        reason = quality.reason or "no outputs were compared"
        return unavailable(("exact_match", "first_divergence"), reason)
    exact = [answer.alike == answer.tokens for answer in answers]
    leading = [answer.alike for answer in answers]
    return {
        "exact_match": Value(float(np.mean(exact)), len(answers)),
        "first_divergence": Value(float(np.mean(leading)), len(answers)),
    }
