"""The category of a kernel or operator, by its name."""

from __future__ import annotations

import re

OTHER, IDLE = "other", "idle"
CATEGORIES = {
    "gemm": "GEMM",
    "attention": "attention",
    "elementwise": "elementwise",
    "sampling": "sampling",
    "copies": "copies",
    OTHER: "other",
    IDLE: "idle",
}

# Operators of these categories own all nested operators, regardless of name.
OWNING = {"attention", "sampling"}

# The first match decides; (?<![a-z]) restricts it to whole words. torch.compile names a fused
# kernel after all its operators, including views of adjacent ones. Such a name can indicate a
# matrix product or sampling, but not attention, which is never fused.
RULES = tuple(
    (category, re.compile(pattern, re.IGNORECASE | re.VERBOSE))
    for category, pattern in (
        ("gemm", r"(triton_ | cpp_fused) \w* _(mm | bmm | addmm | linear) (?![a-z])"),
        ("sampling", r"(triton_ | cpp_fused) \w* (argmax | topk | sort | multinomial)"),
        ("elementwise", "triton_(poi | red | per) | cpp_fused"),
        ("attention", "flash | fmha | attention | attn | sdpa"),
        (
            "gemm",
            """
            gemm | gemv | nvjet | cutlass | xmma | cublas | matmul | addmm | pack_mm
            | (?<![a-z]) (mm | bmm | baddbmm) (?![a-z]) | (?<![a-z]) q?linear
            """,
        ),
        ("sampling", "arg_?max | top_?k | multinomial | sort | exponential | cumsum | scan"),
        (
            "copies",
            """
            mem(cpy | set) | copy | clone | contiguous | gather | scatter | index | fill | zero
            | repeat | stack | concat | cat_?array | (?<![a-z]) cat (?![a-z]) | (?<!rotary)embedding
            | ::to$ | ^(cast | transpose | slice | split | expand)$
            """,
        ),
        (
            "elementwise",
            """
            norm | elementwise | vectorized | softmax | rotary | gelu | silu | relu | sigmoid | tanh
            | reduce_kernel | ^reduce | quantize | triton_
            | (?<![a-z]) (add | sub | rsub | mul | div | pow | sqrt | rsqrt | mean | sum | exp | cos
            | sin | neg | erf | where | max | min | clamp | clip | cumprod | masked | eq | ne | lt
            | le | gt | ge | and | or | not | logical | bitwise) (?![a-z])
            """,
        ),
    )
)

# These wrap compiled regions and run nothing themselves.
WRAPPER = re.compile(
    r"Torch-Compiled Region|## Call CompiledFxGraph|Pregraph bytecode|TorchDynamo Cache Lookup"
    r"|AOTDispatcher Runtime Wrapper|\w*inductor_wrapper_call"
)


def category_of(name: str) -> str:
    """Return the category of a kernel or operator: a key of CATEGORIES, ``other`` if unknown."""
    return next((category for category, rule in RULES if rule.search(name)), OTHER)


def is_wrapper(name: str) -> bool:
    """Return whether an operator only wraps others, so that its self time is host overhead."""
    return WRAPPER.match(name) is not None
