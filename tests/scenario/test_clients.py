"""What is wrong with the load clients of an endpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmbench.errors import ScenarioError
from llmbench.scenario.file import load

SCENARIO = """\
name: small
model: served:model
workload: synthetic
load: closed
requests: 3
backends:
- kind: {kind}
  clients: {clients}
"""


def refusal(tmp_path: Path, clients: str, kind: str = "endpoint") -> str:
    path = tmp_path / "small.yaml"
    path.write_text(SCENARIO.format(clients=clients, kind=kind))
    with pytest.raises(ScenarioError) as error:
        load(path)
    return str(error.value).removeprefix(f"{path}:8: backends.0.clients")


@pytest.mark.parametrize(
    ("clients", "message"),
    [
        ("0", ": must be greater than or equal to 1, found 0"),
        ("many", ": must be a whole number, found 'many'"),
        ("true", ": must be a whole number, found True"),
        ("{ray: true}", ".ray: must be a whole number, found True"),
        ("{ray: 0}", ".ray: must be greater than or equal to 1, found 0"),
        ("{address: auto}", ".ray: is required and missing"),
        ("{ray: 4, adress: auto}", ".adress: no such key; did you mean 'address'?"),
    ],
)
def test_wrong_clients_are_refused_with_their_key(
    tmp_path: Path, clients: str, message: str
) -> None:
    assert refusal(tmp_path, clients) == message


def test_clients_of_a_local_backend_are_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, "{ray: 4}", kind="fake")
    assert message == ": no such key; did you mean 'backends: [{kind: endpoint, clients: ...}]'?"
