"""Ports on the loopback interface: free ones, and the one that somebody asked for."""

import random
import socket

LOOPBACK = "127.0.0.1"
DEFAULT_PORT = 8001
_QUIET = (10_000, 32_768)


class PortTaken(Exception):
    """The port that was asked for belongs to another program."""


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # Without this a connection of the last run that lingers in TIME_WAIT would look like a listener.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def free_port(avoid: frozenset[int] | set[int] = frozenset()) -> int:
    """A port that nobody listens on right now and that is not in `avoid`.

    It comes from below those that systems give to outgoing connections, one of which could else take it before its listener.
    """
    while True:
        port = random.randrange(*_QUIET)  # noqa: S311 - which one is no secret
        if port not in avoid and is_free(port):
            return port


def remembered_port(last: int | None, avoid: set[int]) -> int:
    """The port of the last run while it is free, so that addresses survive a restart; adds it to `avoid`."""
    port = last if last and last not in avoid and is_free(last) else free_port(avoid)
    avoid.add(port)
    return port


def gateway_port(asked: int | None, last: int | None) -> int:
    """The asked port or PortTaken; else the last run's, else the first free one from 8001 on."""
    if asked is not None:
        if not is_free(asked):
            raise PortTaken(f"port {asked} is taken by another program: choose one with --port, or unset PORT")
        return asked
    if last is not None and is_free(last):
        return last
    for port in range(DEFAULT_PORT, DEFAULT_PORT + 1000):
        if is_free(port):
            return port
    return free_port()
