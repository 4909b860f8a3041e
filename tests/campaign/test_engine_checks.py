"""What a scenario sets for the queue of the local engine is checked before anything is measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmbench.campaign import plan
from llmbench.errors import InputError
from llmbench.scenario import file as scenario_file

SCENARIO = """\
name: queued
model: random:tiny
workload:
  kind: mixed
  classes:
    chat: {workload: {kind: synthetic, prompt_tokens: 16, output_tokens: 8}}
    batch: {workload: {kind: synthetic, prompt_tokens: 64, output_tokens: 64}}
load: {kind: poisson, rate: 4/s}
requests: 20
engine: {slots: 2}
backends: [fake]
"""
ENDPOINT = "{kind: endpoint, url: 'http://localhost:1'}"


def loaded(folder: Path, *overrides: str, text: str = SCENARIO) -> scenario_file.Source:
    (folder / "queued.yaml").write_text(text)
    return scenario_file.load(folder / "queued.yaml", overrides)


def refusal(folder: Path, *overrides: str, text: str = SCENARIO) -> str:
    with pytest.raises(InputError) as caught:
        plan.check(loaded(folder, *overrides, text=text))
    return str(caught.value).replace(f"{folder}/", "")


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        (
            "{queue: shortes}",
            (
                "engine.queue: no such policy 'shortes'; did you mean 'shortest'? known: fifo, "
                "priority, shortest, fair"
            ),
        ),
        (
            "{queue: 3}",
            (
                "engine.queue: expected a policy, such as `shortest` or {policy: priority, levels: "
                "[chat]}, found 3"
            ),
        ),
        ("{queue: {by: both}}", "engine.queue: expected keys such as `policy: ...`, found"),
        (
            "{queue: {policy: priority, levels: [chat, batsh]}}",
            (
                "engine.queue.levels: the workload has no requests of class batsh; the workload "
                "has batch, chat"
            ),
        ),
        (
            "{queue: {policy: priority, weights: {chad: 1}}}",
            (
                "engine.queue.weights: the workload has no requests of class chad; the workload "
                "has batch, chat"
            ),
        ),
        (
            "{queue: {policy: priority, weights: {chat: 0}}}",
            "engine.queue.weights.chat: must be greater than 0, found 0",
        ),
        (
            "{queue: {policy: priority, levels: [chat, chat]}}",
            "engine.queue.levels: 'chat' is listed twice; remove one of them",
        ),
        (
            "{queue: priority}",
            (
                "engine.queue: the policy priority needs `levels` or `weights` of request classes, "
                "or classes that have a `priority`; the workload has batch, chat"
            ),
        ),
        (
            "{queue: {policy: priority, levels: [chat], preempt: true}, batching: static}",
            "engine: `queue.preempt` needs `batching: continuous`; remove one of the two",
        ),
        (
            "{queue: {policy: priority, levels: [chat], weights: {chat: 1}}}",
            "engine.queue.priority: expected `levels` or `weights`, found both; remove one of them",
        ),
        (
            "{queue: {policy: priority, preempt: true, weights: {chat: 1}}}",
            (
                "engine.queue.priority: `preempt` needs levels; remove it, or replace `weights` by "
                "`levels`"
            ),
        ),
        ("{queue: {policy: shortest, max_wait: 20}}", "engine.queue.max_wait: a duration needs"),
        ("{queue: {policy: fifo, max_wait: 20 s}}", "engine.queue.max_wait: no such key"),
        (
            "{kv_tokens: 100}",
            (
                "engine.kv_tokens: the longest request has 128 tokens (prompt and output), and the "
                "budget of all requests together is 100; raise it, or use shorter requests"
            ),
        ),
        ("{prefill_chunk: 0}", "engine.prefill_chunk: must be greater than or equal to 1, found 0"),
        ("{prefix_cache: 3}", "engine.prefix_cache: must be a valid boolean"),
        (
            "{batch_wait: 20 ms}",
            (
                "engine: `batch_wait` is for `batching: dynamic`, found `continuous`; remove it, "
                "or set `batching: dynamic`"
            ),
        ),
        ("{batching: dynamic, batch_wait: -1 s}", "engine.batch_wait: must be"),
        ("{max_queue: -1}", "engine.max_queue: must be greater than or equal to 0, found -1"),
    ],
)
def test_a_mistake_in_the_queue_is_refused_with_its_place(
    tmp_path: Path, engine: str, message: str
) -> None:
    text = SCENARIO.replace("{slots: 2}", engine)
    with pytest.raises(InputError) as caught:
        plan.check(loaded(tmp_path, text=text))
    assert str(caught.value).replace(f"{tmp_path}/", "").startswith(f"queued.yaml:10: {message}")


@pytest.mark.parametrize(
    ("setting", "key"),
    [("queue=shortest", "queue"), ("max_queue=4", "max_queue"), ("kv_tokens=4000", "kv_tokens")],
)
def test_a_queue_that_is_a_servers_own_cannot_be_set(
    tmp_path: Path, setting: str, key: str
) -> None:
    assert refusal(tmp_path, f"engine.{setting}", f"backends=[{ENDPOINT}]") == (
        f"--set engine.{setting}: engine.{key}: requests wait in the queue of the server that the "
        "backend `endpoint` measures, which llmbench cannot set; remove it, set the server's own "
        "options, or add a local backend such as `eager`"
    )


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (["prefix_cache=true"], "prefix_cache"),
        (["prefill_chunk=64"], "prefill_chunk"),
        (["batching=dynamic", "engine.batch_wait=20 ms"], "batch_wait"),
    ],
)
def test_prefills_of_a_server_cannot_be_set(tmp_path: Path, settings: list[str], key: str) -> None:
    message = refusal(tmp_path, *(f"engine.{settings[0]}", *settings[1:]), f"backends=[{ENDPOINT}]")
    assert message.endswith(
        f"engine.{key}: prompts are batched and cached by the server that the backend `endpoint` "
        "measures, which llmbench cannot set; remove it, set the server's own options, or add a "
        "local backend such as `eager`"
    )


def test_a_policy_is_set_for_the_local_backends_among_others(tmp_path: Path) -> None:
    plan.check(loaded(tmp_path, "engine.queue=shortest", f"backends=[fake, {ENDPOINT}]"))


def test_the_policy_that_every_server_has_is_no_mistake(tmp_path: Path) -> None:
    plan.check(loaded(tmp_path, "engine.queue=fifo", f"backends=[{ENDPOINT}]"))


def test_a_share_for_each_class_needs_classes(tmp_path: Path) -> None:
    message = refusal(tmp_path, "workload=synthetic", "engine.queue=fair")
    assert message == (
        "--set engine.queue=fair: engine.queue: the policy fair has one share for each request "
        "class; use `by: session`, or see `workload: mixed`"
    )


def test_the_classes_own_priorities_are_the_levels_of_a_policy_without(tmp_path: Path) -> None:
    text = SCENARIO.replace("    batch: {", "    batch: {priority: 10, ")
    plan.check(loaded(tmp_path, "engine.queue=priority", text=text))
    assert refusal(tmp_path, text=text) == (
        "queued.yaml:7: workload.classes.batch: the backend `fake` runs one model in this process "
        "and cannot honor `priority`; remove it, or measure an `endpoint`"
    )


def test_policies_without_priorities_may_be_compared_with_one_that_has_them(tmp_path: Path) -> None:
    text = SCENARIO.replace("    batch: {", "    batch: {priority: 10, ")
    plan.check(loaded(tmp_path, "sweep={engine.queue: [fifo, priority]}", text=text))
    assert "cannot honor `priority`" in refusal(
        tmp_path, "sweep={engine.queue: [fifo, shortest]}", text=text
    )


def test_a_policy_is_swept_by_its_name_or_as_a_whole(tmp_path: Path) -> None:
    by_name = loaded(tmp_path, "sweep={engine.queue: [fifo, shortest]}")
    by_key = loaded(tmp_path, "engine.queue=shortest", "sweep={engine.queue.by: [prompt, output]}")
    assert [case.name for case in by_name.cases] == [
        "fake, engine.queue=fifo", "fake, engine.queue=shortest",
    ]  # fmt: skip
    queues = [case.scenario.engine.queue for case in (*by_name.cases, *by_key.cases)]
    assert [queue.policy for queue in queues] == ["fifo", "shortest", "shortest", "shortest"]
    assert [case.spec["engine"]["queue"] for case in by_key.cases] == [
        {"policy": "shortest", "by": "prompt"}, {"policy": "shortest", "by": "output"},
    ]  # fmt: skip
