"""Values to start from."""

from mrproxy.link.snapshot import Limits
from mrproxy.storage.people.values import Session, User


def a_user(name: str, **more: object) -> User:
    plain = dict.fromkeys(("full_name", "college", "department", "intended_use"), "")
    empty = dict.fromkeys(("email", "weight", "models", "locked_until_utc", "last_login_utc"))
    flags = {"is_admin": False, "is_auditor": False, "has_password": True, "must_change_password": False}
    values = {
        **plain,
        **empty,
        **flags,
        "id": 1,
        "uuid": f"uuid of {name}",
        "name": name,
        "group_id": 1,
        "group": "staff",
        "is_active": True,
        "failed_logins": 0,
        "limits": Limits(),
        "created_utc": 1.0,
        "updated_utc": 1.0,
        "version": 1,
    }
    return User(**values | more)  # type: ignore[arg-type]


def a_session(id_: str = "a" * 64, **more: object) -> Session:
    values = {"user_id": 1, "kind": "cookie", "created_utc": 100.0, "seen_utc": 100.0, "expires_utc": 700.0}
    return Session(id=id_, **values | more)  # type: ignore[arg-type]
