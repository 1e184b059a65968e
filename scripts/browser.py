"""Chromium without a screen, told what to do by the Chrome DevTools Protocol over a pipe, which works in a network
namespace too."""

from __future__ import annotations

import fcntl
import json
import os
import select
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from scripts.fleet_parts import Host
from scripts.processes import Processes, StartError

_FLAGS = (
    "--headless",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--password-store=basic",
    "--use-fake-device-for-media-stream",  # a beep each second
    "--use-fake-ui-for-media-stream",  # which nobody has to allow
    "--autoplay-policy=no-user-gesture-required",
)
_RAW = """const media = navigator.mediaDevices, open = media.getUserMedia.bind(media);
media.getUserMedia = (wanted) => open({
  ...wanted, audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
});"""
_PATIENCE = 30.0  # seconds for an answer
_PIPES = 10  # the first descriptor, out of the way of those that Chromium reads


class Browser:
    """``hosts`` are names and their addresses, beside what DNS says; ``authority`` is a PEM file that it trusts.
    ``microphone`` is a WAV file that it hears again and again, as it is: what is made of voices would take a tone for
    noise."""

    def __init__(
        self,
        directory: Path,
        host: Host,
        authority: Path | None = None,
        hosts: Mapping[str, str] | None = None,
        microphone: Path | None = None,
    ) -> None:
        self._directory = directory
        self._host = host
        self._processes = Processes(directory)
        self._hosts = hosts or {}
        self._microphone = microphone
        self._number = 0
        self._unread = b""
        self._pages: dict[str, BrowserPage] = {}
        if authority is not None:
            self._trust(authority)

    def _trust(self, authority: Path) -> None:
        """In the NSS database of its home, which ours isn't."""
        database = self._directory / ".pki" / "nssdb"
        database.mkdir(parents=True)
        for arguments in (
            ["-N", "--empty-password"],
            ["-A", "-n", "development", "-t", "C,,", "-i", str(authority)],
        ):
            done = subprocess.run(
                ["certutil", "-d", f"sql:{database}", *arguments], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise StartError(f"certutil {arguments[0]}: {done.stderr.strip()}")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        its_in, self._out = _pipe()
        self._in, its_out = _pipe()
        flags = [*_FLAGS, f"--user-data-dir={self._directory}/profile"]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")  # which root can't have
        if self._hosts:
            rules = ",".join(f"MAP {name} {address}" for name, address in self._hosts.items())
            flags.append(f"--host-resolver-rules={rules}")
        if self._microphone is not None:
            flags.append(f"--use-file-for-fake-audio-capture={self._microphone}")
        command = ["bash", "-c", f'exec chromium "$@" 3<&{its_in} 4>&{its_out}', "chromium", *flags, "about:blank"]
        try:
            self._processes.start(
                "chromium", command, {"HOME": str(self._directory)}, self._host.namespace, files=(its_in, its_out)
            )
        finally:
            os.close(its_in)
            os.close(its_out)
        self.ask("Browser.getVersion")

    def stop(self) -> None:
        self._processes.stop_all()
        os.close(self._out)
        os.close(self._in)

    def open(self, url: str) -> BrowserPage:
        """A new page, once it is loaded."""
        target = self.ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.ask("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        page = BrowserPage(self, session, target)
        self._pages[session] = page
        page.ask("Runtime.enable")
        page.ask("Page.enable")
        if self._microphone is not None:
            page.ask("Page.addScriptToEvaluateOnNewDocument", {"source": _RAW})
        page.ask("Page.navigate", {"url": url})
        page.wait("document.readyState == 'complete' && location.href != 'about:blank'")
        return page

    def ask(self, method: str, parameters: Mapping[str, Any] | None = None, session: str = "") -> Any:
        """A command's result. Raises StartError with what is wrong."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters or {}}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            for answer in self._read():
                if answer.get("id") != self._number:
                    continue
                if "error" in answer:
                    raise StartError(f"{method}: {answer['error']['message']}")
                return answer["result"]
        raise StartError(f"Chromium doesn't answer {method}: {self._processes.last_words('chromium')}")

    def _read(self) -> list[Any]:
        """Answers that have come; what pages have said goes to them."""
        if not select.select([self._in], [], [], 0.05)[0]:
            return []
        data = os.read(self._in, 1 << 20)
        if not data:
            raise StartError(f"Chromium has ended: {self._processes.last_words('chromium')}")
        *whole, self._unread = (self._unread + data).split(b"\0")
        answers = [json.loads(one) for one in whole]
        for event in answers:
            if event.get("method") in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
                self._pages[event["sessionId"]].take(event)
        return answers


class BrowserPage:
    """``console`` is what its scripts have said, errors among it."""

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self.console: list[str] = []
        self._browser = browser
        self._session = session
        self._target = target

    def ask(self, method: str, parameters: Mapping[str, Any] | None = None) -> Any:
        return self._browser.ask(method, parameters, self._session)

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression, promises awaited. Raises StartError with what it threw."""
        answer = self.ask(
            "Runtime.evaluate",
            {"expression": expression, "awaitPromise": True, "returnByValue": True, "userGesture": True},
        )
        if "exceptionDetails" in answer:
            raise StartError(f"{expression}: {_thrown(answer['exceptionDetails'])}; {self.console[-10:]}")
        return answer["result"].get("value")

    def wait(self, expression: str, seconds: float = _PATIENCE) -> Any:
        """Until ``expression`` is true; its value."""
        end = time.monotonic() + seconds
        while not (found := self.run(expression)):
            if time.monotonic() > end:
                raise StartError(f"not within {seconds:g} s: {expression}; the page said {self.console[-20:]}")
            time.sleep(0.03)
        return found

    def close(self) -> None:
        self._browser.ask("Target.closeTarget", {"targetId": self._target})

    def take(self, event: Mapping[str, Any]) -> None:
        parameters = event["params"]
        if event["method"] == "Runtime.exceptionThrown":
            self.console.append(_thrown(parameters["exceptionDetails"]))
        else:
            said = (item.get("value", item.get("description", "")) for item in parameters["args"])
            self.console.append(" ".join(str(item) for item in said))


def _thrown(details: Mapping[str, Any]) -> str:
    return str(details.get("exception", {}).get("description") or details["text"])


def _pipe() -> tuple[int, int]:
    """(to read, to write)"""
    made = os.pipe()
    moved = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, _PIPES) for one in made]
    for one in made:
        os.close(one)
    return moved[0], moved[1]
