"""The self-check finds what differs from a model's own forward, and forgives rounding."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any
from unittest.mock import Mock

import families
import pytest
import torch
from greedy import MAX_LENGTH, SLOTS
from torch import Tensor
from transformers import PreTrainedModel

from llmbench.engine.buckets import Buckets, doublings
from llmbench.engine.check_requests import Capacity
from llmbench.engine.kv_cache import KvCache
from llmbench.engine.own_forward import Reference, reference_of
from llmbench.engine.runner import Step, TorchRunner
from llmbench.engine.sampling import Greedy, Random
from llmbench.engine.self_check import SelfCheck, _Answer, _Comparison, check, judge, total
from llmbench.errors import InputError

CAPACITY = Capacity(SLOTS, range(1, MAX_LENGTH + 1), MAX_LENGTH)
EXACT = Buckets(range(1, MAX_LENGTH + 1), range(1, SLOTS + 1), doublings(32, MAX_LENGTH))


def runner_of(model: PreTrainedModel, sampler: Any = None, **compiled: Any) -> TorchRunner:
    cache = KvCache.allocate(model, SLOTS, MAX_LENGTH)
    return TorchRunner(model, cache, sampler or Greedy(), EXACT, **compiled)


def wrapped(step: Step) -> Step:
    """A step that is another function, as a compiled one is."""
    return partial(step)


def of(model: PreTrainedModel) -> Reference:
    return reference_of(model, model.num_parameters())


@pytest.mark.parametrize("batching", ["continuous", "static"])
def test_a_run_with_the_models_own_tokens_is_equal(model: PreTrainedModel, batching: str) -> None:
    checked = check(runner_of(model), of(model), CAPACITY, batching, prefill_tokens=64)
    around_a_window = 2 if type(model).__name__ == "Gemma3ForCausalLM" else 0
    assert checked == SelfCheck(
        "equal", requests=6 + around_a_window, tokens=50 + 8 * around_a_window, longest=68
    )


def test_compiled_steps_are_compared_by_their_tokens_and_keep_their_sampler() -> None:
    model = families.build("llama")
    sampler = Random(
        1.5, 0.9, rows=SLOTS, vocabulary=families.VOCABULARY, device=model.device, seed=1
    )
    runner = runner_of(model, sampler, compile_decode=wrapped)
    assert not runner.shows_logits
    assert check(runner, of(model), CAPACITY).result == "equal"
    assert runner.sampler is sampler


@pytest.mark.parametrize("compiled", [{}, {"compile_decode": wrapped}], ids=["logits", "tokens"])
def test_a_window_that_the_engine_ignores_is_found(compiled: dict[str, Any]) -> None:
    model = families.build("gemma3")
    runner = runner_of(model, **compiled)
    runner._masks._window = None
    with pytest.raises(
        InputError,
        match=r"^model: Gemma3ForCausalLM differs between .*after a prompt of \d+ tokens, token \d+"
        r" is \d+, .*\(Gemma3Attention, full_attention, sliding_attention\); use another backend$",
    ):
        check(runner, of(model), CAPACITY)


def test_a_window_that_is_one_token_too_long_is_found_by_the_logits() -> None:
    model = families.build("gemma3")
    runner = runner_of(model)
    runner._masks._window = families.WINDOW + 1
    with pytest.raises(InputError, match="Gemma3ForCausalLM differs"):
        check(runner, of(model), CAPACITY)


class Shifted(TorchRunner):
    """A runner whose positions are off by one from the second decode step of a slot on."""

    def _advance(self, positions: Tensor, by: int | Tensor) -> None:
        super()._advance(positions, by + 1)


def test_a_fault_of_decode_steps_is_found(model: PreTrainedModel) -> None:
    runner = Shifted(model, KvCache.allocate(model, SLOTS, MAX_LENGTH), Greedy(), EXACT)
    with pytest.raises(InputError, match=f"{type(model).__name__} differs"):
        check(runner, of(model), CAPACITY)


class Mixed(TorchRunner):
    """A runner whose prompts attend to the other prompts of their prefill step."""

    def _prefill(self, prompts: Tensor, packing: Tensor) -> Tensor:
        masks = self._masks
        self._masks = Mock(of=lambda queries, keys, _owners: masks.of(queries, keys))
        try:
            return super()._prefill(prompts, packing)
        finally:
            self._masks = masks


def test_a_fault_of_prefills_of_several_prompts_is_found(model: PreTrainedModel) -> None:
    runner = Mixed(model, KvCache.allocate(model, SLOTS, MAX_LENGTH), Greedy(), EXACT)
    assert check(runner, of(model), CAPACITY).result == "equal"
    with pytest.raises(InputError, match=f"{type(model).__name__} differs .*prompt of 5 tokens"):
        check(runner, of(model), CAPACITY, prefill_tokens=8)


def test_the_borders_of_a_model_are_its_windows_and_original_lengths() -> None:
    model = families.build("llama")
    model.config.rope_parameters = {
        "rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0,
        "original_max_position_embeddings": 64,
    }  # fmt: skip
    assert of(model).borders == (64,)
    assert of(families.build("gemma3")).borders == (families.WINDOW,)
    assert of(families.build("gpt2")).borders == ()


# -- rounding --------------------------------------------------------------------------------------

OWN = torch.tensor([[3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 3.0, 2.0]])


def fixed(own: Tensor, disturbed: Tensor | None = None) -> Reference:
    """A reference in float32 with given logits."""

    def forward(_ids: Sequence[int], count: int) -> Tensor:
        return own[-count:]

    def forward_disturbed(_ids: Sequence[int], count: int) -> Tensor:
        assert disturbed is not None
        return disturbed[-count:]

    return Reference(
        architecture="Fixed", layers="Layer", forward=forward,
        disturbed=None if disturbed is None else forward_disturbed,
        epsilon=torch.finfo(torch.float32).eps, vocabulary=4, borders=(), parameters=1,
        device="cpu",
    )  # fmt: skip


def result_of(tokens: tuple[int, ...], reference: Reference, logits: Tensor | None = None) -> str:
    return judge([_Comparison.of(_Answer((1, 2, 3), tokens, logits), reference)], reference)


def test_the_most_likely_tokens_are_equal() -> None:
    assert result_of((0, 2), fixed(OWN)) == "equal"


def test_a_token_whose_logit_is_as_large_within_rounding_is_equal() -> None:
    almost = torch.tensor([[3.0, 3.0 - 1e-4, 1.0, 0.0]])
    assert result_of((1,), fixed(almost)) == "equal"


def test_a_token_whose_logit_is_smaller_is_a_difference() -> None:
    close = torch.tensor([[3.0, 3.0 - 1e-2, 1.0, 0.0]])
    with pytest.raises(InputError, match=r"after a prompt of 3 tokens, token 1 is 1, .* own is 0 "):
        result_of((1,), fixed(close))


def test_logits_that_differ_are_a_difference_though_the_tokens_are_equal() -> None:
    with pytest.raises(InputError, match=r"token 2 is 2, .* own is 2 \(distance 0\.0"):
        result_of((0, 2), fixed(OWN), OWN + torch.tensor([[0.0], [0.1]]) * torch.eye(4)[:1])


def test_a_constant_added_to_all_logits_is_no_difference() -> None:
    assert result_of((0, 2), fixed(OWN), OWN + 7.0) == "equal"


def test_a_model_that_amplifies_rounding_may_differ_by_16_times_as_much() -> None:
    apart = OWN + 0.05 * torch.eye(4)[:1]
    disturbed = OWN + 0.005 * torch.eye(4)[:1]
    assert result_of((0, 2), fixed(OWN, disturbed), apart) == "equal"
    with pytest.raises(InputError, match="rounding explains"):
        result_of((0, 2), fixed(OWN, OWN + 0.002 * torch.eye(4)[:1]), apart)


def test_the_check_is_undecided_where_rounding_changes_everything() -> None:
    assert result_of((3, 0), fixed(OWN, OWN.flip(-1))) == "undecided"


def test_tokens_that_the_model_masks_do_not_count() -> None:
    masked = torch.tensor([[3.0, 2.0, 1.0, torch.finfo(torch.float32).min]])
    assert result_of((0,), fixed(masked), torch.tensor([[3.0, 2.0, 1.0, -torch.inf]])) == "equal"
    with pytest.raises(InputError, match="token 1 is 2"):
        result_of((2,), fixed(masked))


def test_equal_logits_of_all_tokens_are_equal() -> None:
    assert result_of((0, 2), fixed(torch.zeros(2, 4)), torch.zeros(2, 4)) == "equal"


def test_logits_of_the_engine_that_are_not_finite_are_a_difference() -> None:
    with pytest.raises(InputError, match=r"distance nan"):
        result_of((0, 2), fixed(OWN), OWN * torch.nan)


def test_a_model_whose_own_logits_are_not_finite_is_refused() -> None:
    with pytest.raises(InputError, match=r"logits that are not finite, .* another `model\.dtype`"):
        result_of((0, 2), fixed(OWN * torch.nan))


def test_only_the_positions_that_a_reference_knows_are_compared() -> None:
    assert result_of((3, 3, 0, 2), fixed(OWN)) == "equal"


def test_changed_embeddings_change_the_logits_of_a_model_by_about_rounding() -> None:
    reference = of(families.build("llama"))
    assert reference.disturbed is not None
    own, disturbed = (run([1, 2, 3], 2) for run in (reference.forward, reference.disturbed))
    assert 0 < (disturbed - own).abs().max() < 1e-4
    assert torch.equal(reference.forward([1, 2, 3], 2), own)


def test_the_checks_of_a_backend_add_up() -> None:
    first, second = SelfCheck("equal", 5, 38, 68), SelfCheck("undecided", 2, 10, 90)
    assert total(iter([first, second])) == SelfCheck("undecided", 7, 48, 90)
    assert total(iter(())) is None
