"""Caveats of a run: stored as a kind with parameters, rendered as text for display."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Severity = Literal["invalid", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("invalid", "warning", "note")


class Kind(NamedTuple):
    """A kind of caveat: severity and format strings.

    ``key`` names the parameters in which caveats of different findings differ.
    ``blocks_claims``: a run with it supports no claim that one case is better than another.
    ``may_pass``: its cause lies outside the run, which is worth measuring again.
    """

    severity: Severity
    sentence: str
    remedy: str
    key: tuple[str, ...] = ()
    blocks_claims: bool = False
    may_pass: bool = False


CUSTOM = Kind("warning", "{message}", "{remedy}", ("message",))  # also every caveat of 0.1.0
QUALITY_BREACHED = "quality-breached"

KINDS: dict[str, Kind] = {
    # the client and the load
    "harness-degraded": Kind(
        "warning",
        "llmbench itself did not keep up with the load: {reasons}.",
        "Lower the load, stop other programs, or set `clients` on an endpoint to use more cores.",
    ),
    "harness-invalid": Kind(
        "invalid",
        "llmbench itself did not keep up with the load, so its latencies are invalid: {reasons}.",
        "Lower the load, stop other programs, or set `clients` on an endpoint to use more cores.",
        blocks_claims=True,
    ),
    "imported": Kind(
        "note",
        "Imported from {tool}: client delays are unknown, and latencies count from {since}.",
        "Measure with llmbench for latencies from the due time and a check of the client.",
    ),
    "imported-summary": Kind(
        "note",
        "{tool} stored no requests: its values have no intervals, and `check` cannot use them.",
        "{instead}",
    ),
    "simulated": Kind(
        "note",
        "Simulated with {replicas} replica(s) from the step times of measured runs; not measured.",
        "Measure at the load that you choose before you rely on it.",
        blocks_claims=True,
    ),
    "ended-early": Kind(
        "invalid",
        "The load ended early: `stop.{limit}` was exceeded.",
        "Fix the errors, lower the load or set `clients` to use more cores; or raise the limit.",
        blocks_claims=True,
    ),
    "never-steady": Kind(
        "warning",
        "Latencies never became steady ({method}), so no warm-up was excluded.",
        "Send more requests, or fewer per second: a growing queue has no steady state.",
        blocks_claims=True,
    ),
    "warmup-unknown": Kind(
        "note",
        "{requests} successful requests are too few to find a warm-up, so none was excluded.",
        "Send {least} requests or more, or set `warmup` to a number.",
    ),
    "rows-left-out": Kind(
        "note",
        "{rows} of {total} rows of {file} were left out: {reasons}.",
        "The load is made of the other rows; complete the file if these should be sent too.",
        ("file",),
    ),
    "mlperf-invalid": Kind(
        "invalid",
        "MLPerf's LoadGen reports this run as INVALID. Requirements not met: {missed}.",
        "See LoadGen's summary under logs/; lower `target_qps` or raise the minima in `stop`.",
        blocks_claims=True,
    ),
    "requests-failed": Kind(
        "warning",
        "{failed} of {total} measured requests failed or did not finish; most common: {commonest}.",
        "Latency metrics cover successful requests only; see the errors by kind.",
    ),
    "uneven-chunks": Kind(
        "note",
        "In {answers} of {total} responses, some chunks are not single tokens.",
        "ITL is the time between chunks; compare backends by TPOT, which counts tokens.",
    ),
    "counted-by-tokenizer": Kind(
        "note",
        "For {answers} of {total} responses, `model`'s tokenizer counted the output tokens.",
        "Set `usage: true` if the server supports it; else set `model` to the model it serves.",
    ),
    "impossible-usage": Kind(
        "warning",
        "For {answers} of {total} responses, the server reported impossible token counts: 0 for a"
        " text, falling ones, or more than the request allows.",
        "These are not used: `model`'s tokenizer counted instead; set `model` to the model that the"
        " server runs.",
    ),
    "longer-than-requested": Kind(
        "warning",
        "{answers} of {total} responses are longer than requested: up to {tokens} tokens instead of"
        " {requested}.",
        "Set `length_field` to the field that the server reads; compare such runs by TPOT.",
    ),
    "more-choices": Kind(
        "warning",
        "{answers} of {total} responses had several choices; only that with index 0 was counted.",
        "Make the server send one choice per request: the others take a part of its time.",
    ),
    "length-field": Kind(
        "note",
        "The server rejects `{requested}`, so the lengths of answers were sent as `{sent}`.",
        "Set `length_field: {sent}` on the endpoint.",
    ),
    "prompt-lengths": Kind(
        "note",
        "{prompts} of {total} prompts do not have the requested length: by the server's count, they"
        " are off by {mean:+.1f} % on average and {worst:+.1f} % at most.",
        "Set `model` to the model that the server runs, whose tokenizer makes the prompts; none is"
        " shorter than the chat template.",
    ),
    "unasked-cache-hits": Kind(
        "warning",
        "{percent:.0f} % of the prompt tokens came from the server's prompt cache, unasked for.",
        "On the endpoint, set `cache.prompts` to unique, `cache.before` to reset, or `cache.prime`"
        " to 1 for a warm cache. Set `requests`, so that no prompt is repeated.",
        blocks_claims=True,
    ),
    "cache-unknown": Kind(
        "warning",
        "All cases sent the same prompts to servers that do not report what their caches held.",
        "On the endpoint, set `cache.prompts` to unique or `cache.before` to reset.",
        blocks_claims=True,
    ),
    "server-refused": Kind(
        "warning",
        "{url} refused {refusals} connection(s); it got no requests for {back_off:g} s after each.",
        "Its share went to the other servers. Find out why it refused, and measure again.",
        ("url",),
        blocks_claims=True,
    ),
    "replica-lost": Kind(
        "warning",
        "Replica {replica} {reason} after {seconds:.1f} s; its {requests} request(s) in flight"
        " failed, and the others served the rest of the load.",
        "Find out why it ended, at the end of the worker's stderr, and measure again.",
        ("replica",),
        blocks_claims=True,
    ),
    "client-lost": Kind(
        "warning",
        "{client} {reason} after {seconds:.1f} s; {requests} request(s) of its part of the load"
        " have no answer, and the other clients sent the rest.",
        "Find out why it ended, in the logs of its node, and measure again.",
        ("client",),
        blocks_claims=True,
    ),
    "clock-error": Kind(
        "warning",
        "The clocks of the clients are compared with an error of up to {bound:,.2f} ms; the median"
        " TTFT is {ttft:,.2f} ms.",
        "Latencies from the due time may be wrong by as much: compare only larger differences, or"
        " use nodes with a faster network between them.",
    ),
    "replicas-share": Kind(
        "warning",
        "{replicas} replicas share {devices}.",
        "They slow each other; set fewer `replicas`, or list `replicas.devices`.",
    ),
    # the backend
    "recompiled": Kind(
        "warning",
        "The backend compiled {graphs} graph(s) inside the measured window.",
        "Latencies include the compile time; raise `warmup` or set `dynamic: true` on the backend.",
        blocks_claims=True,
    ),
    "not-effective": Kind(
        "warning",
        "`{setting}` was requested as {requested!r} but was {effective!r}.",
        "Compare this run only with runs that have the same effective setting.",
        ("setting",),
    ),
    "unchecked": Kind(
        "warning",
        "The engine's tokens were not compared with the model's own (`model.self_check: false`).",
        "Remove the key: an unsupported model may be measured with wrong outputs.",
    ),
    "check-undecided": Kind(
        "note",
        "Whether the engine's tokens are the model's own is undecided: rounding changes them too.",
        "Random weights often do this; use `model.dtype: float32` or trained weights to decide.",
    ),
    "fell-back": Kind(
        "warning",
        "`{setting}` was requested as {requested!r} but was {effective!r}: {reason}.",
        "Compare this run only with runs that have the same effective setting.",
        ("setting",),
    ),
    "context-unknown": Kind(
        "note",
        "The model's configuration states no context length: requests of any length were served.",
        "Keep requests within the lengths that the model was trained on.",
    ),
    "pruned-dense": Kind(
        "note",
        "Pruned weights are stored and multiplied as zeros, which saves no memory and no time.",
        "For speed, drop layers or use 2:4 sparsity (`two-four`) on sparse tensor cores.",
    ),
    "slow-packed-dtype": Kind(
        "note",
        "The CPU kernels for packed weights are slow in float32.",
        "Set `model.dtype` to bfloat16, or use the onnx backend, to measure the scheme's speed.",
    ),
    "slowed": Kind(
        "invalid",
        "Every step was deliberately slowed by {percent:g} %.",
        "Unset LLMBENCH_SLOWDOWN to measure the real speed.",
        blocks_claims=True,
    ),
    "unsteady-warmup": Kind(
        "warning",
        "Step times were not steady after {rounds} warm-up rounds.",
        "Other programs may have used the machine; stop them and run again.",
        blocks_claims=True,
        may_pass=True,
    ),
    "above-roof": Kind(
        "warning",
        "{label} is {share:.2f} of the measured peak; more than 1 is impossible.",
        "The model may fit in a cache; or the machine was busy when its peak was measured: then"
        " remove the folder `roof` of llmbench's cache (docs/metrics.md) and run again.",
        ("label",),
    ),
    "roof-under-load": Kind(
        "warning",
        "Other programs used {percent:.0f} % of the CPU time while the peaks were measured.",
        "MBU and MFU may be overstated; stop other programs and measure again.",
    ),
    # the output's quality
    QUALITY_BREACHED: Kind(
        "invalid",
        "Quality is out of bounds: {label} is {value:.4g}, required {limit} {bound:g}.",
        "Speeds are comparable only within the bound; use a less lossy scheme or relax the bound.",
        ("label", "limit"),
        blocks_claims=True,
    ),
    "quality-unknown": Kind(
        "warning",
        "Quality was requested but is unknown: {reason}.",
        "It is unknown how far this backend's output differs from the reference's.",
    ),
    "answers-changed": Kind(
        "warning",
        "Under load, {changed} of {total} greedy answers differ from those to the same prompts"
        " sent one at a time; {alone} changed between two sequential passes.",
        "The speed was measured with the changed answers; grade both (`answer_column` of a"
        " dataset), or use batch-invariant kernels.",
    ),
    # the profiler
    "profile-disturbed": Kind(
        "warning",
        "Under the profiler, {phase} steps took only {ratio:.2f} times as long as without it.",
        "Another program may have been using the machine; stop it and profile again.",
        ("phase",),
    ),
    "profiler-heavy": Kind(
        "warning",
        "The profiler made {phase} steps {ratio:.1f} times as long.",
        "The shares of short operators and of host time are overstated; profile longer steps.",
        ("phase",),
    ),
    "uneven-kernels": Kind(
        "warning",
        "The profiled {phase} steps ran between {fewest} and {most} kernels each.",
        "The profiler may have missed kernels, or the steps differ; check the trace.",
        ("phase",),
    ),
    # energy
    "short-energy-window": Kind(
        "note",
        "Energy was measured over {seconds:.1f} s; at least {least:.0f} s is recommended.",
        "Send more requests, or treat the energy as indicative only.",
    ),
    "energy-unverified": Kind(
        "note",
        "The energy counter of {part} was not verified: there are too few power readings.",
        "Add `gpu` to `collect`, or measure for longer.",
        ("part",),
    ),
    "energy-disagrees": Kind(
        "warning",
        "The energy counter of {part} and its integrated power differ by {percent:.0f} %.",
        "Compare energy only with runs on the same card; above 10 %, it would be invalid.",
        ("part",),
    ),
    "mixed-hardware": Kind(
        "warning",
        "The runs of this case were measured on machines that differ in {differing}.",
        "Set `nodes: each` to compare kinds of node, or `resources` that only one kind has.",
        blocks_claims=True,
    ),
    # sample sizes
    "few-repeats": Kind(
        "note",
        "Too few runs of this case for a confidence interval: {count}.",
        "Set `repeats` to 3 or more; most claims need 5.",
    ),
    "one-schedule": Kind(
        "note",
        "All repeats sent the same requests at the same times.",
        "Intervals hold for this schedule only; leave out `seed_per_repeat: false` to vary it.",
    ),
    "unsupported-percentile": Kind(
        "note",
        "The {percentile} of {latencies} is based on {n} samples; 99 % confidence needs {floor}.",
        "Raise `requests`, or treat the percentile as indicative only.",
        ("percentile", "latencies"),
    ),
    # the machine
    "other-load": Kind(
        "warning",
        "Other programs used {percent:.0f} % of the machine's CPU time during this run.",
        "Latencies may be overstated; stop other programs and measure again.",
        blocks_claims=True,
        may_pass=True,
    ),
    "cpu-stolen": Kind(
        "warning",
        "The host took {percent:.0f} % of this virtual machine's CPU time (steal).",
        "Latencies may be overstated; measure on a machine that is not shared.",
        blocks_claims=True,
        may_pass=True,
    ),
    "cpu-quota": Kind(
        "warning",
        "The container's CPU quota throttled this run for {percent:.0f} % of its time.",
        "Raise the quota, or set `engine: {{threads: N}}` to no more cores than it allows.",
        blocks_claims=True,
    ),
    "gpu-throttled": Kind(
        "warning",
        "GPU {gpu} was throttled: {limits}.",
        "Improve cooling or reduce the load; compare only with equally throttled runs.",
        ("gpu",),
        blocks_claims=True,
        may_pass=True,
    ),
    "gpu-power-limited": Kind(
        "warning",
        "GPU {gpu} reached the power limit of its card: {limits}.",
        "The load itself does this; compare only with equally limited runs, or raise the limit.",
        ("gpu",),
        blocks_claims=True,
    ),
    "gpu-shared": Kind(
        "warning",
        "{count} other process(es) used GPU {gpu} at the beginning or end of this run.",
        "Stop them and measure again; `nvidia-smi` lists them.",
        ("gpu",),
        blocks_claims=True,
        may_pass=True,
    ),
    "gpu-partial": Kind(
        "note",
        "GPU {gpu} is a {share}, affected by the unknown load on the rest of its card.",
        "Compare only with runs on an equal {share} of the same card, or use a whole card.",
        ("gpu",),
    ),
    "gpu-lost": Kind(
        "invalid",
        "GPU {gpu} ({uuid}) was lost after {seconds:.1f} s ({reason}); its readings end there.",
        "Find the cause (Xid) in `dmesg`, reset the card or the machine, and measure again.",
        ("gpu",),
        blocks_claims=True,
    ),
    "gpu-order": Kind(
        "note",
        "This machine has GPUs of several models, and CUDA may number them differently from NVML.",
        "Set CUDA_DEVICE_ORDER=PCI_BUS_ID, or list GPUs by UUID in CUDA_VISIBLE_DEVICES.",
    ),
    "collector-failed": Kind(
        "warning",
        "The {collector} collector failed after {readings} reading(s): {reason}.",
        "Its series end there; `llmbench doctor` shows what can be read on this machine.",
        ("collector",),
    ),
    "sampler-late": Kind(
        "warning",
        "The {collector} collector missed {missed} of {due} readings.",
        "All CPU cores may have been busy; leave one idle, or set a longer `interval`.",
        ("collector",),
    ),
    "sampler-died": Kind(
        "warning",
        "The sampler process {how}, so nothing was collected.",
        "Memory may have run out; check the worker's stderr and the kernel's log.",
    ),
}


@dataclass(frozen=True, init=False, slots=True)
class Caveat:
    """A caveat of a run: ``Caveat("recompiled", graphs=2)``.

    A kind that is not in KINDS, such as a plugin's, has its own text: ``Caveat("warm-room",
    message="The room was warm.", remedy="Open a window.")``. So have caveats stored by version
    0.1.0.
    """

    kind: str
    parameters: Mapping[str, Any]

    def __init__(self, kind: str, **parameters: Any) -> None:
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "parameters", parameters)

    def __hash__(self) -> int:
        return hash(self.key)

    def as_dict(self) -> dict[str, Any]:
        """Return the stored form; ``Caveat(**stored)`` restores the caveat."""
        return {"kind": self.kind, **self.parameters}

    def in_full(self) -> dict[str, Any]:
        """Return the stored form plus ``message`` and ``remedy``, for other programs."""
        return {**self.as_dict(), "message": self.message, "remedy": self.remedy}

    @property
    def severity(self) -> Severity:
        """``invalid`` (the whole run), ``warning`` (some values) or ``note`` (their precision)."""
        return KINDS.get(self.kind, CUSTOM).severity

    @property
    def blocks_claims(self) -> bool:
        """Whether a run with it supports no claim that one case is better than another."""
        return KINDS.get(self.kind, CUSTOM).blocks_claims

    @property
    def may_pass(self) -> bool:
        """Whether its cause lies outside the run, so that another attempt may be without it."""
        return KINDS.get(self.kind, CUSTOM).may_pass

    @property
    def key(self) -> tuple[str, ...]:
        """The key that is equal for caveats of the same finding in several runs."""
        return self.kind, *(str(self.parameters.get(name)) for name in self._text.key)

    @property
    def message(self) -> str:
        """The caveat as a sentence, with its parameters filled in."""
        return _written(self._text.sentence, [self])

    @property
    def remedy(self) -> str:
        """The recommended action as a sentence."""
        return _written(self._text.remedy, [self])

    @property
    def _text(self) -> Kind:
        return CUSTOM if "message" in self.parameters else KINDS.get(self.kind, CUSTOM)

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}"


def message_of_all(caveats: Sequence[Caveat]) -> str:
    """Return one message for all caveats with the same key, with ranges: "used 76 to 90 %"."""
    return _written(caveats[0]._text.sentence, caveats)  # noqa: SLF001 (of this module)


def _written(text: str, caveats: Sequence[Caveat]) -> str:
    names = caveats[0].parameters
    values = {name: _Values([c.parameters.get(name) for c in caveats]) for name in names}
    return text.format_map(defaultdict(lambda: _Values([None]), values))


@dataclass(frozen=True, slots=True, repr=False)
class _Values:
    """A parameter's values in several caveats: numbers as a range, others joined by "or"."""

    values: Sequence[Any]

    def __format__(self, spec: str) -> str:
        are_numbers = all(isinstance(value, int | float) for value in self.values)
        values = sorted({min(self.values), max(self.values)}) if are_numbers else self.values
        texts = dict.fromkeys(_formatted(value, spec) for value in values)
        return (" to " if are_numbers else " or ").join(texts)

    def __repr__(self) -> str:
        return " or ".join(dict.fromkeys(map(repr, self.values)))


def _formatted(value: Any, spec: str) -> str:
    match value:
        case None:
            return "unknown"
        case list() | tuple():
            return ", ".join(map(str, value))
    try:
        return format(value, spec)
    except (TypeError, ValueError):  # stored by another version
        return str(value)
