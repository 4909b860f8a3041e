"""What llmbench.testing offers to the tests of plugins."""

from __future__ import annotations

from llmbench import testing
from llmbench.backends import LoadShape
from llmbench.scenario.schema import ModelOptions, SamplingOptions


def test_the_example_in_the_module_works() -> None:
    with testing.fake_server(prefill=0.25, per_token=0.125) as server:
        (record,) = testing.serve(server, testing.dispatch(testing.requests(1, tokens=3)))
    assert record.token_times == (0.25, 0.375, 0.5)


def test_requests_are_due_when_the_test_says_and_records_come_by_request() -> None:
    late_first = testing.dispatch(testing.requests(2, tokens=1), due=[0.0, 2.0])
    with testing.fake_server(prefill=0.5) as server:
        records = testing.serve(server, late_first)
    assert [(record.request_id, record.due) for record in records] == [(0, 0.0), (1, 2.0)]


def test_a_context_takes_any_field_of_the_real_one() -> None:
    sampling = SamplingOptions(temperature=0.7)
    context = testing.open_context("builtin:tiny", slots=3, sampling=sampling, keep_outputs=True)
    assert context.model == ModelOptions(source="builtin:tiny", device="cpu")
    assert context.load_shape == LoadShape(prompt_lengths=(4,), longest_sequence=12)
    assert (context.engine.slots, context.sampling, context.keep_outputs) == (3, sampling, True)
