"""The content of stored JSON files: types, ranges and references, checked on reading.

Keys that are not listed here are kept as they are.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from llmbench.runs.checking import check_moment, check_part, check_unique
from llmbench.runs.run import NOT_CHECKED, Answer, Failure, UnderLoad
from llmbench.runs.search import Search
from llmbench.scenario.cases import Case, set_key
from llmbench.scenario.slo import Objective
from llmbench.units import parse_rate

SWEPT_NUMBERS = ("load.rate", "load.concurrency", "engine.slots")

Slug = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\Z", max_length=240)]
Amount = Annotated[float, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=0)]
Repeat = Annotated[int, Meta(ge=1, le=10**6)]
Plain = dict[str, Any]

# -- parts of several files ------------------------------------------------------------------------


class _Gpu(Struct):
    name: str | None = None
    uuid: str | None = None
    driver: str | None = None
    memory_bytes: Amount | None = None
    power_limit_watts: Amount | None = None


class _Cpu(Struct):
    model: str | None = None


class _Memory(Struct):
    total_bytes: Amount | None = None


class _Git(Struct):
    commit: str | None = None
    dirty: bool | None = None


class Environment(Struct):
    """The machine and its software, as far as reports and comparisons need to know it."""

    cpu: _Cpu | None = None
    memory: _Memory | None = None
    gpus: list[_Gpu] | None = None
    system: Plain | None = None
    container: Plain | None = None
    packages: Plain | None = None
    git: _Git | None = None


class Meter(Struct):
    """The facts of one energy meter."""

    method: str
    uuid: str = ""
    unavailable: str | None = None
    failed_readings: Plain | None = None
    period_seconds: Amount | None = None
    polled_seconds: Amount = 0.0
    idle_watts: float | None = None
    run_joules: float | None = None


class Effective(Struct):
    """The effective settings of a backend; all but the state of its prompt cache are free."""

    cache: str | None = None


class _Backend(Struct):
    kind: str | None = None
    name: str = ""


class _Factors(Struct):
    price_per_kwh: Amount | None = None
    grams_co2_per_kwh: Amount | None = None


class _Imported(Struct):
    file: str
    tool: str


class _Load(Struct):
    kind: str | None = None


class Spec(Struct):
    """A case's scenario in normal form, or what is known of an imported one."""

    model: Plain | None = None
    workload: Plain | None = None
    load: _Load | None = None
    engine: Plain | None = None
    stop: Plain | None = None
    quality: Plain | None = None
    energy: _Factors | None = None
    imported: _Imported | UnsetType = UNSET
    backends: list[_Backend] | None = None
    slo: dict[str, Positive] | None = None
    price_per_hour: Amount | dict[str, Amount] | None = None
    seed_per_repeat: bool = True

    def __post_init__(self) -> None:
        for key in self.slo or {}:
            Objective.of(key)


class StoredCase(Struct):
    """A case, with a spec in normal form."""

    name: str
    slug: Slug
    backend: str
    point: Plain
    spec: Plain

    def __post_init__(self) -> None:
        check_part(self.spec, Spec, "spec")
        _check_point(self.point, self.spec)

    def case(self) -> Case:
        """Return the case."""
        return Case(self.name, self.slug, self.backend, self.point, self.spec)


def _check_point(point: Plain, spec: Plain) -> None:
    """Raise ValueError if a spec has no place for a swept key, or a swept number is none."""
    copy = deepcopy(spec)
    for key, value in point.items():
        set_key(copy, key, value)
        if key in SWEPT_NUMBERS:
            parse_rate(value)


# -- run sets --------------------------------------------------------------------------------------


class _PlannedRepeat(Struct):
    case: str
    repeat: Repeat


class Manifest(Struct):
    """The content of `runset.json`."""

    name: str
    description: str
    began_at: str
    scenario_text: str
    overrides: tuple[str, ...]
    origins: dict[str, str]
    cases: tuple[StoredCase, ...]
    plan: tuple[_PlannedRepeat, ...]
    search: Search | None = None

    def __post_init__(self) -> None:
        check_moment(self.began_at)
        check_unique("names of cases", (case.name for case in self.cases))
        check_unique("slugs of cases", (case.slug for case in self.cases))
        check_unique("planned runs", ((run.case, run.repeat) for run in self.plan))
        if unknown := {run.case for run in self.plan} - {case.name for case in self.cases}:
            raise ValueError(f"`plan` has a run of a case that is not in `cases`: {min(unknown)!r}")
        if self.search:
            check_unique("settings of the search", self.search.settings)
            if self.search.first < 1:
                raise ValueError(f"`search.first` must be at least 1, found {self.search.first}")


class _ModelLayer(Struct, forbid_unknown_fields=True):
    count: Count
    heads: Count
    kv_heads: Count
    head_size: Count
    window: Count | None = None


class _ModelCosts(Struct, forbid_unknown_fields=True):
    matmul_bytes: Count
    other_bytes: Count
    embedding_bytes: Count
    embedding_row_bytes: Count
    matmul_parameters: Count
    head_parameters: Count
    vocabulary: Count
    tied: bool
    state_bytes: Count
    layers: list[_ModelLayer]


class _DevicePeaks(Struct, forbid_unknown_fields=True):
    hardware: str
    device: str
    precision: str
    threads: int | None
    torch: str
    bytes_per_second: Positive
    flops_per_second: Positive
    other_load_percent: float
    measured_at: str


class _Client(Struct):
    tool: str | None = None
    core_share: Amount | None = None


class _EngineSteps(Struct):
    seconds: dict[str, Amount]
    counts: dict[str, Count]
    decoded_sequences: Count


class _Replica(Struct):
    effective: Plain = {}
    cold_start: dict[str, Amount | None] = {}
    memory: dict[str, Amount | None] = {}
    counters: dict[str, float | None] = {}
    engine_steps: _EngineSteps | None = None


class _BackendReport(Struct):
    requested: Plain = {}
    effective: Effective | UnsetType = UNSET
    cold_start: dict[str, Amount | None] = {}
    memory: dict[str, Amount | None] = {}
    counters: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    client: _Client | None = None
    model_costs: _ModelCosts | None = None
    device_peaks: _DevicePeaks | None = None
    warmup_steps: list[float] = []
    engine_steps: _EngineSteps | None = None
    replicas: list[_Replica | None] = []

    def __post_init__(self) -> None:
        if self.counters.get("drafted_tokens") and self.counters.get("accepted_tokens") is None:
            raise ValueError("`counters` has `drafted_tokens` without `accepted_tokens`")


class StoredCaveat(Struct):
    """A caveat with its kind; the parameters depend on it."""

    kind: str


class _Attempt(Struct):
    caveats: list[StoredCaveat]
    failure: str | None


class _LoadGen(Struct):
    result: str
    missed: list[str]


class _Facts(Struct):
    clock_origin_unix_seconds: float | None = None
    schedule_sha256: str | None = None
    stopped_by: list[str] = []
    abandoned_turns: Count = 0
    warmup_method: str | None = None
    stolen_percent: float | None = None
    other_load_percent: float | None = None
    mlperf: _LoadGen | UnsetType = UNSET
    energy: dict[str, Meter] = {}
    gpus: list[_Gpu] | None = None
    discarded_attempts: list[_Attempt] = []


Rows = list[list[float]]


class _AttentionMap(Struct):
    layer: int
    head: int
    reference: Rows
    candidate: Rows | None


class _Attention(Struct):
    """The comparison of attention maps; empty if it was not requested."""

    reason: str | None = None
    tokens: list[str] | UnsetType = UNSET
    divergence: list[list[float] | None] | UnsetType = UNSET
    maps: list[_AttentionMap] | UnsetType = UNSET

    def __post_init__(self) -> None:
        parts = (self.tokens, self.divergence, self.maps)
        if self.reason or all(part is UNSET for part in parts):
            return
        if self.tokens is UNSET or self.divergence is UNSET or self.maps is UNSET:
            raise ValueError("needs `tokens`, `divergence` and `maps`, or a `reason`")
        heads = {len(row) for row in self.divergence if row is not None}
        if len(heads) != 1 or 0 in heads:
            raise ValueError("`divergence` needs as many heads in every layer")
        length = len(self.tokens)
        sides = [side for shown in self.maps for side in (shown.reference, shown.candidate)]
        if any([*map(len, side)] != [length] * length for side in sides if side is not None):
            raise ValueError("`maps` need a row and a column for each of `tokens`")


class StoredQuality(Struct):
    """The comparison with a reference, without its table of tokens."""

    reference: str | None
    answers: tuple[Answer, ...]
    attention: Plain
    reason: str | None
    under_load: UnderLoad = NOT_CHECKED

    def __post_init__(self) -> None:
        check_part(self.attention, _Attention, "attention")


class Head(Struct):
    """Name, unit and source of a stored series."""

    name: str
    unit: str
    source: Annotated[str, Meta(pattern="^(measured|estimated:|unavailable:)")]


class Outline(Struct):
    """The fields of `run.json` that a catalog needs."""

    status: Literal["done", "failed"]
    environment: Plain

    def __post_init__(self) -> None:
        check_part(self.environment, Environment, "environment")


class StoredRun(Struct):
    """The content of `run.json`."""

    case: str
    repeat: int
    began_at: str
    environment: Plain
    backend_report: Plain
    facts: Plain
    quality: StoredQuality
    caveats: list[Plain]
    series: list[Head]
    failure: Failure | None
    summary: dict[str, tuple[float, Count]] | None = None

    def __post_init__(self) -> None:
        check_moment(self.began_at)
        check_part(self.environment, Environment, "environment")
        check_part(self.backend_report, _BackendReport, "backend_report")
        check_part(self.facts, _Facts, "facts")
        check_part(self.caveats, list[StoredCaveat], "caveats")
