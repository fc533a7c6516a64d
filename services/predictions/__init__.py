"""Features to predictions: the pool, its calibration and intervals, the served row."""
