"""Prefill and decode steps of a transformers model over the slot-based KV cache."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from math import inf
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from llmbench.engine import rope
from llmbench.engine.buckets import Buckets
from llmbench.engine.kv_cache import ChunkView, DecodeView, KvCache, PrefillView
from llmbench.engine.sampling import Sampler
from llmbench.models.architecture import FULL, SLIDING

Step = Callable[..., Tensor]


def uncompiled(step: Step) -> Step:
    """Return ``step`` unchanged, for a backend that does not compile it."""
    return step


class TorchRunner:
    """A model runner with optionally compiled steps and all state on the device.

    Steps update token ids and positions of all slots in place, in persistent tensors. A decode step
    runs on slots 0 to the highest in use. Idle slots among them write too, each at its position:
    behind the tokens that it holds, where the next chunk of its prompt, if any, overwrites it.
    Prompts that are prefilled together are packed into one row, and masked from each other.
    ``compile_prefill`` and ``compile_decode`` are called once and return the step to run.

    ``sampler`` may be exchanged between steps if ``shows_logits``: compiled steps contain theirs.
    ``tokens`` has each slot's last token, not yet in the KV cache, and ``positions`` its position;
    ``lengths`` has each slot's number of cached tokens, on the host; ``counts`` has the counters
    that a subclass reports.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        cache: KvCache,
        sampler: Sampler,
        buckets: Buckets,
        *,
        compile_prefill: Callable[[Step], Step] = uncompiled,
        compile_decode: Callable[[Step], Step] = uncompiled,
    ) -> None:
        rope.pin(model, cache.max_length)
        self._model = model
        self._cache = cache
        self.sampler = sampler
        self._buckets = buckets
        self._masks = _Masks(model)
        self._prefill_step = compile_prefill(self._prefill)
        self._chunk_step = compile_prefill(self._prefill_chunks)
        self._decode_step = compile_decode(self._decode)
        self._pads_prompts = self._prefill_step != self._prefill
        self.shows_logits = (self._prefill_step, self._decode_step) == (self._prefill, self._decode)
        device = model.device
        self._read = _reader(device, cache.slots)
        columns = max(buckets.prompts[-1], cache.max_length)
        self._prompt = torch.zeros(1, columns, dtype=torch.long, device=device)
        self._columns = torch.arange(columns, device=device)
        self._first_rows = torch.arange(cache.slots, device=device) * cache.max_length
        self.counts: Counter[str] = Counter()
        # the last one belongs to no slot: padding rows of a compiled prefill write there
        self.tokens = torch.zeros(cache.slots + 1, dtype=torch.long, device=device)
        self.positions = torch.zeros(cache.slots + 1, dtype=torch.long, device=device)
        self._by_rows = {n: (self.tokens[:n], self.positions[:n]) for n in buckets.rows}
        self.lengths = [0] * cache.slots

    @property
    def cache_nbytes(self) -> int:
        """The size of the KV cache in bytes."""
        return self._cache.nbytes

    @property
    def fixed_tensors(self) -> list[Tensor]:
        """Tensors whose address never changes, which CUDA graphs may reference."""
        views = [view for pair in self._by_rows.values() for view in pair]
        cached = [*self._cache.keys, *self._cache.values]
        return [self.tokens, self.positions, self._prompt, *views, *cached]

    def prefill(self, slot: int, prompt: Sequence[int]) -> int:
        """Run a prompt, fill the slot's KV cache and return the first output token, on the host."""
        return self.prefill_batch([slot], [prompt])[0]

    @torch.inference_mode()
    def prefill_batch(self, slots: Sequence[int], prompts: Sequence[Sequence[int]]) -> list[int]:
        """Run prompts, fill their slots' KV cache and return the first output tokens."""
        lengths = [len(prompt) for prompt in prompts]
        padded = self._filled(slots, prompts, lengths)
        packing = self._packing(slots, lengths, padded.shape[1])
        return self._read(self._prefill_step(padded, self._on_device(packing)))[: len(prompts)]

    @torch.inference_mode()
    def prefill_chunks(
        self, slots: Sequence[int], chunks: Sequence[Sequence[int]], starts: Sequence[int]
    ) -> list[int]:
        """Run chunks of prompts, each behind the first ``starts`` tokens that its slot has cached.

        Return the token after each chunk, which is the first output token at the end of a prompt.
        """
        lengths = [len(chunk) for chunk in chunks]
        ends = [start + length for start, length in zip(starts, lengths, strict=True)]
        padded = self._filled(slots, chunks, ends)
        packing = np.vstack([self._packing(slots, lengths, padded.shape[1]), starts])
        context = self._on_device(self._context(slots, ends))
        return self._read(self._chunk_step(padded, self._on_device(packing), context))[: len(slots)]

    def computed_tokens(self, prompts: Sequence[int]) -> float:
        """Return the tokens of a step that packs prompts of these lengths; infinity if too many."""
        total = sum(prompts)
        return self._buckets.prompt(total) if total <= self._buckets.prompts[-1] else inf

    def computed_chunks(self, chunks: Sequence[int], starts: Sequence[int]) -> float:
        """Return the tokens of a step that packs chunks of these lengths; infinity if it cannot.

        A compiled step runs one chunk behind cached tokens, so that there are few graphs.
        """
        if self._pads_prompts and len(chunks) > 1 and any(starts):
            return inf
        return self.computed_tokens(chunks)

    @torch.inference_mode()
    def copy_prefix(self, source: int, slot: int, length: int) -> None:
        """Copy the first ``length`` cached tokens of a slot to another one."""
        self._cache.copy(source, slot, length)
        self.positions[slot] = length
        self.lengths[slot] = length

    @torch.inference_mode()
    def exchange(self, first: int, second: int, length: int) -> None:
        """Exchange the first ``length`` cached tokens of two idle slots, and their positions."""
        self._cache.exchange(first, second, length)
        pair = [first, second]
        self.positions[pair] = self.positions[pair[::-1]]
        self.lengths[first], self.lengths[second] = self.lengths[second], self.lengths[first]

    def _filled(
        self, slots: Sequence[int], prompts: Sequence[Sequence[int]], ends: Sequence[int]
    ) -> Tensor:
        """Set the slots' lengths; return the prompts' ids, packed into one padded row."""
        for slot, end in zip(slots, ends, strict=True):
            self.lengths[slot] = end
        total = sum(map(len, prompts))
        self._prompt[0, :total] = torch.tensor([*chain.from_iterable(prompts)])
        self.sampler.draw()
        return self._prompt[:, : self._buckets.prompt(total)]

    def _on_device(self, numbers: Any) -> Tensor:
        return torch.from_numpy(numbers).to(self.tokens.device)

    def _packing(self, slots: Sequence[int], lengths: Sequence[int], width: int) -> Any:
        """Return the slot, first column, end and last token's column of each prompt, [4, prompts].

        The last prompt's end includes the padding up to ``width``. Compiled steps have room for one
        prompt or one per slot, so that there are few graphs.
        """
        ends = np.cumsum(lengths)
        starts = ends - lengths
        packing = np.stack([slots, starts, np.append(starts[1:], width), ends - 1])
        if self._pads_prompts and len(slots) > 1:
            unused = [[self._cache.slots], [width], [width], [width - 1]]
            packing = np.hstack([packing, *[unused] * (self._cache.slots - len(slots))])
        return packing

    def _context(self, slots: Sequence[int], ends: Sequence[int]) -> Any:
        """Return the flat cache index, position and owner of the keys of chunks, [3, keys].

        The keys are the chunks' prompts up to their ends. Those of a compiled step are the whole
        slot, so that there are few graphs, and padding attends to itself.
        """
        lengths = [self._cache.max_length] if self._pads_prompts else ends
        positions = np.concatenate([np.arange(length) for length in lengths])
        first = np.repeat(slots, lengths) * self._cache.max_length
        return np.stack([first + positions, positions, np.repeat(np.arange(len(slots)), lengths)])

    def _prefill(self, prompts: Tensor, packing: Tensor) -> Tensor:
        slots, starts, ends, _ = packing.unbind()
        columns = self._columns[: prompts.shape[1]]
        owners = (columns[:, None] >= ends).sum(dim=1)  # the prompt of each column
        positions = self._inside(columns - starts[owners])
        mask = self._masks.of(columns[None], columns, (owners, owners))
        view = PrefillView(self._cache, slots[owners] * self._cache.max_length + positions)
        return self._first_tokens(prompts, positions, mask, view, packing)

    def _prefill_chunks(self, prompts: Tensor, packing: Tensor, context: Tensor) -> Tensor:
        slots, starts, ends, _, cached = packing.unbind()
        index, keys, key_owners = context.unbind()
        columns = self._columns[: prompts.shape[1]]
        owners = (columns[:, None] >= ends).sum(dim=1)
        positions = self._inside(columns + (cached - starts)[owners])
        mask = self._masks.of(positions[None], keys, (owners, key_owners))
        view = ChunkView(self._cache, slots[owners] * self._cache.max_length + positions, index)
        return self._first_tokens(prompts, positions, mask, view, packing)

    def _inside(self, positions: Tensor) -> Tensor:
        """Return the positions of columns; those of padding must stay inside the cache."""
        return positions.clamp(max=self._cache.max_length - 1)

    def _first_tokens(
        self, prompts: Tensor, positions: Tensor, mask: Any, view: Any, packing: Tensor
    ) -> Tensor:
        """Run packed prompts; store and return the token after the last column of each."""
        slots, lasts = packing[0], packing[3]
        logits = self._model(
            input_ids=prompts,
            position_ids=positions[None],
            attention_mask=mask,
            past_key_values=view,
            use_cache=True,
            logits_to_keep=lasts,
        ).logits[0]
        tokens = self._choose(logits)
        self.tokens.index_copy_(0, slots, tokens)
        self.positions.index_copy_(0, slots, positions[lasts] + 1)
        return tokens

    @torch.inference_mode()
    def decode(self, slots: Sequence[int]) -> list[list[int]]:
        """Run one decode step of ``slots`` (ascending); return their next tokens on the host."""
        rows = self._buckets.batch(slots[-1] + 1)
        for slot in slots:
            self.lengths[slot] += 1
        length = self._read_length(max(self.lengths[slot] for slot in slots))
        self.sampler.draw()
        ids = self._read(self._decode_step(*self._by_rows[rows], length))
        return [[ids[slot]] for slot in slots]

    def _decode(self, tokens: Tensor, positions: Tensor, length: int) -> Tensor:
        logits = self._logits(tokens[:, None], positions[:, None], length)[:, -1]
        chosen = self._choose(logits)
        tokens.copy_(chosen)
        self._advance(positions, 1)
        return chosen

    def _choose(self, logits: Tensor) -> Tensor:
        """Return the next token of each row of logits."""
        return self.sampler.choose(logits)

    def _logits(self, tokens: Tensor, positions: Tensor, length: int) -> Tensor:
        """Return the first slots' logits for ``tokens`` at ``positions``, both [slots, tokens]."""
        rows = tokens.shape[0]
        index = (self._first_rows[:rows, None] + positions).flatten()
        logits: Tensor = self._model(
            input_ids=tokens,
            position_ids=positions,
            attention_mask=self._masks.of(positions, self._columns[:length]),
            past_key_values=DecodeView(self._cache, index, rows, length),
            use_cache=True,
        ).logits
        return logits

    def _advance(self, positions: Tensor, by: int | Tensor) -> None:
        """Increase positions, but not past the end of the cache, since idle slots advance too."""
        positions.add_(by).clamp_(max=self._cache.max_length - 1)

    def _read_length(self, longest: int) -> int:
        """Return the cache length in tokens that a step reads for lengths up to ``longest``."""
        return self._buckets.length(min(longest, self._cache.max_length))

    def pretend(self, rows: int, length: int) -> None:
        """Set the first slots' lengths so that the next decode step reads ``length`` tokens."""
        self.lengths[:rows] = [length - 1] * rows
        self.positions[:rows] = length - 1


def _reader(device: torch.device, slots: int) -> Callable[[Tensor], list[int]]:
    """Return a function that copies a step's token ids to the host and waits for the copy."""
    if device.type != "cuda":
        return Tensor.tolist
    pinned = torch.zeros(slots, dtype=torch.long, pin_memory=True)

    def read(ids: Tensor) -> list[int]:
        host = pinned[: len(ids)]
        host.copy_(ids, non_blocking=True)
        torch.cuda.current_stream(device).synchronize()
        return host.tolist()

    return read


class _Masks:
    """Builds a model's explicit attention masks, one per layer type."""

    def __init__(self, model: PreTrainedModel) -> None:
        config = model.config.get_text_config()
        self._kinds = set(getattr(config, "layer_types", None) or ())
        slides = not self._kinds or SLIDING in self._kinds
        self._window: int | None = getattr(config, "sliding_window", None) if slides else None
        # transformers' eager attention adds its mask to the scores
        self._added = model.config._attn_implementation == "eager"  # noqa: SLF001 (no public name)
        self._dtype = model.dtype

    def of(self, queries: Tensor, keys: Tensor, owners: tuple[Tensor, Tensor] | None = None) -> Any:
        """Return the mask [batch, 1, queries, keys]; with two layer types, a dict of masks by type.

        ``queries`` and ``keys`` are positions, of shape [batch, queries] and [keys]. ``owners`` are
        the prompts of the queries and of the keys, if several are packed into one row.
        """
        distance = queries[:, None, :, None] - keys
        full = distance >= 0
        if owners is not None:
            full &= owners[0][:, None] == owners[1]
        near = full if self._window is None else full & (distance < self._window)
        if len(self._kinds) < 2:  # noqa: PLR2004 (two layer types)
            return self._finished(near)
        by_kind = {FULL: full, SLIDING: near}
        return {kind: self._finished(by_kind[kind]) for kind in self._kinds}

    def _finished(self, mask: Tensor) -> Tensor:
        if not self._added:
            return mask
        least = torch.finfo(self._dtype).min
        return torch.zeros_like(mask, dtype=self._dtype).masked_fill_(~mask, least)
