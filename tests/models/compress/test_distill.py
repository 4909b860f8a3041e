"""A student starts as some of a teacher's layers, learns its outputs, and is an ordinary model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from llmbench import models
from llmbench.errors import InputError
from llmbench.models.compress.distill import LOSSES, NOTES, Training, distill
from llmbench.models.compress.recipe import Distillation
from llmbench.scenario.schema import ModelOptions

SMALL: dict[str, Any] = {
    "teacher": "builtin:tiny", "layers": 2, "steps": 6, "batch": 2, "tokens": 24, "texts": 8,
    "device": "cpu",
}  # fmt: skip


def distilled(folder: Path, **more: Any) -> dict[str, Any]:
    work = folder.with_name(f"{folder.name}.training")
    recipe = Distillation(**{**SMALL, **more})
    return distill(recipe, folder, work, lambda _: None, more.get("on_step", lambda *_: None))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    student = models.load_model(ModelOptions(source=str(folder), device="cpu"))
    return dict(student.module.state_dict())


def notes(folder: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((folder / NOTES).read_text("utf-8"))
    return results


@pytest.fixture(scope="module")
def student_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a student whose training nothing interrupted."""
    folder = tmp_path_factory.mktemp("distilled") / "student"
    assert distilled(folder) == notes(folder)
    return folder


def test_a_student_is_an_ordinary_model_with_its_teachers_tokenizer(student_folder: Path) -> None:
    options = ModelOptions(source=str(student_folder), device="cpu")
    student = models.load_model(options)
    assert student.module.config.num_hidden_layers == 2
    assert student.weight_bytes == notes(student_folder)["weight_bytes"]["student"]
    teacher = models.load_tokenizer(ModelOptions(source="builtin:tiny"))
    assert models.load_tokenizer(options).encode("A whale.") == teacher.encode("A whale.")
    assert [path.name for path in student_folder.parent.iterdir()] == ["student"]


def test_training_brings_the_student_nearer_to_held_out_text(tmp_path: Path) -> None:
    losses = distilled(tmp_path / "s", steps=24, batch=4, tokens=48, texts=32)[
        "held_out_cross_entropy"
    ]
    assert losses["teacher"] < losses["student"] < losses["student_before"] - 0.1


def test_an_interrupted_training_ends_like_an_uninterrupted_one(
    student_folder: Path, tmp_path: Path
) -> None:
    def interrupt(step: int, _: float) -> None:
        if step == 4:
            raise KeyboardInterrupt

    work = tmp_path / "parted.training"
    recipe = Distillation(**SMALL)
    with pytest.raises(KeyboardInterrupt):
        distill(recipe, tmp_path / "parted", work, lambda _: None, interrupt)
    assert not (tmp_path / "parted").exists()
    parted = distill(recipe, tmp_path / "parted", work, lambda _: None, lambda *_: None)
    assert parted["losses"] == notes(student_folder)["losses"]
    assert all(len(parted["losses"][name]) == SMALL["steps"] for name in LOSSES)
    expected = weights(student_folder)
    for name, weight in weights(tmp_path / "parted").items():
        assert torch.equal(weight, expected[name]), name


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_step_that_is_cut_short_is_not_saved(
    when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adam = torch.optim.Adam.step

    def step(optimizer: torch.optim.Adam) -> None:
        if when == "after":
            adam(optimizer)
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    with pytest.raises(KeyboardInterrupt):
        distilled(tmp_path / "student")
    assert list(tmp_path.iterdir()) == []


def test_the_loss_is_that_of_the_formula() -> None:
    teacher = models.load_model(ModelOptions(source="builtin:tiny", device="cpu")).module
    recipe = Distillation(**{**SMALL, "temperature": 2.0, "kl_weight": 0.25})
    training = Training(teacher, recipe)
    batch = torch.arange(20).view(2, 10)
    with torch.no_grad():
        said = training.student(batch[:, :-1]).logits
        taught = teacher(batch[:, :-1]).logits
    soft = torch.softmax(taught / 2, -1)
    divergence = 4 * (soft * (soft.log() - torch.log_softmax(said / 2, -1))).sum(-1).mean()
    surprise = functional.cross_entropy(said.flatten(0, 1), batch[:, 1:].flatten())
    expected = 0.25 * divergence + 0.75 * surprise
    assert training.step(batch) == pytest.approx(expected.item(), rel=1e-5)
    assert training.losses[0].tolist() == pytest.approx([divergence.item(), surprise.item()], 1e-5)


def test_a_student_learns_from_a_given_text(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("The whale came up for air. " * 40, "utf-8")
    losses = distilled(tmp_path / "student", text=str(text), steps=30, kl_weight=0)["losses"]
    assert losses["cross_entropy"][-1] < 0.5 * losses["cross_entropy"][0]


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"layers": 6}, "no smaller than its teacher of 6; use 1 to 5"),
        ({"teacher": "random:tiny"}, "random weights; use a trained teacher"),
        ({"text": "/nowhere"}, "cannot be read"),
        ({"text": __file__, "tokens": 100_000}, "specify a longer file or fewer --tokens"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused(
    recipe: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        distilled(tmp_path / "student", **recipe)
    assert not (tmp_path / "student").exists()
