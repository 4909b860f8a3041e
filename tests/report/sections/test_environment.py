"""The environment of a run set: one machine, or a column for each kind of node."""

from __future__ import annotations

from node_sets import THROUGHPUT, Nodes, of

from llmbench.report.results import Results
from llmbench.report.sections.environment import environment
from llmbench.report.table import Table

ONE = {THROUGHPUT: (1.0, 1.0)}
L4 = Nodes("L4", ONE, environment={"system": {"kernel": "6.1"}})
H100 = Nodes("H100", ONE, environment={"system": {"kernel": "6.1"}, "packages": {"torch": "2.13"}})


def rows(table: Table) -> dict[str, list[str]]:
    return {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}


def test_one_kind_of_node_has_one_column_of_values() -> None:
    table = environment(Results(of(L4)))
    assert [column.label for column in table.columns] == ["fact", "value"]
    assert rows(table)["cpu.model"] == ["CPU of L4"]


def test_each_kind_of_node_has_a_column_and_a_mark_where_it_differs() -> None:
    table = environment(Results(of(L4, H100)))
    assert [column.label for column in table.columns] == ["fact", "L4", "H100"]
    assert rows(table)["cpu.model"] == ["CPU of L4", "CPU of H100"]
    assert rows(table)["system.kernel"] == ["6.1", "6.1"]
    assert rows(table)["packages.torch"] == ["—", "2.13"]
    differs = {row[0].text: row[0].detail for row in table.rows}
    assert (differs["cpu.model"], differs["system.kernel"]) == ("≠ differs", "")


def test_a_run_set_without_runs_has_no_environment() -> None:
    assert environment(Results(of())).rows == ()
