"""Decode attention over a contiguous KV cache, and over blocks gathered by a block table.

    python benchmarks/paged_attention.py                       # about a minute
    python benchmarks/paged_attention.py --rows 1 8 --lengths 256 1024 --block 16 --json

One layer's attention of a decode step, with grouped heads, by torch's scaled_dot_product_attention:
on a view of the slots' cache, as the engine runs it, and on a copy of the same tokens that
index_select gathers by a table of blocks in random order. Rounds alternate. Torch has no attention
kernel for CPUs that reads blocks in place, so the gather is what paging costs there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

HEADS, GROUPS, SIZE = 9, 3, 64  # those of SmolLM2-135M


class Layer:
    """A layer's keys and values of slots of equal length, contiguous and in shuffled blocks."""

    def __init__(self, rows: int, length: int, block: int) -> None:
        generator = torch.Generator().manual_seed(0)
        shape = (rows, length, GROUPS, SIZE)
        self.query = torch.randn(rows, HEADS, 1, SIZE, generator=generator)
        self.contiguous = [torch.randn(shape, generator=generator) for _ in range(2)]
        order = torch.randperm(rows * length // block, generator=generator)
        self.table = order.argsort()  # the place of each block of the slots
        blocks = (states.view(-1, block, GROUPS, SIZE) for states in self.contiguous)
        self.paged = [states[order].contiguous() for states in blocks]
        self.shape = shape

    def attend(self, keys: Tensor, values: Tensor) -> Tensor:
        """Return the attention over keys and values [rows, length, groups, size]."""
        return scaled_dot_product_attention(
            self.query, keys.transpose(1, 2), values.transpose(1, 2), enable_gqa=True
        )

    def over_view(self) -> Tensor:
        return self.attend(*self.contiguous)

    def over_blocks(self) -> Tensor:
        gathered = (states.index_select(0, self.table).view(self.shape) for states in self.paged)
        return self.attend(*gathered)


def seconds(step: Callable[[], Tensor], calls: int) -> float:
    began = time.perf_counter()
    for _ in range(calls):
        step()
    return (time.perf_counter() - began) / calls


def measured(rows: int, length: int, block: int, rounds: int) -> dict[str, Any]:
    """Return the median microseconds of both, after a check that their results are equal."""
    layer = Layer(rows, length, block)
    if not torch.equal(layer.over_view(), layer.over_blocks()):
        raise RuntimeError("the blocks hold other tokens than the view")
    calls = max(1, round(0.02 / seconds(layer.over_view, 3)))
    pairs = [
        (seconds(layer.over_view, calls), seconds(layer.over_blocks, calls)) for _ in range(rounds)
    ]
    view, blocks = (1e6 * statistics.median(times) for times in zip(*pairs, strict=True))
    return {
        "rows": rows,
        "length": length,
        "view_us": view,
        "blocks_us": blocks,
        "blocks_over_view": statistics.median(b / v for v, b in pairs),
    }


def show(results: list[dict[str, Any]]) -> None:
    table = Table(title="attention of one layer in a decode step", title_justify="left")
    for name in results[0]:
        table.add_column(name.replace("_", " "))
    for row in results:
        table.add_row(*(f"{value:.4g}" for value in row.values()))
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--lengths", type=int, nargs="+", default=[128, 512, 2048])
    parser.add_argument("--block", type=int, default=16, help="tokens per block")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with torch.inference_mode():
        results = [
            measured(rows, length, arguments.block, arguments.rounds)
            for rows in arguments.rows
            for length in arguments.lengths
        ]
    print(json.dumps(results, indent=1)) if arguments.json else show(results)


if __name__ == "__main__":
    main()
