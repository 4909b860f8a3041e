"""The colors of charts, distinguishable with color blindness, for light and dark pages.

Figures use the light colors; a dark page swaps each for its counterpart. No chart relies on color
alone: lines have dashes, bars have patterns and names.
"""

from __future__ import annotations

INK, MUTED, GRID = "#1c2330", "#5a6475", "#dfe3ea"
QUEUE, PREFILL, DECODE, WAITING, FAILED = "#a9b2c0", "#d98f1f", "#3d78b4", "#8d7fb0", "#c0392b"
ABANDONED = INK
CASES = ("#2a6cb0", "#c4570c", "#0c8470", "#8549a5", "#bd3560", "#6f6f07", "#1f8bb1", "#7d5435")
DASHES = ("solid", "dash", "dot", "dashdot")


def pale(color: str) -> str:
    """Return a color (``#rrggbb``) with an alpha of 0.35."""
    red, green, blue = bytes.fromhex(color.removeprefix("#"))
    return f"rgba({red}, {green}, {blue}, 0.35)"


SWAP = {
    INK: "#e8ecf3", MUTED: "#9aa5b8", GRID: "#2c3442",
    QUEUE: "#5d6778", PREFILL: "#eeb14e", DECODE: "#6aa7e6", WAITING: "#a99bd0", FAILED: "#ff7b6b",
    "#2a6cb0": "#71b0f2", "#c4570c": "#f39a55", "#0c8470": "#3cc9ad", "#8549a5": "#c796e2",
    "#bd3560": "#f285a4", "#6f6f07": "#cbc64c", "#1f8bb1": "#63cbec", "#7d5435": "#c99e7c",
}  # fmt: skip
SWAP |= {pale(light): pale(dark) for light, dark in SWAP.items()}


def case_color(index: int) -> str:
    """Return the color of a case; colors repeat after eight cases."""
    return CASES[index % len(CASES)]


def case_dash(index: int) -> str:
    """Return the line dash of a case; the first 32 cases differ in color or dash."""
    return DASHES[(index + index // len(CASES)) % len(DASHES)]
