"""Problems: what to tell a person of each thing that is wrong in a file, on one line."""

import difflib
import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from constructs.settings import LIST_ERROR, list_item, mapping_value

_TYPES = {
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    tuple: "a list",
    list: "a list",
    dict: "an object",
}
# What to say of each of pydantic's errors.
_SENTENCES = {
    "missing": "missing; add it",
    LIST_ERROR: "{words}",
    "value_error": "found {found}; {error}",
    "literal_error": "found {found}; give {expected}",
    "union_tag_invalid": "found {found}; give one of the types {expected_tags}",
    "union_tag_not_found": "found {found}; add its type",
    "greater_than_equal": "found {found}; give at least {ge}",
    "less_than_equal": "found {found}; give at most {le}",
    "string_too_long": "found {length} characters; give at most {max_length} characters",
    "string_too_short": "found {found}; give at least {min_length} characters",
    "string_type": "found {found} ({type}); give a string",
    "int_type": "found {found} ({type}); give a whole number",
    "bool_type": "found {found} ({type}); give a boolean",
    "tuple_type": "found {found} ({type}); give a list",
    "dict_type": "found {found} ({type}); give an object",
    "model_type": "found {found} ({type}); give an object",
    "model_attributes_type": "found {found} ({type}); give an object",
}


def problem_lines(error: ValidationError, model: type[BaseModel]) -> Iterator[str]:
    """Yield a line for each error that pydantic found: the key, what was found, and what to do instead."""
    for details in error.errors():
        place = ".".join(str(part) for part in details["loc"] if part != "[key]")
        yield ": ".join([*([place] if place else []), _words(details, model)])


def _words(details: ErrorDetails, model: type[BaseModel]) -> str:
    if details["type"] == "extra_forbidden":
        return _unknown_key(details["loc"], model)
    found = details["input"]
    words = {key: str(value) for key, value in details.get("ctx", {}).items()}
    words |= {key: value.replace("'", '"') for key, value in words.items() if key.startswith("expected")}
    words |= {"found": found_words(found), "type": _TYPES.get(type(found), "nothing"), "length": str(len(str(found)))}
    return _SENTENCES.get(details["type"], "found {found}; {msg}").format(**words, msg=details["msg"])


def _unknown_key(location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    annotation: Any = model
    for part in location[:-1]:
        fields = getattr(annotation, "model_fields", {})
        inner = mapping_value(annotation) or list_item(annotation)
        annotation = inner or (fields[str(part)].annotation if fields else annotation)
    known = list(getattr(annotation, "model_fields", {}))
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    guess = f"did you mean {near[0]}? The" if near else "the"
    return f"unknown key; {guess} keys here are {', '.join(known)}" if known else "unknown key; remove it"


def found_words(value: object) -> str:
    """Return a value as it stands in a file, shortened to fit a line."""
    shown = json.dumps(value, default=str)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."  # noqa: PLR2004 (what fits a line)
