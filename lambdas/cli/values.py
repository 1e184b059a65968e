"""What several commands take: NAME=VALUE, for what has too many names for options, and options of more than one."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lambdas.cli.client import ApiError

GivenSettings = Annotated[
    list[str], typer.Argument(metavar="NAME=VALUE...", help="Lists with commas; an empty value takes it away.")
]

OwnMedia = Annotated[
    str | None, typer.Option(help="Its calls' media: auto, relay, direct, or tenant: as its tenant says.")
]


def parsed(settings: list[str], lists: tuple[str, ...] = ()) -> dict[str, Any]:
    """Of ``name=value``: numbers as such, ``lists`` by their commas, nothing as None. Raises ApiError."""
    found: dict[str, Any] = {}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals:
            raise ApiError(f"{text!r} isn't like concurrent_calls=2")
        found[name] = _value(value, name in lists)
    return found


def _value(text: str, is_list: bool) -> Any:
    if not text:
        return None
    if is_list:
        return [one.strip() for one in text.split(",")]
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text
