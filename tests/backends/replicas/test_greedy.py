"""Greedy answers of replicas are those of transformers' own generate."""

from __future__ import annotations

from pathlib import Path

import greedy
import numpy as np
from families import by_default
from transformers import PreTrainedModel

from llmbench.backends.replicas import Replicated
from llmbench.loads.dispatch import Dispatch
from llmbench.loads.schedule import Scheduled
from llmbench.loads.stopping import Stop
from llmbench.scenario.replicas import ReplicasOptions
from llmbench.scenario.schema import Scenario
from llmbench.testing import open_context, serve


@by_default("llama")
def test_answers_are_those_of_one_model(
    family: str, model: PreTrainedModel, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    requests = greedy.ragged_requests()
    spec = {"name": "greedy", "model": str(tmp_path), "workload": "synthetic", "load": "closed"}
    scenario = Scenario.model_validate({**spec, "requests": 1, "backends": ["eager"]})
    context = open_context(
        scenario.model,
        prompt_lengths=sorted(len(request.prompt) for request in requests),
        longest_sequence=greedy.MAX_LENGTH,
        slots=greedy.SLOTS,
        keep_outputs=True,
    )
    load = Dispatch(requests, Scheduled(np.zeros(len(requests))), Stop(requests=len(requests)))
    replicated = Replicated(scenario.backends[0], ReplicasOptions(count=2))
    with replicated.open(context) as server:
        records = serve(server, load)
    answers = {record.request_id: list(record.output_ids or ()) for record in records}
    assert answers == greedy.expected(family)
    assert {record.replica for record in records} == {0, 1}
