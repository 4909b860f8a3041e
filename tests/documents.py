"""The blocks and the commands in the README and the docs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").glob("*/README.md")),
]
FENCED = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"(?:^    .*\n)+", re.MULTILINE)
INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
SHELL = ("", "sh", "console", "text")
PROGRAMS = ("llmbench", "nox", "pip", "pytest", "python")
BEFORE = re.compile(r"^\s*(?:\$ |- |(?:[\d*]+ ){5} ?)?")  # a prompt, a list of YAML, a time of cron
OPERATORS = frozenset("();<>|&")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, *languages: str) -> list[str]:
    """Return the fenced blocks of some languages."""
    pairs = FENCED.findall(page.read_text("utf-8"))
    return [text for language, text in pairs if language in languages]


@dataclass(frozen=True)
class Command:
    """A command as words; one in a sentence may be incomplete."""

    words: tuple[str, ...]
    in_a_sentence: bool = False


def commands(page: Path) -> Iterator[Command]:
    """Yield every command of our programs in a page."""
    prose = FENCED.sub("", page.read_text("utf-8"))
    shown = [*blocks(page, *SHELL), *INDENTED.findall(prose)]
    for line in "\n".join(shown).replace("\\\n", " ").splitlines():
        yield from (Command(words) for words in _programs(_without_remark(line)))
    for span in INLINE.findall(INDENTED.sub("", prose)):
        if span.startswith(tuple(f"{program} " for program in PROGRAMS)):
            yield from (Command(words, in_a_sentence=True) for words in _programs(span))


def _without_remark(line: str) -> str:
    """Return a line without its remark, which follows a # or a wide gap."""
    return re.split(r"\s{2,}|\s#", BEFORE.sub("", line).strip(), maxsplit=1)[0]


def _programs(line: str) -> Iterator[tuple[str, ...]]:
    """Yield the commands of our programs in a line of the shell."""
    if not line.startswith((*PROGRAMS, "cd ")):
        return
    command: list[str] = []
    for word in (*_words(line), ";"):
        if not OPERATORS.issuperset(word):
            command.append(word)
            continue
        if command and command[0] in PROGRAMS:
            yield tuple(command)
        command = []


def _words(line: str) -> list[str]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    return list(lexer)
