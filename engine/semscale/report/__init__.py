"""`report.html`: what a run found, on one page that needs nothing else.

Made from `summary.json`, `groups.parquet` and `images.parquet` alone, so it can be made again at any time.
"""

from semscale.report.html import write_report

__all__ = ["write_report"]
