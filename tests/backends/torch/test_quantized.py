"""The quantized backend: its choice of a runtime, and what is served there."""

from __future__ import annotations

from importlib import util
from pathlib import Path
from typing import Any

import pytest

from llmbench.backends import OpenContext
from llmbench.backends.onnx import Onnx, quantizing
from llmbench.backends.torch import quantized
from llmbench.backends.torch.quantized import Quantized
from llmbench.errors import InputError
from llmbench.models.compress import Recipe, Scheme
from llmbench.testing import dispatch, open_context, requests, serve

SCHEMES: list[Scheme] = [
    "int8-weight-only", "int8-dynamic", "int4-weight-only", "int4-hqq", "int4-k-quant",
]  # fmt: skip


@pytest.fixture
def context(shared_cache: Path) -> OpenContext:
    del shared_cache  # only for its environment variable
    return open_context()


def served(context: OpenContext, **options: Any) -> tuple[list[int], Any]:
    with Quantized(Quantized.Options(**options)).open(context) as server:
        records = serve(server, dispatch(requests(3)))
    return [len(record.token_times) for record in records], server.report()


@pytest.mark.parametrize(
    ("model", "scheme"),
    [
        ("random:tiny", "int8-weight-only"),
        *(pytest.param("builtin:tiny", scheme, marks=pytest.mark.slow) for scheme in SCHEMES),
    ],
)
@pytest.mark.usefixtures("shared_cache")
def test_onnx_serves_every_scheme_with_kernels(model: str, scheme: Scheme) -> None:
    context = open_context(model)
    lengths, report = served(context, scheme=scheme)
    assert lengths == [8, 8, 8]
    assert (report.requested["runtime"], report.effective["runtime"]) == ("auto", "onnx")
    assert report.effective["quantize"] == scheme
    assert report.effective["quantize_kernels"].startswith("Mat")
    assert "not-effective" not in {caveat.kind for caveat in report.caveats}
    plain = Onnx(Onnx.Options()).load(context).weight_bytes
    assert report.memory["weights"] < plain


@pytest.mark.parametrize("runtime", ["eager", pytest.param("compiled", marks=pytest.mark.slow)])
def test_torch_serves_packed_weights(context: OpenContext, runtime: str) -> None:
    lengths, report = served(context, scheme="int8-weight-only", runtime=runtime)
    assert lengths == [8, 8, 8]
    assert report.effective["runtime"] == runtime
    assert "aten packed kernel" in report.effective["quantize_kernels"]
    assert report.cold_start["compile"] > 0


def test_eager_serves_on_a_cpu_where_onnxruntime_is_not_installed(
    context: OpenContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_spec(name: str) -> object:
        return None if name == "onnxruntime" else util.find_spec(name)

    monkeypatch.setattr(quantized, "find_spec", find_spec)
    _, report = served(context, scheme="int4-weight-only")
    assert report.effective["runtime"] == "eager"


def test_a_scheme_without_kernels_is_refused_with_those_that_have_some(
    context: OpenContext,
) -> None:
    with (
        pytest.raises(InputError, match=r"no kernels for float8 with provider cpu; use one of"),
        Quantized(Quantized.Options(scheme="float8")).open(context),
    ):
        pass


def test_dynamic_quantization_is_for_cpus_only() -> None:
    with pytest.raises(InputError, match="no kernels for int8-dynamic with provider cuda"):
        quantizing.check("int8-dynamic", "cuda")


def test_sizes_that_the_tool_does_not_support_are_refused_and_nothing_is_cached(
    context: OpenContext, shared_cache: Path
) -> None:
    before = set((shared_cache / "onnx").glob("*k-quant*/"))
    with (
        pytest.raises(InputError, match=r"cannot apply int4-k-quant to this model .*; use anoth"),
        Quantized(Quantized.Options(scheme="int4-k-quant")).open(context),
    ):
        pass
    assert set((shared_cache / "onnx").glob("*k-quant*/")) == before


def test_an_unknown_provider_refuses_to_quantize() -> None:
    with pytest.raises(InputError, match="provider openvino; remove `quantize`"):
        quantizing.check("int8-weight-only", "openvino")


@pytest.mark.slow
def test_onnx_exports_the_pruned_model(context: OpenContext) -> None:
    recipe = Recipe.model_validate({"prune": {"kind": "layers", "layers": [0]}})
    fewer = Onnx(Onnx.Options(compress=recipe)).load(context)
    whole = Onnx(Onnx.Options()).load(context)
    assert len(fewer.cache_shapes) == len(whole.cache_shapes) - 2
    assert fewer.weight_bytes < whole.weight_bytes
    assert (fewer.effective["prune"], fewer.effective["pruned"]) == ("layers 0", "without 0")
