"""Workers of other checkouts find the parts of their own version."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llmbench.campaign.checkout import check_out, installation_of
from llmbench.cli import main
from llmbench.errors import InputError

ROOT = Path(__file__).parent.parent.parent
BEFORE_THE_MOVE = "9cc9a57"  # backends.eager became backends.torch.eager in the next commits
EAGER = """
from importlib.metadata import entry_points
print(entry_points(group="llmbench.backends")["eager"].value)
"""


def eager_of(checkout: Path, folder: Path) -> str:
    """Return where a worker of a checkout looks for the eager backend."""
    environment = installation_of(checkout, folder).environment
    command = [sys.executable, "-P", "-c", EAGER]
    listed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return listed.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    there = tmp_path / "other"
    (there / "llmbench").mkdir(parents=True)
    (there / "llmbench" / "__init__.py").touch()
    return there


def test_a_checkout_finds_the_parts_that_it_lists_itself(checkout: Path, tmp_path: Path) -> None:
    project = '[project.entry-points."llmbench.backends"]\neager = "llmbench.old.place:Eager"\n'
    (checkout / "pyproject.toml").write_text(project)
    assert eager_of(checkout, tmp_path / "parts") == "llmbench.old.place:Eager"
    assert not list(checkout.glob("*.dist-info"))  # nothing is written into the checkout


@pytest.mark.parametrize("project", [None, "not TOML", "[project]\nname = 'llmbench'\n"])
def test_a_checkout_that_lists_no_parts_has_those_of_the_installation(
    checkout: Path, tmp_path: Path, project: str | None
) -> None:
    if project is not None:
        (checkout / "pyproject.toml").write_text(project)
    assert eager_of(checkout, tmp_path / "parts") == "llmbench.backends.torch.eager:Eager"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a repository, now the working directory, with a commit of a package of two files."""
    folder = tmp_path / "repository"
    (folder / "llmbench").mkdir(parents=True)
    for name in ("__init__.py", "worker.py"):
        (folder / "llmbench" / name).touch()
    monkeypatch.chdir(folder)
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "-m", "all")
    return folder


def git(*arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *identity, *arguments], check=True)


@pytest.mark.parametrize("reference", ["", "-", "--x", "--detach", "-b x", "-fx"])
@pytest.mark.usefixtures("repository")
def test_an_option_is_no_reference(tmp_path: Path, reference: str) -> None:
    with pytest.raises(InputError, match=r"not a commit; use a branch, tag or hash") as refused:
        check_out(reference, tmp_path / "there")
    assert str(refused.value).startswith(f"--baseline git:{reference}: ")
    assert not (tmp_path / "there").exists()


@pytest.mark.usefixtures("repository")
def test_an_unknown_reference_is_refused_with_what_git_says(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="git:nowhere: fatal: invalid reference: nowhere"):
        check_out("nowhere", tmp_path / "there")


@pytest.mark.usefixtures("repository")
def test_a_folder_may_be_named_like_an_option() -> None:
    assert (check_out("HEAD", Path("--force")) / "llmbench" / "worker.py").is_file()


@pytest.mark.usefixtures("repository")
def test_a_checkout_that_git_did_not_complete_is_made_again(tmp_path: Path) -> None:
    there = check_out("HEAD", tmp_path / "there")
    (there / "llmbench" / "worker.py").unlink()
    git("worktree", "lock", str(there))  # as `git worktree add` does meanwhile
    check_out("HEAD", there)
    assert (there / "llmbench" / "worker.py").is_file()


@pytest.mark.usefixtures("repository")
def test_a_checkout_that_was_removed_is_made_again(tmp_path: Path) -> None:
    there = check_out("HEAD", tmp_path / "there")
    shutil.rmtree(there)
    assert check_out("HEAD", there) == there


@pytest.mark.usefixtures("repository")
def test_changes_in_a_checkout_are_kept(tmp_path: Path) -> None:
    there = check_out("HEAD", tmp_path / "there")
    (there / "llmbench" / "worker.py").write_text("changed")
    assert (check_out("HEAD", there) / "llmbench" / "worker.py").read_text() == "changed"


@pytest.mark.usefixtures("repository")
def test_git_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="needs git, which is not installed"):
        check_out("HEAD", tmp_path / "there")


def test_a_commit_without_the_package_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "init", "--quiet"], check=True)
    subprocess.run(
        ["git", *identity, "commit", "--quiet", "--allow-empty", "-m", "empty"], check=True
    )
    with pytest.raises(InputError, match="git:HEAD: has no llmbench package"):
        check_out("HEAD", tmp_path / "there")


SCENARIO = """\
name: moved
model: random:tiny
workload: {kind: synthetic, prompt_tokens: 8, output_tokens: 4}
load: {kind: closed, concurrency: 2}
requests: 8
backends: [eager]
gate: {metrics: {memory_weights_bytes: 0.01}}
"""


@pytest.mark.slow
def test_a_commit_from_before_modules_moved_is_measured_as_a_baseline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = tmp_path / "clone"  # so that the worktree is not one of this repository
    subprocess.run(["git", "clone", "--quiet", "--shared", str(ROOT), str(clone)], check=True)
    known = ["git", "-C", str(clone), "cat-file", "-e", f"{BEFORE_THE_MOVE}^{{commit}}"]
    if subprocess.run(known, check=False, capture_output=True).returncode:
        pytest.skip(f"{BEFORE_THE_MOVE} is not in the history here")
    (tmp_path / "moved.yaml").write_text(SCENARIO)
    monkeypatch.chdir(clone / "docs")  # the candidate is the installation, not the clone
    out = tmp_path / "out"
    arguments = ["--baseline", f"git:{BEFORE_THE_MOVE}", "--out", str(out), "--quiet"]
    assert main(["check", str(tmp_path / "moved.yaml"), *arguments]) == 0
    (case,) = json.loads((out / "verdicts.json").read_text())["cases"]
    assert case["processes"] == [4, 4]
    assert case["verdicts"]["memory_weights_bytes"]["outcome"] == "equivalent"
