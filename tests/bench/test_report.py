import re
from xml.etree import ElementTree

from bench.histogram import Histogram
from bench.report import cumulative, format_ns, plot, render_html

from .results_example import example


def test_a_report_needs_no_network_and_no_script():
    page = render_html(example())
    assert "http://127.0.0.1:1" in page  # what was measured, as text
    assert not re.search(r"(src|href)\s*=|<script|@import|url\(", page)


def test_titles_are_escaped():
    assert "a &lt;b&gt;" in render_html(example())
    assert "a <b>" not in render_html(example())


def test_errors_and_invalid_runs_come_first():
    page = render_html(example(errors={"status 503": 7}, invalid=["too late"], unfinished=2))
    assert page.index("too late") < page.index("status 503") < page.index("Latency")
    assert "class=good" not in page


def test_plots_are_well_formed_and_within_their_frame():
    drawing = plot([("a", [(0.1, 0.5), (10.0, 1.0)]), ("b", [(1.0, 0.2)])], "x", "y", is_log=True)
    root = ElementTree.fromstring(drawing)
    lines = [element for element in root.iter() if element.tag == "polyline"]
    assert len(lines) == 2
    for x, y in (point.split(",") for line in lines for point in line.get("points").split()):
        assert 0 <= float(x) <= 640
        assert 0 <= float(y) <= 220
    assert plot([], "x", "y") == ""


def test_the_cumulative_share_ends_at_one():
    histogram = Histogram()
    histogram.record_all([1, 10, 100, 1000])
    points = cumulative(histogram)
    assert points[-1][1] == 1.0
    assert [share for _, share in points] == sorted(share for _, share in points)


def test_numbers_are_milliseconds_and_missing_ones_a_dash():
    assert format_ns(1_234_567) == "1.235"
    assert format_ns(123_456_789) == "123.5"
    assert format_ns(None) == "–"
