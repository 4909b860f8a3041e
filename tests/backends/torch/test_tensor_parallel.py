"""A model divided between two processes: the same answers, and a clear end if one is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import greedy
import psutil
import pytest
from families import by_default
from transformers import PreTrainedModel

from llmbench.backends.local import LocalServer
from llmbench.backends.torch import rank_process
from llmbench.backends.torch.eager import Eager
from llmbench.engine.parallel_runner import ParallelRunner
from llmbench.engine.runner import TorchRunner
from llmbench.errors import MeasurementError
from llmbench.models.sharding import CAN_DIVIDE
from llmbench.scenario.schema import EngineOptions, ModelOptions, ParallelOptions, SamplingOptions
from llmbench.testing import dispatch, open_context, requests, serve

pytestmark = pytest.mark.skipif(not CAN_DIVIDE, reason="this transformers divides no loaded model")
KILLED = r"^rank 1 of the model was killed \(SIGKILL\)$"
OF_THE_HOST = {"computed_tokens", "computed_chunks", "prefill"}  # the second calls `prefill_batch`


@contextmanager
def opened(source: str = "random:tiny", tensor: int = 2, **fields: Any) -> Iterator[LocalServer]:
    context = open_context(
        ModelOptions(source=source, device="cpu", self_check=bool(fields.pop("check", False))),
        prompt_lengths=(4, 60),
        longest_sequence=110,
        **{"engine": EngineOptions(slots=3), **fields},
        keep_outputs=True,
        parallel=ParallelOptions(tensor=tensor),
    )
    with Eager(Eager.Options()).open(context) as server:
        yield server


def answers(server: LocalServer) -> list[tuple[int, ...] | None]:
    sent = greedy.ragged_requests()
    return [record.output_ids for record in serve(server, dispatch(sent))]


@by_default("gpt2")
def test_the_answers_are_those_of_one_process_until_a_rank_is_killed(
    model: PreTrainedModel, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    with opened(str(tmp_path), tensor=1) as alone:
        expected = answers(alone)
    engine = EngineOptions(slots=3, prefill_chunk=16, prefix_cache=True)
    killed = pytest.raises(MeasurementError, match=KILLED)
    with killed, opened(str(tmp_path), check=True, engine=engine) as server:
        assert answers(server) == expected
        report = server.report()
        (rank,) = ranks()
        os.kill(rank.pid, signal.SIGKILL)
        serve(server, dispatch(requests(3)))
    assert not ranks()
    assert report.self_check["result"] == "equal"
    assert report.effective["tensor"] == 2
    assert report.memory["kv_cache"] == alone.report().memory["kv_cache"]
    assert "several ranks" in report.reasons["model_costs"]


@pytest.mark.slow
def test_split_prompts_and_reused_prefixes_are_the_same_in_all_ranks(
    model: PreTrainedModel, family: str, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    sent, answered = greedy.sharing(family)
    engine = EngineOptions(slots=3, prefill_chunk=8, prefix_cache=True)
    with opened(str(tmp_path), check=True, engine=engine) as server:
        records = serve(server, dispatch(sent))
    assert {one.request_id: list(one.output_ids or ()) for one in records} == answered
    assert sum(record.cached_tokens or 0 for record in records) > 100


@pytest.mark.slow
def test_sampled_tokens_are_those_of_rank_0_in_all_ranks() -> None:
    sampling = SamplingOptions(temperature=1.0)
    with opened(tensor=1, sampling=sampling) as alone:
        expected = answers(alone)
    with opened(sampling=sampling) as server:
        assert answers(server) == expected


@pytest.mark.slow
def test_a_rank_that_stops_ends_the_load_after_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_process, "STEP_SECONDS", 10.0)  # also for the ranks to join

    def load() -> None:
        with opened() as server:
            (rank,) = ranks()
            os.kill(rank.pid, signal.SIGSTOP)
            serve(server, dispatch(requests(3)))

    with pytest.raises(MeasurementError, match="did not answer for 10 s"):
        load()
    assert not ranks()


def ranks() -> list[psutil.Process]:
    """Return the other ranks, which are children of guardians."""
    found = psutil.Process().children(recursive=True)
    return [
        p for p in found if p.cmdline()[-1].endswith("rank_process") and "-P" in p.cmdline()[:3]
    ]


def test_every_step_of_a_runner_is_repeated_by_the_other_ranks() -> None:
    public = {name for name, of in vars(TorchRunner).items() if callable(of) and name[0] != "_"}
    assert public - OF_THE_HOST <= set(vars(ParallelRunner))
