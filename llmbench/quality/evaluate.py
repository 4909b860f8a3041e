"""The quality pass after a load, which compares a backend's outputs with the reference's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmbench import models
from llmbench.analysis.metrics import METRICS, quality_values
from llmbench.backends.base import BACKENDS, LoadShape, OpenContext, Server
from llmbench.backends.local import LocalBackend
from llmbench.errors import FileError, InputError
from llmbench.runs import files
from llmbench.runs.caveats import QUALITY_BREACHED, Caveat
from llmbench.runs.run import NOT_ASKED, Quality
from llmbench.scenario.cases import Case
from llmbench.scenario.schema import ExplainOptions, ModelOptions, QualityOptions

if TYPE_CHECKING:
    from llmbench.models.loading import LoadedModel, TorchModel
    from llmbench.quality.examination import Examination

NO_REFERENCE = Quality.unavailable("`quality.reference` is null")
ONCE = Quality.unavailable("measured in the first process of each case")


def examine(
    case: Case, repeat: int, server: Server, context: OpenContext, prompts: Sequence[Sequence[int]]
) -> Quality:
    """Return the quality of a warm server's outputs, compared with those of the reference.

    Only the first process of a case is examined, since outputs are equal in every process. If the
    comparison fails, the result has the reason instead; the measurements of the load are kept.
    """
    options = case.scenario.quality
    if options is None:
        return NOT_ASKED
    if options.reference is None:
        return NO_REFERENCE
    if repeat > 1:
        return ONCE
    try:
        return _examined(options, server, context, prompts)
    except Exception as error:  # noqa: BLE001 (stored with the run, whose load must not be lost)
        return Quality.unavailable(f"the quality pass failed: {str(error) or repr(error)}")


def _examined(
    options: QualityOptions, server: Server, context: OpenContext, prompts: Sequence[Sequence[int]]
) -> Quality:
    if not models.is_trained(context.model):
        return Quality.unavailable("not meaningful on random weights")
    context.on_stage("evaluating quality")
    examination = _examination(options, context.model, prompts)
    load_shape = LoadShape(examination.lengths, examination.longest)
    candidate = server.scorer(load_shape)
    if candidate is None:
        return Quality.unavailable("this backend exposes no logits")
    quietly = replace(context, on_stage=lambda _: None)
    backend = _reference(options)
    model = backend.without_references(backend.load(quietly))
    reference = backend.scorer(quietly, model, load_shape)
    tokens = examination.tokens(
        candidate, reference, lambda n, of: context.on_stage(f"evaluating quality: {n} of {of}")
    )
    answers = examination.answers(candidate, reference)
    attention = _explained(options.explain, server.torch_model, model, context.model)
    return Quality(backend.options.name, tokens, answers, attention)


def _explained(
    options: ExplainOptions | None,
    candidate: TorchModel | None,
    reference: LoadedModel,
    model: ModelOptions,
) -> dict[str, Any]:
    """Return the comparison of attention maps or why there is none; empty if not requested."""
    from llmbench.models.loading import TorchModel  # noqa: PLC0415 (imports torch)
    from llmbench.quality.attention import compare_attention  # noqa: PLC0415 (imports torch)

    if options is None:
        return {}
    if candidate is None or not isinstance(reference, TorchModel):
        return {"reason": "only torch models expose their attention"}
    tokenizer = models.load_tokenizer(model)
    ids = tokenizer.encode(options.prompt)
    try:
        attention = compare_attention(candidate, reference, ids, options)
    except Exception as error:  # noqa: BLE001 (stored with the run, whose scores must not be lost)
        return {"reason": str(error) or repr(error)}
    return {"tokens": [tokenizer.decode([number]) or "·" for number in ids], **attention}


def _reference(options: QualityOptions) -> LocalBackend[Any]:
    assert options.reference  # noqa: S101 (for type checkers)
    backend = BACKENDS.part(options.reference)
    if not isinstance(backend, LocalBackend):
        message = f"quality.reference: {options.reference.kind} exposes no logits"
        raise InputError(f"{message}; use eager, compiled or onnx")
    return backend


def _examination(
    options: QualityOptions, model: ModelOptions, prompts: Sequence[Sequence[int]]
) -> Examination:
    from llmbench.quality.examination import Examination, read_windows  # noqa: PLC0415 (imports torch)

    tokenizer, scored = models.load_tokenizer(model), options.window // 2
    most = -(-options.tokens // scored)
    windows = read_windows(tokenizer, read_text(options), options.window, most)
    if len(windows) * scored < options.tokens:
        raise InputError(
            f"quality.text: too short to score {options.tokens} tokens (enough for "
            f"{len(windows) * scored}); use a longer text or fewer `tokens`"
        )
    return Examination(windows, prompts[: options.answers], options.answer_tokens)


def read_text(options: QualityOptions) -> str:
    """Return the text to score, by default the bundled one; raise InputError if unreadable."""
    try:
        return files.read_text(Path(options.text) if options.text else models.HELD_OUT)
    except FileError as error:
        raise InputError(f"quality.text: {error}") from None


def breaches(case: Case, quality: Quality) -> Iterator[Caveat]:
    """Yield a caveat for each quality bound that is missed or cannot be checked."""
    options = case.scenario.quality
    if options is None or quality is ONCE or (options.under_load and not options.bounds):
        return
    if quality.reason:
        yield Caveat("quality-unknown", reason=quality.reason)
        return
    values = quality_values(quality)
    for metric, (side, bound) in options.bounds.items():
        value = values[metric].value
        if value is None or (value > bound if side == "max" else value < bound):
            limit = "at most" if side == "max" else "at least"
            label = METRICS[metric].label
            yield Caveat(QUALITY_BREACHED, label=label, limit=limit, bound=bound, value=value)
