"""Requests by the template of their route, so that no address, id or token is ever a label."""

import time
from typing import Any

from prometheus_client import Counter, Histogram

REQUESTS = Counter("nurture_http_requests", "Requests answered, by route template", ["method", "route", "status"])
SECONDS = Histogram(
    "nurture_http_request_seconds",
    "Until the first byte of the answer, by route template",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NOWHERE = "none"
"""The route of a request that none fits, or that was answered before any was looked for."""


def route_of(scope: Any) -> str:
    """The template that the router found."""
    return scope.get("path_template") or NOWHERE


def observe(scope: Any, status: int, began: float) -> None:
    """`began` by time.perf_counter."""
    method = scope["method"] if scope["method"] in METHODS else "other"
    route = route_of(scope)
    REQUESTS.labels(method, route, status).inc()
    SECONDS.labels(method, route).observe(time.perf_counter() - began)
