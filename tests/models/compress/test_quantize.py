"""Quantized torch models: their products, their sizes, and the devices with kernels."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from llmbench import models
from llmbench.errors import InputError
from llmbench.models.compress import Scheme, check_torch_scheme, quantized
from llmbench.models.compress.linears import PackedInt4, PackedInt8
from llmbench.scenario.schema import ModelOptions

TINY = ModelOptions(source="builtin:tiny")
DTYPES = [torch.float32, torch.bfloat16]


def linear(inputs: int, outputs: int, dtype: torch.dtype, *, bias: bool) -> nn.Linear:
    torch.manual_seed(inputs * outputs)
    return nn.Linear(inputs, outputs, bias=bias, dtype=dtype).requires_grad_(requires_grad=False)


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    outputs=st.integers(1, 6).map(lambda n: 16 * n),
    inputs=st.integers(1, 4).map(lambda n: 32 * n),
    bias=st.booleans(),
)
def test_packed_int8_multiplies_by_the_rounded_weights(
    *, outputs: int, inputs: int, bias: bool, dtype: torch.dtype
) -> None:
    plain = linear(inputs, outputs, dtype, bias=bias)
    packed = PackedInt8(plain)
    states = torch.randn(2, 3, inputs, dtype=dtype)
    rounded = packed.packed.float() * packed.scales.float()[:, None]
    expected = states.float() @ rounded.T + (plain.bias.float() if bias else 0)
    torch.testing.assert_close(packed(states).float(), expected, rtol=0.05, atol=0.05)
    largest = plain.weight.float().abs().amax(dim=1, keepdim=True)
    assert ((rounded - plain.weight.float()).abs() <= largest / 127 * 1.02).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("inputs", [32, 64, 192])
def test_packed_int4_is_within_a_step_of_the_weights(inputs: int, dtype: torch.dtype) -> None:
    plain = linear(inputs, 32, dtype, bias=True)
    packed = PackedInt4.of(plain)
    assert packed is not None
    rows = packed(torch.eye(inputs, dtype=dtype)).float() - plain.bias.float()
    groups = plain.weight.float().unflatten(1, (-1, packed.group))
    step = (groups.amax(-1) - groups.amin(-1)) / 15
    off = (rows.T - plain.weight.float()).unflatten(1, (-1, packed.group)).abs()
    assert (off <= step[..., None] * 0.55 + 0.01).all()


@pytest.mark.parametrize(("inputs", "outputs"), [(33, 32), (64, 30)])
def test_a_layer_of_a_size_without_a_kernel_is_unchanged(inputs: int, outputs: int) -> None:
    assert PackedInt4.of(linear(inputs, outputs, torch.float32, bias=False)) is None


@pytest.mark.parametrize("scheme", ["int8-weight-only", "int4-weight-only"])
def test_the_bytes_of_a_quantized_model_are_those_of_its_tensors(scheme: Scheme) -> None:
    plain = models.load_model(TINY)
    whole, module = plain.weight_bytes, plain.module
    small = quantized(plain, scheme)
    held = {t.data_ptr(): t.nbytes for t in (*module.parameters(), *module.buffers())}
    assert small.weight_bytes == sum(held.values()) < 0.55 * whole
    assert small.effective["quantize_kernels"].endswith("43 of 43 linear layers")
    assert [caveat.kind for caveat in small.caveats] == ["slow-packed-dtype"]


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        ("float8", "compute capability 8.9"),
        ("int4-k-quant", "onnx has int4-k-quant"),
        ("int8-dynamic", "it has int8-weight-only, int4-weight-only"),
    ],
)
def test_a_scheme_without_kernels_is_refused_before_anything_is_loaded(
    scheme: Scheme, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        check_torch_scheme(scheme, ModelOptions(source="no/such-model", device="cpu"))
