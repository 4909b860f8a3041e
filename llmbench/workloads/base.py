"""The base class of workloads: each yields an endless, seeded stream of requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from llmbench import plugins
from llmbench.models.tokenizing import Tokenizer
from llmbench.runs.caveats import Caveat
from llmbench.runs.request import ConstraintKind, Request
from llmbench.scenario.route import Route
from llmbench.workloads.contents import Contents


class Workload(plugins.Part):
    """A part that determines the prompts and output lengths of requests.

    ``contents`` fills prompts that are only lengths. It is set before the requests are drawn.
    """

    contents: Contents = Contents()

    def requests(self, tokenizer: Tokenizer, seed: int) -> Iterator[Request]:
        """Yield requests endlessly, with ids from 0; a seed always yields the same requests."""
        raise NotImplementedError

    @property
    def classes(self) -> set[str]:
        """The request classes of the workload; empty if there are none."""
        return set()

    @property
    def has_jobs(self) -> bool:
        """Whether requests belong to jobs of agents, so that objectives can be those of jobs."""
        return False

    @property
    def constraints(self) -> set[ConstraintKind]:
        """The kinds of forms that the requests ask of their answers; empty if there are none."""
        return set()

    @property
    def routes(self) -> Mapping[str, Route]:
        """The request classes with a model, URL, headers or fields of their own, by name."""
        return {}

    def sequence_lengths(self, seed: int) -> Iterator[int]:  # noqa: ARG002 (the default)
        """Yield the tokens of each request's longest sequence, prompt and output, without prompts.

        They are in the order of `requests`. The default yields none: only a tokenizer knows them.
        """
        return iter(())

    def check(self) -> None:
        """Raise InputError when a file that the workload reads cannot be read."""

    def caveats(self) -> tuple[Caveat, ...]:
        """Return reasons to doubt the requests, such as rows of a file that are left out."""
        return ()

    def times(self) -> NDArray[np.float64] | None:
        """Return the arrival time of each request in seconds, or None if not recorded."""
        return None


WORKLOADS = plugins.Kind("workload", Workload)
