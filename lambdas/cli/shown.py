"""What commands say: tables for people, JSON for programs."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

console = Console()
errors = Console(stderr=True)


class Output:
    """``as_json``: one JSON document, or for what goes on one a line."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def table(self, items: Iterable[dict[str, Any]], columns: Sequence[str]) -> None:
        rows = list(items)
        if self.as_json:
            console.print_json(json.dumps(rows))
            return
        made = Table(*(name.replace("_", " ") for name in columns), box=None, header_style="bold")
        for item in rows:
            made.add_row(*(_cell(item.get(name)) for name in columns))
        console.print(made if rows else "none")

    def one(self, item: dict[str, Any]) -> None:
        if self.as_json:
            console.print_json(json.dumps(item))
            return
        made = Table(show_header=False, box=None)
        for name, value in item.items():
            made.add_row(name.replace("_", " "), _cell(value))
        console.print(made)

    def line(self, item: dict[str, Any], columns: Sequence[str]) -> None:
        """One of many that go on coming."""
        if self.as_json:
            console.print(json.dumps(item), soft_wrap=True, highlight=False, markup=False)
        else:
            console.print("  ".join(_cell(item.get(name)) for name in columns), highlight=False, markup=False)

    def done(self, text: str) -> None:
        if not self.as_json:
            console.print(text, markup=False)


def moment(seconds: float | None) -> str:
    """Unix time as people write it, in the local time zone."""
    if seconds is None:
        return "-"
    return datetime.datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_cell(one) for one in value) or "-"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_cell(one)}" for name, one in value.items() if one not in (None, "", 0))
    return str(value)
