"""The status page: one file without scripts, made from probes. Its pictures are SVG, and the same figures stand in
tables for those who can't see them."""

from __future__ import annotations

import html
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any

import pygal
from pygal.style import Style

from lambdas.decisions.certificates import Certified, ends_soon
from lambdas.decisions.status import HOUR, Bucket, Incident, buckets, by_region, incidents, silent, uptime, wider
from lambdas.repositories.probes import Probes

_DAY = 86_400
_SPANS: tuple[tuple[str, int, int], ...] = (  # name, seconds, seconds of one point
    ("Last 3 hours", 3 * HOUR, 300),
    ("Last day", _DAY, HOUR),
    ("Last week", 7 * _DAY, 6 * HOUR),
)
_INCIDENTS, _KNOWN_INCIDENTS = 20, 200
_SCRIPT = re.compile(r"<script.*?</script>", re.DOTALL)  # pygal's settings for a script that isn't there
_STYLE = Style(
    background="transparent",
    plot_background="transparent",
    foreground="#444",
    foreground_strong="#222",
    foreground_subtle="#999",
    font_family="system-ui, sans-serif",
    label_font_size=13,
    legend_font_size=14,
    title_font_size=16,
    colors=(
        "#0a5ea8",
        "#c2410c",
        "#15803d",
        "#7e22ce",
        "#a16207",
        "#be123c",
        "#0f766e",
        "#334155",
        "#db2777",
        "#65a30d",
        "#4f46e5",
        "#78350f",
    ),
)
_CSS = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:1rem}
h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2rem}
.good{color:#15803d}.bad{color:#be123c}
@media(prefers-color-scheme:dark){.good{color:#4ade80}.bad{color:#fb7185}}
figure{margin:1rem 0;background:#fff;color:#222;border-radius:6px;padding:.5rem;max-width:36rem}
svg{width:100%;height:auto;display:block}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.25rem .5rem;border-bottom:1px solid #8884}
details{margin:.5rem 0}.wide{overflow-x:auto}
"""


def refresh(probes: Probes, now: float, certificates: Iterable[Certified] = ()) -> dict[str, Any]:
    """Add up what is new, and give all that the page shows."""
    points = probes.since(now - 3 * HOUR - 600, now)
    this_hour = int(now) // HOUR * HOUR
    # The last hour once more: probes come late from an edge that couldn't report them.
    probes.keep_hours(buckets((point for point in points if point.at >= this_hour - HOUR), HOUR))
    probes.keep_incidents(incidents(points, probes.incidents(_KNOWN_INCIDENTS)))
    hours = probes.hours(now - 7 * _DAY)
    spans = {}
    for name, seconds, step in _SPANS:
        since = now - seconds
        fine = buckets((point for point in points if point.at >= since), step)
        spans[name] = fine if step < HOUR else wider((bucket for bucket in hours if bucket.begin >= since), step)
    return {
        "at": int(now),
        "spans": {name: [asdict(bucket) for bucket in found] for name, found in spans.items()},
        "uptime": {name: uptime(found) for name, found in spans.items()},
        "incidents": [asdict(incident) for incident in probes.incidents(_INCIDENTS)],
        "silent": silent(points, now, _silence()),
        "ending": _ending(certificates, now),
        "last": max((point.at for point in points), default=max((hour.begin for hour in hours), default=None)),
    }


def _ending(certificates: Iterable[Certified], now: float) -> dict[str, Any]:
    """What of edges ends soon, and when; of tenants' domains how many: their names are nobody else's business."""
    ending = [one for one in certificates if ends_soon(one, now)]
    return {
        "edges": {one.name: int(one.not_after) for one in sorted(ending, key=lambda one: one.name) if not one.tenant},
        "domains": sum(1 for one in ending if one.tenant),
    }


def _silence() -> float:
    """Seconds after which it is known that an address isn't tried out any more."""
    return max(600.0, 5 * float(os.environ.get("PROBE_SECONDS", "0")))


def render(state: dict[str, Any]) -> str:
    """The page, from what ``refresh`` gives."""
    spans = {name: [Bucket(**bucket) for bucket in found] for name, found in state["spans"].items()}
    last = [Incident(**incident) for incident in state["incidents"]]
    now = state["at"]
    going_on = [incident for incident in last if incident.ended is None and incident.address not in state["silent"]]
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>Status of the SIP service</title><style>{_CSS}</style></head><body><main>",
        "<h1>Status of the SIP service</h1>",
        _headline(state, going_on),
        _certificates(state["ending"]),
        f"<p>As of {_time(now)}; made anew every minute. "
        "Each edge is tried out by the others: a registration and a call, all the way.</p>",
        _uptimes(spans, state["uptime"]),
    ]
    regions = _regions(spans)
    for name, seconds, _ in _SPANS:
        parts.append(_span(name, spans.get(name, []), regions.get(name, []), seconds))
    parts += [_incidents(last), "</main></body></html>"]
    return "".join(parts)


def _headline(state: dict[str, Any], going_on: Sequence[Incident]) -> str:
    last, quiet = state["last"], state["silent"]
    if last is None:
        return "<p><strong>Nothing has been measured yet.</strong></p>"
    if last < state["at"] - _silence():
        return (
            f'<p class="bad"><strong>Nothing has been measured since {_time(last)}: no edge tries another one '
            "out, or none can report.</strong></p>"
        )
    said = ""
    if going_on:
        places = ", ".join(sorted({html.escape(incident.address) for incident in going_on}))
        said = f'<p class="bad"><strong>There is trouble at {places}.</strong></p>'
    if quiet:
        places = ", ".join(f"{html.escape(address)} (since {_time(at)})" for address, at in quiet.items())
        said += f'<p class="bad"><strong>Not tried out any more: {places}.</strong></p>'
    return said or '<p class="good"><strong>All edges work.</strong></p>'


def _certificates(ending: dict[str, Any]) -> str:
    """A line, where some end soon."""
    edges = [f"{html.escape(name)} ({_time(at)})" for name, at in ending["edges"].items()]
    of_domains = ending["domains"]
    said = [*edges, *([f"{of_domains} of domains"] if of_domains else [])]
    return f'<p class="bad"><strong>Certificates end soon: {", ".join(said)}.</strong></p>' if said else ""


def _uptimes(spans: dict[str, list[Bucket]], whole: dict[str, float | None]) -> str:
    """Of everything, of each Region and of each edge, in each span."""
    rows = [("All", list(whole.values()))]
    for parts in (_regions(spans), spans):
        names = sorted({bucket.name for found in parts.values() for bucket in found})
        rows += [
            (name, [uptime(bucket for bucket in found if bucket.name == name) for found in parts.values()])
            for name in names
        ]
    said = [(name, [f"{100 * value:.2f}" if value is not None else "-" for value in values]) for name, values in rows]
    return "<h2>Uptime</h2>" + _table(list(whole), said, "Good probes, in per cent")


def _regions(spans: dict[str, list[Bucket]]) -> dict[str, list[Bucket]]:
    """The same by Region, where there are several."""
    found = {name: by_region(those) for name, those in spans.items()}
    several = len({bucket.region for those in found.values() for bucket in those}) > 1
    return found if several else {}


def _span(name: str, edges: Sequence[Bucket], regions: Sequence[Bucket], seconds: int) -> str:
    return f"<h2>{name}</h2>" + "".join(
        _figure(f"{what} by {whose}, ms: {name.lower()}", found, value, seconds)
        for whose, found in (("Region", regions), ("edge", edges))
        if found or whose == "edge"
        for what, value in (
            ("Registration", lambda bucket: bucket.register),
            ("Call setup", lambda bucket: bucket.call),
        )
    )


def _figure(title: str, found: Sequence[Bucket], value: Callable[[Bucket], float | None], seconds: int) -> str:
    times = sorted({bucket.begin for bucket in found})
    names = sorted({bucket.name for bucket in found})
    by_place = {(bucket.name, bucket.begin): bucket for bucket in found}
    chart = pygal.Line(
        js=[],
        disable_xml_declaration=True,
        style=_STYLE,
        height=210 + 25 * max(1, len(names)),
        width=420,
        margin=8,
        dots_size=1.5,
        allow_interruptions=True,
        truncate_label=-1,
        truncate_legend=-1,
        min_scale=3,
        max_scale=5,
        legend_at_bottom=True,
        legend_at_bottom_columns=1,
        no_data_text="nothing was measured",
        x_labels=[_label(begin, seconds) for begin in times],
        x_labels_major_count=5,
        show_minor_x_labels=False,
        include_x_axis=True,
    )
    rows = []
    for name in names:
        values = []
        for begin in times:
            bucket = by_place.get((name, begin))
            measured = value(bucket) if bucket is not None else None
            values.append(round(1000 * measured, 1) if measured is not None else None)
        chart.add(name, values)
        rows.append((name, values))
    said = [(name, [str(one) if one is not None else "-" for one in values]) for name, values in rows]
    label = html.escape(f"{title}. {_summary(rows)}")
    drawn = _SCRIPT.sub("", chart.render(is_unicode=True))
    picture = drawn.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
    return (
        f"<figure><figcaption>{title}</figcaption>{picture}</figure><details><summary>As a table</summary>"
        f"{_table([_time(begin) for begin in times], said)}</details>"
    )


def _table(columns: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], caption: str = "") -> str:
    """Each row with its name first."""
    head = "".join(f"<th scope=col>{html.escape(name)}</th>" for name in columns)
    body = "".join(
        f"<tr><th scope=row>{html.escape(name)}</th>{''.join(f'<td>{html.escape(one)}</td>' for one in values)}</tr>"
        for name, values in rows
    )
    said = f"<caption>{caption}</caption>" if caption else ""
    return f"<div class=wide><table>{said}<tr><td></td>{head}</tr>{body}</table></div>"


def _summary(rows: Sequence[tuple[str, Sequence[float | None]]]) -> str:
    """What the picture shows, in words."""
    said = []
    for address, values in rows:
        known = [value for value in values if value is not None]
        if known:
            said.append(f"{address}: {min(known)} to {max(known)} ms, lately {known[-1]} ms")
    return "; ".join(said) or "Nothing was measured"


def _incidents(last: Sequence[Incident]) -> str:
    if not last:
        return "<h2>Incidents</h2><p>None in the last 90 days.</p>"
    rows = [(one.address, [_time(one.begun), _time(one.ended) if one.ended is not None else "not yet"]) for one in last]
    return "<h2>Incidents</h2>" + _table(["From", "Until"], rows)


def _label(begin: int, seconds: int) -> str:
    return time.strftime("%H:%M" if seconds <= _DAY else "%d %b", time.gmtime(begin))


def _time(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))


def as_json(state: dict[str, Any]) -> str:
    """For programs."""
    return json.dumps(state, separators=(",", ":"))
