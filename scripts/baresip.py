"""A real phone: baresip without sound hardware, driven over its control socket (JSON in netstrings)."""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
import time
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from scripts.fleet_parts import Host, PhoneAccount
from scripts.processes import Processes, StartError, in_namespace, wait_for
from scripts.tones import as_samples, write_tone

_MODULES = ("/usr/lib/baresip/modules", "/usr/lib/x86_64-linux-gnu/baresip/modules")
_HEADER = 44  # bytes before the samples of a WAV file


class Baresip:
    """A phone of ``account``, registered at ``proxy`` (``host:port``). ``interface`` is the one to use; baresip refuses
    loopback."""

    def __init__(
        self,
        directory: Path,
        account: PhoneAccount,
        domain: str,
        proxy: str,
        host: Host,
        interface: str | None,
        sip_port: int,
        control_port: int,
        transport: str = "udp",
        authority: Path | None = None,
        web: bool = False,
        outbound: bool = False,
        tone: int = 450,
        stun: bool = False,
    ) -> None:
        """``authority`` is a PEM file of what it trusts. ``web``: it calls as browsers do, by DTLS-SRTP and ICE.
        ``outbound``: RFC 5626. ``tone``: what it says, in Hz, for two minutes; a call ends with it. ``stun``: it asks
        the proxy for its public address."""
        self.name = account.username
        self._directory = directory / f"baresip-{account.username}"
        self._directory.mkdir(parents=True, exist_ok=True)
        self._host = host
        self._family = "-6" if ":" in host.address else "-4"
        loopback = interface is None or self._family == "-6"
        self._control = ("127.0.0.1" if loopback else host.address, control_port)
        self._processes = Processes(self._directory)
        self._buffer = b""
        self._events: list[dict[str, Any]] = []
        self._socket: socket.socket | None = None
        self._recording: Path | None = None
        self._listened = 0
        write_tone(self._directory / "tone.wav", tone)
        ways = {"mediaenc": "dtls_srtp", "medianat": "ice"} if web else {}
        ways |= {"sipnat": "outbound"} if outbound else {}
        ways |= {"medianat": "stun", "stunserver": f'"stun:{proxy}"'} if stun else {}
        self._write_account(account, domain, proxy, transport, ways)
        listen = f"[{host.address}]:{sip_port}" if self._family == "-6" else f"{host.address}:{sip_port}"
        self._write_configuration(
            [
                f"sip_listen {listen}",
                f"net_interface {interface}" if interface else "",
                f"sip_cafile {authority}" if authority else "",
                *(["rtcp_mux yes", "module dtls_srtp.so", "module ice.so"] if web else []),
                "module stun.so" if stun else "",
            ]
        )

    def _write_account(
        self, account: PhoneAccount, domain: str, proxy: str, transport: str, ways: Mapping[str, str]
    ) -> None:
        parameters = "".join(f"{name}={value};" for name, value in ways.items())
        (self._directory / "accounts").write_text(
            f"<sip:{account.username}@{domain};transport={transport}>;auth_user={account.username};"
            f'auth_pass={account.password};outbound="sip:{proxy};transport={transport}";regint=600;'
            f"{parameters}answermode=manual;audio_codecs=PCMA,PCMU\n"
        )

    def _write_configuration(self, own: Sequence[str]) -> None:
        here = self._directory
        modules = next((path for path in _MODULES if Path(path).is_dir()), None)
        if modules is None:
            raise StartError("baresip's modules weren't found; on Debian: apt-get install baresip")
        (here / "contacts").write_text("")
        lines = [
            "poll_method epoll",
            "call_local_timeout 120",
            f"audio_source aufile,{here}/tone.wav",
            f"ctrl_tcp_listen {self._control[0]}:{self._control[1]}",
            f"module_path {modules}",
            "module g711.so",
            "module aufile.so",
            "module sndfile.so",
            f"snd_path {here}",
            "module_tmp uuid.so",
            "module_tmp account.so",
            "module_app menu.so",
            "module_app ctrl_tcp.so",
            "module_app rtcpsummary.so",
            *own,
        ]
        (here / "config").write_text("\n".join(line for line in lines if line) + "\n")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Self:
        """Raises StartError with what it said."""
        self._processes.start(
            "phone", ["baresip", self._family, "-f", str(self._directory), "-v"], {}, self._host.namespace
        )
        self._socket = self._processes.wait_until("phone", self._connect, 10)
        return self

    def _connect(self) -> socket.socket | None:
        try:
            return in_namespace(self._host.namespace, lambda: socket.create_connection(self._control, timeout=2))
        except OSError:
            return None

    def stop(self) -> None:
        """Quit as a user would, so that it unregisters."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self.command("quit")
            self._socket.close()
        self._processes.stop_all()

    def command(self, name: str, parameters: str = "") -> None:
        assert self._socket is not None
        message = json.dumps({"command": name, "params": parameters, "token": "t"}).encode()
        self._socket.sendall(b"%d:%s," % (len(message), message))

    def wait(self, kind: str, seconds: float = 10) -> dict[str, Any]:
        """The next event of that type (``CALL_INCOMING``, ``CALL_ESTABLISHED``, …). Raises StartError after a while."""
        return wait_for(f"{self.name}: {kind}", lambda: self._take(kind), seconds)

    def _take(self, kind: str) -> dict[str, Any] | None:
        self._read()
        for index, event in enumerate(self._events):
            if event.get("type") == kind:
                del self._events[: index + 1]
                return event
        return None

    def registered(self, seconds: float = 10) -> bool:
        """Whether it says that it is registered, within ``seconds``."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.command("reginfo")
            again = time.monotonic() + 0.5
            while time.monotonic() < again:
                self._read(0.1)
                if any(event.get("response") and "OK" in str(event.get("data", "")) for event in self._events):
                    self._events.clear()
                    return True
        return False

    def heard(self) -> int:
        """RTP packets that came in the call that has ended last."""
        log = (self._directory / "phone.log").read_text(errors="replace")
        found = re.findall(r"\bPR=(\d+)", log)
        return int(found[-1]) if found else 0

    def new_sound(self) -> array[int]:
        """What has been decoded since it was last asked, in the call that began last. It is recorded by packets: those
        that are missing leave no pause."""
        recordings = sorted(self._directory.glob("dump-*-dec.wav"))
        if not recordings:
            return array("h")
        if self._recording != recordings[-1]:
            self._recording, self._listened = recordings[-1], _HEADER
        with self._recording.open("rb") as file:
            file.seek(self._listened)
            data = file.read()
        data = data[: len(data) // 2 * 2]
        self._listened += len(data)
        return as_samples(data)

    def _read(self, seconds: float = 0.02) -> None:
        assert self._socket is not None
        if not select.select([self._socket], [], [], seconds)[0]:
            return
        self._buffer += self._socket.recv(65536)
        while b":" in self._buffer:
            size, _, rest = self._buffer.partition(b":")
            if len(rest) <= int(size):
                break
            self._events.append(json.loads(rest[: int(size)]))
            self._buffer = rest[int(size) + 1 :]
