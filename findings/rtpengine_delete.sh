#!/usr/bin/env bash
# rtpengine 10.5.3.5 (Debian 12, amd64). Guess: `delete` with the Call-ID alone ends the call and tells what `query` would
# have told of it, as it does with a tag. Seen: the call is ended, and nothing is told: packets, losses and times are lost.
# With the tag of either side it ends the whole call as well, and tells everything.
set -euo pipefail
PYTHONPATH=$(dirname "$0") exec python3 - <<'TRY'
import sys

from rtpengine_by_hand import engine, sdp

seen = {}
with engine() as relay:
    for tag in ("", "a", "b"):
        call = f"call {tag}"
        relay.ask("offer", call, sdp=sdp(42000), from_tag="a")
        relay.ask("answer", call, sdp=sdp(43000), from_tag="a", to_tag="b")
        answer = relay.ask("delete", call, delete_delay=0, **({"from_tag": tag} if tag else {}))
        seen[tag] = sorted(answer), relay.ask("query", call)["result"] == "error"
for tag, (answer, gone) in seen.items():
    print(f"rtpengine 10.5.3.5: delete with {f'tag {tag}' if tag else 'the Call-ID alone'}: {answer}; gone: {gone}")
if seen[""] != (["result"], True) or not all(gone and "totals" in answer for answer, gone in (seen["a"], seen["b"])):
    sys.exit("changed: what delete tells doesn't depend on a tag as it did")
print("only with a tag is told what the call was like; the whole call ends either way")
TRY
