"""The documentation as its tests read it: pages, what they link to, and the commands that they give."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.support import ROOT

MARKDOWN = MarkdownIt("commonmark").enable("table")
# What a reader puts in the place of words in angle brackets; nothing else may stand in them in a command.
PLACEHOLDERS = {
    "<ID>": "4f6d1e0a-0000-0000-0000-000000000000",
    "<auth.client_token of the answer>": "token",
    "<bucket>": "strata-backups",
    "<group>": "group",
    "<id>": "4f6d1e0a-0000-0000-0000-000000000000",
    "<last revision>": "1",
    "<name>": "etcd-snapshot-alpha-1764000000",
    "<seconds since 1970>": "1764000000",
    "<stack>": "staging",
    "<this repository>": "https://git.example.org/strata.git",
    "<the token that was saved>": "token",
    "<zone>": "example.com",
}
_HERE_DOCUMENT = re.compile(r"(<<-?\s*(['\"]?)(\w+)\2[^\n]*\n)(.*?)^\s*\3$", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"(^|\s)#(\s.*)?$", re.MULTILINE)
_SEPARATORS = frozenset("\n;|&()")
_BEFORE_A_COMMAND = ("do", "then", "else", "!", "{", "while", "until", "if")
_NO_COMMANDS = ("done", "fi", "}")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: where it begins, its language and its text, without the indentation of its list."""

    page: "Page"
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def filled(self) -> str:
        """The text as a reader types it, with something in the place of each placeholder."""
        text = self.text
        for placeholder, value in PLACEHOLDERS.items():
            text = text.replace(placeholder, value)
        return text


@dataclass(frozen=True)
class Page:
    """A page of the documentation, by its path."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def _tokens(self) -> list[Token]:
        return MARKDOWN.parse(self.text)

    def blocks(self, language: str) -> list[Block]:
        fences = [token for token in self._tokens if token.type == "fence" and token.info.strip() == language]
        return [Block(self, token.map[0] + 2 if token.map else 0, language, token.content) for token in fences]

    def links(self) -> Iterator[str]:
        """Yield where each link and each picture of the page leads."""
        for token in self._inline():
            if target := token.attrGet("href") or token.attrGet("src"):
                yield str(target)

    def code(self) -> list[str]:
        """Return what is marked as code within sentences and tables."""
        return [token.content.replace("\\|", "|") for token in self._inline() if token.type == "code_inline"]

    @cached_property
    def anchors(self) -> frozenset[str]:
        """The fragments that GitHub gives to headings: lower case, no punctuation, dashes, a number at a repetition."""
        found: dict[str, None] = {}
        for token, following in zip(self._tokens, self._tokens[1:], strict=False):
            if token.type != "heading_open":
                continue
            words = "".join(child.content for child in following.children or [])
            anchor = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
            repeated = (f"{anchor}-{number}" for number in range(1, len(found) + 1))
            found[next(name for name in (anchor, *repeated) if name not in found)] = None
        return frozenset(found)

    def _inline(self) -> Iterator[Token]:
        for token in self._tokens:
            yield from token.children or []


@cache
def page_of(path: Path) -> Page:
    """Return the page of a path, read once."""
    return Page(path)


def pages() -> list[Page]:
    """Return the README and every page of docs/."""
    return [page_of(ROOT / "README.md"), *map(page_of, sorted((ROOT / "docs").rglob("*.md")))]


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each simple command in a shell's text, those within substitutions too.

    It knows what a page may be written with: quotes, pipes, lists, loops, substitutions, redirections, here-documents.
    """
    text = _HERE_DOCUMENT.sub(lambda found: found[1].replace(f"<<{found[2]}{found[3]}{found[2]}", ""), text)
    text = _COMMENT.sub("", text.replace("\\\n", " "))
    for inner in _substitutions(text):
        text = text.replace(f"$({inner})", "...")
        yield from commands(inner)
    lexer = shlex.shlex(text, posix=True, punctuation_chars="\n;|&()<>")
    lexer.whitespace = " \t"
    lexer.whitespace_split = True
    lexer.commenters = ""
    words: list[str] = []
    for token in [*lexer, "\n"]:
        if set(token) <= _SEPARATORS:
            if command := _command(words):
                yield command
            words = []
        else:
            words.append(token)


def _command(words: list[str]) -> list[str]:
    """Return a command without what stands before it and where its output goes."""
    kept: list[str] = []
    place_follows = False
    for word in words:
        if set(word) <= set("<>"):
            if kept and kept[-1] in ("1", "2"):
                kept.pop()
            place_follows = True
        elif place_follows:
            place_follows = False
        else:
            kept.append(word)
    while kept and (kept[0] in _BEFORE_A_COMMAND or re.match(r"\w+=", kept[0])):
        kept.pop(0)
    return [] if kept and kept[0] in (*_NO_COMMANDS, "for", "case", "$") else kept


def _substitutions(text: str) -> Iterator[str]:
    """Yield what stands within `"$(...)"` and `$(...)`, the outermost ones."""
    start = 0
    while (start := text.find("$(", start)) >= 0:
        depth, end = 1, start + 2
        while depth and end < len(text):
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        yield text[start + 2 : end - 1]
        start = end
