#!/usr/bin/env bash
# rtpengine 10.5.3.5 (Debian 12, amd64), as it is by default. Guess: when one side of a call offers again with a new port
# of its own, the relay's ports stay, since to the other side nothing has changed. Seen: the port that the other side is
# told is another each time, and those of before stay in use until the call ends. With `port-latching` both stay.
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
import json, pathlib, re, socket, subprocess, sys, time

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


def used():
    lines = pathlib.Path("/proc/net/udp").read_text().splitlines()[1:]
    return sum(41000 <= int(line.split()[1].partition(":")[2], 16) <= 41199 for line in lines)


def told(answer):
    return int(re.search(r"m=audio (\d+)", answer["sdp"]).group(1))


def ports(call, flags):
    """What the other side is told in five offers, each with another port of the first side's; ports used then."""
    before, seen = used(), []
    for n in range(5):
        both = {"call-id": call, "from-tag": "a", "flags": flags}
        seen.append(told(ask(command="offer", sdp=sdp(42000 + 2 * n), **both)))
        ask(command="answer", sdp=sdp(43000), **both, **{"to-tag": "b"})
    return seen, used() - before


try:
    ask(command="ping")
    plain, latched = ports("plain", []), ports("latched", ["port-latching"])
finally:
    engine.kill()
for name, (seen, count) in (("by default", plain), ("port-latching", latched)):
    print(f"rtpengine 10.5.3.5, {name}: the other side was told {seen}; {count} ports are in use")
if len(set(plain[0])) != 5 or plain[1] <= latched[1] or len(set(latched[0])) != 1:
    sys.exit("changed: moved ports of one side don't move the relay's towards the other side")
print("each moved port of one side moved the relay's towards the other side, and the old ones are in use")
TRY
