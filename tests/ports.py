"""Ports for servers whose clients know theirs before they listen, or while they do not."""

from __future__ import annotations

import contextlib
import random
import socket
from pathlib import Path
from typing import Final

GIVEN: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")  # by the kernel, to whoever asks
FIRST: Final = 20_000


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses now, nor is given while its server is away."""
    lowest = int(GIVEN.read_text().split()[0])
    draw = random.SystemRandom()
    while True:
        port = draw.randrange(FIRST, lowest if lowest > FIRST else 2**16)
        with contextlib.suppress(OSError), socket.socket() as one:
            one.bind(("127.0.0.1", port))
            return port
