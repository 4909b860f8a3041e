"""The pages that lead to reports: a list of run sets, and plain words where something is amiss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmbench.report.pages.page import moment, render_template
from llmbench.runs.catalog import Entry

HOME = "/"


@dataclass(frozen=True, slots=True)
class Listed:
    """A run set in the list, with the ``key`` that its address has."""

    key: str
    shown: str
    entry: Entry

    @property
    def began(self) -> str:
        """When it began, as people read it; as it is stored where that is no time."""
        try:
            return moment(self.entry.began_at)
        except ValueError:
            return self.entry.began_at

    def matches(self, words: Sequence[str]) -> bool:
        """Tell whether each word is in something that the list says of it."""
        told = self.entry
        texts = (
            self.shown, told.name, told.description, self.began, told.machine, told.commit,
            told.problem, *told.cases,
        )  # fmt: skip
        whole = "\n".join(texts).casefold()
        return all(word.casefold() in whole for word in words)


def render_index(title: str, listed: Sequence[Listed], sought: str) -> str:
    """Make the list of run sets, newest first: those that have each of the words sought."""
    found = [each for each in listed if each.matches(sought.split())]
    return render_template(
        "index.html.j2",
        HOME,
        title=title,
        listed=sorted(found, key=lambda each: each.entry.began_at, reverse=True),
        total=len(listed),
        sought=sought,
        charted=False,
    )


def render_words(title: str, words: str) -> str:
    """Make a page that says why there is no other one."""
    return render_template("words.html.j2", HOME, title=title, words=words, charted=False)
