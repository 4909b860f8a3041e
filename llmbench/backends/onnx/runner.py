"""Runs the prefill and decode steps of an exported graph over a slot-based KV cache."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from copy import copy
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
    tensors are bound only once. ``sampler`` may be exchanged between steps.
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
        self._prompt = torch.zeros(1, max_length, **longs)
        self._prompt_end = torch.zeros(1, **ints)
        self._last = torch.zeros(1, **longs)
        self._columns = torch.arange(max_length, **longs)[None]
        self._tokens = torch.zeros(slots, 1, **longs)
        self._positions = torch.zeros(slots, 1, **longs)
        self._ends = torch.zeros(slots, **ints)
        self._only = torch.zeros(1, **longs)
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

    @torch.inference_mode()
    def prefill(self, slot: int, prompt: Sequence[int]) -> int:
        """Prefill a slot with a prompt and return the first new token, on the host."""
        length, rows = len(prompt), slice(slot, slot + 1)
        self._prompt[0, :length] = torch.tensor(prompt)
        self._prompt_end.fill_(length - 1)
        self._last.fill_(length - 1)
        inputs = (self._prompt[:, :length], self._columns[:, :length], self._prompt_end)
        token = self._step(self._bound(rows, inputs, self._last), rows, length)
        self._set_length(rows, length)
        return token[0]

    @torch.inference_mode()
    def decode(self, slots: Sequence[int]) -> list[list[int]]:
        """Return the next token of each slot, on the host; ``slots`` are ascending."""
        rows = slots[-1] + 1
        for slot in slots:
            self._lengths[slot] += 1
        longest = max(self._lengths[slot] for slot in slots)
        ids = self._step(self._decodes[rows - 1], slice(0, rows), longest)
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

    def _step(self, binding: Any, rows: slice, longest: int) -> list[int]:
        self._longest.fill_(longest)
        self.sampler.draw()
        sessions.run(self._session, binding)
        chosen = self.sampler.choose(self._logits[rows])
        self._tokens[rows, 0] = chosen
        return chosen.tolist()

    def _bound_decode(self, rows: int) -> Any:
        inputs = (self._tokens[:rows], self._positions[:rows], self._ends[:rows])
        return self._bound(slice(0, rows), inputs, self._only)

    def _bound(self, rows: slice, tokens: tuple[Tensor, Tensor, Tensor], last: Tensor) -> Any:
        """Return the binding of a step's tensors to the session's inputs and outputs.

        ``tokens`` are ids and positions [rows, length], and lengths minus one [rows]; ``last`` [1]
        is the position of the logits.
        """
        binding = self._session.io_binding()
        caches = [cache[rows] for cache in self._caches]
        inputs = zip(INPUTS, (*tokens, self._longest, last), strict=True)
        _bind(binding.bind_input, {**dict(inputs), **dict(zip(self._past, caches, strict=True))})
        present = zip(self._present, caches, strict=True)
        _bind(binding.bind_output, {LOGITS: self._logits[rows], **dict(present)})
        return binding


def _bind(bind: Any, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        device, kind, shape = tensor.device, TYPES[tensor.dtype], tuple(tensor.shape)
        bind(name, device.type, device.index or 0, kind, shape, tensor.data_ptr())
