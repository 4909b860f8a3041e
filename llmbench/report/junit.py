"""Verdicts as JUnit XML, which build servers show as tests."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from llmbench.analysis.compare.comparison import Comparison
from llmbench.analysis.compare.verdicts import Verdict

KINDS = {
    "regression": "failure",
    "undecided": "error",
    "inconclusive": "skipped",
    "not comparable": "skipped",
}


def as_junit(comparisons: Sequence[Comparison]) -> str:
    """Return JUnit XML, a test per case and metric.

    A regression is a failure, an undecided metric an error; other metrics without a result are
    skipped.
    """
    suite = ET.Element("testsuite", name=f"llmbench {comparisons[0].candidate.name}")
    for case in (case for comparison in comparisons for case in comparison.cases):
        for key, verdict in case.verdicts.items():
            test = ET.SubElement(suite, "testcase", classname=case.case, name=key)
            _outcome(test, verdict)
    for case_name in (name for comparison in comparisons for name in comparison.missing):
        test = ET.SubElement(suite, "testcase", classname=case_name, name="measured")
        ET.SubElement(test, "error", message="a side has no measured run of this case")
    tests = suite.findall("testcase")
    for kind, name in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(name, str(sum(test.find(kind) is not None for test in tests)))
    suite.set("tests", str(len(tests)))
    return ET.tostring(suite, encoding="unicode", xml_declaration=True)


def _outcome(test: ET.Element, verdict: Verdict) -> None:
    message = f"{verdict.outcome}: {verdict.change or ''} {verdict.reason}".strip()
    if kind := KINDS.get(verdict.outcome):
        ET.SubElement(test, kind, message=message)
