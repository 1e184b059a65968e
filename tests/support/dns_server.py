"""A name server that answers what a test tells it."""

from __future__ import annotations

import itertools
import socket
import threading

import dns.message
import dns.rcode
import dns.rrset

_LONGEST_CHAIN = 20  # aliases


class DnsServer:
    """``records`` maps (name, type) to texts, as in a zone file; changes count at once. Aliases (CNAME) are followed, as
    resolvers do. ``silent``: nothing is answered."""

    def __init__(self, host: str) -> None:
        self.records: dict[tuple[str, str], list[str]] = {}
        self.ttl = 1
        self.silent = False
        self.asked: list[tuple[str, str]] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, 0))
        self.address = f"{host}:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._socket.close()

    def _run(self) -> None:
        while True:
            try:
                data, sender = self._socket.recvfrom(4096)
            except OSError:
                return
            query = dns.message.from_wire(data)
            answer = dns.message.make_response(query)
            question = query.question[0]
            name, kind = question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype)
            self.asked.append((name, kind))
            if self.silent:
                continue
            links = itertools.repeat(None, _LONGEST_CHAIN)
            while kind != "CNAME" and (target := self.found(name, "CNAME")) and next(links, self) is None:
                answer.answer.append(dns.rrset.from_text_list(f"{name}.", self.ttl, "IN", "CNAME", target))
                name = target[0].rstrip(".")
            if texts := self.found(name, kind):
                answer.answer.append(dns.rrset.from_text_list(f"{name}.", self.ttl, "IN", kind, texts))
            elif not self.known(name):
                answer.set_rcode(dns.rcode.NXDOMAIN)
            self._socket.sendto(answer.to_wire(), sender)

    def found(self, name: str, kind: str) -> list[str]:
        """The texts of one kind of record."""
        return self.records.get((name, kind), [])

    def known(self, name: str) -> bool:
        """Whether there is a record of any kind."""
        return any(known == name for known, _ in self.records)
