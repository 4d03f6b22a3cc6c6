"""What the figures of the experiments share."""

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl

from gnclightning.reconstruction.figures import STYLE

COLOURS = ("#0b5394", "#cc5500", "#38761d", "#a64d79", "#7f6000", "#45818e", "#666666")
"""One for each arm, in their order."""


@contextmanager
def style() -> Iterator[None]:
    """The style of all figures, those of runs included."""
    with mpl.rc_context(STYLE):
        yield
