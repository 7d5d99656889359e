"""How many long answers there may be."""

import pytest

from mrproxy.control.api.exports import MOST_EXPORTS, Exports
from mrproxy.control.api.problem import Problem


class Long:
    """Something that makes an answer."""


def test_beyond_its_number_an_export_is_refused_and_told_when_to_come_again():
    exports = Exports()
    running = [Long() for _ in range(MOST_EXPORTS)]
    for each in running:
        exports.begin(each)
    with pytest.raises(Problem) as refused:
        exports.begin(Long())
    assert refused.value.status == 429
    assert ("Retry-After", "10") in refused.value.headers
    exports.end(running[0])
    exports.end(running[0])
    exports.begin(Long())


def test_one_that_was_never_begun_holds_no_place():
    exports = Exports()
    for _ in range(3 * MOST_EXPORTS):
        exports.begin(Long())
