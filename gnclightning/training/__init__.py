"""Training of priors with Lightning."""
