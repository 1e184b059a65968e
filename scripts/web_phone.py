"""A phone in a page of Chromium: what its page's ``window.phone`` is told, and says in ``window.events``."""

from __future__ import annotations

import json
from typing import Any, Self
from urllib.parse import urlencode

from scripts.browser import Browser
from scripts.fleet_parts import PhoneAccount

PATIENCE = 20.0
_QUIET = """phone.heard().then(
    (before) => new Promise((done) => setTimeout(() => phone.heard().then((now) => done(now === before)), 500)))"""


class WebPhone:
    """Registered from when it is made until ``stop``. ``server`` is an edge's ``wss://`` URL, ``url`` its page's."""

    def __init__(self, browser: Browser, url: str, account: PhoneAccount, domain: str, server: str) -> None:
        self.account = account
        self.uri = f"sip:{account.username}@{domain}"
        self._read = 0
        settings = {"uri": self.uri, "password": account.password, "server": server}
        self.url = f"{url}#{urlencode(settings)}"
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

    def hears(self, packets: int = 25) -> None:
        """Until so many more RTP packets have come, half a second's at least."""
        before = self.do("heard")
        self.page.wait(f"phone.heard().then((heard) => heard >= {before + packets})", PATIENCE)

    def hears_nothing(self) -> None:
        """Until no RTP packet has come for half a second."""
        self.page.wait(_QUIET, PATIENCE)
