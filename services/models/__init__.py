"""Examples in, forecasters out: baselines, online and fitted models, and their training."""
