"""The live display of a campaign, on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmbench.cli.display import ALL_RUNS, BAR_WIDTH, GAP, Display, bar, clock
from llmbench.cli.live import RATE_SECONDS, LiveMetrics, Pace, Reservoir
from llmbench.cli.progress import again, ending, name
from llmbench.loads.progress import Progress
from llmbench.runs.run import PlannedRun, Run
from llmbench.units import format_number

TEXT_WIDTH = 38  # after a bar, such as `0 of 12, 0:01:10 elapsed, ETA 0:12:20`
SILENT_SECONDS = 5.0


class Screen(Display):
    """A live display of progress, metrics and resource usage.

    ``str(machine)`` is the machine's current resource usage. The display is erased at the end; one
    line per finished run remains.
    """

    def __init__(
        self, console: Console, machine: object, now: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(console, now)
        self._machine = machine
        self._last_event = self._began
        self._pace = Pace()
        self._metrics = LiveMetrics()
        self._name = self._stage = self._side = ""
        self._index = 1
        self._total: int | None = None

    def began(self, planned: PlannedRun, index: int, total: int | None, side: str = "") -> None:
        """Show a new run, and reset the metrics."""
        self._last_event = self.now()
        self._name, self._stage, self._side = name(planned, side), "", side
        self._index, self._total = index, total
        self._metrics = LiveMetrics()
        self._pace.begin(self._last_event, None if total is None else total - index)

    def stage(self, text: str) -> None:
        """Show the run's current stage."""
        self._last_event = self.now()
        self._stage = text
        if text == "measuring":
            self._pace.measuring = self._last_event

    def progress(self, progress: Progress) -> None:
        """Update the metrics and progress bars."""
        self._last_event = self.now()
        self._metrics.add(progress)

    def discarded(self, run: Run) -> None:
        """Print why the run is measured again, and reset the metrics."""
        self._last_event = self.now()
        self.console.print(Text(f"{name(run, self._side)}: {again(run)}", "yellow"))
        self._stage, self._metrics, self._pace.measuring = "", LiveMetrics(), None

    def ended(self, run: Run) -> None:
        """Print a line for the finished run."""
        self._pace.end(self.now(), succeeded=not run.failure)
        line = f"{name(run, self._side)}: {ending(run, self.now() - self._pace.began)}"
        self.console.print(Text(line, "red" if run.failure else ""))

    # -- what is shown -----------------------------------------------------------------------------

    def view(self) -> Table:
        """Return the table to display: progress bars, live metrics and resource usage."""
        progress = self._metrics.progress
        table, room = self.columns(ALL_RUNS, self._name)
        bar_width = max(0, min(BAR_WIDTH, room - TEXT_WIDTH - GAP))
        table.add_row(ALL_RUNS, bar(bar_width, self._index - 1, self._total, self._runs()))
        table.add_row(
            Text(self._name), bar(bar_width, progress.completed, progress.total, self._requests())
        )
        for row, text in self._rows().items():
            table.add_row(Text(row, "dim"), Text(text))
        return table

    def _runs(self) -> str:
        now, of = self.now(), f" of {self._total}" if self._total else ""
        remaining = self._pace.remaining(now, self._metrics.progress)
        eta = "" if remaining is None else f", ETA {clock(remaining)}"
        return f"{self._index - 1}{of}, {clock(now - self._began)} elapsed{eta}"

    def _requests(self) -> str:
        progress, silent = self._metrics.progress, self.now() - self._last_event
        if not progress.completed:
            return self._stage
        of = f" of {progress.total:,}" if progress.total else ""
        failed = f", {progress.failed:,} failed" if progress.failed else ""
        silence = f", silent for {silent:.0f} s" if silent >= SILENT_SECONDS else ""
        return f"{progress.completed:,}{of} requests{failed}{silence}, {self._stage}"

    def _rows(self) -> dict[str, str]:
        metrics = self._metrics
        rate = metrics.output_tokens_per_second
        unit = f"tokens/s in the last {RATE_SECONDS:.0f} s"
        return {
            "output": "—" if rate is None else f"{format_number(rate)} {unit}",
            "TTFT": _percentiles(metrics.ttft),
            "ITL": _percentiles(metrics.itl),
            "machine": str(self._machine) or "—",
        }


def _percentiles(values: Reservoir) -> str:
    return f"{values} (n = {values.seen:,})" if values.seen else "—"
