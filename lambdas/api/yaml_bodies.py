"""Request bodies in YAML, for those who write dial plans by hand: they are read as the JSON that says the same.

Every scalar is taken as text, and becomes a number or a truth value where one is wanted, so that +442079460000 stays a
telephone number and 17:30 a time of day. Anchors and aliases aren't taken: a few lines could stand for gigabytes.
"""

from __future__ import annotations

import json
from typing import Any

import yaml

LONGEST = 300_000
"""Octets."""
_DEEPEST = 50  # levels
_MOST = 100_000  # scalars, lists and objects
_KEY = object()  # what a mapping waits for


def as_json(body: bytes) -> bytes:
    """The JSON that says the same. Raises ValueError."""
    if len(body) > LONGEST:
        raise ValueError(f"it is longer than {LONGEST} octets")
    try:
        return json.dumps(_read(body)).encode()
    except (yaml.YAMLError, UnicodeError, TypeError) as error:
        raise ValueError(" ".join(str(error).split())[:300] or type(error).__name__) from error


def _read(body: bytes) -> Any:
    """In one pass, which ends where there is too much of anything: a loader would have gone through all of it before
    it could be asked."""
    document: list[Any] = []
    open_: list[list[Any] | dict[str, Any]] = [document]
    keys: list[Any] = [_KEY]  # of each that is open, the key whose value comes next
    for number, event in enumerate(yaml.parse(body, Loader=yaml.CBaseLoader)):
        if number > _MOST:
            raise yaml.YAMLError(f"more than {_MOST} values")
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError("aliases aren't taken; write it out")
        if isinstance(event, yaml.CollectionEndEvent):
            open_.pop()
            keys.pop()
        elif isinstance(event, yaml.NodeEvent):
            value: Any = [] if isinstance(event, yaml.SequenceStartEvent) else {}
            value = event.value if isinstance(event, yaml.ScalarEvent) else value
            _put(value, open_[-1], keys)
            if not isinstance(event, yaml.ScalarEvent):
                open_.append(value)
                keys.append(_KEY)
            if len(open_) > _DEEPEST + 1:
                raise yaml.YAMLError(f"more than {_DEEPEST} levels")
    if len(document) > 1:
        raise yaml.YAMLError("more than one document")
    return document[0] if document else None


def _put(value: Any, into: list[Any] | dict[str, Any], keys: list[Any]) -> None:
    if isinstance(into, list):
        into.append(value)
    elif keys[-1] is not _KEY:
        into[keys[-1]] = value
        keys[-1] = _KEY
    elif isinstance(value, str):
        keys[-1] = value
    else:
        raise yaml.YAMLError("the name of a value is a text")
