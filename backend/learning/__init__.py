"""Self-training of a panel: fits, seats, and the challenges between them."""
