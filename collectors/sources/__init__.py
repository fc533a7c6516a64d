"""Sources of texts and measurements: one small adapter each behind the port `Source`."""
