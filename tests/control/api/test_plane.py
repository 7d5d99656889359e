"""What a control plane has is what the real parts are."""

from mrproxy.control.api.plane import Plane, Store
from mrproxy.storage.database import Database


def test_the_database_is_a_store(house):
    def takes(store: Store) -> Store:
        return store

    assert takes.__annotations__["store"] is Store
    assert callable(Database.transact)
    assert callable(Database.read)
    assert isinstance(house.plane, Plane)
    assert house.plane.store is None
