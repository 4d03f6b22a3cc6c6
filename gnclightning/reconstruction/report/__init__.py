"""`report.html`: a run folder on one page, which opens without network."""

from gnclightning.reconstruction.report.page import Report, write_report

__all__ = ["Report", "write_report"]
