"""Push notification services as they are on the wire: HTTP/2 over TLS, and what they check."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded

from tests.support.certificates import self_signed

Answer = tuple[int, dict[str, str], Any]


@dataclass(frozen=True)
class Asked:
    """One request: its header fields with the pseudo ones; ``connection`` counts those that were made."""

    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class PushDouble:
    """A server that speaks HTTP/2 only, and answers as ``answer`` says: status, header fields, JSON."""

    def __init__(self, directory: Path, answer: Callable[[Asked], Answer], host: str = "127.0.0.1") -> None:
        self.chain, key = self_signed(host, common_name="push service double").write(directory, "push")
        self.asked: list[Asked] = []
        self.answer = answer
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.chain, key)
        self._context.set_alpn_protocols(["h2"])
        self._socket = socket.create_server((host, 0))
        self.url = f"https://{host}:{self._socket.getsockname()[1]}"
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    @property
    def connections(self) -> int:
        return len(self._connections)

    def _accept(self) -> None:
        threads = []
        while True:
            try:
                raw, _ = self._socket.accept()
            except OSError:
                break
            self._connections.append(raw)
            threads.append(threading.Thread(target=self._serve, args=(raw, len(self._connections))))
            threads[-1].start()
        for thread in threads:
            thread.join()

    def _serve(self, raw: socket.socket, number: int) -> None:
        try:
            with self._context.wrap_socket(raw, server_side=True) as stream:
                assert stream.selected_alpn_protocol() == "h2"
                self._connections[number - 1] = stream
                self._speak(stream, number)
        except OSError:
            pass

    def _speak(self, stream: ssl.SSLSocket, number: int) -> None:
        connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        stream.sendall(connection.data_to_send())
        headers: dict[int, dict[str, str]] = {}
        bodies: dict[int, bytes] = {}
        while data := stream.recv(65_536):
            for event in connection.receive_data(data):
                match event:
                    case RequestReceived():
                        headers[event.stream_id] = {str(name): str(value) for name, value in event.headers}
                        bodies[event.stream_id] = b""
                    case DataReceived():
                        bodies[event.stream_id] += event.data
                        connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    case StreamEnded():
                        asked = Asked(headers.pop(event.stream_id), bodies.pop(event.stream_id), number)
                        self.asked.append(asked)
                        status, more, value = self.answer(asked)
                        connection.send_headers(event.stream_id, [(":status", str(status)), *more.items()])
                        connection.send_data(event.stream_id, json.dumps(value).encode(), end_stream=True)
            stream.sendall(connection.data_to_send())

    def drop(self) -> None:
        """End all connections, as a machine that was frozen would find them."""
        for one in self._connections:
            _shut(one)

    def close(self) -> None:
        _shut(self._socket)
        self._socket.close()
        self.drop()
        self._thread.join()


def _shut(one: socket.socket) -> None:
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
