"""The simulated exchange: a loopback server in the dialect of Binance spot."""
