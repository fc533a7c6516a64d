"""The served API: REST under /v1, the socket at /ws, health, and the page at /."""
