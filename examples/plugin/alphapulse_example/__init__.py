"""A model, a feature set, a signal policy, a class label and a source for AlphaPulse."""
