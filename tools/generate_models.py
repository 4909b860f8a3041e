"""Write docs/models.md: which architectures the local backends serve, from a run.

    python tools/generate_models.py                      # all, more than an hour on two cores
    python tools/generate_models.py --only llama gemma2 --backends onnx

Each configuration in architectures.json becomes a model with random weights. Every backend serves
the same requests of different lengths with it, and its greedy answers are compared with those of
transformers' own `generate`, one request at a time. Outcomes are kept in build/models.json, and the
page has those of the installed versions: an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import transformers
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM

from llmbench.backends.base import BACKENDS
from llmbench.errors import InputError
from llmbench.runs.request import Request
from llmbench.scenario.schema import ModelOptions
from llmbench.testing import dispatch, open_context, serve

ARCHITECTURES = Path(__file__).with_name("architectures.json")
ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "models.md"
KEPT = ROOT / "build" / "models.json"
BACKEND_KINDS = ("eager", "compiled", "onnx")
USUAL_ATTENTION = {"sdpa", "sdpa-grouped", "GroupQueryAttention"}
SLOTS = 3
PROMPTS = (3, 60, 17, 33, 9, 48, 5, 26)
ANSWERS = (24, 9, 31, 20, 40, 13, 1, 28)

INTRODUCTION = """\
<!-- Written by tools/generate_models.py; run it again to change this page. -->

# Models

The local backends serve decoders from transformers whose layers cache plain keys and values. They
were tried on {count} small models with random weights: {requests} requests of {shortest} to
{longest} prompt tokens share {slots} slots, and each greedy answer is compared with that of
transformers' own `generate`. *Equal* means the same tokens in every answer.

transformers {transformers}, torch {torch}, onnxruntime {onnxruntime}, float32 on the CPU.

{summary}

A model that is not in the table is treated by the same rules, which read its configuration and its
class and know no names. Where a model has no SDPA attention, `eager` attention runs instead; the
effective attention is stored with the run, and a caveat gives the reason.
"""


@dataclass(frozen=True)
class Outcome:
    """The result of a backend on a model: ``equal``, ``differs`` or ``refused``, and details."""

    verdict: str
    detail: str = ""

    @property
    def cell(self) -> str:
        """The outcome in a table of Markdown."""
        shown = f"**{self.verdict}**" if self.verdict == "differs" else self.verdict
        return f"{shown}, {self.detail}" if self.detail and self.verdict != "refused" else shown


def configurations() -> dict[str, dict[str, Any]]:
    """Return the configurations of all architectures by name, with the keys of their bases."""
    stored = json.loads(ARCHITECTURES.read_text("utf-8"))
    bases = {"": {}, **stored["bases"]}
    return {
        name: {**bases[own.get("base", "")], **{k: v for k, v in own.items() if k != "base"}}
        for name, own in stored["architectures"].items()
    }


class Trial:
    """A model with random weights in a folder, and the answers that are expected of it."""

    def __init__(self, configuration: Mapping[str, Any], folder: Path) -> None:
        self.folder = folder
        config = AutoConfig.for_model(**configuration)
        torch.manual_seed(0)
        if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
            AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        else:
            config.save_pretrained(folder)

    @cached_property
    def expected(self) -> list[list[int]]:
        """The answers of transformers' own `generate`."""
        model: Any = AutoModelForCausalLM.from_pretrained(self.folder, dtype=torch.float32).eval()
        model.generation_config.eos_token_id = None
        return [_generated(model, request) for request in ragged_requests()]

    def outcome(self, kind: str) -> Outcome:
        """Serve the requests with a backend and compare its answers."""
        part = BACKENDS.find(kind)
        context = open_context(
            ModelOptions(source=str(self.folder), device="cpu", dtype="float32"),
            prompt_lengths=sorted(PROMPTS),
            longest_sequence=max(sum(pair) for pair in zip(PROMPTS, ANSWERS, strict=True)),
            slots=SLOTS,
            keep_outputs=True,
        )
        try:
            with part(part.Options()).open(context) as server:
                records = serve(server, dispatch(ragged_requests()))
                attention = server.report().effective["attention"]
        except InputError as error:
            return Outcome("refused", str(error))
        pairs = zip(records, self.expected, strict=True)
        if wrong := sum(list(record.output_ids or ()) != answer for record, answer in pairs):
            return Outcome("differs", f"{wrong} of {len(PROMPTS)} answers")
        return Outcome("equal", "" if attention in USUAL_ATTENTION else f"`{attention}` attention")


def ragged_requests() -> list[Request]:
    """Return requests of different lengths, some longer than the models' windows."""
    rng = np.random.default_rng(3)
    return [
        Request(number, tuple(rng.integers(3, 512, length).tolist()), answer)
        for number, (length, answer) in enumerate(zip(PROMPTS, ANSWERS, strict=True))
    ]


def _generated(model: Any, request: Request) -> list[int]:
    prompt = torch.tensor([request.prompt])
    tokens = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=request.max_new_tokens,
        do_sample=False,
        pad_token_id=0,
    )
    answer: list[int] = tokens[0, len(request.prompt) :].tolist()
    return answer


class Results:
    """The outcomes by architecture and backend, kept in a file for the installed versions."""

    def __init__(self) -> None:
        self.outcomes: dict[str, dict[str, Outcome]] = {
            name: {} for name in sorted(configurations())
        }
        kept = json.loads(KEPT.read_text("utf-8")) if KEPT.exists() else {}
        if kept.get("versions") == versions():
            for name, of in kept["outcomes"].items():
                self.outcomes[name] = {kind: Outcome(*parts) for kind, parts in of.items()}

    def add(self, name: str, kind: str) -> None:
        """Try a backend on an architecture and keep the outcome."""
        with TemporaryDirectory(prefix="llmbench-") as folder:
            outcome = Trial(configurations()[name], Path(folder)).outcome(kind)
        self.outcomes[name][kind] = outcome
        print(f"{name} {kind}: {outcome.verdict} {outcome.detail}", flush=True)
        parts = {n: {k: astuple(o) for k, o in of.items()} for n, of in self.outcomes.items()}
        KEPT.parent.mkdir(exist_ok=True)
        KEPT.write_text(json.dumps({"versions": versions(), "outcomes": parts}), "utf-8")


def versions() -> dict[str, str]:
    """Return the versions of the packages that the outcomes depend on."""
    return {name: version(name) for name in ("transformers", "torch", "onnxruntime")}


def page(outcomes: Mapping[str, Mapping[str, Outcome]]) -> str:
    """Return the page for the outcomes by architecture and backend."""
    introduction = INTRODUCTION.format(
        count=len(outcomes), requests=len(PROMPTS), shortest=min(PROMPTS), longest=max(PROMPTS),
        slots=SLOTS, summary=_summary(outcomes), **versions(),
    )  # fmt: skip
    types = {name: config["model_type"] for name, config in configurations().items()}
    rows = [
        [name, f"`{types[name]}`", *(of[k].cell if k in of else "not tried" for k in BACKEND_KINDS)]
        for name, of in outcomes.items()
    ]
    return "\n".join([
        introduction,
        *_table(["architecture", "model_type", *(f"`{kind}`" for kind in BACKEND_KINDS)], rows),
        "\n## Reasons of refusals\n",
        *_table(["architecture", "backend", "reason"], list(_refusals(outcomes))),
        "",
    ])  # fmt: skip


def _summary(outcomes: Mapping[str, Mapping[str, Outcome]]) -> str:
    lines = []
    for kind in BACKEND_KINDS:
        counts = Counter(of[kind].verdict for of in outcomes.values() if kind in of)
        parts = [f"{counts[verdict]} {verdict}" for verdict in ("equal", "refused", "differs")]
        lines.append(f"* `{kind}`: {', '.join(parts)}, of {counts.total()}")
    return "\n".join(lines)


def _refusals(outcomes: Mapping[str, Mapping[str, Outcome]]) -> Iterator[list[str]]:
    for name, of in outcomes.items():
        kinds_of_reason: dict[str, list[str]] = {}
        for kind, outcome in of.items():
            if outcome.verdict == "refused":
                reason = outcome.detail.removeprefix("model: ").partition(";")[0]
                kinds_of_reason.setdefault(reason, []).append(f"`{kind}`")
        for reason, kinds in kinds_of_reason.items():
            yield [name, ", ".join(kinds), reason.replace("|", "\\|")]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def main() -> None:
    """Try backends on architectures, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    results = Results()
    names = sorted(results.outcomes)
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help="try only these")
    parser.add_argument("--backends", nargs="+", choices=BACKEND_KINDS, default=BACKEND_KINDS)
    arguments = parser.parse_args()
    os.environ.setdefault("LLMBENCH_ROOF", "off")  # device peaks are not needed
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for kind in arguments.backends:
        for name in arguments.only or names:
            if arguments.only or kind not in results.outcomes[name]:
                results.add(name, kind)
    PAGE.write_text(page(results.outcomes), "utf-8")


if __name__ == "__main__":
    main()
