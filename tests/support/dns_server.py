"""A name server that answers what a test tells it."""

from __future__ import annotations

import socket
import threading

import dns.message
import dns.rcode
import dns.rrset

_LONGEST_CHAIN = 20  # aliases


class DnsServer:
    """``records`` maps (name, type) to texts, as in a zone file; changes count at once. ``silent``: nothing is
    answered."""

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
            for _ in range(_LONGEST_CHAIN):
                aliases = self.records.get((name, "CNAME"))
                if not aliases:
                    break
                answer.answer.append(dns.rrset.from_text_list(name + ".", self.ttl, "IN", "CNAME", aliases))
                name = aliases[0].removesuffix(".")
            texts = self.records.get((name, kind))
            if texts:
                answer.answer.append(dns.rrset.from_text_list(name + ".", self.ttl, "IN", kind, texts))
            elif not any(known == name for known, _ in self.records):
                answer.set_rcode(dns.rcode.NXDOMAIN)
            self._socket.sendto(answer.to_wire(), sender)
