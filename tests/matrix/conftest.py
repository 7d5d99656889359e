"""One gateway and its engines for all of the matrix, in each process of the test run."""

from collections.abc import Iterator

import pytest

from tests.matrix.house import House, open_house


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(tmp_path_factory.mktemp("matrix")) as house:
        yield house
