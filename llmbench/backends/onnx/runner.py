"""Runs the prefill and decode steps of an exported graph over a slot-based KV cache."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from copy import copy
from math import inf
from typing import TYPE_CHECKING, Any

import torch
from onnx import TensorProto
from torch import Tensor

from llmbench.backends.onnx import sessions
from llmbench.backends.onnx.exporting import INPUTS, LOGITS, cache_names
from llmbench.engine.sampling import Sampler

if TYPE_CHECKING:
    from llmbench.backends.onnx.loading import OnnxModel

TYPES = {
    torch.float32: TensorProto.FLOAT,
    torch.float16: TensorProto.FLOAT16,
    torch.bfloat16: TensorProto.BFLOAT16,
    torch.int64: TensorProto.INT64,
    torch.int32: TensorProto.INT32,
}


class OnnxRunner:
    """A model runner on torch buffers that a session reads and writes in place.

    A layer's past and present keys share one buffer, and so do its values; a prefill binds one slot
    of it, and a decode the first rows. Decode buffers have fixed addresses, so each batch size's
    tensors are bound only once. Prompts that are prefilled together are padded to the longest, and
    fill a cache of their own, which is then copied to their slots. ``sampler`` may be exchanged
    between steps.
    """

    shows_logits = True

    def __init__(self, model: OnnxModel, sampler: Sampler, *, slots: int, max_length: int) -> None:
        self.counts: Counter[str] = Counter()
        self.sampler = sampler
        floats: dict[str, Any] = {"dtype": model.dtype, "device": model.device}
        longs: dict[str, Any] = {"dtype": torch.long, "device": model.device}
        ints: dict[str, Any] = {"dtype": torch.int32, "device": model.device}
        layers = len(model.cache_shapes) // 2
        self._past, self._present = cache_names("past", layers), cache_names("present", layers)
        self._caches = [
            torch.zeros(slots, heads, max_length, size, **floats)
            for heads, size in model.cache_shapes
        ]
        self._logits = torch.zeros(slots, model.vocabulary, **floats)
        self._columns = torch.arange(max_length, **longs)
        self._tokens = torch.zeros(slots, 1, **longs)
        self._positions = torch.zeros(slots, 1, **longs)
        self._ends = torch.zeros(slots, **ints)
        self._only = torch.zeros(slots, **longs)
        self._longest = torch.zeros((), dtype=torch.int32)  # on the host for every provider
        self._lengths = [0] * slots
        self._max_length = max_length
        self.use(model.session)

    def use(self, session: Any) -> None:
        """Run all subsequent steps in ``session``, a session of the same graph."""
        self._session = session
        self._decodes = [self._bound_decode(rows + 1) for rows in range(len(self._lengths))]

    def in_session(self, session: Any) -> OnnxRunner:
        """Return a runner with the same buffers and another session of the graph."""
        other = copy(self)
        other.use(session)
        return other

    @property
    def cache_nbytes(self) -> int:
        """The size of the KV cache in bytes."""
        return sum(cache.numel() * cache.element_size() for cache in self._caches)

    def prefill(self, slot: int, prompt: Sequence[int]) -> int:
        """Prefill a slot with a prompt and return the first new token, on the host."""
        return self._prefilled([slot], [prompt], self._rows_of(slot))[0]

    @torch.inference_mode()
    def prefill_batch(self, slots: Sequence[int], prompts: Sequence[Sequence[int]]) -> list[int]:
        """Prefill slots with prompts and return the first new tokens, on the host."""
        length = max(map(len, prompts))
        filled = [c.new_empty(len(slots), c.shape[1], length, c.shape[3]) for c in self._caches]
        tokens = self._prefilled(slots, prompts, filled)
        index = torch.tensor(slots, device=self._tokens.device)
        for cache, states in zip(self._caches, filled, strict=True):
            cache[:, :, :length].index_copy_(0, index, states)
        return tokens

    def prefill_chunks(
        self, slots: Sequence[int], chunks: Sequence[Sequence[int]], starts: Sequence[int]
    ) -> list[int]:
        """Run a chunk of a prompt behind the first ``start`` tokens that its slot has cached.

        Several chunks must begin their prompts. Return the token after each chunk.
        """
        if not any(starts):
            return self.prefill_batch(slots, chunks)
        ((slot, start),) = zip(slots, starts, strict=True)
        return self._prefilled(slots, chunks, self._rows_of(slot), start)

    def computed_tokens(self, prompts: Sequence[int]) -> int:
        """Return the tokens of a step that pads prompts of these lengths to the longest."""
        return len(prompts) * max(prompts)

    def computed_chunks(self, chunks: Sequence[int], starts: Sequence[int]) -> float:
        """Return the tokens of a step; infinity for several chunks, some behind cached tokens.

        GroupQueryAttention runs several tokens behind cached ones for a single row only.
        """
        return inf if len(chunks) > 1 and any(starts) else self.computed_tokens(chunks)

    @torch.inference_mode()
    def copy_prefix(self, source: int, slot: int, length: int) -> None:
        """Copy the first ``length`` cached tokens of a slot to another one."""
        for cache in self._caches:
            cache[slot, :, :length] = cache[source, :, :length]
        self._set_length(slice(slot, slot + 1), length)

    @torch.inference_mode()
    def exchange(self, first: int, second: int, length: int) -> None:
        """Exchange the first ``length`` cached tokens of two idle slots, and their lengths."""
        pair, swapped = [first, second], [second, first]
        for cache in self._caches:
            cache[pair, :, :length] = cache[swapped, :, :length]
        self._positions[pair] = self._positions[swapped]
        self._ends[pair] = self._ends[swapped]
        self._lengths[first], self._lengths[second] = self._lengths[second], self._lengths[first]

    def _rows_of(self, slot: int) -> list[Tensor]:
        return [cache[slot : slot + 1] for cache in self._caches]

    @torch.inference_mode()
    def _prefilled(
        self,
        slots: Sequence[int],
        prompts: Sequence[Sequence[int]],
        caches: Sequence[Tensor],
        start: int = 0,
    ) -> list[int]:
        """Run prompts in one step, fill ``caches``, one row each, and return the new tokens.

        The caches hold ``start`` tokens already.
        """
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        longest = int(lengths.max())
        ids = torch.tensor([[*prompt, *[0] * (longest - len(prompt))] for prompt in prompts])
        rows, device = len(prompts), self._tokens.device
        last = (lengths - 1).to(device)
        positions = self._columns[start : start + longest].repeat(rows, 1)
        inputs = (ids.to(device), positions, (start + last).int())
        binding = self._bound(caches, inputs, last)
        chosen = self._step(binding, self._logits[:rows], start + longest)
        for slot, prompt in zip(slots, prompts, strict=True):
            self._set_length(slice(slot, slot + 1), start + len(prompt))
        self._tokens[list(slots), 0] = chosen
        return chosen.tolist()

    @torch.inference_mode()
    def decode(self, slots: Sequence[int]) -> list[list[int]]:
        """Return the next token of each slot, on the host; ``slots`` are ascending."""
        rows = slots[-1] + 1
        for slot in range(rows):
            self._lengths[slot] = min(self._lengths[slot] + 1, self._max_length)
        longest = max(self._lengths[:rows])
        chosen = self._step(self._decodes[rows - 1], self._logits[:rows], longest)
        self._tokens[:rows, 0] = chosen
        ids = chosen.tolist()
        # positions of idle slots advance too and must stay inside the cache
        self._positions[:rows].add_(1).clamp_(max=self._max_length - 1)
        self._ends[:rows].add_(1).clamp_(max=self._max_length - 1)
        return [[ids[slot]] for slot in slots]

    def prompt_logits(self, prompt: Sequence[int]) -> Tensor:
        """Prefill the first slot with a prompt and return its last logits [1, vocabulary]."""
        self.prefill(0, prompt)
        return self._logits[:1].clone()

    def pretend(self, rows: int, length: int) -> None:
        """Set the lengths of the first rows so that the next decode extends them to ``length``."""
        self._set_length(slice(0, rows), length - 1)

    def _set_length(self, rows: slice, length: int) -> None:
        self._lengths[rows] = [length] * (rows.stop - rows.start)
        self._positions[rows] = length
        self._ends[rows] = length

    def _step(self, binding: Any, logits: Tensor, longest: int) -> Tensor:
        self._longest.fill_(longest)
        self.sampler.draw()
        sessions.run(self._session, binding)
        return self.sampler.choose(logits)

    def _bound_decode(self, rows: int) -> Any:
        tokens = (self._tokens[:rows], self._positions[:rows], self._ends[:rows])
        return self._bound([cache[:rows] for cache in self._caches], tokens, self._only[:rows])

    def _bound(
        self, caches: Sequence[Tensor], tokens: tuple[Tensor, Tensor, Tensor], last: Tensor
    ) -> Any:
        """Return the binding of a step's tensors to the session's inputs and outputs.

        ``caches`` have the step's rows. ``tokens`` are ids and positions [rows, length], and
        lengths minus one [rows]; ``last`` [rows] are the positions of the logits.
        """
        binding = self._session.io_binding()
        inputs = zip(INPUTS, (*tokens, self._longest, last), strict=True)
        _bind(binding.bind_input, {**dict(inputs), **dict(zip(self._past, caches, strict=True))})
        present = zip(self._present, caches, strict=True)
        _bind(binding.bind_output, {LOGITS: self._logits[: len(last)], **dict(present)})
        return binding


def _bind(bind: Any, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        device, kind, shape = tensor.device, TYPES[tensor.dtype], tuple(tensor.shape)
        bind(name, device.type, device.index or 0, kind, shape, tensor.data_ptr())
