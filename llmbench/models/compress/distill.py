"""Make a smaller student of a teacher.

After Hinton et al., Distilling the Knowledge in a Neural Network, 2015,
https://arxiv.org/abs/1503.02531. The student begins as some of the teacher's layers, evenly spaced,
and learns on texts that the teacher writes (Kim and Rush, Sequence-Level Knowledge Distillation,
2016, https://arxiv.org/abs/1606.07947) or on a given one. It is saved as an ordinary model.
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
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from llmbench import models
from llmbench.errors import InputError
from llmbench.models.compress import checkpoint
from llmbench.models.compress.prune import decoder_layers, drop_layers
from llmbench.models.compress.recipe import Distillation
from llmbench.models.loading import weight_bytes
from llmbench.models.saving import save
from llmbench.models.tokenizing import TrainedTokenizer
from llmbench.quality.examination import read_windows
from llmbench.scenario.schema import ModelOptions

LOSSES = ("kl_divergence", "cross_entropy")
NOTES = "distill.json"
ASKED = "asked.json"
STATE = "checkpoint.safetensors"
SAVE_EVERY = 50
WRITTEN_AT_ONCE = 64
WINDOW, WINDOWS = 256, 16

Progress = Callable[[int, float], None]


def distill(
    asked: Distillation,
    folder: Path,
    work: Path,
    on_stage: Callable[[str], None],
    on_step: Progress,
) -> dict[str, Any]:
    """Train a student, save it to ``folder``, and return what was measured.

    Losses are in nats a token. What is needed to go on after an interruption is kept in the folder
    ``work``, what was asked in its ``asked.json``. ``on_step`` is told the steps done and their
    loss. Raises InputError when the teacher or the text cannot be had.
    """
    transformers.logging.disable_progress_bar()  # there is one already
    on_stage("loading the teacher")
    options = ModelOptions(source=asked.teacher, dtype="float32", device=asked.device)
    if not models.is_trained(options):
        raise InputError(f"--teacher: {asked.teacher} has random weights, which teach nothing")
    teacher, tokenizer = models.load_model(options), models.load_tokenizer(options)
    assert isinstance(tokenizer, TrainedTokenizer)  # noqa: S101 (only random shapes have another)
    held_out = _held_out(tokenizer).to(teacher.device)
    training = Training(teacher.module, asked)
    before = cross_entropy(training.student, held_out)
    on_stage("reading the text" if asked.text else "letting the teacher write")
    texts = _texts(asked, teacher.module, tokenizer)
    on_stage("training")
    training.run(texts, work, on_step)
    on_stage("measuring the student")
    found = {
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
        "asked": asked.model_dump(),
        "losses": {name: training.losses[:, place].tolist() for place, name in enumerate(LOSSES)},
    }
    save(training.student, tokenizer, folder, {NOTES: json.dumps(found, indent=1)})
    shutil.rmtree(work, ignore_errors=True)
    return found


class Training:
    """A student and its optimizer, taken from one step to the next."""

    def __init__(self, teacher: PreTrainedModel, asked: Distillation) -> None:
        self.asked = asked
        self.teacher = teacher.requires_grad_(requires_grad=False)
        count = len(decoder_layers(teacher))
        if asked.layers >= count:
            raise InputError(
                f"--layers: a student of {asked.layers} layers is no smaller than its teacher of "
                f"{count}; give 1 to {count - 1}"
            )
        self.kept = sorted({int(n) for n in np.linspace(0, count - 1, asked.layers).round()})
        self.student = copy.deepcopy(teacher).requires_grad_()
        drop_layers(self.student, [n for n in range(count) if n not in self.kept])
        self.optimizer = torch.optim.Adam(self.student.parameters(), lr=asked.learning_rate)
        self.losses = torch.zeros(0, len(LOSSES))

    def run(self, texts: Tensor, work: Path, on_step: Progress) -> None:
        """Take the steps that are left, from the saved state where there is one.

        The state is saved now and then, and when the training is interrupted outside Adam's step;
        inside it the last saved state stays.
        """
        if (work / STATE).exists():
            self.losses = checkpoint.restore(work / STATE, self.student, self.optimizer)["losses"]
        try:
            while len(self.losses) < self.asked.steps:
                on_step(len(self.losses) + 1, self.step(self._batch(texts)))
                if len(self.losses) % SAVE_EVERY == 0:
                    self._save(work)
        except KeyboardInterrupt:
            if self._is_between_steps():
                self._save(work)
            raise

    def _is_between_steps(self) -> bool:
        """Tell whether Adam has taken the steps whose losses are noted, and no part of another."""
        taken = {int(state["step"]) for state in self.optimizer.state.values()}
        return taken == {len(self.losses)}

    def _save(self, work: Path) -> None:
        work.mkdir(parents=True, exist_ok=True)
        (work / ASKED).write_text(self.asked.model_dump_json(indent=1), "utf-8")
        checkpoint.save(work / STATE, self.student, self.optimizer, {"losses": self.losses})

    def _batch(self, texts: Tensor) -> Tensor:
        """Draw the batch of the next step, the same whether or not training was interrupted."""
        draws = np.random.default_rng([self.asked.seed, len(self.losses)])
        chosen = draws.choice(len(texts), min(self.asked.batch, len(texts)), replace=False)
        return texts[torch.from_numpy(chosen)].to(self.student.device)

    def step(self, batch: Tensor) -> float:
        """Learn from ids [texts, tokens] and return the loss in nats a token."""
        given, wanted = batch[:, :-1], batch[:, 1:].flatten()
        with torch.no_grad():
            taught = self.teacher(given).logits.flatten(0, 1)
        said = self.student(given).logits.flatten(0, 1)
        divergence = _soft_divergence(said, taught, self.asked.temperature)
        surprise = functional.cross_entropy(said, wanted)
        weight = self.asked.kl_weight
        loss = weight * divergence + (1 - weight) * surprise
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.losses = torch.cat([self.losses, torch.tensor([[divergence.item(), surprise.item()]])])
        return loss.item()


def _soft_divergence(said: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """KL(teacher || student) of softened logits [tokens, vocabulary], times temperature squared."""
    divergence = functional.kl_div(
        (said / temperature).log_softmax(-1),
        (taught / temperature).log_softmax(-1),
        reduction="batchmean",
        log_target=True,
    )
    return divergence * temperature**2


@torch.no_grad()
def cross_entropy(module: PreTrainedModel, windows: Tensor) -> float:
    """Average the negative log-likelihood of windows [count, tokens], in nats a token."""
    losses = [
        functional.cross_entropy(module(row[None, :-1]).logits[0].float(), row[1:]).item()
        for row in windows
    ]
    return float(np.mean(losses))


def _held_out(tokenizer: TrainedTokenizer) -> Tensor:
    text = models.HELD_OUT.read_text("utf-8")
    return torch.tensor(read_windows(tokenizer, text, WINDOW, WINDOWS))


def _texts(asked: Distillation, teacher: PreTrainedModel, tokenizer: TrainedTokenizer) -> Tensor:
    """Give what is learnt from: ids [texts, tokens]."""
    if asked.text is None:
        return _written(asked, teacher, tokenizer.encode(""))
    text = _read(Path(asked.text).expanduser())
    windows = read_windows(tokenizer, text, asked.tokens, most=len(text))
    if not windows:
        raise InputError(
            f"--text: {asked.text}: holds less than the {asked.tokens} tokens of one text; give a "
            "longer one, or fewer --tokens"
        )
    return torch.tensor(windows)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--text: {path}: cannot be read: {error}; check the path") from None


def _written(asked: Distillation, teacher: PreTrainedModel, prefix: list[int]) -> Tensor:
    """Let the teacher write texts, each token drawn from its whole distribution."""
    torch.manual_seed(asked.seed)
    beginning = prefix or [teacher.generation_config.eos_token_id or 0]
    more = asked.tokens - len(beginning)
    written = []
    for start in range(0, asked.texts, WRITTEN_AT_ONCE):
        rows = min(WRITTEN_AT_ONCE, asked.texts - start)
        begun = torch.tensor([beginning] * rows, device=teacher.device)
        ids: Tensor = teacher.generate(  # type: ignore[operator]  # transformers types it loosely
            begun,
            attention_mask=torch.ones_like(begun),
            do_sample=True,
            top_k=0,
            min_new_tokens=more,
            max_new_tokens=more,
            pad_token_id=0,
        )
        written.append(ids)
    return torch.cat(written).cpu()
