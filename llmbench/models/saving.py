"""Write a model as an ordinary transformers folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import mkdtemp

from transformers import PreTrainedModel

from llmbench.models.tokenizing import TrainedTokenizer


def save(
    module: PreTrainedModel, tokenizer: TrainedTokenizer, folder: Path, notes: dict[str, str]
) -> None:
    """Write weights (safetensors), configuration, tokenizer and notes (text by file name).

    The folder is made under another name and renamed when it is whole.
    """
    # a GGUF file's configuration tells how the file was quantized, which the weights no longer are
    vars(module.config).pop("quantization_config", None)
    folder.parent.mkdir(parents=True, exist_ok=True)
    making = Path(mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        module.save_pretrained(making)
        tokenizer.tokenizer.save_pretrained(making)
        for name, text in notes.items():
            (making / name).write_text(text, "utf-8")
        making.rename(folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)
