"""Distill a teacher model into a smaller student.

After Hinton et al., Distilling the Knowledge in a Neural Network, 2015,
https://arxiv.org/abs/1503.02531. The student starts as some of the teacher's layers, evenly spaced,
and is trained on texts that the teacher generates (Kim and Rush, Sequence-Level Knowledge
Distillation, 2016, https://arxiv.org/abs/1606.07947) or on a given text. It is saved as an ordinary
model.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from transformers import PreTrainedModel

from llmbench import models
from llmbench.errors import FileError, InputError
from llmbench.models.compress.prune import decoder_layers, drop_layers
from llmbench.models.compress.recipe import Distillation
from llmbench.models.loading import save, weight_bytes
from llmbench.models.tokenizing import TrainedTokenizer, load_trained
from llmbench.quality.examination import read_windows
from llmbench.runs.files import read_text
from llmbench.scenario.schema import ModelOptions

LOSSES = ("kl_divergence", "cross_entropy")
NOTES = "distill.json"
ASKED = "asked.json"
STATE = "checkpoint.safetensors"
SAVE_EVERY = 50
GENERATED_AT_ONCE = 64
WINDOW, WINDOWS = 256, 16
MOMENTS = ("exp_avg", "exp_avg_sq")

Progress = Callable[[int, float], None]


def distill(
    recipe: Distillation,
    folder: Path,
    work: Path,
    on_stage: Callable[[str], None],
    on_step: Progress,
) -> dict[str, Any]:
    """Train a student, save it to ``folder`` and return its losses and sizes.

    Losses are in nats per token. The folder ``work`` has the state to resume from and, in
    ``asked.json``, the options. ``on_step`` is called with the step number and its loss.
    Raise InputError if the teacher or the text is unavailable.
    """
    transformers.logging.disable_progress_bar()  # llmbench shows its own
    on_stage("loading the teacher")
    options = ModelOptions(source=recipe.teacher, dtype="float32", device=recipe.device)
    if not models.is_trained(options):
        raise InputError(f"--teacher: {recipe.teacher} has random weights; use a trained teacher")
    teacher, tokenizer = models.load_model(options), load_trained(options)
    held_out = _held_out(tokenizer).to(teacher.device)
    training = Training(teacher.module, recipe)
    before = cross_entropy(training.student, held_out)
    on_stage("reading the text" if recipe.text else "generating texts with the teacher")
    texts = _texts(recipe, teacher.module, tokenizer)
    on_stage("training")
    training.run(texts, work, on_step)
    on_stage("measuring the student")
    results = {
        "held_out_cross_entropy": {
            "teacher": cross_entropy(teacher.module, held_out),
            "student_before": before,
            "student": cross_entropy(training.student, held_out),
        },
        "weight_bytes": {
            "teacher": teacher.weight_bytes,
            "student": weight_bytes(training.student),
        },
        "kept_layers": training.kept,
        "asked": recipe.model_dump(),
        "losses": {name: training.losses[:, index].tolist() for index, name in enumerate(LOSSES)},
    }
    save(training.student, tokenizer, folder, {NOTES: json.dumps(results, indent=1)})
    shutil.rmtree(work, ignore_errors=True)
    return results


class Training:
    """A student, its teacher and its optimizer during training."""

    def __init__(self, teacher: PreTrainedModel, recipe: Distillation) -> None:
        self.recipe = recipe
        self.teacher = teacher.requires_grad_(requires_grad=False)
        count = len(decoder_layers(teacher))
        if recipe.layers >= count:
            raise InputError(
                f"--layers: a student of {recipe.layers} layers is no smaller than its teacher of "
                f"{count}; use 1 to {count - 1}"
            )
        self.kept = sorted({int(n) for n in np.linspace(0, count - 1, recipe.layers).round()})
        self.student = copy.deepcopy(teacher).requires_grad_()
        drop_layers(self.student, [n for n in range(count) if n not in self.kept])
        self.optimizer = torch.optim.Adam(self.student.parameters(), lr=recipe.learning_rate)
        self.losses = torch.zeros(0, len(LOSSES))

    def run(self, texts: Tensor, work: Path, on_step: Progress) -> None:
        """Run the remaining training steps, resuming from a saved state if there is one.

        The state is saved every 50 steps, and when training is interrupted outside Adam's step.
        """
        if (work / STATE).exists():
            self.losses = restore_state(work / STATE, self.student, self.optimizer)["losses"]
        try:
            while len(self.losses) < self.recipe.steps:
                on_step(len(self.losses) + 1, self.step(self._batch(texts)))
                if len(self.losses) % SAVE_EVERY == 0:
                    self._save(work)
        except KeyboardInterrupt:
            if self._is_between_steps():
                self._save(work)
            raise

    def _is_between_steps(self) -> bool:
        """Return whether Adam's step count equals the number of recorded losses."""
        taken = {int(state["step"]) for state in self.optimizer.state.values()}
        return taken == {len(self.losses)}

    def _save(self, work: Path) -> None:
        work.mkdir(parents=True, exist_ok=True)
        (work / ASKED).write_text(self.recipe.model_dump_json(indent=1), "utf-8")
        save_state(work / STATE, self.student, self.optimizer, {"losses": self.losses})

    def _batch(self, texts: Tensor) -> Tensor:
        """Return the next step's batch of texts, which does not depend on interruptions."""
        rng = np.random.default_rng([self.recipe.seed, len(self.losses)])
        chosen = rng.choice(len(texts), min(self.recipe.batch, len(texts)), replace=False)
        return texts[torch.from_numpy(chosen)].to(self.student.device)

    def step(self, batch: Tensor) -> float:
        """Train on one batch of token ids [texts, tokens]; return the loss in nats per token."""
        inputs, targets = batch[:, :-1], batch[:, 1:].flatten()
        with torch.no_grad():
            teacher = self.teacher(inputs).logits.flatten(0, 1)
        student = self.student(inputs).logits.flatten(0, 1)
        divergence = _soft_divergence(student, teacher, self.recipe.temperature)
        cross_entropy_loss = functional.cross_entropy(student, targets)
        weight = self.recipe.kl_weight
        loss = weight * divergence + (1 - weight) * cross_entropy_loss
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        losses = torch.tensor([[divergence.item(), cross_entropy_loss.item()]])
        self.losses = torch.cat([self.losses, losses])
        return loss.item()


def save_state(path: Path, model: nn.Module, optimizer: Optimizer, more: dict[str, Tensor]) -> None:
    """Write parameters, Adam's moments and ``more`` tensors to a safetensors file, atomically."""
    state = {f"more.{name}": tensor for name, tensor in more.items()}
    for index, parameter in enumerate(model.parameters()):
        moments = optimizer.state[parameter]
        state |= {f"{key}.{index}": moments[key] for key in (*MOMENTS, "step")}
        state[f"parameter.{index}"] = parameter.data.contiguous()
    partial = path.with_suffix(".partial")
    save_file(state, partial)
    partial.replace(path)


def restore_state(path: Path, model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """Restore a model's parameters and Adam's moments from a file; return its other tensors."""
    state = load_file(path)
    for index, parameter in enumerate(model.parameters()):
        parameter.data.copy_(state[f"parameter.{index}"])
        kept = {key: state[f"{key}.{index}"].to(parameter.device) for key in MOMENTS}
        optimizer.state[parameter] = {**kept, "step": state[f"step.{index}"]}
    prefix = "more."
    return {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}


def _soft_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return KL(teacher || student) of softened logits [tokens, vocabulary], times T²."""
    divergence = functional.kl_div(
        (student / temperature).log_softmax(-1),
        (teacher / temperature).log_softmax(-1),
        reduction="batchmean",
        log_target=True,
    )
    return divergence * temperature**2


@torch.no_grad()
def cross_entropy(module: PreTrainedModel, windows: Tensor) -> float:
    """Return the mean negative log-likelihood of windows [count, tokens], in nats per token."""
    losses = [
        functional.cross_entropy(module(row[None, :-1]).logits[0].float(), row[1:]).item()
        for row in windows
    ]
    return float(np.mean(losses))


def _held_out(tokenizer: TrainedTokenizer) -> Tensor:
    text = models.HELD_OUT.read_text("utf-8")
    return torch.tensor(read_windows(tokenizer, text, WINDOW, WINDOWS))


def _texts(recipe: Distillation, teacher: PreTrainedModel, tokenizer: TrainedTokenizer) -> Tensor:
    """Return the training texts as token ids [texts, tokens]."""
    if recipe.text is None:
        return _generated(recipe, teacher, tokenizer.encode(""))
    text = _read(Path(recipe.text))
    windows = read_windows(tokenizer, text, recipe.tokens, most=len(text))
    if not windows:
        raise InputError(
            f"--text: {recipe.text}: has fewer than {recipe.tokens} tokens, the length of one "
            "training text; specify a longer file or fewer --tokens"
        )
    return torch.tensor(windows)


def _read(path: Path) -> str:
    try:
        return read_text(path)
    except FileError as error:
        raise InputError(f"--text: {error}") from None


def _generated(recipe: Distillation, teacher: PreTrainedModel, prefix: list[int]) -> Tensor:
    """Return token ids [texts, tokens] sampled from the teacher's full distribution."""
    torch.manual_seed(recipe.seed)
    prompt = prefix or [teacher.generation_config.eos_token_id or 0]
    more = recipe.tokens - len(prompt)
    texts = []
    for start in range(0, recipe.texts, GENERATED_AT_ONCE):
        rows = min(GENERATED_AT_ONCE, recipe.texts - start)
        prompts = torch.tensor([prompt] * rows, device=teacher.device)
        ids: Tensor = teacher.generate(  # type: ignore[operator]  # transformers types it loosely
            prompts,
            attention_mask=torch.ones_like(prompts),
            do_sample=True,
            top_k=0,
            min_new_tokens=more,
            max_new_tokens=more,
            pad_token_id=0,
        )
        texts.append(ids)
    return torch.cat(texts).cpu()
