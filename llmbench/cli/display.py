"""Live displays on a terminal, and what they are made of."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from typing import Self

from rich.cells import cell_len
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

REDRAWS_PER_SECOND = 1  # each takes milliseconds of CPU time that the measurement needs
BAR_WIDTH = 24
LABEL_WIDTH, MARGIN, GAP = 32, 3, 2  # the margin leaves room for ^C
ALL_RUNS = "all runs"


class Display(ABC):
    """A table on a console that is redrawn within the context, and erased at its end."""

    def __init__(self, console: Console, now: Callable[[], float] = time.monotonic) -> None:
        self.console = console
        self.now = now
        self._began = now()
        self._shown = ExitStack()

    def __enter__(self) -> Self:
        live = Live(
            get_renderable=self.view,
            console=self.console,
            refresh_per_second=REDRAWS_PER_SECOND,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
        )
        self._shown.enter_context(live)
        return self

    def __exit__(self, *_: object) -> None:
        self._shown.close()

    def columns(self, *labels: str) -> tuple[Table, int]:
        """Return a table for rows of a label and a text, and how wide a text can be."""
        widest = max(map(cell_len, labels))
        label = min(LABEL_WIDTH, self.console.width // 3, widest)
        room = self.console.width - label - MARGIN - GAP
        table = Table.grid(padding=(0, GAP))
        table.add_column(no_wrap=True, width=label, overflow="ellipsis")
        table.add_column(no_wrap=True, max_width=room, overflow="ellipsis")
        return table, room

    @abstractmethod
    def view(self) -> Table:
        """Return the table to display."""


def bar(width: int, completed: int, total: int | None, text: str) -> Text:
    """Return a progress bar of ``width`` cells, and the text after it."""
    filled = round(width * min(1.0, completed / total)) if total else 0
    gap = "  " if width else ""
    return Text.assemble(("━" * filled, "green"), ("─" * (width - filled), "dim"), gap, text)


def clock(seconds: float) -> str:
    """Return a duration as ``h:mm:ss``."""
    return str(timedelta(seconds=round(seconds)))
