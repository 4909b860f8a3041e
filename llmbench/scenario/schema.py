"""The schema of scenarios, as pydantic models."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Tag,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)

from llmbench import plugins
from llmbench.errors import shown
from llmbench.scenario.queue_options import FifoQueue, Queue
from llmbench.scenario.replicas import ReplicasOptions
from llmbench.scenario.resources import Nodes, ResourcesOptions
from llmbench.scenario.slo import valid_slo
from llmbench.units import Seconds

BACKEND_NAME = "name of the backend in results, at the start of its case names"
PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]+$"
MAX_TIMEOUT = 366 * 86_400.0
# bounds that catch typing errors before they fill the memory
MAX_REQUESTS = 100_000_000
MAX_IN_FLIGHT = 100_000
MAX_ATTEMPTS = 1_000
MAX_SLOTS = 65_536
MAX_PREFILL_TOKENS = 65_536
MAX_RANKS = 64
MAX_BATCH_WAIT = 3_600.0
BATCH_WAIT = 0.05
# the forms of a value that may be written in two
PRICES = ("one price", "prices by kind of node")
CLIENTS = ("a number of clients", "clients on nodes")
FORMS = (*PRICES, *CLIENTS)

if TYPE_CHECKING:
    from pydantic_core import CoreSchema


@dataclass(frozen=True)
class AnyPart:
    """The type of a key that selects a part: the union of all parts' options, with ``kind``.

    The union is built when the first scenario is validated, so that importing this module imports
    no part. A part that contains others of its kind is ``excluded`` from its own union.
    """

    kind: plugins.KindName
    excluded: str | None = None

    def __get_pydantic_core_schema__(
        self, _source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        names = (name for name in plugins.names(self.kind) if name != self.excluded)
        models = tuple(self._model(name) for name in names)
        union: Any = Annotated[reduce(or_, models), Field(discriminator="kind")]
        return handler.generate_schema(Annotated[union, _shorthand("kind")])

    def _model(self, name: str) -> type[plugins.Options]:
        base = plugins.options_of(self.kind, name)
        fields: dict[str, Any] = {"kind": (Literal[name], Field(default=name))}
        if self.kind == "backend":
            fields["name"] = (str, Field(default=name, pattern=PRINTABLE, description=BACKEND_NAME))
        return create_model(f"{name}-{self.kind}", __base__=base, **fields)


def _shorthand(key: str) -> BeforeValidator:
    """Return a validator that reads a text as the value of its main key."""
    return BeforeValidator(lambda value: {key: value} if isinstance(value, str) else value)


class ModelOptions(plugins.Options):
    """The model under test, with its data type and device."""

    source: str = Field(
        min_length=1,
        description="Hugging Face model id, folder, GGUF file, random:<shape> or builtin:tiny",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="data type of the weights; auto: bfloat16 on GPUs, else float32"
    )
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = Field(
        default="auto", description="auto, cpu, cuda, or a GPU by index such as cuda:1"
    )
    seed: int = Field(default=0, ge=0, description="seed of the random weights of random:<shape>")
    trust_remote_code: bool = Field(default=False, description="run code from the model repository")
    self_check: bool = Field(
        default=True, description="compare the engine's tokens with the model's own before the load"
    )


class EngineOptions(plugins.Options):
    """How a local backend batches requests."""

    slots: int = Field(
        default=8, ge=1, le=MAX_SLOTS, description="maximum number of sequences in a batch"
    )
    batching: Literal["continuous", "static", "dynamic"] = Field(
        default="continuous",
        description="requests join a running batch (continuous) or wait for its end (static); "
        "dynamic: as static, but a batch starts when it is full or after `batch_wait`",
    )
    batch_wait: Seconds | None = Field(
        default=None,
        ge=0,
        le=MAX_BATCH_WAIT,
        description="for `batching: dynamic`, the longest time that a request waits for a batch to "
        "fill up while no other runs (50 ms)",
    )
    prefill_tokens: Annotated[int, Field(ge=1, le=MAX_PREFILL_TOKENS)] | Literal["auto"] = Field(
        default="auto",
        description="most prompt tokens that waiting requests prefill in one step, except for a "
        "single longer prompt; 1: one prompt per step; auto: 64 on CPUs, 512 on GPUs, 1 for `fake`",
    )
    queue: Queue = Field(
        default=FifoQueue(),
        description="which waiting request gets the next free slot: fifo, priority, shortest, fair",
    )
    max_queue: int | None = Field(
        default=None,
        ge=0,
        le=MAX_REQUESTS,
        description="most waiting requests; one that arrives then is rejected (default: no limit)",
    )
    kv_tokens: int | None = Field(
        default=None,
        ge=1,
        description="most tokens of all running requests, each with its prompt and the output that"
        " it asks for (default: as many as there are slots)",
    )
    prefill_chunk: int | None = Field(
        default=None,
        ge=1,
        le=MAX_PREFILL_TOKENS,
        description="most prompt tokens of any prefill step: longer prompts are split into chunks, "
        "with a decode step of the running batch after each; null: never split",
    )
    prefix_cache: bool = Field(
        default=False,
        description="reuse the cached tokens of other requests, running or finished, that a prompt "
        "begins with",
    )
    threads: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] = Field(
        default="auto",
        description="number of CPU threads; auto: one per core, but of 2 to 4 cores one stays free",
    )

    @model_validator(mode="before")
    @classmethod
    def _current(cls, value: Any) -> Any:
        """Ignore ``threads: null``, which was the default up to 0.2."""
        if not isinstance(value, dict):
            return value
        return {key: v for key, v in value.items() if (key, v) != ("threads", None)}

    @model_validator(mode="after")
    def _preempts_between_steps(self) -> EngineOptions:
        if self.queue.preempts and self.batching != "continuous":
            raise ValueError("`queue.preempt` needs `batching: continuous`; remove one of the two")
        return self

    @model_validator(mode="after")
    def _waits_only_for_dynamic_batches(self) -> EngineOptions:
        if self.batch_wait is not None and self.batching != "dynamic":
            raise ValueError(
                f"`batch_wait` is for `batching: dynamic`, found `{self.batching}`; remove it, or "
                "set `batching: dynamic`"
            )
        return self

    @property
    def longest_batch_wait(self) -> float:
        """The longest wait for a batch to fill up, in seconds."""
        return BATCH_WAIT if self.batch_wait is None else self.batch_wait


class ParallelOptions(plugins.Options):
    """How a local backend divides a model among processes."""

    tensor: int = Field(
        default=1,
        ge=1,
        le=MAX_RANKS,
        description="number of processes that have a share of each layer (tensor parallelism); "
        "`eager` only",
    )


class SamplingOptions(plugins.Options):
    """How the next token is sampled; greedy at temperature 0."""

    temperature: float = Field(default=0.0, ge=0, description="sampling temperature; 0: greedy")
    top_p: float = Field(default=1.0, gt=0, le=1, description="probability mass of top-p sampling")


Indices = Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] | None
Share = Annotated[float, Field(ge=0, le=1)]


class ExplainOptions(plugins.Options):
    """Attention maps of one prompt, compared with those of the reference."""

    prompt: str = Field(
        default="The old captain looked at the sea and said that the ship would sail at dawn.",
        min_length=1,
        max_length=400,
        description="prompt of the attention maps",
    )
    layers: Indices = Field(
        default=None,
        description="layers to plot; default: those that differ most from the reference",
    )
    heads: Indices = Field(
        default=None,
        description="heads to plot; default: those that differ most from the reference",
    )


class QualityOptions(plugins.Options):
    """Comparison of outputs with those of a reference backend, after the measured load.

    Text is scored in windows: the first half of each is the prompt, the second half is scored.
    """

    model_config = ConfigDict(defer_build=True)

    reference: Annotated[Any, AnyPart("backend")] | None = Field(
        default="eager",
        validate_default=True,
        description="backend to compare the outputs with; null: none",
    )
    under_load: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="number of the load's prompts that are sent again, one at a time, after the"
        " load, to compare their greedy answers",
    )
    text: str | None = Field(
        default=None, description="UTF-8 file of the text to score; bundled text if unset"
    )
    tokens: int = Field(default=2048, ge=1, le=10_000_000, description="number of tokens to score")
    window: int = Field(
        default=256, ge=2, le=10_000_000, multiple_of=2, description="tokens per text window"
    )
    answers: int = Field(
        default=16, ge=0, le=100_000, description="number of greedy outputs to compare"
    )
    answer_tokens: int = Field(
        default=32, ge=1, le=10_000_000, description="tokens per greedy output"
    )
    explain: ExplainOptions | None = Field(
        default=None, description="comparison of attention maps (torch models only)"
    )
    max_perplexity_ratio: PositiveFloat | None = Field(
        default=None, description="maximum ratio of the perplexity to the reference's"
    )
    max_kl_divergence: NonNegativeFloat | None = Field(
        default=None, description="maximum mean KL divergence, in nats per token"
    )
    max_logit_mse: NonNegativeFloat | None = Field(
        default=None, description="maximum mean squared error of the logits"
    )
    min_top1_agreement: Share | None = Field(
        default=None, description="minimum fraction of positions with the same top-1 token"
    )
    min_exact_match: Share | None = Field(
        default=None, description="minimum fraction of greedy outputs identical to the reference's"
    )
    on_breach: Literal["caveat", "fail"] = Field(
        default="caveat",
        description="effect of a violated bound: a caveat, or also a failed command",
    )

    @model_validator(mode="after")
    def _has_what_bounds_need(self) -> QualityOptions:
        if self.reference is None and (self.bounds or self.explain):
            raise ValueError(
                "`reference: null` compares with nothing; remove it, or `explain` and the bounds"
            )
        return self

    @property
    def bounds(self) -> dict[str, tuple[str, float]]:
        """The configured quality bounds by metric: ``{"perplexity_ratio": ("max", 1.02)}``."""
        bounds = {name: value for name, value in self if name[:4] in ("max_", "min_")}
        return {n[4:]: (n[:3], bound) for n, bound in bounds.items() if bound is not None}


class PrecisionOptions(plugins.Options):
    """The precision of a latency percentile, as a 99 % confidence interval, that ends a load."""

    of: Annotated[str, Field(pattern=r"^(ttft|e2e)_p(50|90|95|99)$")] = Field(
        default="ttft_p99", description="percentile of TTFT or end-to-end latency to estimate"
    )
    within: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.05, description="target half-width of the interval, relative to the percentile"
    )


class StopOptions(plugins.Options):
    """Stop conditions of a load, in addition to the maxima `requests` and `duration`."""

    min_requests: NonNegativeInt = Field(
        default=0,
        le=MAX_REQUESTS,
        description="minimum measured requests; the load ends when both minima are met",
    )
    min_duration: Seconds = Field(
        default=0.0, ge=0, description="minimum time span of measured arrivals"
    )
    precision: PrecisionOptions | None = Field(
        default=None, description="precision that ends the load once both minima are met"
    )
    error_rate: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        default=None, description="fraction of failed requests above which the load ends early"
    )
    client_lag: Seconds | None = Field(
        default=None, gt=0, description="p99 event-loop lag of the client that ends the load early"
    )


def _sweepable(sweep: dict[str, list[Any]]) -> dict[str, list[Any]]:
    for key, values in sweep.items():
        if not values:
            raise ValueError(f"{key} has no values; list at least one, or remove it")
        if key.partition(".")[0] in ("sweep", "backends", "repeats", "name", "nodes"):
            raise ValueError(f"{key} cannot be swept; sweep e.g. keys of model, workload or load")
        counts = Counter(map(str, values))
        if repeated := [value for value in values if counts[str(value)] > 1]:
            raise ValueError(f"{key} lists {shown(repeated[0])} more than once")
    return sweep


def _gated(tolerances: dict[str, float]) -> dict[str, float]:
    for key, tolerance in tolerances.items():
        if not 0 < tolerance < 1:
            raise ValueError(f"{key}: expected a relative tolerance between 0 and 1, such as 0.03")
    return tolerances


class GateOptions(plugins.Options):
    """The gated metrics and the numbers of runs of `llmbench check`."""

    metrics: Annotated[dict[str, float], AfterValidator(_gated)] = Field(
        default_factory=dict,
        description="relative tolerance of each gated metric: {ttft_p50: 0.03}",
    )
    screen: int = Field(
        default=4,
        ge=4,
        le=MAX_ATTEMPTS,
        description="initial runs of the baseline and of the candidate",
    )
    confirm: int = Field(
        default=8,
        ge=8,
        le=MAX_ATTEMPTS,
        description="new runs of each in each of up to three confirmations",
    )


class AbandonOptions(plugins.Options):
    """The requests whose users give up, and when: ``{share: 0.1, after: 2 s}``."""

    share: Share = Field(description="share of the requests, drawn at random")
    after: Seconds | None = Field(
        default=None,
        gt=0,
        le=MAX_TIMEOUT,
        description="their users give up this long after the due time",
    )
    tokens: int | None = Field(
        default=None,
        ge=1,
        le=MAX_REQUESTS,
        description="their users give up after this many output tokens",
    )

    @model_validator(mode="after")
    def _has_one_moment(self) -> AbandonOptions:
        if self.after is None and self.tokens is None:
            raise ValueError("expected `after` or `tokens`; add `after: 2 s` or `tokens: 16`")
        if self.after is not None and self.tokens is not None:
            raise ValueError("expected `after` or `tokens`, found both; remove one of them")
        return self


class EnergyOptions(plugins.Options):
    """Price and carbon intensity of electricity, for cost and CO2 emissions per token."""

    price_per_kwh: PositiveFloat | None = Field(
        default=None, description="price of electricity per kWh, in any currency"
    )
    grams_co2_per_kwh: PositiveFloat | None = Field(
        default=None, description="carbon intensity of the grid, in grams of CO2 per kWh"
    )


def _form_of_price(value: Any) -> str:
    return PRICES[isinstance(value, dict)]


# one of them is tried, so that a message is about the form that was written
Price = Annotated[
    Annotated[PositiveFloat, Tag(PRICES[False])]
    | Annotated[dict[str, PositiveFloat], Tag(PRICES[True])],
    Discriminator(_form_of_price),
]


def _not_wait(value: Any) -> Any:
    return "queue" if value == "wait" else value


class Scenario(plugins.Options):
    """One experiment: a workload sent by a load to one or more backends, repeated."""

    model_config = ConfigDict(defer_build=True)

    name: str = Field(
        min_length=1,
        pattern=r"^[\w][\w .-]*$",
        description="name of the scenario: letters, digits, spaces, ., - and _",
    )
    description: str = Field(default="", description="one sentence about the scenario")
    model: Annotated[ModelOptions, _shorthand("source")]
    workload: Annotated[Any, AnyPart("workload")] = Field(
        description="prompts and output lengths of requests"
    )
    load: Annotated[Any, AnyPart("load")] = Field(description="when requests are sent")
    backends: list[Annotated[Any, AnyPart("backend")]] = Field(
        min_length=1, description="the systems under test"
    )
    requests: PositiveInt | None = Field(
        default=None, le=MAX_REQUESTS, description="maximum number of measured requests"
    )
    duration: Seconds | None = Field(
        default=None, gt=0, le=MAX_TIMEOUT, description="maximum time span of measured arrivals"
    )
    warmup: Annotated[int, Field(ge=0, le=MAX_REQUESTS)] | Literal["auto"] = Field(
        default=0, description="initial requests excluded from metrics; auto: detected afterwards"
    )
    stop: StopOptions = StopOptions()
    max_in_flight: int | None = Field(
        default=None,
        ge=1,
        le=MAX_IN_FLIGHT,
        description="limit of requests in flight in an open loop",
    )
    on_limit: Annotated[Literal["queue", "drop"], BeforeValidator(_not_wait)] = Field(
        default="queue",
        validation_alias=AliasChoices("on_limit", "behind"),  # `behind: wait` up to version 0.1
        description="requests due while `max_in_flight` is reached: sent late (queue) or never",
    )
    abandon: AbandonOptions | None = Field(
        default=None, description="users who give up: their requests are canceled"
    )
    repeats: int = Field(default=1, ge=1, description="runs per case, each in a new process")
    rerun_contaminated: NonNegativeInt = Field(
        default=2,
        le=MAX_ATTEMPTS,
        description="most further attempts at a run that other programs, steal or throttling"
        " disturbed",
    )
    engine: EngineOptions = EngineOptions()
    parallel: ParallelOptions = ParallelOptions()
    replicas: ReplicasOptions | None = Field(
        default=None,
        description="processes that each serve a local backend, with a balancer before them: their"
        " number, or a list of device sets",
    )
    resources: ResourcesOptions | None = Field(
        default=None, description="what a run needs of a node of a fleet (`llmbench run --ray`)"
    )
    nodes: Nodes = Field(
        default="any",
        description="nodes of a fleet that measure a case: any that can hold it, or one of each"
        " kind",
    )
    sampling: SamplingOptions = SamplingOptions()
    stop_at_eos: bool = Field(
        default=False, description="end outputs early at EOS; if false, their lengths are forced"
    )
    keep_outputs: bool = Field(default=False, description="store the token ids of outputs")
    collect: list[Annotated[Any, AnyPart("collector")]] = Field(
        default_factory=lambda: ["cpu", "gpu", "energy"],
        validate_default=True,
        description="collectors of machine data (if unset: cpu, gpu and energy)",
    )
    slo: Annotated[dict[str, Seconds], AfterValidator(valid_slo)] = Field(
        default_factory=dict, description="latency objectives, such as {ttft_p99: 500 ms}"
    )
    quality: QualityOptions | None = Field(
        default=None, description="comparison of outputs with those of a reference"
    )
    gate: GateOptions = GateOptions()
    energy: EnergyOptions = Field(
        default=EnergyOptions(), description="price and carbon intensity of electricity"
    )
    price_per_hour: Price | None = Field(
        default=None,
        description="price of the machine per hour, in any currency; of several kinds of node, a"
        " price by kind: {H100: 3.2, L4: 0.8}",
    )
    seed: int = Field(default=0, ge=0, description="seed of all random streams")
    seed_per_repeat: bool = Field(
        default=True, description="false: all repeats send the same requests at the same times"
    )
    timeout: Seconds = Field(
        default=1800.0, gt=0, le=MAX_TIMEOUT, description="time limit per run, including loading"
    )
    sweep: Annotated[dict[str, list[Any]], AfterValidator(_sweepable)] = Field(
        default_factory=dict,
        description="lists of values by dotted key; every combination is a case",
    )

    @field_validator("replicas")
    @classmethod
    def _are_of_local_backends(
        cls, replicas: ReplicasOptions | None, info: ValidationInfo
    ) -> ReplicasOptions | None:
        if replicas is None:
            return None
        for backend in info.data.get("backends", ()):
            if backend.kind == "endpoint":
                raise ValueError(
                    f"backend {backend.name} is an endpoint; list several servers as its `url`"
                )
            if getattr(backend, "clock", "real") != "real":
                raise ValueError(
                    f"processes share no virtual clock; set `clock: real` on backend {backend.name}"
                )
        if getattr(info.data.get("load"), "kind", None) == "mlperf":
            raise ValueError("LoadGen (`load: mlperf`) drives one engine; use another load")
        if getattr(info.data.get("parallel"), "tensor", 1) > 1:
            raise ValueError(
                "every replica would divide the model among the same devices (`parallel.tensor`); "
                "remove one of the two"
            )
        return replicas

    @field_validator("quality")
    @classmethod
    def _has_logits(
        cls, quality: QualityOptions | None, info: ValidationInfo
    ) -> QualityOptions | None:
        if quality and quality.reference and info.data.get("replicas"):
            raise ValueError(
                "`reference` needs the model in the run's process, and `replicas` have it in theirs"
                "; set `reference: null` (`under_load` may stay), or measure quality without them"
            )
        return quality

    @model_validator(mode="after")
    def _stops(self) -> Scenario:
        maxima = (self.requests, self.duration)
        minima = not self.stop.precision and (self.stop.min_requests or self.stop.min_duration)
        if maxima == (None, None) and not minima:
            raise ValueError(
                "expected `requests` or `duration` (or minima in `stop`, without `precision`)"
            )
        if self.on_limit == "drop" and self.max_in_flight is None:
            raise ValueError("`on_limit: drop` needs `max_in_flight`")
        for collector in self.collect:
            collector.check_backends([backend.kind for backend in self.backends])
        return self

    @model_validator(mode="after")
    def _answers_greedily(self) -> Scenario:
        if self.quality and self.quality.under_load and self.sampling.temperature:
            raise ValueError(
                "`quality.under_load` compares greedy answers; set `sampling.temperature` to 0, or "
                "remove it"
            )
        return self

    @model_validator(mode="after")
    def _streams_tokens(self) -> Scenario:
        if self.abandon and self.abandon.tokens:
            for backend in self.backends:
                if not getattr(backend, "stream", True):
                    raise ValueError(
                        f"`abandon.tokens` needs streaming, which backend {backend.name} lacks; "
                        "remove its `stream: false`, or set `abandon.after` instead"
                    )
        return self
