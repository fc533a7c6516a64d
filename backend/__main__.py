"""`python -m backend` is `alphapulse`."""

from __future__ import annotations

from backend.cli import main

main()
