import re
from xml.etree import ElementTree

from bench.compare import NGINX, Plan, Row, rows_as_json
from bench.compare_report import format_spread, render_compare_html

from .test_compare import sample


def page_of(**changes):
    rows = [
        Row(NGINX, "json x1", [sample(NGINX, 10.0), sample(NGINX, 12.0)]),
        Row("ours <b>", "json x1", [sample("ours <b>", 20.0), sample("ours <b>", 30.0)]),
        Row("direct", "json x1", [sample("direct", None), sample("direct", None)]),
    ]
    return render_compare_html(rows_as_json(Plan("m", 1, (), 1.0, 2), rows) | changes)


def test_a_page_needs_no_network_and_escapes_names():
    page = page_of()
    assert not re.search(r"(src|href)\s*=|<script|@import|url\(", page)
    assert "ours &lt;b&gt;" in page
    assert "ours <b>" not in page


def test_bars_are_well_formed_one_for_each_target_that_has_the_number():
    drawings = re.findall(r"<svg.*?</svg>", page_of())
    bars = [len(list(ElementTree.fromstring(drawing).iter("rect"))) for drawing in drawings]
    assert bars == [2, 3]  # CPU: direct has none; p99: all


def test_spreads_are_written_with_fitting_digits():
    assert format_spread({"median": 1.234, "low": 1.0, "high": 2.0}) == "1.23 (1.00–2.00)"
    assert format_spread({"median": 12345.6, "low": 1.0, "high": 2.0}) == "12346 (1–2)"
    assert format_spread(None) == "–"
