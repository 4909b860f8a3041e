"""The scenarios of llmbench are found by name, in a checkout and in a wheel."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from llmbench.errors import ScenarioError
from llmbench.scenario import file as scenario_file
from llmbench.scenario import shipped

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", shipped.names())
def test_a_shipped_scenario_is_loaded_by_its_name(name: str) -> None:
    assert scenario_file.load(name).text == (ROOT / f"scenarios/{name}.yaml").read_text("utf-8")


def test_a_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = shipped.path_of("default").read_text("utf-8").replace("name: default", "name: mine")
    Path("default").write_text(text)
    assert scenario_file.load("default").scenario.name == "mine"


@pytest.mark.parametrize("name", ["defalt", "defalt.yaml", "scenarios/default.yaml"])
def test_a_missing_file_has_the_closest_shipped_one_as_a_hint(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ScenarioError) as caught:
        scenario_file.load(name)
    hint = "no such scenario file; did you mean default, which ships with llmbench?"
    assert str(caught.value) == f"{name}: {hint}"


def test_a_shipped_scenario_has_its_name_as_the_place() -> None:
    assert scenario_file.load("tasks/translation").origins["name",].startswith("tasks/translation:")


@pytest.mark.slow
def test_a_wheel_has_the_scenarios(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", tmp_path, ROOT], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        files = {name for name in archive.namelist() if name.endswith(".yaml")}
    assert files == {f"llmbench/scenarios/{name}.yaml" for name in shipped.names()}
