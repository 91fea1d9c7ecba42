"""tfvars files: literals alone, read strictly, so that Python and Terraform never disagree on a value."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hcl2 import parses_to_tree
from lark import Token, Tree
from lark.exceptions import LarkError

MAX_BYTES = 20_000
_MAX_DEPTH = 10
# All that a number of JSON, and of Kubernetes, holds exactly.
_MAX_DIGITS = 15
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.?))", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
_LITERALS = {"true": True, "false": False, "null": None}
_LINE_ENDS = ("\n", "#", "//")


class TfvarsError(Exception):
    """A file that is no tfvars file of literals; the message names the line and what to do."""


def read(path: Path) -> dict[str, Any]:
    """Return the variables of a tfvars file: str, int, float, bool, None, tuple and dict.

    Only literals are accepted: an expression, a heredoc or a template has no place in settings. Text is ASCII, since
    Terraform would normalize other text. Raises `TfvarsError`.
    """
    content = path.read_bytes()
    if len(content) > MAX_BYTES:
        message = f"found {len(content)} bytes; a tfvars file has at most {MAX_BYTES}: is this the right file?"
        raise TfvarsError(message)
    content = content.replace(b"\r\n", b"\n")
    for number, line in enumerate(content.split(b"\n"), start=1):
        if (odd := re.search(rb"[^\t\x20-\x7e]", line)) is not None:
            what = repr(line[odd.start() :].decode(errors="replace")[0])
            message = f"line {number}: found the character {what}; use printable ASCII only"
            raise TfvarsError(message)
    try:
        tree = parses_to_tree(content.decode("ascii"))
    except LarkError as error:
        at = getattr(error, "line", None)
        place = f"line {at}" if isinstance(at, int) and at > 0 else "end of file"
        message = f'{place}: not valid HCL; write settings as: name = "value"'
        raise TfvarsError(message) from error
    (body,) = tree.children
    return _entries(_tree(body), "attribute", depth=0)


def _entries(tree: Tree[Token], kind: str, *, depth: int) -> dict[str, Any]:
    """Return the named values of a body or an object; twice the same name is an error in both."""
    values: dict[str, Any] = {}
    for entry in _separated(tree, kind):
        name, value = _name(entry.children[0]), entry.children[-1]
        if name in values:
            raise _error(entry, f"{name} is given twice; keep one")
        values[name] = _value(_tree(value), depth=depth + 1)
    return values


def _separated(tree: Tree[Token], kind: str) -> Iterator[Tree[Token]]:
    """Yield the children of a kind, and refuse what the parser takes but Terraform does not: two in one line."""
    is_separated = True
    for child in tree.children:
        match child:
            case Tree(data="new_line_or_comment"):
                is_separated = is_separated or any(str(part).startswith(_LINE_ENDS) for part in child.children)
            case Tree(data=found) if found == kind:
                if not is_separated:
                    raise _error(child, "begin a new line before this name")
                is_separated = False
                yield child
            case Token(type="COMMA"):
                if is_separated:
                    raise _error(child, "put the comma right after the value")
                is_separated = True
            case Token():
                pass
            case _:
                raise _error(child, "found a block; write settings as: name = { ... }")


def _name(node: object) -> str:
    while isinstance(node, Tree) and node.data in ("object_elem_key", "expr_term") and len(node.children) == 1:
        node = node.children[0]
    match node:
        case Tree(data="keyword", children=["for"]):
            raise _error(node, 'for begins an expression; write the name in quotes: "for"')
        case Tree(data="identifier" | "keyword", children=[name]):
            return str(name)
        case Tree(data="string"):
            return _string(node)
        case _:
            raise _error(node, "found an expression in the place of a name; write the name")


def _value(tree: Tree[Token], *, depth: int) -> Any:  # noqa: ANN401 (whatever the file holds)
    if depth > _MAX_DEPTH:
        raise _error(tree, f"nested more than {_MAX_DEPTH} levels deep; no setting is")
    match tree:
        case Tree(data="expr_term", children=[Tree() as inner]):
            return _value(inner, depth=depth)
        case Tree(data="string"):
            return _string(tree)
        case Tree(data="int_lit" | "float_lit", children=[digits]):
            return _number(tree, str(digits))
        case Tree(data="unary_op", children=[Token(type="MINUS"), Tree(children=[Tree(data="int_lit" | "float_lit")])]):
            return -_value(_tree(tree.children[1]), depth=depth)
        case Tree(data="literal_value", children=[word]):
            return _LITERALS[str(word)]
        case Tree(data="tuple"):
            items = (child for child in tree.children if isinstance(child, Tree))
            return tuple(_value(item, depth=depth + 1) for item in items if item.data != "new_line_or_comment")
        case Tree(data="object"):
            return _entries(tree, "object_elem", depth=depth)
        case _:
            raise _error(tree, "found an expression; write the value itself, and text in quotes")


def _number(tree: Tree[Token], digits: str) -> float:
    if (length := len(digits.removeprefix("-"))) > _MAX_DIGITS:
        raise _error(tree, f"found a number of {length} digits; give at most {_MAX_DIGITS}")
    return int(digits) if tree.data == "int_lit" else float(digits)


def _string(tree: Tree[Token]) -> str:
    parts = []
    for part in tree.children[1:-1]:
        match part:
            case Tree(children=[Token(type="STRING_CHARS") as chars]):
                text = str(chars)
            case Tree(children=[Token(type="ESCAPED_INTERPOLATION" | "ESCAPED_DIRECTIVE") as chars]):
                text = str(chars)[1:]
                # The parser takes all up to the closing brace for text; Terraform does not.
                if re.search(r'"|[$%]\{', _ESCAPE.sub(" ", text[2:])) is not None:
                    words = f'found a quote or a template within {chars[:3]}...}}; write \\" and \\u007b there'
                    raise _error(part, words)
            case _:
                raise _error(part, "found a template in a string; write the value itself")
        if "\n" in text:
            raise _error(part, "found a line end in a string; close the quotes in the same line")
        unknown = next((found[0] for found in _ESCAPE.finditer(text) if found[3] and found[3] not in _ESCAPES), None)
        if unknown is not None:
            raise _error(part, f'unknown escape {unknown}; a backslash is written \\\\ and a quote \\"')
        parts.append(_ESCAPE.sub(_unescape, text))
    value = "".join(parts)
    if not value.isascii() or not value.replace("\n", "").replace("\t", "").isprintable():
        raise _error(tree, "found an escaped character; use printable ASCII only")
    return value


def _unescape(found: re.Match[str]) -> str:
    code = found[1] or found[2]
    return _ESCAPES[found[3]] if code is None else chr(min(int(code, 16), 0x10FFFF))


def _tree(node: object) -> Tree[Token]:
    if not isinstance(node, Tree):
        raise _error(node, "found an expression; write the value itself")
    return node


def _error(node: object, words: str) -> TfvarsError:
    line = node.line if isinstance(node, Token) else getattr(getattr(node, "meta", None), "line", None)
    return TfvarsError(f"line {line}: {words}" if line is not None else words)
