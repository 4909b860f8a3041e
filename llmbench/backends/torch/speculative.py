"""PyTorch with speculative decoding: a draft model proposes tokens, the target verifies them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from llmbench import models, plugins
from llmbench.analysis.roofline.work import ModelCosts
from llmbench.backends.base import LoadShape, OpenContext
from llmbench.backends.local import cache_length
from llmbench.backends.torch.eager import Attention, Eager
from llmbench.engine.buckets import Buckets
from llmbench.errors import InputError, Unavailable

if TYPE_CHECKING:
    from llmbench.backends.local import Checked, LocalRunner
    from llmbench.engine.runner import TorchRunner
    from llmbench.engine.sampling import Sampler
    from llmbench.engine.scoring import Scorer
    from llmbench.engine.speculative import DraftedModel
    from llmbench.models.loading import TorchModel


class Speculative(Eager):
    """Eager PyTorch with a draft model; the target model verifies several drafted tokens per step.

    The output is the target's greedy output; the speedup depends on the fraction of drafted tokens
    that are accepted.
    """

    class Options(plugins.Options):
        """``{kind: speculative, draft: ./student, tokens: 4}``."""

        draft: str = Field(min_length=1, description="draft model with the target's own tokenizer")
        tokens: int = Field(
            default=4, ge=1, le=1024, description="tokens drafted per target-model step"
        )
        attention: Attention = Field(default="sdpa", description="attention implementation")

    def __init__(self, options: Options) -> None:
        self.attention = options.attention
        self.compress = None
        self.draft = options.draft
        self.drafted = options.tokens

    def load(self, context: OpenContext) -> DraftedModel:
        """Load the target and the draft model; raises InputError when they are incompatible."""
        from llmbench.engine import rope  # noqa: PLC0415 (imports torch)
        from llmbench.engine.speculative import DraftedModel  # noqa: PLC0415 (imports torch)

        if context.sampling.temperature > 0:
            raise InputError("speculative: decoding is greedy; set `sampling.temperature` to 0")
        draft_options = context.model.model_copy(update={"source": self.draft})
        models.check_source(draft_options)
        longest = context.load_shape.longest_sequence
        target = rope.pinned(models.load_model(context.model, self.attention), longest)
        draft = rope.pinned(models.load_model(draft_options, self.attention), longest)
        _check_pair(target, draft, context.load_shape)
        values = {field.name: getattr(target, field.name) for field in fields(target)}
        name = "draft_attention"
        reasons = {name: draft.reasons["attention"]} if draft.reasons else {}
        both = {
            "weight_bytes": target.weight_bytes + draft.weight_bytes,
            "requested": {**target.requested, name: self.attention},
            "effective": {**target.effective, name: draft.effective["attention"]},
            "reasons": {**target.reasons, **reasons},
        }
        return DraftedModel(**{**values, **both}, draft=draft)

    def runner(
        self, model: TorchModel, buckets: Buckets, sampler: Sampler, *, slots: int, max_length: int
    ) -> TorchRunner:
        """Allocate both models' KV caches and return the runner of prefill and decode steps."""
        from llmbench.engine.kv_cache import KvCache  # noqa: PLC0415 (imports torch)
        from llmbench.engine.speculative import Draft, DraftedModel, SpeculativeRunner  # noqa: PLC0415 (imports torch)

        assert isinstance(model, DraftedModel)  # noqa: S101 (returned by `load`)
        caches = [KvCache.allocate(m.module, slots, max_length) for m in (model.draft, model)]
        draft = Draft(model.draft.module, caches[0], sampler, buckets)
        return SpeculativeRunner(
            model.module, caches[1], sampler, buckets, draft=draft, drafted=self.drafted
        )

    def references(self, model: TorchModel, runner: LocalRunner) -> Iterator[Checked]:
        """Yield the runners of both models, each with its own forward."""
        from llmbench.engine.own_forward import reference_of  # noqa: PLC0415 (imports torch)
        from llmbench.engine.speculative import DraftedModel, SpeculativeRunner  # noqa: PLC0415 (the same)

        assert isinstance(model, DraftedModel)  # noqa: S101 (returned by `load`)
        assert isinstance(runner, SpeculativeRunner)  # noqa: S101 (returned by `runner`)
        yield from super().references(model, runner)
        parameters = model.draft.effective["parameters"]
        draft = reference_of(model.draft.module, parameters, key="speculative.draft")
        yield runner.draft, draft

    def costs(self, model: TorchModel) -> ModelCosts:
        """Raise Unavailable: a step combines several draft steps and one target step."""
        del model
        raise Unavailable("a step also runs the draft model several times")

    def scorer(self, context: OpenContext, model: TorchModel, load_shape: LoadShape) -> Scorer:
        """Return a scorer that uses the target's logits and generates by speculative decoding."""
        from llmbench.engine.sampling import Greedy  # noqa: PLC0415 (imports torch)

        target = Eager(Eager.Options(attention=self.attention)).scorer(context, model, load_shape)
        slots, length = context.engine.slots, cache_length(load_shape, model)
        buckets = self.buckets(load_shape, slots, length)
        answering = self.runner(model, buckets, Greedy(), slots=slots, max_length=length)
        return replace(target, answering=answering)

    def settings(self) -> dict[str, Any]:
        """Return the draft model's source and the number of tokens drafted per step."""
        return {"draft": self.draft, "drafted_tokens": self.drafted}


def _check_pair(target: TorchModel, draft: TorchModel, load_shape: LoadShape) -> None:
    if draft.vocabulary != target.vocabulary:
        raise InputError(
            f"speculative.draft: its vocabulary has {draft.vocabulary} tokens, the model's "
            f"has {target.vocabulary}; use a draft with the model's own tokenizer"
        )
    if draft.context_length is not None and draft.context_length < load_shape.longest_sequence:
        raise InputError(
            f"speculative.draft: its context holds {draft.context_length} tokens, but the longest "
            f"request has {load_shape.longest_sequence}; use shorter requests or another draft"
        )
