"""Every command that writes or reads results folders takes the URL of one in a store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import small_sets
from object_storage import (
    ACCESS_KEY,
    SECRET_KEY,
    SESSION_TOKEN,
    Bucket,
    ObjectStorage,
    forget_clients,
    free_port,
)

from llmbench.cli import build_parser, main, options
from llmbench.report.serve.site import Site
from llmbench.runs import remote, store
from llmbench.runs.object_store import Objects, StoreError

SCENARIO = """\
name: simulated
model: random:tiny
workload: {kind: synthetic, prompt_tokens: 8, output_tokens: 4}
load: {kind: poisson, rate: 4/s}
requests: 10
repeats: 3
collect: []
backends: [fake]
"""
SIGNATURE = "a1b2c3d4e5f6a7b8c9d0a1b2c3d4e5f6a7b8c9d0"
RUNS = [f"fake-r{repeat}" for repeat in (1, 2, 3)]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    path = tmp_path / "simulated.yaml"
    path.write_text(SCENARIO)
    return str(path)


@pytest.fixture
def url(bucket: Bucket) -> str:
    """The URL of a stored run set."""
    url = f"{bucket.url}/nightly/run"
    small_sets.stored(remote.opened(url), 0.25, 0.5)
    remote.push(remote.opened(url))
    return url


def done(bucket: Bucket, folder: str) -> list[str]:
    """Return the names of the stored runs that are measured."""
    heads = [name for name in bucket.names(folder) if name.endswith("/run.json")]
    statuses = {name: json.loads(bucket.read(f"{folder}/{name}"))["status"] for name in heads}
    return sorted(name.split("/")[1] for name, status in statuses.items() if status == "done")


def upload_at_most(count: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Lose the store after a number of uploads; return what brings it back."""
    before = Objects.upload
    uploaded: list[str] = []

    def upload(objects: Objects, path: Path, name: str) -> Any:
        if len(uploaded) >= count:
            raise StoreError(f"{objects.url}: cannot be reached (TimeoutError)")
        uploaded.append(name)
        return before(objects, path, name)

    monkeypatch.setattr(Objects, "upload", upload)
    return lambda: monkeypatch.setattr(Objects, "upload", before)


# -- measuring -------------------------------------------------------------------------------------


def test_a_run_is_stored_with_its_report_and_shown_by_its_url(
    scenario: str, bucket: Bucket, capsys: Capture, tmp_path: Path
) -> None:
    url = f"{bucket.url}/a run"
    assert main(["run", scenario, "--out", url]) == 0
    output = "".join(capsys.readouterr())
    assert f"results  {url}\nreport   {url}/report.html" in output
    assert str(tmp_path / "cache") not in output
    names = bucket.names("a run")
    assert {"runset.json", "report.html", *(f"runs/{name}/run.json" for name in RUNS)} <= set(names)
    assert [name for name in names if "/." in f"/{name}"] == []


@pytest.mark.usefixtures("plain_pages")
def test_results_are_json_with_urls(scenario: str, bucket: Bucket, capsys: Capture) -> None:
    url = f"{bucket.url}/run"
    assert main(["run", scenario, "--out", url, "--json", "--quiet"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["folder"], answer["report"]) == (url, f"{url}/report.html")


def test_a_folder_that_is_used_is_refused(scenario: str, url: str, capsys: Capture) -> None:
    assert main(["run", scenario, "--out", url]) == 2
    assert f"{url}: is not empty; choose a new folder" in capsys.readouterr().err


@pytest.mark.usefixtures("plain_pages")
def test_runs_of_a_campaign_without_its_store_are_kept_and_uploaded_on_resume(
    scenario: str, bucket: Bucket, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{bucket.url}/run"
    back = upload_at_most(1 + 5, monkeypatch)  # the manifest and the first run
    assert main(["run", scenario, "--out", url]) == 2
    output, error = capsys.readouterr()
    assert "3 × 10 requests" in output
    assert "cannot be reached (TimeoutError). Nothing is lost: 2 runs not yet uploaded" in error
    assert f"upload with: llmbench run --resume {url}" in error
    assert len(done(bucket, "run")) == 1
    back()
    assert main(["run", "--resume", url, "--quiet"]) == 0
    assert done(bucket, "run") == RUNS


@pytest.mark.usefixtures("plain_pages")
def test_a_campaign_is_resumed_on_another_machine(
    scenario: str, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{bucket.url}/run"
    assert main(["run", scenario, "--out", url, "--quiet"]) == 0
    before = bucket.contents("run/runs/fake-r1")
    for name in bucket.names("run/runs/fake-r2"):
        bucket.remove(f"run/runs/fake-r2/{name}")
    monkeypatch.setenv("LLMBENCH_CACHE", str(tmp_path / "other"))
    assert main(["run", "--resume", url, "--quiet"]) == 0
    assert done(bucket, "run") == RUNS
    assert bucket.contents("run/runs/fake-r1") == before


@pytest.mark.parametrize("command", ["run {scenario} --out {url}", "report {url}", "serve {url}"])
def test_a_store_that_cannot_be_used_is_one_message(
    command: str, scenario: str, bucket: Bucket, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown(url: str) -> str:
        assert main(command.format(scenario=scenario, url=url).split()) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    assert "s3://nobody does not exist; create the bucket" in shown("s3://nobody/run")
    with bucket.storage.refusing():
        assert "access is refused (InvalidAccessKeyId)" in shown(f"{bucket.url}/run")
    forget_clients(monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    assert "cannot be reached" in shown(f"{bucket.url}/run")


# -- reading ---------------------------------------------------------------------------------------


def test_a_command_line_with_a_url_is_parsed_without_its_store() -> None:
    arguments = build_parser().parse_args(["report", "s3://nobody/run", "results/run"])
    assert arguments.folders == [options.Url("s3://nobody/run"), Path("results/run")]


def test_a_local_file_has_no_url(capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main(["report", "results/run", "--out", "s3://bucket/page.html?X-Amz-Signature=abc"])
    error = capsys.readouterr().err
    assert "'s3://bucket/page.html': expected a local path; only results folders have URLs" in error


def test_a_report_is_written_to_the_store(url: str, bucket: Bucket, capsys: Capture) -> None:
    assert main(["report", url]) == 0
    assert f"report   {url}/report.html" in capsys.readouterr().out
    assert b"<html" in bucket.read("nightly/run/report.html")


def test_run_sets_of_a_store_are_compared(url: str, tmp_path: Path, capsys: Capture) -> None:
    local = small_sets.stored(tmp_path / "local", 0.25, 0.5)
    assert main(["compare", url, str(local), "--json"]) == 0
    (comparison,) = json.loads(capsys.readouterr().out)
    assert (comparison["baseline"], comparison["candidate"]) == (url, str(local))


def test_a_run_set_of_a_store_is_exported(url: str, capsys: Capture) -> None:
    assert main(["export", url, "--format", "csv", "--what", "runs"]) == 0
    assert "output_tokens_per_second" in capsys.readouterr().out


def test_a_run_set_of_a_store_is_added_to_a_history_and_written_as_a_baseline(
    url: str, tmp_path: Path, capsys: Capture
) -> None:
    assert main(["history", str(tmp_path / "history.jsonl"), "--add", url, "--json"]) == 0
    assert main(["baseline", url, str(tmp_path / "baseline.json")]) == 0
    assert (tmp_path / "history.jsonl").read_text().count("\n") == 1
    assert json.loads((tmp_path / "baseline.json").read_text())["name"] == "small"
    capsys.readouterr()


@pytest.mark.usefixtures("plain_pages")
def test_a_check_has_a_baseline_in_a_store(
    scenario: str, bucket: Bucket, tmp_path: Path, capsys: Capture
) -> None:
    url = f"{bucket.url}/baseline"
    assert main(["run", scenario, "--out", url, "--quiet"]) == 0
    check = ["check", scenario, "--baseline", url, "--out", str(tmp_path / "check"), "--quiet"]
    assert main([*check, "--json"]) in (0, 3)
    assert json.loads(capsys.readouterr().out)["baseline"] == url


def test_run_sets_of_a_store_are_listed_shown_and_pruned(
    url: str, bucket: Bucket, capsys: Capture
) -> None:
    bucket.write("nightly/notes.txt", b"not ours")
    assert main(["results", "list", bucket.url]) == 0
    assert capsys.readouterr().out.startswith(f"{url}  small, 2026-01-01T00:00, 2 of 2 runs, ")
    assert main(["list", "results", "--folder", bucket.url]) == 0
    assert url in capsys.readouterr().out
    assert main(["results", "show", url]) == 0
    assert f"results  {url}" in capsys.readouterr().out
    assert main(["results", "prune", bucket.url, "--keep", "0", "--yes"]) == 0
    assert f"deleted  {url}" in capsys.readouterr().out
    assert bucket.names() == ["nightly/notes.txt"]


@pytest.mark.usefixtures("plain_pages")
def test_the_newest_report_of_a_store_is_opened(
    url: str, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    assert main(["report", url]) == 0
    shown: list[str] = []

    def show(address: str) -> bool:
        shown.append(address)
        return True

    monkeypatch.setattr("webbrowser.open", show)
    monkeypatch.setenv("LLMBENCH_CACHE", str(tmp_path / "other"))
    assert main(["open", bucket.url]) == 0
    (address,) = shown
    assert address.endswith("/nightly/run/report.html")
    assert not [*(tmp_path / "other").rglob("*.parquet")]
    capsys.readouterr()


def test_a_meter_is_attached_to_runs_of_a_store(
    bucket: Bucket, url: str, tmp_path: Path, capsys: Capture
) -> None:
    log = tmp_path / "meter.csv"
    log.write_text("time,watts\n0,90\n1,110\n")
    assert main(["meter", url, str(log)]) == 2  # it covers no run
    assert f"covers no run of {url}" in capsys.readouterr().err
    assert "nightly/run/.lock" not in bucket.names()


def test_a_server_shows_run_sets_below_a_prefix_as_they_change(
    url: str, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(remote.opened(bucket.url))
    assert b"nightly/run" in site.answer("/").body
    for name in bucket.names("nightly/run"):
        bucket.write(f"nightly/later/{name}", bucket.read(f"nightly/run/{name}"))
    now = time.monotonic() + 2 * remote.STALE_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert b"nightly/later" in site.answer("/").body
    assert site.answer("/report/nightly/later").status == 200
    assert url.endswith("nightly/run")


# -- secrets and kills -----------------------------------------------------------------------------


def llmbench(storage: ObjectStorage, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the command in a process of its own, with the store's variables."""
    cache = {"LLMBENCH_CACHE": str(folder / "cache")}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "llmbench", *arguments],
        cwd=folder,
        env={**os.environ, **storage.variables, **cache},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
    )


def readable(path: Path) -> str:
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        return f"{table.to_pylist()} {table.schema.metadata}"
    return path.read_text("utf-8", "replace")


def leaks(text: str) -> list[str]:
    """Return the parts of secrets in a text."""
    secrets = (ACCESS_KEY, SECRET_KEY, SESSION_TOKEN, SIGNATURE)
    parts = {secret[at : at + 8] for secret in secrets for at in range(len(secret) - 7)}
    return sorted(part for part in parts if part in text)


def test_no_credential_of_a_store_is_stored_or_shown(
    scenario: str, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    signed = f"https://{bucket.name}.s3.amazonaws.com/run?X-Amz-Signature={SIGNATURE}"
    monkeypatch.setenv("LLMBENCH_LOG", "debug")
    monkeypatch.setenv("RESULTS_URL", signed)
    run = ("run", scenario, "--out", f"{bucket.url}/run", "--set", "repeats=1")
    commands: Sequence[Sequence[str]] = (
        run,
        ("report", f"{bucket.url}/run"),
        ("report", "s3://nobody/run"),
        ("report", f"s3://{ACCESS_KEY}:{SECRET_KEY}@{bucket.name}/run"),
        ("report", signed),
        ("export", f"{bucket.url}/run?X-Amz-Signature={SIGNATURE}", "--format", "csv"),
    )
    shown = llmbench(bucket.storage, tmp_path, *run).communicate()[0]
    codes = [main(command) for command in commands]
    with bucket.storage.refusing():
        codes.append(main(["report", f"{bucket.url}/run"]))
    shown += "".join(capsys.readouterr())
    assert codes == [2, 0, 2, 2, 2, 2, 2]
    assert f"results  {bucket.url}/run" in shown
    assert "access is refused" in shown
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"records.parquet", "run.json", "report.html"}
    assert leaks(shown) == []
    assert {path: found for path in files if (found := leaks(readable(path)))} == {}
    assert {n: f for n, data in bucket.contents().items() if (f := leaks(repr(data)))} == {}


def killed_after(process: subprocess.Popen[str], is_due: Callable[[], bool]) -> None:
    """Kill a command and its workers with SIGKILL once a condition holds, or it has ended."""
    while process.poll() is None and not is_due():
        time.sleep(0.01)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def finish(bucket: Bucket, folder: Path, scenario: str) -> None:
    """Resume a killed campaign to its end, or repeat it if it was killed before it had begun."""
    is_begun = any((folder / "cache").rglob("runset.json"))
    how = ("--resume",) if is_begun else (scenario, "--out")
    process = llmbench(bucket.storage, folder, "run", *how, f"{bucket.url}/run", "--quiet")
    shown = process.communicate()[0]
    assert process.returncode == 0, shown


def test_a_campaign_that_is_killed_keeps_its_stored_runs(
    scenario: str, bucket: Bucket, storage: ObjectStorage, tmp_path: Path
) -> None:
    process = llmbench(storage, tmp_path, "run", scenario, "--out", f"{bucket.url}/run", "--quiet")
    killed_after(process, lambda: bool(done(bucket, "run")))
    assert "run/.lock" in bucket.names()
    before = {name: bucket.contents(f"run/runs/{name}") for name in done(bucket, "run")}
    finish(bucket, tmp_path, scenario)
    assert before
    assert {name: bucket.contents(f"run/runs/{name}") for name in before} == before
    assert done(bucket, "run") == RUNS
    assert store.read(remote.opened(f"{bucket.url}/run")).missing == []


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(12))
def test_a_campaign_that_is_killed_at_any_moment_keeps_its_stored_runs(
    moment: int, scenario: str, bucket: Bucket, storage: ObjectStorage, tmp_path: Path
) -> None:
    process = llmbench(storage, tmp_path, "run", scenario, "--out", f"{bucket.url}/run", "--quiet")
    killed_after(process, lambda: len(bucket.names("run")) > moment)
    before = {name: bucket.contents(f"run/runs/{name}") for name in done(bucket, "run")}
    whole = {name for name in before if "records.parquet" in before[name]}
    assert whole == set(before)
    finish(bucket, tmp_path, scenario)
    assert {name: bucket.contents(f"run/runs/{name}") for name in before} == before
    assert done(bucket, "run") == RUNS
