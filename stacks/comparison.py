"""The comparison of two values, such as the settings of a chart before and after: what is different, and where."""

import difflib
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

ABSENT = object()
_LONGEST = 120


@dataclass(frozen=True)
class Difference:
    """A value that is different: its path, and what it was and is."""

    path: str
    words: str

    def __str__(self) -> str:
        return f"{self.path}:{self.words}"


def differences(old: Any, new: Any, path: str = "") -> Iterator[Difference]:  # noqa: ANN401 (JSON)
    """Yield each value that is different, with its path."""
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from differences(old.get(key, ABSENT), new.get(key, ABSENT), f"{path}.{key}" if path else str(key))
    elif isinstance(old, list) and isinstance(new, list):
        yield from _lists(old, new, path)
    elif isinstance(old, str) and isinstance(new, str) and "\n" in old + new:
        lines = difflib.unified_diff(old.splitlines(), new.splitlines(), n=1, lineterm="")
        yield Difference(path, "".join(f"\n  {_cut(line)}" for line in itertools.islice(lines, 2, None)))
    elif isinstance(old, str) and isinstance(new, str) and (decoded := _decoded(old, new)):
        yield from differences(*decoded, path)
    else:
        yield Difference(path, f" {_shown(old)} -> {_shown(new)}")


def _lists(old: Sequence[Any], new: Sequence[Any], path: str) -> Iterator[Difference]:
    """Compare two lists by their items' names, where they have some; else by their places."""
    if all(isinstance(item, dict) and "name" in item for item in (*old, *new)):
        olds, news = ({item["name"]: item for item in items} for items in (old, new))
        if len(olds) == len(old) and len(news) == len(new):
            for name in dict.fromkeys([*olds, *news]):
                yield from differences(olds.get(name, ABSENT), news.get(name, ABSENT), f"{path}[{name}]")
            return
    if all(isinstance(item, str | int | float) for item in (*old, *new)):
        lost, more = ([item for item in items if item not in others] for items, others in ((old, new), (new, old)))
        words = [f" without {_shown(lost)}"] if lost else []
        words += [f" with {_shown(more)}"] if more else []
        yield Difference(path, ",".join(words) or f" {_shown(old)} -> {_shown(new)}")
        return
    texts = [[json.dumps(item, sort_keys=True) for item in items] for items in (old, new)]
    for verb, i, i_end, j, j_end in difflib.SequenceMatcher(None, texts[0], texts[1], autojunk=False).get_opcodes():
        if verb != "equal":
            pairs = itertools.zip_longest(old[i:i_end], new[j:j_end], fillvalue=ABSENT)
            for index, (was, will_be) in enumerate(pairs, start=i):
                yield from differences(was, will_be, f"{path}[{index}]")


def _decoded(old: str, new: str) -> tuple[Any, Any] | None:
    """Return two strings as what they hold, if that is JSON."""
    if not (old[:1] in ("{", "[") and new[:1] in ("{", "[")):
        return None
    try:
        found = json.loads(old), json.loads(new)
    except ValueError:
        return None
    return found if found[0] != found[1] else None


def _shown(value: Any) -> str:  # noqa: ANN401 (JSON)
    if value is ABSENT:
        return "(none)"
    if isinstance(value, str) and "\n" in value:
        return f"(a text of {len(value.splitlines())} lines)"
    return _cut(value if isinstance(value, str) and value.strip() else json.dumps(value))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
