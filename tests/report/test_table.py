"""Columns that have the same value in all rows leave the table."""

from __future__ import annotations

from llmbench.report import html
from llmbench.report.table import Cell, Column, Table, missing, reasons, split_shared, text_columns

COLUMNS = (*text_columns("case"), Column("runs"), Column("seconds"))


def table(*rows: tuple[Cell, ...]) -> Table:
    return Table("Results", COLUMNS, rows)


def test_a_column_of_one_value_leaves_the_table() -> None:
    rows = ((Cell("a"), Cell("3", 3), Cell("1", 1)), (Cell("b"), Cell("3", 3), Cell("2", 2)))
    left, shared = split_shared(table(*rows))
    assert [column.label for column in left.columns] == ["case", "seconds"]
    assert [[cell.text for cell in row] for row in left.rows] == [["a", "1"], ["b", "2"]]
    assert [(column.label, cell) for column, cell in shared] == [("runs", Cell("3", 3))]


def test_cells_that_only_look_the_same_stay() -> None:
    rows = ((Cell("a"), Cell("3", 3.01), Cell("1")), (Cell("b"), Cell("3", 3.02), Cell("2")))
    assert split_shared(table(*rows)) == (table(*rows), [])


def test_the_headings_of_rows_stay() -> None:
    rows = ((Cell("a"), Cell("3"), Cell("1")),) * 2
    left, shared = split_shared(table(*rows))
    assert [column.label for column in left.columns] == ["case"]
    assert len(shared) == 2


def test_a_table_of_one_row_is_left_alone() -> None:
    only = table((Cell("a"), Cell("3"), Cell("1")))
    assert split_shared(only) == (only, [])


def test_a_page_has_the_shared_values_in_the_caption() -> None:
    rows = ((Cell("a"), Cell("3", 3), Cell("<1>")), (Cell("b"), Cell("3", 3), Cell("2")))
    page = html.render_macro("table", table(*rows))
    caption = page.partition("<caption>")[2].partition("</caption>")[0]
    assert caption == 'Same in all rows: <span>runs <b data-value="3">3</b></span>.'
    assert page.count("<td") == 2


def test_a_reason_names_its_rows_unless_it_holds_for_all() -> None:
    some = [(Cell("a"), missing("not asked")), (Cell("b"), Cell("1"))]
    every = [(Cell("a"), missing("not asked")), (Cell("b"), missing("not asked"))]
    assert reasons(some) == ["— not asked (a)."]
    assert reasons(every) == ["— not asked."]
    assert reasons(some[:1]) == ["— not asked (a)."]
