"""What commands say: tables for people, JSON for programs. What others have chosen (names, user agents) is shown as it
is, but can't steer the terminal."""

from __future__ import annotations

import datetime
import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

_NARROWEST = 8  # characters: where a table's columns would be narrower, each row is shown by itself
_WIDE = 10_000  # characters: what goes to a file or another program isn't cut off
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}


def _console(stderr: bool = False) -> Console:
    to_person = (sys.stderr if stderr else sys.stdout).isatty() or "COLUMNS" in os.environ
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, width=None if to_person else _WIDE)


console = _console()
errors = _console(stderr=True)


class Output:
    """``as_json``: one JSON document, or for what goes on one a line."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def table(self, items: Iterable[dict[str, Any]], columns: Sequence[str]) -> None:
        rows = list(items)
        if self.as_json:
            self.json(rows)
            return
        if len(columns) * _NARROWEST > console.width:
            for item in rows:
                self._lines({name: item.get(name) for name in columns})
                console.print()
            return
        made = Table(box=None, header_style="bold", pad_edge=False)
        for name in columns:
            made.add_column(_title(name), overflow="fold")
        for item in rows:
            made.add_row(*(Text(_cell(item.get(name))) for name in columns))
        console.print(made if rows else "none")

    def one(self, item: dict[str, Any]) -> None:
        """Nothing of it is cut off or broken up: it may be a key that is shown once."""
        if self.as_json:
            self.json(item)
        else:
            self._lines(item)

    def _lines(self, item: dict[str, Any]) -> None:
        width = max((len(name) for name in item), default=0)
        for name, value in item.items():
            console.print(f"{_title(name):<{width}}  {_cell(value)}", soft_wrap=True)

    def head(self, columns: Sequence[str]) -> None:
        """The line before those of ``line``."""
        if not self.as_json:
            console.print("  ".join(_title(name) for name in columns), soft_wrap=True, style="bold")

    def line(self, item: dict[str, Any], columns: Sequence[str]) -> None:
        """One of many that go on coming."""
        text = json.dumps(item) if self.as_json else "  ".join(_cell(item.get(name)) for name in columns)
        console.print(text, soft_wrap=True)

    def done(self, text: str) -> None:
        if not self.as_json:
            console.print(text.translate({**_CONTROLS, 0x0A: "\n"}), soft_wrap=True)

    def json(self, value: Any) -> None:
        """Whatever is wanted."""
        console.print_json(json.dumps(value), ensure_ascii=True)


def moment(seconds: float | None) -> str:
    """Unix time as people write it, in the local time zone."""
    if seconds is None:
        return "-"
    return datetime.datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _title(name: str) -> str:
    return name.replace("_", " ")


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_cell(one) for one in value) or "-"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_cell(one)}" for name, one in value.items() if one not in (None, "", [])) or "-"
    return str(value).translate(_CONTROLS)
