"""The live display of a fleet, on stderr: a row per node, and a line per finished run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmbench.campaign.observer import Observer
from llmbench.cli.display import ALL_RUNS, BAR_WIDTH, Display, bar, clock
from llmbench.cli.live import LiveMetrics
from llmbench.cli.progress import again, ending, name
from llmbench.loads.progress import Progress
from llmbench.runs.run import PlannedRun, Run
from llmbench.units import format_number


class FleetScreen(Display):
    """A live display of what each node measures. It is erased at the end."""

    def __init__(self, console: Console, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(console, now)
        self.ended = 0
        self.total: int | None = None
        self._rows: list[NodeRow] = []
        self._waiting: Sequence[str] = ()

    def on_node(self, name: str) -> Observer:
        """Return the observer of a node's runs, which has a row."""
        self._rows.append(NodeRow(self, name))
        return self._rows[-1]

    def remark(self, text: str) -> None:
        """Print a message about the fleet."""
        self.console.print(Text(f"fleet: {text}", "yellow"))

    def waiting(self, messages: Sequence[str]) -> None:
        """Show messages about runs that wait, as long as they do."""
        self._waiting = messages

    def view(self) -> Table:
        """Return the table to display: all runs, each node's, and what waits."""
        rows = list(self._rows)
        table, _ = self.columns(ALL_RUNS, *(row.node for row in rows))
        of = f" of {self.total}" if self.total else ""
        text = f"{self.ended}{of}, {clock(self.now() - self._began)} elapsed"
        table.add_row(ALL_RUNS, bar(BAR_WIDTH, self.ended, self.total, text))
        for row in rows:
            table.add_row(Text(row.node), row.view())
        for message in self._waiting:
            table.add_row(Text("waiting", "yellow"), Text(message))
        return table


class NodeRow:
    """The row of a node, or of a part of it that one run at a time has to itself."""

    def __init__(self, screen: FleetScreen, node: str) -> None:
        self.node = node
        self._screen = screen
        self._began = screen.now()
        self._name = self._stage = ""
        self._metrics = LiveMetrics()

    def began(self, planned: PlannedRun, index: int, total: int | None, side: str = "") -> None:
        """Show a new run."""
        del index, side
        self._screen.total = total
        self._began = self._screen.now()
        self._name, self._stage, self._metrics = name(planned), "starting", LiveMetrics()

    def stage(self, text: str) -> None:
        """Show the run's current stage."""
        self._stage = text

    def progress(self, progress: Progress) -> None:
        """Update the row's bar and rate."""
        self._metrics.add(progress)

    def discarded(self, run: Run) -> None:
        """Print why the run is measured again."""
        self._screen.console.print(Text(f"{name(run, self.node)}: {again(run)}", "yellow"))
        self._stage, self._metrics = "starting", LiveMetrics()

    def ended(self, run: Run) -> None:
        """Print a line for the finished run, and show the node as idle."""
        self._screen.ended += 1
        line = f"{name(run, self.node)}: {ending(run, self._screen.now() - self._began)}"
        self._screen.console.print(Text(line, "red" if run.failure else ""))
        self._name, self._stage, self._metrics = "", "", LiveMetrics()

    def view(self) -> Text:
        """Return the row: a bar, the requests, the stage, the rate and the run's name."""
        progress, rate = self._metrics.progress, self._metrics.output_tokens_per_second
        of = f" of {progress.total:,}" if progress.total else ""
        parts = [f"{progress.completed:,}{of} requests"] if progress.completed else []
        parts += [self._stage] if self._stage else ["idle"]
        parts += [] if rate is None else [f"{format_number(rate)} tokens/s"]
        parts += [self._name] if self._name else []
        return bar(BAR_WIDTH, progress.completed, progress.total, ", ".join(parts))
