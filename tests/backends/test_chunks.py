"""Local backends with split prompts and reused prefixes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from llmbench.backends.base import LoadShape
from llmbench.backends.local import first_chunks, local_server
from llmbench.backends.torch.compiled import Compiled
from llmbench.backends.torch.eager import Eager
from llmbench.errors import InputError
from llmbench.runs.record import Record
from llmbench.runs.request import Request
from llmbench.scenario.schema import EngineOptions
from llmbench.testing import dispatch, fake_server, open_context, serve

PROMPT = tuple(range(1, 21))


def context(**engine: Any) -> Any:
    options = EngineOptions.model_validate({"slots": 2, **engine})
    return open_context(engine=options, prompt_lengths=(20,), longest_sequence=40)


def repeated(server: Any) -> list[Record]:
    """Send a prompt twice, the second time a second after the first."""
    return serve(server, dispatch([Request(0, PROMPT, 4), Request(1, PROMPT, 4)], [0.0, 1.0]))


def test_a_repeated_prompt_is_cached_but_for_its_last_token() -> None:
    with Eager(Eager.Options()).open(context(prefill_chunk=8, prefix_cache=True)) as server:
        assert [record.cached_tokens for record in repeated(server)] == [0, 19]
        report = server.report()
    assert report.self_check["result"] == "equal"
    assert (report.effective["prefill_chunk"], report.effective["prefix_cache"]) == (8, True)


def test_by_default_nothing_is_cached_and_no_setting_is_reported() -> None:
    with Eager(Eager.Options()).open(context()) as server:
        assert [record.cached_tokens for record in repeated(server)] == [None, None]
        assert not {"prefill_chunk", "prefix_cache"} & server.report().effective.keys()


@pytest.mark.slow
def test_compiled_chunks_compile_nothing_in_the_load() -> None:
    backend = Compiled(Compiled.Options(prefill="compiled"))
    with backend.open(context(prefill_chunk=8, prefix_cache=True)) as server:
        assert [record.cached_tokens for record in repeated(server)] == [0, 19]
        assert local_server(server).counters["compiles_in_window"] == 0


class WholePrompts(Eager):
    """A backend whose runner has no prefill in chunks."""

    def runner(self, *parts: Any, **shape: Any) -> Any:
        own = super().runner(*parts, **shape)
        members = ("prefill", "decode", "pretend", "counts", "sampler", "shows_logits")
        return SimpleNamespace(**{name: getattr(own, name) for name in members})


@pytest.mark.parametrize("option", [{"prefill_chunk": 8}, {"prefix_cache": True}])
def test_a_runner_of_whole_prompts_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught, WholePrompts(Eager.Options()).open(context(**option)):
        pass
    assert str(caught.value) == (
        f"engine.{next(iter(option))}: backend `wholeprompts` prefills whole prompts only; remove "
        "the key, or use a backend whose runner has `prefill_chunks`"
    )


def test_first_chunks_are_prompts_up_to_the_size_of_a_chunk() -> None:
    assert first_chunks(LoadShape((3, 9, 20), 30), 9).prompt_lengths == (3, 9)
    assert first_chunks(LoadShape((3, 9, 20), 30), None).prompt_lengths == (3, 9, 20)


def test_a_simulated_prefill_takes_time_for_the_tokens_that_are_not_cached() -> None:
    with fake_server(context(prefix_cache=True), prefill=0.0, prefill_per_token=0.01) as server:
        first, second = repeated(server)
    times = [record.token_times[0] - record.due for record in (first, second)]
    assert times == pytest.approx([0.2, 0.01])
