#!/usr/bin/env bash
# Twinkle 1.10.2 (Debian 12, amd64). Guess: a Record-Route comes back as Route as it went out, since nothing in its user
# part has to be escaped. Seen: the URI is written anew, with `Z` as `%5a` and all other letters and digits as they were:
# equal by RFC 3261 §19.1.4, and another string.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
cd "$here"
version=1:1.10.2+dfsg-2
apt-get download -q "twinkle-console=$version" "twinkle-common=$version" >/dev/null
for package in *.deb; do dpkg -x "$package" root; done
# What it needs and this machine hasn't got, of the same release.
missing() { LD_LIBRARY_PATH=$here/root/usr/lib/x86_64-linux-gnu ldd root/usr/bin/twinkle-console | grep -q "not found"; }
if missing; then
  apt-get download -q $(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
    --no-replaces --no-enhances "twinkle-console" | grep "^lib" | grep -vE "^libc6|^libgcc|:i386" | sort -u) >/dev/null
  for package in *.deb; do dpkg -x "$package" root; done
fi
export LD_LIBRARY_PATH=$here/root/usr/lib/x86_64-linux-gnu HOME=$here/home LANG=C TERM=dumb

python3 - "$here" <<'SERVER'
import pathlib, re, socket, string, subprocess, sys, time

here = pathlib.Path(sys.argv[1])
letters = string.ascii_letters + string.digits
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 0))
server.settimeout(15)
address = f"127.0.0.1:{server.getsockname()[1]}"
settings = here / "home" / ".twinkle"
settings.mkdir(parents=True)
(settings / "twinkle.sys").write_text(
    "sip_port=0\nrtp_port=18000\ndev_ringtone=alsa:null\ndev_speaker=alsa:null\ndev_mic=alsa:null\nvalidate_audio_dev=no\n"
)
(settings / "me.cfg").write_text(
    f"user_name=anna\nuser_domain=example.test\noutbound_proxy={address}\nregister_at_startup=no\nsip_transport=udp\n"
    "zrtp_enabled=no\npres_publish_startup=no\nmwi_sollicited=no\n"
)
phone = subprocess.Popen(
    [here / "root/usr/bin/twinkle-console", "me.cfg"],
    stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
)
try:
    time.sleep(2)
    phone.stdin.write(b"call sip:bert@example.test\n")
    phone.stdin.flush()
    while True:
        data, source = server.recvfrom(65536)
        text = data.decode()
        if text.startswith("INVITE"):
            body = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 8\r\n"
            copied = "".join(re.findall(r"^(?:Via|From|Call-ID|CSeq): .*\r\n", text, re.M))
            to = re.search(r"^To: .*", text, re.M).group().strip()
            server.sendto(
                f"SIP/2.0 200 OK\r\n{copied}{to};tag=t\r\nRecord-Route: <sip:{letters}@{address};lr>\r\n"
                f"Contact: <sip:bert@{address}>\r\nContent-Type: application/sdp\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode(),
                source,
            )
        elif text.startswith("ACK"):
            break
finally:
    phone.kill()
user = re.search(r"^Route: <sip:(.*?)@", text, re.M).group(1)
print(f"Twinkle 1.10.2: Record-Route's user {letters}\n                Route's user        {user}")
if user != letters.replace("Z", "%5a"):
    sys.exit("changed: something else than Z is escaped, or nothing")
print("Z, and nothing else, comes back escaped")
SERVER
