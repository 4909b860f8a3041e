"""Kill campaigns at random moments, resume them to the end, and check that nothing is lost.

`python tools/kills.py --count 200 --seed 1` measures a simulated server on a virtual and on the
real clock, and a launched server with two client processes. At random moments a signal ends the
campaign, a worker, a sampler, a client or the launched server. Checked are:

* that the files of every finished run stay as they are, by their hash,
* that `llmbench run --resume` measures what is missing, to the end,
* that the descendants of a killed process end within a second.

With `--url s3://BUCKET/FOLDER` the results are in object storage, and the files are those that are
stored there: a run is finished once its run.json is. Each campaign has a working copy of its own.
With `--ray ADDRESS` nodes of a Ray cluster measure the runs, and only the campaign is killed.

A line is printed for each kill. The exit code is 1 if any check failed. Ctrl-C, SIGTERM and SIGHUP
end the running campaign and print what was found until then; the exit code is 130, 143 or 129.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil

from llmbench.cli import interrupts
from llmbench.runs.object_store import Objects, is_url

SCENARIO = """\
name: kills
model: random:tiny
workload: {{kind: prompts, task: question-answering, output_tokens: 8}}
load: {{kind: closed, concurrency: 2}}
requests: 20
repeats: 2
rerun_contaminated: 0
collect: [{{kind: cpu, interval: 50 ms}}]
backends:
  - {{kind: fake, name: simulated}}
  - {{kind: fake, name: timed, clock: real, prefill: 10 ms, per_token: 2 ms}}
  - kind: endpoint
    clients: 2
    server: {{launch: "{{python}} {script} --serve {{port}}", health: /v1/models}}
"""
POLL_SECONDS = 0.05
ORPHAN_SECONDS = 1.0
STUCK_SECONDS = 120.0
MOST_RESUMES = 5  # without a kill, until a campaign counts as stuck
RUNS = 6

KILL, TERM, HUP, INT = signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT
Target = tuple[psutil.Process, str, tuple[signal.Signals, ...]]
TARGETS = {  # by a word of the command line
    "llmbench.worker": ("worker", (KILL, TERM)),
    "llmbench.collectors.sampler": ("sampler", (KILL, TERM)),
    "llmbench.backends.endpoint.client_process": ("client", (KILL, TERM)),
    "--serve": ("server", (KILL, TERM)),
}
GUARDIAN = "guardian.py"


@dataclass(slots=True)
class Findings:
    """What went wrong, one message each, and the slowest end of a killed process's descendants."""

    problems: list[str] = field(default_factory=list)
    slowest: float = 0.0
    kills: int = 0
    finished: int = 0

    def __str__(self) -> str:
        total = f"{self.kills} kills, {self.finished} finished runs: {len(self.problems)} problems"
        slowest = f"the slowest descendants ended {self.slowest:.2f} s after their ancestor"
        return "\n".join([*self.problems, f"{total}; {slowest}"])


@dataclass(slots=True)
class Campaign:
    """A campaign in a folder, which is killed and resumed; ``hashes`` are of its finished runs.

    ``place`` is where its results are: a folder or a URL. ``folder`` has its log and cache. ``ray``
    is the address of the cluster that measures it, or None.
    """

    folder: Path
    place: str
    scenario: Path
    findings: Findings
    ray: str | None = None
    process: subprocess.Popen[bytes] | None = None
    hashes: dict[str, str] = field(default_factory=dict)

    def start(self) -> subprocess.Popen[bytes]:
        """Begin the campaign, or resume it; do nothing while it runs."""
        if self.process is None or self.process.poll() is not None:
            what = ["--resume"] if self._is_begun() else [str(self.scenario), "--out"]
            fleet = ["--ray", self.ray] if self.ray else []
            cache = {"LLMBENCH_CACHE": str(self._cache)} if is_url(self.place) else {}
            with (self.folder.with_suffix(".log")).open("ab") as log:
                self.process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "llmbench", "run", *what, self.place, *fleet],
                    env={**os.environ, **cache},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    start_new_session=True,
                )
        return self.process

    @property
    def _cache(self) -> Path:
        return self.folder.with_suffix(".cache")

    def _is_begun(self) -> bool:
        """Return whether the run set is there, or waits in the working copy to be uploaded."""
        folder = self._cache if is_url(self.place) else self.folder
        return any(folder.rglob("runset.json"))

    def run_for(self, seconds: float) -> bool:
        """Let the campaign run, and remember finished runs; return whether it ended by itself."""
        process, until = self.start(), time.monotonic() + seconds
        while time.monotonic() < until and process.poll() is None:
            self.remember()
            time.sleep(POLL_SECONDS)
        return process.poll() is not None

    def remember(self) -> None:
        """Add the hashes of runs that have finished since the last call."""
        with self._stored() as root:
            for path in root.glob("runs/[!.]*/run.json"):
                if path.parent.name not in self.hashes and _is_done(path):
                    self.hashes[path.parent.name] = _hash_of(path.parent)
                    self.findings.finished += 1

    def compare(self) -> None:
        """Check that the finished runs are as they were."""
        with self._stored() as root:
            for name, before in self.hashes.items():
                if _hash_of(root / "runs" / name) != before:
                    self.findings.problems.append(f"{self.folder.name}: {name}: lost or changed")

    @contextmanager
    def _stored(self) -> Iterator[Path]:
        """Yield a folder with what is stored: the results themselves, or a new copy of a URL's."""
        if not is_url(self.place):
            yield self.folder
            return
        objects = Objects(self.place)
        with tempfile.TemporaryDirectory(prefix="llmbench-kills-") as folder:
            names = [name for name in objects.all() if name.startswith("runs/")]
            for name in sorted(names, key=lambda name: name.endswith("run.json"), reverse=True):
                objects.download({name: Path(folder) / name})
            yield Path(folder)

    def finish(self) -> None:
        """Resume the campaign until all of its runs are finished."""
        for _ in range(MOST_RESUMES):
            if not self.run_for(STUCK_SECONDS):
                _end_campaigns()
                break
            self.remember()
            self.compare()
            if len(self.hashes) == RUNS:
                return
        self.findings.problems.append(f"{self.folder.name}: stuck; see {self.folder}.log")


def _end_campaigns() -> None:
    """Kill the campaigns of this process, even one whose start was interrupted."""
    running = psutil.Process().children()
    for process in running:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(running)


def _is_done(path: Path) -> bool:
    with suppress(OSError):
        return bool(json.loads(path.read_text("utf-8"))["status"] == "done")
    return False


def _hash_of(folder: Path) -> str:
    """Return a hash of the names and contents of a folder's files."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*")):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()


# -- kills -----------------------------------------------------------------------------------------


def kill(campaign: Campaign, rng: random.Random) -> str:
    """Send a random signal to a random process of a campaign; return what was killed."""
    process = campaign.start()
    root = psutil.Process(process.pid)
    targets: list[Target] = [(root, "campaign", (TERM, HUP, INT, KILL))] * 2
    for child in root.children(recursive=True):
        with suppress(psutil.Error):
            targets += _as_target(child)
    victim, name, signals = rng.choice(targets)
    number = rng.choice(signals)
    with suppress(psutil.NoSuchProcess):
        family = victim.children(recursive=True)
        victim.send_signal(number)
        _wait(process if victim == root else victim, number, family, campaign)
    return f"{signal.Signals(number).name} to the {name}"


def _as_target(process: psutil.Process) -> list[Target]:
    words = process.cmdline()
    if any(word.endswith(GUARDIAN) for word in words):
        return []
    return [(process, *TARGETS[word]) for word in words if word in TARGETS]


def _wait(
    victim: subprocess.Popen[bytes] | psutil.Process,
    number: int,
    family: Sequence[psutil.Process],
    campaign: Campaign,
) -> None:
    """Wait until a process has ended, and check that its descendants end soon after it."""
    findings = campaign.findings
    try:
        victim.wait(timeout=STUCK_SECONDS)
    except (psutil.TimeoutExpired, subprocess.TimeoutExpired):
        findings.problems.append(f"{campaign.folder.name}: did not end after signal {number}")
        return
    ended = time.monotonic()
    while (alive := [*filter(_is_running, family)]) and time.monotonic() < ended + ORPHAN_SECONDS:
        time.sleep(POLL_SECONDS / 5)
    findings.slowest = max(findings.slowest, time.monotonic() - ended)
    for orphan in alive:
        findings.problems.append(f"{campaign.folder.name}: still running: {orphan}")
        with suppress(psutil.NoSuchProcess):
            orphan.kill()
    code = victim.returncode if isinstance(victim, subprocess.Popen) else 0
    if code not in (0, 1, -number, 128 + number):
        problem = f"exit code {code} after signal {number}"
        findings.problems.append(f"{campaign.folder.name}: {problem}")


def _is_running(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def attack(folder: Path, arguments: argparse.Namespace, findings: Findings) -> None:
    """Kill campaigns in a folder as often as the arguments say, and check what they leave.

    A campaign goes on after the death of another
    process, and is resumed after its own.
    """
    rng = random.Random(arguments.seed)  # noqa: S311 (no cryptography)
    scenario = folder / "kills.yaml"
    scenario.write_text(SCENARIO.format(script=Path(__file__).resolve()), "utf-8")

    def begun(number: int) -> Campaign:
        path = folder / f"campaign-{number}"
        place = str(path) if arguments.url is None else f"{arguments.url}/{path.name}"
        return Campaign(path, place, scenario, findings, arguments.ray)

    campaigns, campaign = 1, begun(1)
    try:
        while findings.kills < arguments.count:
            moment = rng.uniform(0.0, arguments.latest)
            while len(campaign.hashes) == RUNS or campaign.run_for(moment):
                campaign.finish()
                campaigns += 1
                campaign = begun(campaigns)
            killed = kill(campaign, rng)
            findings.kills += 1
            campaign.remember()
            campaign.compare()
            problems = f", {len(findings.problems)} problems" if findings.problems else ""
            kept = f"{len(campaign.hashes)} finished runs of campaign {campaigns} kept"
            done = f"kill {findings.kills} of {arguments.count}"
            print(f"{done}: {killed} after {moment:.2f} s: {kept}{problems}", flush=True)
        campaign.finish()
    finally:
        _end_campaigns()


# -- a server to launch ----------------------------------------------------------------------------


class _Handler(BaseHTTPRequestHandler):
    """Answers every request with eight tokens, like a server of the OpenAI API."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet per response: a second one would wait 40 ms for an ACK

    def do_GET(self) -> None:
        """Return the list of models."""
        self._send(b'{"data": [{"id": "served"}]}', "application/json")

    def do_POST(self) -> None:
        """Return a stream of tokens."""
        self.rfile.read(int(self.headers["Content-Length"]))
        token = b'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n'
        usage = b'data: {"choices": [], "usage": {"prompt_tokens": 8, "completion_tokens": 8}}\n\n'
        time.sleep(0.01)
        self._send(8 * token + usage + b"data: [DONE]\n\n", "text/event-stream")

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def _send(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def serve(port: int) -> None:
    """Serve on a port, next to a child in a session of its own, as some servers have."""
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    threading.Thread(target=child.wait, daemon=True).start()
    ThreadingHTTPServer(("127.0.0.1", port), _Handler).serve_forever()


def main(argv: Sequence[str] | None = None) -> int:
    """Attack campaigns and print what was found; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=200, help="number of kills (200)")
    parser.add_argument("--seed", type=int, default=0, help="seed of moments and targets (0)")
    text = "longest time between two kills in seconds (8)"
    parser.add_argument("--latest", type=float, default=8.0, metavar="SECONDS", help=text)
    parser.add_argument("--folder", type=Path, help="new folder for the campaigns (temporary)")
    parser.add_argument("--url", help="store the results below a URL such as s3://bucket/kills")
    parser.add_argument("--ray", metavar="ADDRESS", help="measure on nodes of this Ray cluster")
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.serve:
        serve(arguments.serve)
    # a shell's background job ignores SIGINT, and campaigns would inherit that
    signal.signal(INT, signal.default_int_handler)
    findings = Findings()
    with tempfile.TemporaryDirectory(prefix="llmbench-kills-") as temporary:
        folder: Path = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with interrupts.raised():
                attack(folder, arguments, findings)
        except KeyboardInterrupt as interrupt:
            print(f"interrupted\n{findings}")
            return interrupts.exit_code(interrupt)
    print(findings)
    return int(bool(findings.problems))


if __name__ == "__main__":
    raise SystemExit(main())
