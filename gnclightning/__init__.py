"""Diffusion priors and graduated non-convexity solvers with certified convergence for CT."""

__version__ = "0.1.0"
