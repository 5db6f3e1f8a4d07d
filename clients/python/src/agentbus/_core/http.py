"""What both clients tell httpx. Opens no connection."""

from __future__ import annotations

import ssl
from typing import Any

import httpx

from .limits import CONNECT, IDLE
from .request import Answer, Request
from .settings import Settings
from .trace import trace_headers

LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=IDLE)


def options(settings: Settings, verify: ssl.SSLContext | bool) -> dict[str, Any]:
    """Arguments of an httpx client. A server on this machine is never asked through a proxy.

    Without TLS no certificates are read, which would take longer than all the rest.
    """
    return {
        "headers": settings.headers(),
        "limits": LIMITS,
        "verify": verify if settings.url.startswith("https:") else False,
        "trust_env": not settings.is_loopback,
        "follow_redirects": False,
    }


def arguments(settings: Settings, request: Request, timeout: float) -> dict[str, Any]:
    """Arguments for httpx to build this request, with a time limit for each step in seconds."""
    return {
        "method": request.method,
        "url": settings.url + request.path,
        "params": request.query or None,
        "headers": {**trace_headers(), **request.headers},
        "content": request.body,
        "timeout": httpx.Timeout(timeout, connect=min(CONNECT, timeout)),
    }


def head(response: httpx.Response) -> Answer:
    """Status and headers of an answer whose body is not read."""
    return Answer(response.status_code, dict(response.headers))


def whole(response: httpx.Response) -> Answer:
    """An answer whose body was read."""
    return Answer(response.status_code, dict(response.headers), response.content)


def reason(error: httpx.RequestError) -> str:
    """What went wrong, for people."""
    try:
        address = f"{error.request.url.scheme}://{error.request.url.netloc.decode()}"
    except RuntimeError:
        address = "the server"
    return f"{address}: {str(error) or type(error).__name__}"


def was_sent(error: httpx.RequestError) -> bool:
    """Whether the request may have reached the server."""
    return not isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))
