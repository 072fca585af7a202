"""From samples and a data set to figures that can be compared: named protocols, control rows, reports.

A protocol's name fixes everything that moves its figure (counts, extractor, split), so that equal names mean
equal measurements. Rows of the model stand beside control rows that need no model: they say what the figure
can tell.
"""

# Registered in the order of a report.
from saddlepoint.evaluation.measurements import divergence, distribution, classes, modes, translation  # noqa: F401, I001
from saddlepoint.evaluation.measurements import latent, series, series_published, memorisation  # noqa: F401
from saddlepoint.evaluation.measurements import feature_copies, membership, parzen, likelihood, replication  # noqa: F401
from saddlepoint.evaluation.report.compare import Comparison, Difference, Line, compare
from saddlepoint.evaluation.report.gallery import Gallery
from saddlepoint.evaluation.report.judgement import cannot_judge, ranks
from saddlepoint.evaluation.measure import evaluate, expected_time
from saddlepoint.evaluation.protocol import Protocol, Task, get_protocol, protocols, register
from saddlepoint.evaluation.rows import ARROWS, DIRECTIONS, Metric, Report, Result, Row, kept_results, read_results
from saddlepoint.evaluation.sets import Explicit, Latents, SampleSet, Subject
from saddlepoint.evaluation.report.summary import kept_report, report_of
from saddlepoint.evaluation.text import shown

__all__ = [
    "ARROWS", "DIRECTIONS", "Comparison", "Difference", "Explicit", "Gallery", "Latents", "Line", "Metric", "Protocol",
    "Report", "Result", "Row", "SampleSet", "Subject", "Task", "cannot_judge", "compare", "evaluate",
    "expected_time", "get_protocol", "kept_report", "kept_results", "protocols", "ranks", "read_results",
    "register", "report_of", "shown",
]  # fmt: skip
