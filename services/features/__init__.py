"""The feature room: closed candles in, one row of `ohlcv@1` per instrument out."""
