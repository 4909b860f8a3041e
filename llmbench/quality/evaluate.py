"""The pass after a load in which a backend's outputs are held against a reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmbench import models
from llmbench.analysis.metrics import METRICS, quality_values
from llmbench.backends.base import BACKENDS, LoadShape, OpenContext, Server
from llmbench.backends.local import LocalBackend
from llmbench.errors import InputError
from llmbench.quality.examination import Examination, read_windows
from llmbench.runs.caveats import QUALITY_BREACHED, Caveat
from llmbench.runs.run import NOT_ASKED, Quality
from llmbench.scenario.cases import Case
from llmbench.scenario.schema import ExplainOptions, ModelOptions, QualityOptions

if TYPE_CHECKING:
    from llmbench.models.loading import LoadedModel, TorchModel

ONCE = Quality.unavailable("measured in the first process of each case")


def examine(
    case: Case,
    repeat: int,
    server: Server,
    context: OpenContext,
    prompts: Sequence[Sequence[int]],
) -> Quality:
    """Hold a warm server against the scenario's reference, in a case's first process.

    Outputs are the same in every process, so once is enough. What goes wrong here is given as the
    reason for having no quality: the load has been measured and is to be kept.
    """
    asked = case.scenario.quality
    if asked is None:
        return NOT_ASKED
    if repeat > 1:
        return ONCE
    try:
        return _examined(asked, server, context, prompts)
    except Exception as error:  # noqa: BLE001 (told in the run; the measured load must not be lost)
        return Quality.unavailable(f"the quality pass failed: {str(error) or repr(error)}")


def _examined(
    asked: QualityOptions, server: Server, context: OpenContext, prompts: Sequence[Sequence[int]]
) -> Quality:
    if not models.is_trained(context.model):
        return Quality.unavailable("not meaningful on random weights")
    context.on_stage("examining the quality")
    examination = _examination(asked, context.model, prompts)
    load_shape = LoadShape(examination.lengths, examination.longest)
    candidate = server.scorer(load_shape)
    if candidate is None:
        return Quality.unavailable("this backend shows no logits")
    quietly = replace(context, on_stage=lambda _: None)
    backend = _reference(asked)
    model = backend.load(quietly)
    reference = backend.scorer(quietly, model, load_shape)
    tokens = examination.tokens(
        candidate, reference, lambda n, of: context.on_stage(f"examining the quality: {n} of {of}")
    )
    answers = examination.answers(candidate, reference)
    attention = _explained(asked.explain, server.torch_model, model, context.model)
    return Quality(asked.reference.name, tokens, answers, attention)


def _explained(
    asked: ExplainOptions | None,
    candidate: TorchModel | None,
    reference: LoadedModel,
    options: ModelOptions,
) -> dict[str, Any]:
    """Compare maps of attention; what keeps them from being had is given as the reason."""
    from llmbench.models.loading import TorchModel  # noqa: PLC0415 (imports torch)
    from llmbench.quality import attention  # noqa: PLC0415 (imports torch)

    if asked is None:
        return {}
    if candidate is None or not isinstance(reference, TorchModel):
        return {"reason": "only torch models show their attention"}
    tokenizer = models.load_tokenizer(options)
    ids = tokenizer.encode(asked.prompt)
    try:
        found = attention.compared(candidate, reference, ids, asked)
    except Exception as error:  # noqa: BLE001 (told in the run; the scores must not be lost)
        return {"reason": str(error) or repr(error)}
    return {"tokens": [tokenizer.decode([number]) or "·" for number in ids], **found}


def _reference(asked: QualityOptions) -> LocalBackend[Any]:
    backend = BACKENDS.part(asked.reference)
    if not isinstance(backend, LocalBackend):
        raise InputError(
            f"quality.reference: {asked.reference.kind} shows no logits; use eager, compiled or "
            "onnx"
        )
    return backend


def _examination(
    asked: QualityOptions, model: ModelOptions, prompts: Sequence[Sequence[int]]
) -> Examination:
    tokenizer, scored = models.load_tokenizer(model), asked.window // 2
    most = -(-asked.tokens // scored)
    windows = read_windows(tokenizer, read_text(asked), asked.window, most)
    if len(windows) * scored < asked.tokens:
        raise InputError(
            f"quality.text: is enough to score {len(windows) * scored} tokens of the "
            f"{asked.tokens} asked for; give a longer text, or fewer `tokens`"
        )
    return Examination(windows, prompts[: asked.answers], asked.answer_tokens)


def read_text(asked: QualityOptions) -> str:
    """Read the held-out text; raises InputError when it cannot be read."""
    path = Path(asked.text).expanduser() if asked.text else models.HELD_OUT
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InputError(f"quality.text: {path}: cannot be read: {why}; check the path") from None


def breaches(case: Case, quality: Quality) -> Iterator[Caveat]:
    """Give a caveat for each bound of the scenario that the quality misses or leaves open."""
    asked = case.scenario.quality
    if asked is None or quality is ONCE:
        return
    if quality.reason:
        yield Caveat("quality-unknown", reason=quality.reason)
        return
    values = quality_values(quality)
    for metric, (side, bound) in asked.bounds.items():
        value = values[metric].value
        if value is None or (value > bound if side == "max" else value < bound):
            limit = "at most" if side == "max" else "at least"
            label = METRICS[metric].label
            yield Caveat(QUALITY_BREACHED, label=label, limit=limit, bound=bound, value=value)
