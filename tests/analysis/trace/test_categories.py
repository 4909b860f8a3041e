"""Names of kernels and operators as they are met, and what they do."""

from __future__ import annotations

import pytest

from llmbench.analysis.trace.categories import CATEGORIES, OWNING, category_of, is_wrapper

ATEN = "void at::native::"

NAMES = {
    "gemm": [
        "aten::addmm",
        "aten::mm",
        "aten::bmm",
        "aten::baddbmm",
        "aten::linear",
        "aten::matmul",
        "aten::_weight_int8pack_mm",
        "aten::_weight_int4pack_mm_for_cpu",
        "mkldnn::_linear_pointwise",
        "onednn::qlinear_pointwise",
        "MatMul",
        "FusedMatMul",
        "MatMulNBits",
        "MatMulInteger",
        "Gemm",
        "ampere_bf16_s16816gemm_bf16_64x64_ldg8_f2f_stages_64x5_tn",
        "sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize64x64x64_cublas",
        "nvjet_tst_64x8_64x16_4x1_v_bz_splitK_TNT",
        "void cutlass::Kernel2<cutlass_80_wmma_tensorop_bf16_s161616gemm_bf16_16x16_128x2_tn>",
        "void gemv2T_kernel_val<int, int, __nv_bfloat16, __nv_bfloat16, float, 128, 16, 4, 4>",
        "void cublasLt::splitKreduce_kernel<32, 16, int, float, __nv_bfloat16, float>",
        "triton_tem_fused_mm_3",
        "triton_red_fused_mm_5",
    ],
    "attention": [
        "aten::scaled_dot_product_attention",
        "aten::_scaled_dot_product_flash_attention_for_cpu",
        "GroupQueryAttention",
        "MultiHeadAttention",
        "void pytorch_flash::flash_fwd_splitkv_kernel<Flash_fwd_traits<cutlass::bfloat16_t>>",
        "fmha_cutlassF_bf16_aligned_64x64_rf_sm80(PyTorchMemEffAttention::AttentionKernel)",
        "cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16_knob_3_64x128x64",
        "triton_tem_fused_flex_attention_2",
    ],
    "elementwise": [
        "aten::rms_norm",
        "aten::native_layer_norm",
        "aten::add",
        "aten::mul_",
        "aten::rsqrt",
        "aten::silu",
        "aten::softmax",
        "aten::where",
        "SimplifiedLayerNormalization",
        "SkipSimplifiedLayerNormalization",
        "RotaryEmbedding",
        "QuickGelu",
        "DynamicQuantizeLinear",
        "Mul",
        "Sigmoid",
        ATEN + "vectorized_elementwise_kernel<4, at::native::BinaryFunctor<float, float>>",
        ATEN + "reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::MeanOps<float>>>",
        ATEN + "(anonymous namespace)::vectorized_layer_norm_kernel<float, float>",
        "triton_poi_fused_mul_silu_4",
        "triton_red_fused__to_copy_add_embedding_mean_mul_pow_rsqrt_0",
        "ReduceMean",
        "graph_0_cpp_fused_add_mean_mul_pow_rsqrt_1",
        "graph_1_cpp_fused__scaled_dot_product_flash_attention_for_cpu__to_copy_index_copy_mul_3",
    ],
    "sampling": [
        "aten::argmax",
        "aten::topk",
        "aten::sort",
        "aten::multinomial",
        "aten::exponential_",
        "aten::cumsum",
        "ArgMax",
        "graph_0_cpp_fused_argmax_copy__9",
        "triton_red_fused_argmax_12",
        ATEN + "reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::ArgMaxOps<float>>>",
        "void at_cuda_detail::cub::DeviceRadixSortOnesweepKernel<...>",
    ],
    "copies": [
        "Memcpy DtoH (Device -> Pinned)",
        "Memset (Device)",
        "aten::copy_",
        "aten::to",
        "aten::_to_copy",
        "aten::cat",
        "aten::index_copy_",
        "aten::embedding",
        "aten::clone",
        "aten::fill_",
        "Gather",
        "Concat",
        "Cast",
        "Transpose",
        ATEN + "elementwise_kernel<128, 4, at::native::direct_copy_kernel_cuda(...)>",
        ATEN + "(anonymous namespace)::CatArrayBatchedCopy<...>",
        ATEN + "vectorized_gather_kernel<16, long>",
    ],
    "other": ["aten::view", "aten::transpose", "aten::empty", "aten::slice", "Reshape", "Shape"],
}


@pytest.mark.parametrize(
    ("category", "name"), [(category, name) for category, names in NAMES.items() for name in names]
)
def test_a_name_has_its_category(category: str, name: str) -> None:
    assert category_of(name) == category


def test_every_category_but_idle_is_tested() -> None:
    assert NAMES.keys() | {"idle"} == CATEGORIES.keys()
    assert CATEGORIES.keys() >= OWNING


@pytest.mark.parametrize(
    "name", ["Torch-Compiled Region: 0/0", "## Call CompiledFxGraph f3ab ##", "Pregraph bytecode"]
)
def test_wrappers_of_compiled_code_are_host_time(name: str) -> None:
    assert is_wrapper(name)
    assert not is_wrapper("aten::mm")
