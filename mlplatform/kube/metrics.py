"""What an operator says about itself, as Prometheus reads it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from mlplatform.kube.wire import Answer, Request, Stream, Transport

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """One process's numbers. Names begin with ``mlplatform_operator_``."""

    def __init__(self) -> None:
        disable_created_metrics()  # they double everything, and nobody asks when a counter began
        self.registry = CollectorRegistry()
        self.requests = self._counter("api_requests", "Requests to the API server.", "verb", "resource", "code")
        self.request_seconds = self._histogram("api_request_seconds", "Time to an answer.", "verb")
        self.sent_bytes = self._counter("api_sent_bytes", "Bytes in the bodies of requests.", "verb", "resource")
        self.reconciles = self._counter("reconciles", "Keys looked at.", "controller", "result")
        self.reconcile_seconds = self._histogram("reconcile_seconds", "Time to look at one key.", "controller")
        self.queue_depth = self._gauge("queue_depth", "Keys that wait for a worker.", "controller")
        self.busy_workers = self._gauge("busy_workers", "Workers that have a key.", "controller")
        self.cached_objects = self._gauge("cached_objects", "Objects in the cache.", "resource")
        self.lists = self._gauge(
            "cache_lists", "Lists since the start; more than a few tell of lost watches.", "resource"
        )
        self.shards = self._gauge("shards_owned", "Shards whose keys this replica looks at.")
        self.dropped_events = self._gauge("dropped_events", "Events that were not written.")

    def text(self) -> bytes:
        return generate_latest(self.registry)

    def _counter(self, name: str, words: str, *labels: str) -> Counter:
        return Counter(f"mlplatform_operator_{name}", words, labels, registry=self.registry)

    def _gauge(self, name: str, words: str, *labels: str) -> Gauge:
        return Gauge(f"mlplatform_operator_{name}", words, labels, registry=self.registry)

    def _histogram(self, name: str, words: str, *labels: str) -> Histogram:
        return Histogram(f"mlplatform_operator_{name}", words, labels, registry=self.registry, buckets=_SECONDS)


class Metered:
    """A transport that counts what goes through it."""

    def __init__(self, transport: Transport, metrics: Metrics, clock: Callable[[], float] = time.perf_counter) -> None:
        self._transport = transport
        self._metrics = metrics
        self._clock = clock

    def send(self, request: Request) -> Answer:
        verb, resource = describe(request)
        began = self._clock()
        code = "0"
        try:
            answer = self._transport.send(request)
            code = str(answer.status)
            return answer
        finally:
            self._metrics.request_seconds.labels(verb).observe(self._clock() - began)
            self._count(verb, resource, code, request)

    def stream(self, request: Request) -> Stream:
        verb, resource = describe(request)
        code = "0"
        try:
            stream = self._transport.stream(request)
            code = str(stream.status)
            return stream
        finally:
            self._count(verb, resource, code, request)

    def close(self) -> None:
        self._transport.close()

    def _count(self, verb: str, resource: str, code: str, request: Request) -> None:
        self._metrics.requests.labels(verb, resource, code).inc()
        if request.body:
            self._metrics.sent_bytes.labels(verb, resource).inc(len(request.body))


def describe(request: Request) -> tuple[str, str]:
    """The verb that RBAC asks for, and ``plural.group`` or ``plural.group/subresource``."""
    parts = request.path.strip("/").split("/")
    if parts[0] not in ("api", "apis"):
        return request.method.lower(), request.path
    group = parts[1] if parts[0] == "apis" else ""
    rest = parts[3:] if parts[0] == "apis" else parts[2:]
    if len(rest) > 2 and rest[0] == "namespaces":
        rest = rest[2:]
    plural, name, subresource = [*rest, "", "", ""][:3]
    resource = f"{plural}.{group}" if group else plural
    verbs = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
    verb = verbs.get(request.method) or ("watch" if request.query.get("watch") else "get" if name else "list")
    return verb, f"{resource}/{subresource}" if subresource else resource
