"""One HTML page about one or several training runs."""

from mmseg_encnet.workbench.reporting.report import write_report

__all__ = ['write_report']
