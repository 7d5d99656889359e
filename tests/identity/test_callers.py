"""Who a key belongs to, and who is turned away."""

import pytest

from mrproxy.errors import Code, Refused
from mrproxy.identity.callers import Identity
from mrproxy.identity.digest import digest_key
from mrproxy.link.catalogue import Catalogue, catalogue_from
from mrproxy.link.scopes import INFERENCE_SCOPES
from mrproxy.link.snapshot import GroupSpec, KeySpec, Snapshot, UserSpec

SECRET = b"s" * 32


def spec(key: bytes, **more: object) -> KeySpec:
    return KeySpec(id=f"id-{key.decode()}", name="", digest=digest_key(SECRET, key).hex(), **more)  # type: ignore[arg-type]


def snapshot(*keys: KeySpec) -> Catalogue:
    return catalogue_from(
        Snapshot(
            generation=1,
            created_utc=0.0,
            groups=(GroupSpec("staff", 2), GroupSpec("other", 5)),
            users=(UserSpec("ada", "staff"), UserSpec("bob", "staff", 7), UserSpec("eve", "nowhere")),
            keys=keys,
        )
    )


class Callers:
    """An Identity with a clock that is set by hand."""

    def __init__(self, *keys: KeySpec) -> None:
        self.now_utc = 1000.0
        self.identity = Identity(SECRET, lambda: self.now_utc)
        self.identity.load(snapshot(*keys))

    def code(self, credential: bytes | None, address: str = "", *, status: int = 401) -> Code:
        with pytest.raises(Refused) as caught:
            self.identity.identify(credential, address)
        assert caught.value.status == status
        return caught.value.code


@pytest.mark.parametrize(
    ("more", "user", "group", "weight", "flow_id"),
    [
        ({"user": "ada"}, "ada", "staff", 2, "user:ada"),
        ({"user": "bob"}, "bob", "staff", 7, "user:bob"),
        ({"user": "eve"}, "eve", "nowhere", 1, "user:eve"),
        ({"user": "gone"}, "gone", "other", 5, "user:gone"),
        ({}, "", "other", 5, "key:id-a"),
        ({"group": "staff"}, "", "staff", 2, "key:id-a"),
    ],
)
def test_a_key_is_its_user_with_the_users_or_the_groups_weight(
    more: dict[str, str], user: str, group: str, weight: int, flow_id: str
) -> None:
    caller = Callers(spec(b"a", **more)).identity.identify(b"a")
    assert (caller.key_id, caller.user, caller.group, caller.weight) == ("id-a", user, group, weight)
    assert (caller.flow_id, caller.models, caller.expires_utc) == (flow_id, None, None)
    assert caller.is_plain


def test_whether_bodies_are_kept_is_the_groups_policy() -> None:
    keys = [spec(b"a", user="ada"), spec(b"b", group="staff"), spec(b"c", user="eve"), spec(b"d")]
    identity = Callers(*keys).identity
    groups = (GroupSpec("staff", captures_bodies=True), GroupSpec("other"))
    people = (UserSpec("ada", "staff"), UserSpec("eve", "nowhere"))
    identity.load(
        catalogue_from(Snapshot(generation=2, created_utc=0.0, groups=groups, users=people, keys=tuple(keys)))
    )
    assert [identity.identify(key).captures_bodies for key in (b"a", b"b", b"c", b"d")] == [True, True, False, False]


def test_two_keys_of_one_user_are_one_flow() -> None:
    callers = Callers(spec(b"a", user="ada"), spec(b"b", user="ada"))
    assert callers.identity.identify(b"a").flow_id == callers.identity.identify(b"b").flow_id


def test_a_list_of_models_is_kept() -> None:
    assert Callers(spec(b"a", models=("m", "n"))).identity.identify(b"a").models == {"m", "n"}
    assert Callers(spec(b"a", models=())).identity.identify(b"a").models == frozenset()


def test_no_key_and_unknown_keys_are_refused() -> None:
    callers = Callers(spec(b"a"))
    assert callers.code(None) is Code.MISSING_KEY
    for credential in (b"", b"b", b"A", b"a ", b"a\x00", b"a" * 100_000, digest_key(SECRET, b"a").hex().encode()):
        assert callers.code(credential) is Code.INVALID_KEY


def test_a_key_ends_at_its_expiry_also_when_it_was_good_before() -> None:
    callers = Callers(spec(b"a", expires_utc=1001.0))
    callers.identity.identify(b"a")
    callers.now_utc = 1000.999
    callers.identity.identify(b"a")
    callers.now_utc = 1001.0
    assert callers.code(b"a") is Code.EXPIRED_KEY


def test_a_reload_forgets_keys_that_were_revoked_and_knows_new_ones() -> None:
    callers = Callers(spec(b"a"), spec(b"b"))
    callers.identity.identify(b"a")
    callers.identity.load(snapshot(spec(b"b", user="ada"), spec(b"c")))
    assert callers.code(b"a") is Code.INVALID_KEY
    assert callers.identity.identify(b"b").user == "ada"
    assert callers.identity.identify(b"c").key_id == "id-c"


def test_a_flood_of_unknown_keys_leaves_nothing_behind() -> None:
    callers = Callers(spec(b"a"))
    callers.identity.identify(b"a")
    for number in range(1000):
        callers.code(b"guess-%d" % number)
    assert len(callers.identity.known) == 1


@pytest.mark.parametrize("scopes", [(), ("admin",), ("inferences", "read")])
def test_a_key_without_the_scope_may_not_infer(scopes: tuple[str, ...]) -> None:
    assert Callers(spec(b"a", scopes=scopes)).code(b"a", status=403) is Code.SCOPE_FORBIDDEN
    assert Callers(spec(b"a", scopes=(*scopes, "inference"))).identity.identify(b"a").may_infer


@pytest.mark.parametrize("scope", sorted(INFERENCE_SCOPES))
def test_every_word_for_inference_lets_infer(scope: str) -> None:
    caller = Callers(spec(b"a", scopes=("logs.read", scope))).identity.identify(b"a")
    assert (caller.may_infer, caller.is_plain) == (True, True)


def test_a_key_may_be_bound_to_networks() -> None:
    callers = Callers(spec(b"a", addresses=("10.0.0.0/8", "2001:db8::1")), spec(b"b", addresses=()))
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1"):
        assert callers.identity.identify(b"a", address).key_id == "id-a"
    for address in ("11.1.2.3", "2001:db8::2", "", "someone"):
        assert callers.code(b"a", address, status=403) is Code.ADDRESS_FORBIDDEN
    assert callers.code(b"b", "10.1.2.3", status=403) is Code.ADDRESS_FORBIDDEN


@pytest.mark.parametrize(
    "more", [{"models": ()}, {"expires_utc": 9e9}, {"addresses": ("0.0.0.0/0",)}, {"scopes": ("admin",)}]
)
def test_a_key_of_which_something_has_to_be_asked_is_not_plain(more: dict[str, object]) -> None:
    callers = Callers(spec(b"a", **more))
    if "scopes" in more:
        callers.code(b"a", status=403)
    else:
        callers.identity.identify(b"a", "10.0.0.1")
    assert not callers.identity.known[b"a"].is_plain
