"""``scripts/cost``: the monthly bill, from what ``scripts/bench cost`` has measured and the prices in
``prices.toml``."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

_HERE = Path(__file__).parent
_DAYS = 30
_MONTH = _DAYS * 86_400
_DURABLE = 3400  # seconds after which a phone that stays has to be decided anew: an hour less what is kept in reserve
_HEARTBEAT = 2
_PING = 15  # seconds between keep-alives of a phone behind a NAT
LAMBDA_GIGABYTES = 0.5
_LOGGED = 300  # octets that Lambda itself logs of an invocation
_RECORD = 2.0  # KB that a call leaves, with its indexes
_PAGE_SECONDS, _PAGE_EVERY, _PAGE_FILES = 0.5, 60, 2  # of making the status page: how long, how often, how much
_PROBE = 150  # octets that a probe leaves
_SHOWN = 3 * 3600  # seconds of probes that are read each time
_UNIT = 4096 * 2  # octets in a read unit, eventually consistent
_POLLS = 2 * 5 * 3  # a minute: Lambda's five pollers of the queues of webhooks and pushes wait 20 s each
_MEDIA = 2 * 50 * (160 + 12 + 8 + 20)
"""Octets a second that a relayed call sends, to both sides: 50 packets each of G.711, with RTP, UDP and IP."""
_MILLION = 1e6


@dataclass(frozen=True, slots=True)
class Use:
    """In a month. ``written`` are write units, ``read`` read units."""

    invocations: float
    read: float
    written: float

    def times(self, number: float) -> Use:
        return Use(self.invocations * number, self.read * number, self.written * number)


def cost(
    phones: Annotated[int, typer.Option(min=0, help="Registered phones.")] = 5,
    refresh: Annotated[int, typer.Option(min=1, help="Seconds between a phone's registrations.")] = 60,
    calls: Annotated[int, typer.Option(min=0, help="Calls a day, all phones together.")] = 20,
    edges: Annotated[int, typer.Option(min=1, help="Edges, each with its address.")] = 2,
    regions: Annotated[int, typer.Option(min=1, max=2, help="Regions.")] = 1,
    moves: Annotated[float, typer.Option(min=0, help="How often a day a phone comes with another address.")] = 2.0,
    relayed: Annotated[float, typer.Option(min=0, max=1, help="The share of calls whose media go by the edges.")] = 0.0,
    minutes: Annotated[float, typer.Option(min=0, help="How long such a call lasts.")] = 3.0,
    limits: Annotated[bool, typer.Option(help="Whether accounts have limits that count calls.")] = False,
    probes: Annotated[int, typer.Option(min=0, help="Seconds between probes of an edge; 0 for none.")] = 120,
    milliseconds: Annotated[float, typer.Option(min=1, help="Of one invocation, warm: assumed, not measured.")] = 30,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """What a month costs. Without free tiers, taxes and what providers charge."""
    measured = json.loads((_HERE / "cost_measured.json").read_text())
    prices = tomllib.loads((_HERE / "prices.toml").read_text())
    events = {name: Use(one["invocations"], one["read"], one["write"]) for name, one in measured["events"].items()}
    call = events["answered call of an account with limits" if limits else "answered call"]
    probed = edges * (edges - 1) * _MONTH / probes if probes else 0.0
    lines = {
        "heartbeats": events["heartbeat"].times(edges * _MONTH / _HEARTBEAT),
        "registrations": events["registration that changes something"].times(
            phones * _DAYS * (moves + 86_400 / _DURABLE)
        ),
        "refreshes": events["refresh"].times(phones * _MONTH / refresh),
        "calls": call.times(calls * _DAYS),
        "probes": Use(
            *(
                2 * getattr(events["registration that changes something"], part)
                + getattr(events["answered call"], part)
                + extra
                for part, extra in (("invocations", 0.0), ("read", 0.0), ("written", 2.0))
            )
        ).times(probed),
    }
    seconds = milliseconds / 1000
    bill = {f"{name}: Lambda and DynamoDB": _priced(use, seconds, prices, regions) for name, use in lines.items()}
    if probes:
        bill["the status page"] = regions * _status_page(edges, probed, prices, regions)
    sizes = measured["octets"]
    octets = phones * _MONTH * (sizes["ping"] / _PING + sizes["refresh"] / refresh) + calls * _DAYS * sizes["call"]
    invocations = sum(use.invocations for use in lines.values())
    bill |= _fixed(prices, edges, calls, phones, regions, octets, invocations)
    media = calls * _DAYS * relayed * minutes * 60 * _MEDIA
    if relayed:
        bill["traffic of relayed calls"] = media / 1e9 * prices["other"]["gigabyte_out"]
    total = sum(bill.values())
    if as_json:
        print(json.dumps({"total": round(total, 2), "items": {name: round(one, 2) for name, one in bill.items()}}))
        return
    print(f"Operations measured on {measured['measured']}, list prices of {prices['as_of']} (us-east-1), in dollars:")
    for name, one in bill.items():
        print(f"  {one:9.2f}  {name}")
    print(f"  {total:9.2f}  a month")


def _status_page(edges: int, probed: float, prices: dict[str, Any], regions: int) -> float:
    """Of one Region: reading the last probes, writing the sums of two hours, and the page."""
    times = _MONTH / _PAGE_EVERY
    read = 3 + probed * _PROBE * _SHOWN / _MONTH / _UNIT
    work = _priced(Use(1, read, 2 * edges).times(times), _PAGE_SECONDS, prices, regions)
    return float(work + times * _PAGE_FILES / _MILLION * prices["other"]["million_files_written"])


def _priced(use: Use, seconds_each: float, prices: dict[str, Any], regions: int) -> float:
    dynamodb, functions = prices["dynamodb"], prices["lambda"]
    replicated = dynamodb["million_replicated_write_units"] * (regions - 1)
    seconds = use.invocations * seconds_each * LAMBDA_GIGABYTES
    millions = (
        use.read * dynamodb["million_read_units"]
        + use.written * (dynamodb["million_write_units"] + replicated)
        + use.invocations * functions["million_invocations"]
        + seconds * functions["million_gigabyte_seconds"]
    )
    return float(millions / _MILLION)


def _fixed(
    prices: dict[str, Any], edges: int, calls: int, phones: int, regions: int, octets: float, invocations: float
) -> dict[str, float]:
    edge, other = prices["edge"], prices["other"]
    polls = _MONTH / 60 * _POLLS * regions
    stored = (calls * 400 * _RECORD + phones * 3) / _MILLION * regions  # gigabytes: records stay for 400 days
    table = prices["dynamodb"]
    return {
        "edges: machines and disks": edges * (edge["t4g_nano_month"] + edge["disk_month"]),
        "edges: public addresses": edges * edge["public_address_month"],
        "stored records and bindings": stored * (table["gigabyte_month"] + table["gigabyte_month_of_recovery"]),
        "the key for providers' passwords": regions * other["kms_key_month"],
        "looking into the queues of webhooks and pushes": polls / _MILLION * other["million_queue_requests"],
        "logs": invocations * _LOGGED / 1e9 * other["gigabyte_of_log"],
        "traffic to phones": octets / 1e9 * other["gigabyte_out"],
    }


if __name__ == "__main__":
    typer.run(cost)
