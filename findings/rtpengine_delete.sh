#!/usr/bin/env bash
# rtpengine 10.5.3.5 (Debian 12, amd64). Guess: `delete` with the Call-ID alone ends the call and tells what `query` would
# have told of it, as it does with a tag. Seen: the call is ended, and nothing is told: packets, losses and times are lost.
# With the tag of either side it ends the whole call as well, and tells everything.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
cd "$here"
version=10.5.3.5-1+deb12u1
apt-get download -q "rtpengine-daemon=$version" >/dev/null
for package in *.deb; do dpkg -x "$package" root; done
# What it needs and this machine hasn't got, of the same release.
libraries() { find "$here/root" -name "*.so*" -printf "%h\n" | sort -u | paste -sd:; }
missing() { LD_LIBRARY_PATH=$(libraries) ldd root/usr/bin/rtpengine | grep -q "not found"; }
if missing; then
  apt-get download -q $(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
    --no-replaces --no-enhances rtpengine-daemon | grep "^lib" | grep -vE "^libc6|^libgcc|:i386" | sort -u) >/dev/null
  for package in *.deb; do dpkg -x "$package" root; done
fi
LD_LIBRARY_PATH=$(libraries) python3 - "$here" <<'TRY'
import json, pathlib, socket, subprocess, sys, time

here = pathlib.Path(sys.argv[1])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
(here / "empty.conf").write_text("[rtpengine]\n")
engine = subprocess.Popen(
    [here / "root/usr/bin/rtpengine", f"--config-file={here}/empty.conf", "--foreground", "--log-stderr", "--table=-1",
     "--interface=127.0.0.1", f"--listen-ng=127.0.0.1:{port}", "--port-min=41000", "--port-max=41199"],
    stderr=subprocess.DEVNULL,
)
control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
control.connect(("127.0.0.1", port))
control.settimeout(1)
number = 0


def ask(**command):
    global number
    number += 1
    for _ in range(20):
        try:
            control.send(f"{number} {json.dumps(command)}".encode())
            return json.loads(control.recv(65536).partition(b" ")[2])
        except OSError:  # it is starting
            time.sleep(0.2)
    sys.exit("rtpengine doesn't answer")


def sdp(port):
    return f"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 8\r\n"


def told(tag):
    """What `delete` answers, and whether the call is gone."""
    call = {"call-id": f"call {tag}"}
    ask(command="offer", sdp=sdp(42000), **call, **{"from-tag": "a"})
    ask(command="answer", sdp=sdp(43000), **call, **{"from-tag": "a", "to-tag": "b"})
    answer = ask(command="delete", **call, **({"from-tag": tag} if tag else {}), **{"delete-delay": 0})
    return sorted(answer), ask(command="query", **call)["result"] == "error"


try:
    ask(command="ping")
    seen = {tag: told(tag) for tag in ("", "a", "b")}
finally:
    engine.kill()
for tag, (answer, gone) in seen.items():
    print(f"rtpengine 10.5.3.5: delete with {f'tag {tag}' if tag else 'the Call-ID alone'}: {answer}; gone: {gone}")
if seen[""] != (["result"], True) or not all(gone and "totals" in answer for answer, gone in (seen["a"], seen["b"])):
    sys.exit("changed: what delete tells doesn't depend on a tag as it did")
print("only with a tag is told what the call was like; the whole call ends either way")
TRY
