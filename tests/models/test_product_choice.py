"""The choice between the kinds of products, by a fake clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import torch
from torch import nn

from llmbench.models import product_choice
from llmbench.models.product_choice import ROUNDS, fastest, fastest_products, probes_of
from llmbench.models.products import Product


class Costs:
    """Probes that take given seconds, one after the other, on a clock of their own."""

    def __init__(self, **seconds: list[float]) -> None:
        self.time = 0.0
        self.calls: list[str] = []
        self.probes: dict[Product, Callable[[], None]] = {
            cast("Product", name): self._probe(name, iter(costs)) for name, costs in seconds.items()
        }

    def _probe(self, name: str, costs: Iterator[float]) -> Callable[[], None]:
        def run() -> None:
            self.calls.append(name)
            self.time += next(costs)

        return run

    def now(self) -> float:
        return self.time


def test_the_product_with_the_smaller_median_is_chosen() -> None:
    costs = Costs(library=[1.0] + [3.0] * ROUNDS, generated=[1.0] + [2.0] * ROUNDS)
    assert fastest(costs.probes, costs.now) == "generated"


def test_the_first_call_of_each_which_compiles_does_not_count() -> None:
    costs = Costs(library=[1.0] + [3.0] * ROUNDS, generated=[900.0] + [2.0] * ROUNDS)
    assert fastest(costs.probes, costs.now) == "generated"


def test_a_slow_spell_of_a_few_calls_does_not_decide() -> None:
    spell = [2.0] * (ROUNDS // 2 + 1) + [9.0] * (ROUNDS // 2)
    costs = Costs(library=[1.0] + [3.0] * ROUNDS, generated=[1.0, *spell])
    assert fastest(costs.probes, costs.now) == "generated"


def test_the_library_wins_a_tie() -> None:
    costs = Costs(library=[2.0] * (ROUNDS + 1), generated=[2.0] * (ROUNDS + 1))
    assert fastest(costs.probes, costs.now) == "library"


def test_probes_alternate() -> None:
    costs = Costs(library=[1.0] * (ROUNDS + 1), generated=[1.0] * (ROUNDS + 1))
    fastest(costs.probes, costs.now)
    assert costs.calls == ["library", "generated"] * (ROUNDS + 1)


def test_all_probes_compute_the_products_of_the_layers() -> None:
    layers = [nn.Linear(8, 4), nn.Linear(4, 8), nn.Linear(8, 16)]
    probes = probes_of(layers, 2, lambda step: step, generated=True)  # not compiled
    found = {kind: probe() for kind, probe in probes.items()}
    assert set(found) == {"library", "generated", "packed"}
    shapes = [tuple(product.shape) for product in found["library"]]
    assert shapes == [(2, 4), (2, 8), (2, 16)]
    for kind in ("generated", "packed"):
        for ours, theirs in zip(found[kind], found["library"], strict=True):
            torch.testing.assert_close(ours, theirs)


def test_a_sample_has_the_first_layers_and_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(product_choice, "SAMPLE_BYTES", 2 * 8 * 4 * 4)
    layers = [nn.Linear(8, 4, bias=False) for _ in range(5)] + [nn.Linear(8, 3, bias=False)]
    library = probes_of(layers, 1, lambda step: step, generated=False)["library"]
    assert [tuple(product.shape) for product in library()] == [(1, 4), (1, 4), (1, 3)]


def test_generated_products_are_not_tried_beyond_the_size_at_which_others_are_faster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[tuple[int, bool]] = []

    def probes(_: Any, rows: int, __: Any, *, generated: bool) -> int:
        tried.append((rows, generated))
        return rows

    monkeypatch.setattr(product_choice, "probes_of", probes)
    monkeypatch.setattr(
        product_choice, "fastest", lambda rows: "generated" if rows <= 2 else "packed"
    )
    found = fastest_products([nn.Linear(2, 2)], (1, 2, 4, 8, 32), lambda step: step)
    assert tried == [(1, True), (2, True), (4, True), (8, False), (32, False)]
    assert [found[rows] for rows in (1, 2, 4, 8, 32)] == ["generated"] * 2 + ["packed"] * 3
