"""What the paper's tables and figures share: arms on the batch runner, and what comes of them.

An experiment is a list of arms; an arm is a run of `reconstruct.py` in a folder of its own, below
that of the experiment. Results are read from the arms' files.
"""
