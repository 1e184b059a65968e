"""The process that scripts run in: it forks one child for each run, and reports how those died that couldn't say so.

It is started with nothing but a socket, and the standard library and the interpreter loaded. Each message on the socket
brings another one, by which the child gets its job and answers: lines of JSON. The child's bounds are the kernel's:
memory, processor time, time, and no files; the interpreter's own (call depth, cancellation) come first where they can,
since they say where the script was.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import select
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import starlark

from lambdas.sandbox.bounds import CPU, CPU_HARD, LOG_LINE, LOG_LINES, MEMORY, QUESTIONS, RESULT, STACK, TOO_MUCH_TIME

_NO_MEMORY = 3  # the exit status of a child that has none left

_PRELUDE = (Path(__file__).parent / "prelude.star").read_text()
_GLOBALS = starlark.Globals.extended_by([starlark.LibraryExtension.StructType, starlark.LibraryExtension.Json])
_DIALECT = starlark.Dialect.standard()
_DIALECT.enable_f_strings = True
_DIALECT.enable_load = False


class _ScriptRefused(Exception):
    """The script may not do that; the text says why."""


def serve(control: socket.socket) -> None:
    """Fork for each descriptor that comes, until the other end is closed."""
    children: dict[int, tuple[int, socket.socket]] = {}  # pidfd -> child, and its socket
    while True:
        watched: list[Any] = [control, *children]
        ready, _, _ = select.select(watched, [], [])
        for pidfd in [one for one in ready if one is not control]:
            pid, channel = children.pop(pidfd)
            _, status, used = os.wait4(pid, 0)
            memory = os.WIFEXITED(status) and os.WEXITSTATUS(status) == _NO_MEMORY
            end = {
                "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else signal.SIGABRT if memory else 0,
                "cpu": used.ru_utime + used.ru_stime,
            }
            with channel, contextlib.suppress(OSError):
                channel.sendall(json.dumps({"died": end}).encode() + b"\n")
            os.close(pidfd)
        if control in ready:
            data, descriptors, _, _ = socket.recv_fds(control, 1, 1)
            if not data:
                return
            channel = socket.socket(fileno=descriptors[0])
            pid = os.fork()
            if not pid:
                _child(control, channel, children)
            children[os.pidfd_open(pid)] = (pid, channel)


def _child(control: socket.socket, channel: socket.socket, siblings: dict[int, tuple[int, socket.socket]]) -> NoReturn:
    control.close()
    for pidfd, (_, other) in siblings.items():
        os.close(pidfd)
        other.close()
    try:
        _Run(channel).run()
    except BaseException as error:
        # The interpreter panics where Python would raise MemoryError.
        os._exit(_NO_MEMORY if isinstance(error, MemoryError) or "out of memory" in str(error) else 1)
    os._exit(0)


class _Run:
    """One script, once."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._lines = channel.makefile("rb")
        self._log: list[str] = []
        self._read: set[str] = set()
        self._calls = 0

    def run(self) -> None:
        job = json.loads(self._lines.readline())
        _confine(job["seconds"])
        answer: dict[str, Any] = {}
        try:
            value = self._evaluate(job)
            if len(json.dumps(value)) > RESULT:
                raise _ScriptRefused(f"the result is longer than {RESULT} octets")
            answer["value"] = value
        except starlark.StarlarkError as error:
            answer["error"] = _brief(str(error), job["name"])
        except _ScriptRefused as error:
            answer["error"] = str(error)
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            answer["error"] = f"what it returns can't be used: {error}"
        known = {"log": self._log, "read": sorted(self._read), "cpu": time.process_time()}
        self._send(json.dumps(answer | known))

    def _send(self, text: str) -> None:
        self._channel.sendall(text.encode() + b"\n")

    def _evaluate(self, job: dict[str, Any]) -> object:
        module = starlark.Module()
        for name, function in self._functions(job).items():
            module.add_callable(name, function)
        module["_domain"] = job["domain"]
        starlark.eval(module, starlark.parse("prelude", _PRELUDE, _DIALECT), _GLOBALS)
        options = starlark.EvalOptions(check_cancelled=_overdue, max_callstack_size=STACK)
        starlark.eval_with(options, module, starlark.parse(job["name"], job["script"], _DIALECT), _GLOBALS)
        function = job["function"]
        if not function.isidentifier():
            raise _ScriptRefused(f"{function!r} is not the name of a function")
        module["_call"] = job["call"]
        entry = starlark.parse("call", f"{function}(struct(**_call))", _DIALECT)
        return starlark.eval_with(options, module, entry, _GLOBALS).value

    def _functions(self, job: dict[str, Any]) -> dict[str, Callable[..., object]]:
        def log(*words: object) -> None:
            if len(self._log) < LOG_LINES:
                self._log.append(" ".join(str(word) for word in words)[:LOG_LINE])

        def now() -> object:
            self._read.add("now")
            return job["now"]

        def in_list(name: str, text: str) -> bool:
            self._read.add("lists")
            return bool(self._ask("in_list", name, text))

        return {
            "log": log,
            "now": now,
            "in_list": in_list,
            "registered": lambda account: self._ask("registered", account),
            "do_not_disturb": lambda account: self._ask("do_not_disturb", account),
            "get": lambda key, default=None: self._ask("get", key, default),
            "put": lambda key, value: self._ask("put", key, value),
            "enum": lambda number, zone="e164.arpa": self._ask("enum", number, zone),
            "http_get": lambda url: self._ask("http_get", url),
        }

    def _ask(self, name: str, *arguments: object) -> object:
        """What only the other side knows. The clocks that bound the script go on."""
        self._calls += 1
        if self._calls > QUESTIONS:
            raise _ScriptRefused(f"more than {QUESTIONS} questions to the service in one run")
        self._read.add(name)
        text = json.dumps({"ask": name, "arguments": arguments})
        if len(text) > RESULT:
            raise _ScriptRefused(f"{name}: the arguments are longer than {RESULT} octets")
        self._send(text)
        reply = json.loads(self._lines.readline())
        if "refused" in reply:
            raise _ScriptRefused(reply["refused"])
        answer: object = reply["answer"]
        return answer


def _overdue() -> bool:
    if time.process_time() > CPU:
        raise _ScriptRefused(TOO_MUCH_TIME)
    return False


def _confine(seconds: float) -> None:
    """From here on nothing can be opened, nobody started, and not much used."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    for kind, bound in (
        (resource.RLIMIT_AS, limit),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 0),
    ):
        resource.setrlimit(kind, (bound, bound))
    signal.setitimer(signal.ITIMER_PROF, CPU_HARD)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _brief(error: str, name: str) -> str:
    """The message and the place, without the interpreter's drawing of it: the innermost place in the script itself."""
    lines = [line.strip() for line in error.splitlines()]
    message = next((line for line in lines if line.startswith("error: ")), lines[0])
    calls = [line[2:].partition(",")[0] for line in lines if line.startswith(f"* {name}:")]
    places = [line.removeprefix("--> ") for line in lines if line.startswith("--> ")]
    own = [place for place in places if place.startswith(f"{name}:")]
    brief = message.removeprefix("error: ").removeprefix("_ScriptRefused: ")[:300]
    return " at ".join([brief, *(own or calls[-1:] or places)[:1]])


def main() -> None:
    """The socket is standard input."""
    for descriptor in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    gc.disable()
    gc.freeze()  # what children never change they go on sharing
    serve(socket.socket(fileno=os.dup(0)))


if __name__ == "__main__":
    main()
