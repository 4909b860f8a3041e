"""What a kernel or an operator does, told by its name."""

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

# What runs inside an operator of these belongs to it, whatever its own name is.
OWNING = {"attention", "sampling"}

# The first that is found in a name decides; (?<![a-z]) keeps to whole words. What torch.compile
# fused is named after all that it holds, down to views of the operators before and after it. So
# such a name tells of a product or a choice, but not of attention, which is a call of its own.
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

# These wrap what torch.compile made and run nothing by themselves.
WRAPPER = re.compile(
    r"Torch-Compiled Region|## Call CompiledFxGraph|Pregraph bytecode|TorchDynamo Cache Lookup"
    r"|AOTDispatcher Runtime Wrapper|\w*inductor_wrapper_call"
)


def category_of(name: str) -> str:
    """Give the category of a kernel or an operator: a key of CATEGORIES, ``other`` if in doubt."""
    return next((category for category, rule in RULES if rule.search(name)), OTHER)


def is_wrapper(name: str) -> bool:
    """Tell whether an operator's own time is that of the host."""
    return WRAPPER.match(name) is not None
