"""How profiles are stored, and what follows from what is stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import profiles
import pytest

from llmbench.errors import InputError
from llmbench.runs import profile


def test_a_profile_is_read_as_it_was_stored(tmp_path: Path) -> None:
    folder = tmp_path / "why"
    profile.create(profiles.profile(folder))
    for case in (profiles.case(), profiles.failed()):
        profile.add(folder, case)
    stored = profiles.profile(folder, profiles.case(), profiles.failed())
    assert profile.read(folder) == stored
    assert profile.is_profile(folder)
    assert [case.case.name for case in stored.failed] == ["onnx"]


def test_figures_follow_from_what_is_stored() -> None:
    phase = profiles.phase()
    assert phase.seconds == 0.004
    assert phase.ratio == pytest.approx(1.25)
    assert phase.profiled_seconds == pytest.approx(0.005)
    assert phase.idle_seconds == pytest.approx(0.0015)
    assert (phase.launches_per_step, phase.launches_per_token) == (12, 3)


def test_a_folder_that_is_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "something").touch()
    with pytest.raises(InputError, match=r"is not empty; choose a new folder$"):
        profile.create(profiles.profile(tmp_path))


def test_a_profile_of_version_1_is_read_without_specs(tmp_path: Path) -> None:
    stored = profiles.profile(tmp_path / "why", profiles.case(), profiles.failed())
    profile.create(stored)
    path = stored.folder / profile.FILE
    content = json.loads(path.read_text())
    content["schema_version"] = 1
    for case in content["cases"]:
        name, slug, backend, point, _ = case.pop("case").values()
        case |= {"case": name, "slug": slug, "backend": backend, "point": point}
    path.write_text(json.dumps(content))
    assert profile.read(stored.folder) == stored


@pytest.mark.parametrize("text", ["{", "[]", '{"format": "llmbench profile", "schema_version": 9}'])
def test_anything_but_a_profile_of_this_version_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / profile.FILE).write_text(text)
    with pytest.raises(InputError, match="profile again"):
        profile.read(tmp_path)


def test_the_file_has_its_format_and_version(tmp_path: Path) -> None:
    profile.create(profiles.profile(tmp_path / "why"))
    text = json.loads((tmp_path / "why" / profile.FILE).read_text())
    assert (text["format"], text["schema_version"]) == ("llmbench profile", 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"began_at": "now"}, "`began_at` is not a time"),
        ({"cases": [{}]}, r"missing required field `case` - at `\$\.cases\[0\]`"),
        ({"planned": [None]}, r"got `null` - at `\$\.planned\[0\]`"),
    ],
)
def test_a_wrong_value_is_refused_with_its_key(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    profile.create(profiles.profile(tmp_path / "why", profiles.case()))
    path = tmp_path / "why" / profile.FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(InputError, match=rf"profile\.json: .*{message}"):
        profile.read(tmp_path / "why")


@pytest.mark.parametrize("trace", ["../../x", "/etc/passwd", "javascript:alert(1)", "traces/../x"])
def test_a_trace_outside_the_folder_of_traces_is_refused(tmp_path: Path, trace: str) -> None:
    phase = profiles.phase(trace=trace)
    profile.create(profiles.profile(tmp_path / "why", profiles.case(phases=(phase,))))
    with pytest.raises(InputError, match=r"regex .* - at `\$\.cases\[0\]\.phases\[0\]\.trace`"):
        profile.read(tmp_path / "why")


def test_a_profile_is_stored_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "sk-canary-0123456789")
    failed = profiles.failed(message="no sk-canary-0123456789")
    profile.create(profiles.profile(tmp_path / "why", failed))
    assert "canary" not in (tmp_path / "why" / profile.FILE).read_text()
