#!/usr/bin/env bash
# rtpengine 10.5.3.5 (Debian 12, amd64), as it is by default. Guess: when one side of a call offers again with a new port
# of its own, the relay's ports stay, since to the other side nothing has changed. Seen: the port that the other side is
# told is another each time, and those of before stay in use until the call ends. With `port-latching` both stay.
set -euo pipefail
PYTHONPATH=$(dirname "$0") exec python3 - <<'TRY'
import pathlib, re, sys

from rtpengine_by_hand import PORTS, engine, sdp


def used():
    lines = pathlib.Path("/proc/net/udp").read_text().splitlines()[1:]
    return sum(int(line.split()[1].partition(":")[2], 16) in PORTS for line in lines)


def ports(relay, call, flags):
    """What the other side is told in five offers, each with another port of the first side's; ports used then."""
    before, seen = used(), []
    for n in range(5):
        offer = relay.ask("offer", call, sdp=sdp(42000 + 2 * n), from_tag="a", flags=flags)
        seen.append(int(re.search(r"m=audio (\d+)", offer["sdp"]).group(1)))
        relay.ask("answer", call, sdp=sdp(43000), from_tag="a", to_tag="b", flags=flags)
    return seen, used() - before


with engine() as relay:
    plain, latched = ports(relay, "plain", []), ports(relay, "latched", ["port-latching"])
for name, (seen, count) in (("by default", plain), ("port-latching", latched)):
    print(f"rtpengine 10.5.3.5, {name}: the other side was told {seen}; {count} ports are in use")
if len(set(plain[0])) != 5 or plain[1] <= latched[1] or len(set(latched[0])) != 1:
    sys.exit("changed: moved ports of one side don't move the relay's towards the other side")
print("each moved port of one side moved the relay's towards the other side, and the old ones are in use")
TRY
