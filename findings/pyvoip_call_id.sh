#!/usr/bin/env bash
# pyVoIP 1.6.8. Guess: a phone that starts anew has a new Call-ID (RFC 3261 §8.1.1.4: "globally unique over space and
# time"), so that a REGISTER with an old one and a low CSeq is an old REGISTER. Seen: its Call-IDs are made from a counter
# that starts at 1 in each process, and so does CSeq; two processes at one address have the same.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -c 'import sys; sys.exit(sys.version_info >= (3, 13))' || { echo "needs a Python older than 3.13"; exit 2; }
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check pyVoIP==1.6.8

cat >"$here/phone.py" <<'PHONE'
import os, sys, threading
from pyVoIP.VoIP import VoIPPhone

phone = VoIPPhone("127.0.0.1", int(sys.argv[1]), sys.argv[2], "secret", myIP="127.0.0.1", sipPort=int(sys.argv[3]))
threading.Timer(2, os._exit, (0,)).start()
phone.start()
PHONE

"$here/venv/bin/python" - "$here" <<'SERVER'
import re, socket, subprocess, sys

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 0))
server.settimeout(10)
seen = []
for user in ("anna", "bert"):
    free = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
    free.close()
    phone = subprocess.Popen(
        [sys.executable, f"{sys.argv[1]}/phone.py", str(server.getsockname()[1]), user, str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    while True:
        text = server.recv(8192).decode()
        if text.startswith("REGISTER") and f"sip:{user}@" in text:
            break
    phone.wait()
    seen.append(tuple(re.search(rf"^{name}: *(\S+)", text, re.M).group(1) for name in ("Call-ID", "CSeq")))
    print(f"pyVoIP 1.6.8, user {user}: Call-ID {seen[-1][0]}, CSeq {seen[-1][1]}")
(one, first), (other, second) = seen
if (one.split("@")[0], first) != (other.split("@")[0], second):
    sys.exit("changed: two phones no longer have the same Call-ID and CSeq")
print("two processes, two users: the same Call-ID but for the address, and the same CSeq")
SERVER
