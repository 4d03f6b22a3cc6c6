"""Tunes the methods that the solver is compared with, so that none is handicapped."""
