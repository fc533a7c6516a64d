"""The schema's history, one step a file."""

from typing import Final

SERVES: Final = "0020"  # the oldest schema whose programs work on the newest: the last release's
