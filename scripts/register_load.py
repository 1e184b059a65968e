"""A load of phones that register, refresh, and ask what the server can do, by any transport:
``python -m scripts.register_load``. What it sends is made of bytes, so that one core has thousands of them a second."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import time
from collections.abc import Awaitable, Callable

import uvloop

from edge.sip.headers import parse_digest
from edge.sip.timers import T1, T2
from scripts.load_orders import Order, place, serve
from scripts.load_phone import Phone

_TICK = 0.002  # seconds between looks at what is due
_LAST = 3.0  # seconds for what hasn't been answered when the last has left
_AT_ONCE = 50  # phones that come
_AGAIN = 1.0  # seconds after which UDP is tried again
_TRIES = 10
_SOURCES = 200  # addresses that many phones come from
_SAID = (
    b"User-Agent: Bench phone 1.0\r\nAllow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY, MESSAGE, INFO\r\n"
    b"Supported: path, outbound\r\nContent-Length: 0\r\n\r\n"
)
_serial = itertools.count(1)


class RegisteringPhone:
    """One phone, which has one request under way at most: ``busy``. ``done`` were answered with 200, ``failed`` with
    something else, the last with ``retry_after``."""

    def __init__(self, phone: Phone) -> None:
        self.phone = phone
        self.busy = False
        self.done = self.failed = 0
        self.retry_after = 0.0
        self.rested = asyncio.Event()
        self.rested.set()
        self._left = 0  # REGISTERs of this Call-ID that are still to come
        self._cseq = self._count = 0
        self._server = self._nonce = ""
        agent = phone.agent
        secret = f"{agent.username}:{agent.domain}:{agent.password}"
        self._secrets = _md5(secret), _md5(f"REGISTER:sip:{agent.domain}")
        self._head = (b"", b"", b"")
        self._last = b""
        phone.take = self._take

    def register(self, each: int) -> None:
        """``each`` of one Call-ID and nonce, the first of them challenged."""
        if not self._left:
            self._left = each
            self._begin()
            self._say(b"")
        else:
            self._say(self._credentials())

    def ask(self) -> None:
        """OPTIONS to the server itself."""
        agent, number = self.phone.agent, next(_serial)
        server, own = self._server.encode(), f"{agent.host}:{agent.port}".encode()
        self._send(
            b"OPTIONS sip:%b SIP/2.0\r\nVia: SIP/2.0/%b %b;branch=z9hG4bKo%d;rport\r\nMax-Forwards: 70\r\n"
            b"From: <%b>;tag=o%d\r\nTo: <sip:%b>\r\nCall-ID: o%d\r\nCSeq: 1 OPTIONS\r\nAccept: application/sdp\r\n%b"
            % (server, agent.transport.encode(), own, number, agent.aor.encode(), number, server, number, _SAID)
        )

    def again(self) -> None:
        """As over UDP, where it may have been lost."""
        self.phone.agent.send(self._last)

    async def open(self, order: Order, own: str = "") -> None:
        """Connect to the server, from the address ``own`` where that isn't the order's."""
        where, usual, context, name = place(order)
        self._server = order["host"]
        await self.phone.open(where, own or usual, context, name)

    def _begin(self) -> None:
        """Of another Call-ID."""
        agent, number = self.phone.agent, next(_serial)
        self._cseq = self._count = 0
        via = f"REGISTER sip:{agent.domain} SIP/2.0\r\nVia: SIP/2.0/{agent.transport} {agent.host}:{agent.port};rport"
        self._head = (
            f"{via};branch=z9hG4bKr{number}x".encode(),
            f"\r\nMax-Forwards: 70\r\nFrom: <{agent.aor}>;tag=r{number}\r\nTo: <{agent.aor}>\r\n"
            f"Call-ID: {number}@{agent.host}\r\nCSeq: ".encode(),
            f" REGISTER\r\nContact: {agent.contact}\r\nExpires: 3600\r\n".encode(),
        )

    def _say(self, credentials: bytes) -> None:
        self._cseq += 1
        first, second, third = self._head
        self._send(b"%b%d%b%d%b%b%b" % (first, self._cseq, second, self._cseq, third, credentials, _SAID))

    def _send(self, data: bytes) -> None:
        self.busy, self._last = True, data
        self.rested.clear()
        self.phone.agent.send(data)

    def _credentials(self) -> bytes:
        self._count += 1
        agent, (ha1, ha2) = self.phone.agent, self._secrets
        response = _md5(f"{ha1}:{self._nonce}:{self._count:08x}:c:auth:{ha2}")
        return (
            f'Authorization: Digest username="{agent.username}", realm="{agent.domain}", nonce="{self._nonce}", '
            f'uri="sip:{agent.domain}", response="{response}", algorithm=MD5, qop=auth, nc={self._count:08x}, '
            'cnonce="c"\r\n'
        ).encode()

    def _take(self, data: bytes) -> None:
        if data.startswith(b"SIP/2.0 200"):
            self.done += 1
            self._left = max(0, self._left - 1)
            self._rest()
        elif data.startswith(b"SIP/2.0 401") and self._cseq == 1:
            self._nonce = _nonce(data)
            self._say(self._credentials())
        elif data.startswith(b"SIP/2.0 ") and data[8:9] != b"1":
            self.failed += 1
            self.retry_after = _retry_after(data)
            self._left = 0
            self._rest()
        elif data.startswith(b"OPTIONS"):
            self.phone.agent.take(data)

    def forget(self) -> None:
        """What isn't answered yet won't be."""
        self._left = 0
        self._rest()

    def _rest(self) -> None:
        self.busy = False
        self.rested.set()


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()  # noqa: S324 - what SIP has


def _retry_after(refusal: bytes) -> float:
    """Seconds; 5 where nothing is said."""
    found = refusal.partition(b"\r\nRetry-After: ")[2].partition(b"\r\n")[0]
    return float(found) if found.isdigit() else 5.0


def _nonce(challenge: bytes) -> str:
    for line in challenge.decode().split("\r\n"):
        name, _, value = line.partition(":")
        params = parse_digest(value.strip()) if name.lower() == "www-authenticate" else None
        if params and params.get("algorithm", "MD5") == "MD5":
            return params["nonce"]
    raise RuntimeError("a challenge that isn't for MD5")


class RegisterLoad:
    """What the orders are carried out on."""

    def __init__(self) -> None:
        self._phones: list[RegisteringPhone] = []

    async def phones(self, order: Order) -> Order:
        """Those of ``accounts`` come, as (user name, password), instead of who was there, and register. Unless they are
        to ``stay`` their sockets are closed: so many can't be open. ``spread``: not all from one address. Raises
        RuntimeError."""
        for phone in self._phones:
            phone.phone.close()
        self._phones = []
        turns = asyncio.Semaphore(_AT_ONCE)
        network = order["own"].rpartition(".")[0]

        async def come(number: int, username: str, password: str) -> None:
            phone = RegisteringPhone(Phone(username, order["domain"], password, order["transport"]))
            async with turns:
                await phone.open(order, f"{network}.{10 + number % _SOURCES}" if order.get("spread") else "")
                await _registered(phone)
            if order["stay"]:
                self._phones.append(phone)
            else:
                phone.phone.close()

        await asyncio.gather(*(come(number, *account) for number, account in enumerate(order["accounts"])))
        return {}

    async def storm(self, order: Order) -> Order:
        """All ``accounts`` come within ``over`` seconds, each from an address of its own, and register as phones do:
        over UDP they try again by Timer E (RFC 3261 §17.1.2.2), and whoever is refused with 503 waits as he is told.
        How many ``failed`` within ``seconds``, how often one was ``refused``, and after how long half and 99 of 100
        were done."""
        begun = time.monotonic()
        took: list[float] = []
        refused = 0
        network = ".".join(order["own"].split(".")[:2])
        accounts = order["accounts"]
        turns = asyncio.Semaphore(_AT_ONCE)  # this end of TLS takes its time, too

        async def come(number: int, username: str, password: str) -> None:
            nonlocal refused
            await asyncio.sleep(number * order["over"] / len(accounts))
            phone = RegisteringPhone(Phone(username, order["domain"], password, order["transport"]))
            own = f"{network}.{100 + number // 200 % 100}.{10 + number % 200}"
            since = time.monotonic()
            until = begun + order["seconds"]
            while time.monotonic() < until:
                try:
                    async with turns:
                        await phone.open(order, own)
                except OSError:  # connections are made again as long as it takes
                    await asyncio.sleep(_AGAIN)
                    continue
                refused += await _persists(phone, until)
                break
            if phone.done:
                took.append(time.monotonic() - since)
            phone.phone.close()

        await asyncio.gather(*(come(number, *account) for number, account in enumerate(accounts)))
        took.sort()
        return {
            "failed": len(accounts) - len(took),
            "refused": refused,
            "seconds": round(time.monotonic() - begun, 1),
            "half": took[len(took) // 2] if took else None,
            "most": took[len(took) * 99 // 100] if took else None,
        }

    async def register(self, order: Order) -> Order:
        """``rate`` of them a second, for ``seconds``; ``each`` of one Call-ID."""
        return await self._run(order, lambda phone: phone.register(order["each"]))

    async def options(self, order: Order) -> Order:
        return await self._run(order, lambda phone: phone.ask())

    async def _run(self, order: Order, send: Callable[[RegisteringPhone], None]) -> Order:
        """How many of them were done, and how many failed: those that no phone was free for among them."""
        phones = self._phones
        before = sum(phone.done for phone in phones)
        begun, due, wanted = time.monotonic(), 0, round(order["rate"] * order["seconds"])
        turns = itertools.cycle(phones)
        while due < wanted:
            for _ in range(min(wanted, round((time.monotonic() - begun) * order["rate"])) - due):
                free = next((phone for phone in itertools.islice(turns, len(phones)) if not phone.busy), None)
                if free is not None:
                    send(free)
                due += 1
            await asyncio.sleep(_TICK)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST):
                for phone in phones:
                    await phone.rested.wait()
        for phone in phones:
            if phone.busy:
                phone.forget()
        done = sum(phone.done for phone in phones) - before
        return {"done": done, "failed": wanted - done}


async def _persists(phone: RegisteringPhone, until: float) -> int:
    """Register until that is done, or ``until``; how often it was refused."""
    refused, again = 0, T1
    phone.register(1)
    while time.monotonic() < until and not phone.done:
        try:
            async with asyncio.timeout(again):
                await phone.rested.wait()
        except TimeoutError:
            again = min(2 * again, T2)
            if phone.phone.agent.transport == "UDP":
                phone.again()
            continue
        if not phone.done:
            refused += 1
            await asyncio.sleep(phone.retry_after)
            again = T1
            phone.register(1)
    return refused


async def _registered(phone: RegisteringPhone) -> None:
    phone.register(1)
    for _ in range(_TRIES):
        try:
            async with asyncio.timeout(_AGAIN):
                await phone.rested.wait()
        except TimeoutError:
            if phone.phone.agent.transport == "UDP":
                phone.again()
            continue
        if phone.done:
            return
        await asyncio.sleep(_AGAIN)  # it was refused: too many at once
        phone.register(1)
    raise RuntimeError(f"{phone.phone.agent.username} can't register")


def _orders() -> dict[str, Callable[[Order], Awaitable[Order]]]:
    load = RegisterLoad()
    return {kind.__name__: kind for kind in (load.phones, load.storm, load.register, load.options)}


if __name__ == "__main__":
    uvloop.run(serve(_orders()))
