"""`python -m backend` is `alphapulse`."""

from __future__ import annotations

from backend.cli import main

if __name__ == "__main__":  # a worker process imports this module too
    main()
