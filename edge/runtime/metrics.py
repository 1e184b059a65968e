"""Metrics in Prometheus's format, health, and the trace; on an address of the operator's choice, loopback by habit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

from aiohttp import web
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from edge import compiled_core
from edge.control.journal import Journal
from edge.mesh.peers import Mesh
from edge.proxy.core import Core
from edge.runtime.follower import Follower
from edge.runtime.media import Media
from edge.runtime.pauses import Pauses
from edge.runtime.trace import Trace
from edge.runtime.workers import Workers
from edge.transport.certificates import Certificates
from edge.transport.sockets import Sockets


class _Numbers(Collector):
    def __init__(
        self,
        core: Core,
        sockets: Sockets,
        certificates: Certificates,
        mesh: Mesh,
        media: Media,
        journal: Journal,
        pauses: Pauses,
        workers: Workers,
    ) -> None:
        self._sockets = sockets
        self._certificates = certificates
        self._journal = journal
        self._core = core
        self._mesh = mesh
        self._media = media
        self._pauses = pauses
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        events = CounterMetricFamily("sipwizard_events", "What happened, by kind.", labels=["kind"])
        for kind, count in sorted((self._core.stack.counters + self._workers.counters()).items()):
            events.add_metric([kind], count)
        for kind, count in sorted(self._journal.counters.items()):
            events.add_metric([f"journal_{kind}"], count)
        yield events
        sizes = GaugeMetricFamily("sipwizard_size", "How many there are now, by kind.", labels=["kind"])
        others = self._workers.sizes()
        for kind, size in {**self._core.gauges(), **self._sockets.sizes(), **self._media.sizes()}.items():
            sizes.add_metric([kind], size + others[kind])
        sizes.add_metric(["journal"], len(self._journal))
        sizes.add_metric(["mesh_links"], len(self._mesh.connected()))
        yield sizes
        expiries = GaugeMetricFamily(
            "sipwizard_certificate_expiry_seconds", "When each certificate ends, Unix time.", labels=["name"]
        )
        for name, until in sorted(self._certificates.expiries().items()):
            expiries.add_metric([name], until.timestamp())
        yield expiries
        pauses = GaugeMetricFamily(
            "sipwizard_longest_pause_seconds",
            "The longest turn of the loop in this minute and the one before, and look for garbage, in CPU time.",
            labels=["kind"],
        )
        for kind, seconds in self._pauses.seconds().items():
            pauses.add_metric([kind], max(seconds, self._workers.longest(kind)))
        yield pauses
        compiled = "Whether the core that runs is the compiled one."
        yield GaugeMetricFamily("sipwizard_compiled", compiled, value=float(not compiled_core.FAULT))


async def serve(
    host: str,
    port: int,
    core: Core,
    sockets: Sockets,
    certificates: Certificates,
    mesh: Mesh,
    media: Media,
    follower: Follower,
    journal: Journal,
    trace: Trace,
    pauses: Pauses,
    workers: Workers,
) -> web.AppRunner:
    """Start serving /metrics, /health and /trace. Raises OSError."""
    registry = CollectorRegistry()
    registry.register(_Numbers(core, sockets, certificates, mesh, media, journal, pauses, workers))

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def health(_: web.Request) -> web.Response:
        """200 once the edge holds an address and has read its bindings."""
        epochs, others = core.stack.fleet.epochs, workers.sizes()
        state = {
            "ready": follower.ready.is_set(),
            "addresses": epochs,
            "mesh": mesh.connected(),
            "reached_by": mesh.reached_by(),
            "journal": len(journal),
            "media": media.state,
            "media_ready": media.ready,
            "workers": workers.pids,
            **{kind: size + others[kind] for kind, size in core.gauges().items()},
        }
        return web.json_response(state, status=200 if follower.ready.is_set() else 503)

    async def watch(request: web.Request) -> web.StreamResponse:
        """JSON lines of SIP messages, while the connection lasts. No bodies, no credentials."""
        response = web.StreamResponse(headers={"Content-Type": "application/jsonl"})
        await response.prepare(request)
        queue = trace.watch()
        try:
            while True:
                line = await queue.get()
                await response.write(json.dumps(line).encode() + b"\n")
        except (ConnectionError, asyncio.CancelledError):
            return response
        finally:
            trace.unwatch(queue)

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics), web.get("/health", health), web.get("/trace", watch)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner
