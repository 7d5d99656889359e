"""The words that let a key infer. That control means the same by them: tests/control/test_permissions.py."""

from mrproxy.link.scopes import INFERENCE_SCOPES
from mrproxy.link.snapshot import KeySpec


def test_a_key_without_a_word_of_its_own_may_infer():
    assert INFERENCE_SCOPES.issuperset(KeySpec(id="k", name="", digest="").scopes)
