"""What a key and an invitation are at a moment, and that nothing secret is in a value."""

import msgspec
import pytest

from mrproxy.link.snapshot import Limits
from mrproxy.storage.people import values
from mrproxy.storage.people.values import ApiKey, Invitation, status_of_invitation, status_of_key

KEY = ApiKey(
    id=1,
    key_id="0123456789ab",
    prefix="mr_abcdefg",
    name="laptop",
    user_id=1,
    user="ann",
    user_uuid="u",
    group_id=1,
    group="staff",
    scopes=("inference",),
    models=None,
    addresses=None,
    expires_utc=None,
    revoked_utc=None,
    last_used_utc=None,
    replaced_by=None,
    created_by="ann",
    limits=Limits(),
    created_utc=0.0,
    updated_utc=0.0,
    version=1,
)
INVITATION = Invitation(
    id=1,
    uuid="u",
    prefix="inv_",
    group_id=1,
    group="staff",
    email=None,
    created_by="ann",
    created_utc=0.0,
    expires_utc=10.0,
    used_utc=None,
    used_by=None,
    revoked_utc=None,
)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "active"),
        ({"expires_utc": 5.1}, "active"),
        ({"expires_utc": 5.0}, "expired"),
        ({"revoked_utc": 1.0}, "revoked"),
        ({"revoked_utc": 1.0, "expires_utc": 2.0}, "revoked"),
    ],
)
def test_a_key_is_valid_until_it_expires_or_is_revoked(changes, status):
    assert status_of_key(msgspec.structs.replace(KEY, **changes), 5.0) == status


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "active"),
        ({"expires_utc": 5.0}, "expired"),
        ({"revoked_utc": 1.0}, "revoked"),
        ({"used_utc": 1.0, "expires_utc": 2.0}, "used"),
    ],
)
def test_an_invitation_is_good_once(changes, status):
    assert status_of_invitation(msgspec.structs.replace(INVITATION, **changes), 5.0) == status


def test_no_value_that_is_shown_has_a_hash_or_digest():
    shown = [
        each
        for name, each in vars(values).items()
        if isinstance(each, type)
        and issubclass(each, msgspec.Struct)
        and not name.startswith("New")
        and not name.endswith("Credentials")
    ]
    names = {field for each in shown for field in each.__struct_fields__}
    assert len(shown) > 10
    assert not [name for name in names if "hash" in name or "digest" in name or "secret" in name]
