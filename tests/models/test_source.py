"""Where a model is, from the text of its source."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from llmbench import models
from llmbench.errors import InputError
from llmbench.models.source import locate
from llmbench.scenario.schema import ModelOptions


def refusal(source: str) -> str:
    with pytest.raises(InputError) as caught:
        models.check_source(ModelOptions(source=source))
    return str(caught.value)


def test_a_source_that_is_not_a_path_is_a_hub_id() -> None:
    assert (locate("meta-llama/Llama-3.2-1B").kind, locate("gpt2").kind) == ("hub", "hub")


def test_a_folder_with_a_config_is_a_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert locate(str(tmp_path)).kind == "folder"


def test_a_gguf_file_is_recognized_by_its_suffix(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    assert locate(str(path)).kind == "gguf"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("random:lama-3.2-1b", "no random shape named 'lama-3.2-1b'; did you mean 'llama-3.2-1b'?"),
        ("builtin:tinny", "no built-in model named 'tinny'; did you mean 'tiny'?"),
        ("./nowhere", "nowhere: no such folder"),
        ("/nowhere/model.gguf", "/nowhere/model.gguf: no such GGUF file"),
        ("a/b/c", "a/b/c: neither an existing folder nor a hub id"),
        ("my model", "my model: neither an existing folder nor a hub id"),
    ],
)
def test_a_source_that_does_not_exist_is_refused(source: str, message: str) -> None:
    assert message in refusal(source)


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    assert "has no config.json" in refusal(str(tmp_path))


def test_a_file_that_is_not_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"")
    assert "is a file; expected a model folder" in refusal(str(tmp_path / "weights.bin"))


def test_every_bundled_source_is_there_and_described() -> None:
    for source in models.bundled():
        models.check_source(ModelOptions(source=source))
        assert models.describe(source)


def test_checking_a_source_imports_no_torch() -> None:
    script = (
        "import sys; from llmbench import models\n"
        "from llmbench.scenario.schema import ModelOptions\n"
        "models.check_source(ModelOptions(source='builtin:tiny'))\n"
        "assert not {'torch', 'transformers'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    ("config", "length"),
    [
        ('{"max_position_embeddings": 2048}', 2048),
        ('{"n_positions": 1024}', 1024),
        ('{"text_config": {"max_position_embeddings": 4096}, "n_positions": 1}', 4096),
        ('{"max_position_embeddings": null, "text_config": 3}', None),
        ("{}", None),
        ("[1]", None),
        ("no JSON", None),
        ("[" * 100_000, None),
        ("\udcff", None),
    ],
)
def test_the_context_length_is_that_of_the_configuration(
    tmp_path: Path, config: str, length: int | None
) -> None:
    (tmp_path / "config.json").write_bytes(config.encode(errors="surrogateescape"))
    assert models.context_length(ModelOptions(source=str(tmp_path))) == length


def test_the_context_length_of_a_served_or_unknown_model_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert models.context_length(ModelOptions(source="served:model")) is None
    assert models.context_length(ModelOptions(source="owner/nowhere-to-be-found")) is None
    assert models.context_length(ModelOptions(source="random:gpt2")) == 1024
