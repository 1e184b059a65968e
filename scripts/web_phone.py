"""A phone in a page of Chromium: what its page's ``window.phone`` is told, and says in ``window.events``."""

from __future__ import annotations

import base64
import json
from array import array
from typing import Any, Self
from urllib.parse import urlencode

from scripts.browser import Browser
from scripts.fleet_parts import PhoneAccount
from scripts.tones import RATE, as_samples

PATIENCE = 20.0
_QUIET = """phone.heard().then(
    (before) => new Promise((done) => setTimeout(() => phone.heard().then((now) => done(now === before)), 500)))"""

_EAR = """(async () => {
  const context = new AudioContext({ sampleRate: RATE });
  const code = `registerProcessor("ear", class extends AudioWorkletProcessor {
    process([[samples]]) {
      if (samples) this.port.postMessage(samples.slice());
      return true;
    }
  });`;
  await context.audioWorklet.addModule(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
  const node = new AudioWorkletNode(context, "ear");
  node.connect(context.destination); // which it is silent for, and without which nobody would ask it
  const audio = document.getElementById("audio");
  let parts = [], source, stream;
  node.port.onmessage = ({ data }) => parts.push(data);
  globalThis.ear = () => {
    if (audio.srcObject !== stream) {
      source?.disconnect();
      stream = audio.srcObject;
      source = context.createMediaStreamSource(stream);
      source.connect(node);
    }
    const samples = Int16Array.from(parts.flatMap((part) => [...part]), (sample) => 32767 * sample);
    parts = [];
    const octets = new Uint8Array(samples.buffer);
    let text = "";
    for (let at = 0; at < octets.length; at += 4096) { // as many arguments as a function may have
      text += String.fromCharCode(...octets.subarray(at, at + 4096));
    }
    return btoa(text);
  };
})()""".replace("RATE", str(RATE))


class WebPhone:
    """Registered from when it is made until ``stop``. ``server`` is an edge's ``wss://`` URL, ``url`` its page's."""

    def __init__(self, browser: Browser, url: str, account: PhoneAccount, domain: str, server: str) -> None:
        self.account = account
        self.uri = f"sip:{account.username}@{domain}"
        self._read = 0
        settings = {"uri": self.uri, "password": account.password, "server": server}
        self.url = f"{url}#{urlencode(settings)}"
        self._listens = False
        self.page = browser.open(self.url)
        self.wait("registered")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Unregister, and close the page."""
        self.do("stop")
        self.page.close()

    def close(self) -> None:
        """As closing the tab does: it unregisters nothing."""
        self.page.close()

    def do(self, name: str, *arguments: str) -> Any:
        """``call`` (a URI), ``answer``, ``hangUp``, ``decline``, ``hold``, ``resume``, ``refresh``, ``heard``."""
        return self.page.run(f"phone.{name}({', '.join(json.dumps(one) for one in arguments)})")

    def wait(self, name: str, seconds: float = PATIENCE) -> str:
        """Until it says ``name``, after what it was last waited for; what it said."""
        since = f"events.slice({self._read})"
        at = self.page.wait(f"{since}.findIndex((event) => event.split(' ')[0] === {json.dumps(name)}) + 1", seconds)
        self._read += at
        said: str = self.page.run(f"events[{self._read - 1}]")
        return said

    @property
    def says(self) -> list[str]:
        """All that it has said."""
        said: list[str] = self.page.run("events")
        return said

    def new_sound(self) -> array[int]:
        """What its page has played since it was last asked, in the call that there is."""
        if not self._listens:
            self.page.run(_EAR)
            self._listens = True
        return as_samples(base64.b64decode(self.page.run("ear()")))

    def hears(self, packets: int = 25) -> None:
        """Until so many more RTP packets have come, half a second's at least."""
        before = self.do("heard")
        self.page.wait(f"phone.heard().then((heard) => heard >= {before + packets})", PATIENCE)

    def hears_nothing(self) -> None:
        """Until no RTP packet has come for half a second."""
        self.page.wait(_QUIET, PATIENCE)
