"""Reconstruction runs: methods, the loop over batches, and what observes it."""
