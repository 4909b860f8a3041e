"""Where the time of a request goes: parts that add up to its end-to-end latency.

E2E = send + connect + queue + prefill + rest + decode, in seconds, where

* send = sent − due,
* connect is the time to open a connection; 0 if it was open already, or none is needed,
* queue and prefill are those of the backend: started − sent and t[0] − started, or what a server
  reports by its own clock,
* decode = t[last] − t[0],
* rest = t[0] − sent − connect − queue − prefill: the network, HTTP, and all of TTFT that a server
  does not report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from llmbench.analysis.metrics.record_arrays import RecordArrays, floats
from llmbench.analysis.stats import Floats

PARTS = ("send", "connect", "queue", "prefill", "rest", "decode")
REPORTED = ("queue", "prefill")  # by the backend; part of the rest where it does not


def budget(observed: Sequence[RecordArrays]) -> dict[str, Floats]:
    """Return the parts of each successful request of several processes, by name of the part.

    A part that the backend does not report for each of them is left out, and belongs to the rest.
    """
    of_each = [_parts(arrays) for arrays in observed]
    parts = {name: np.concatenate([of[name] for of in of_each]) for name in PARTS}
    unknown = [name for name in REPORTED if np.isnan(parts[name]).any()]
    for name in unknown:
        parts["rest"] = parts["rest"] + np.nan_to_num(parts.pop(name))
    return parts


def _parts(arrays: RecordArrays) -> Mapping[str, Floats]:
    """Return the parts of the successful requests of a process; NaN is not reported."""
    good = arrays.good
    started, sent = floats(good["started"]), floats(good["sent"])
    first = sent + arrays.service_ttft
    connect = np.nan_to_num(floats(good["connect_seconds"]))
    in_server = floats(good["server_ttft_seconds"]) - floats(good["server_queue_seconds"])
    of_server = _known(in_server, floats(good["server_prefill_seconds"]))
    queue = _known(started - sent, floats(good["server_queue_seconds"]))
    prefill = _known(first - started, of_server)
    return {
        "send": arrays.ttft - arrays.service_ttft,
        "connect": connect,
        "queue": queue,
        "prefill": prefill,
        "rest": arrays.service_ttft - connect - np.nan_to_num(queue) - np.nan_to_num(prefill),
        "decode": arrays.e2e - arrays.ttft,
    }


def _known(values: Floats, others: Floats) -> Floats:
    """Return the values, and the others in place of unknown ones."""
    return np.where(np.isnan(values), others, values)
