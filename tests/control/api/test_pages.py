"""Pages of lists, and the way to the next one."""

import pytest

from mrproxy.control.api.actor import owner
from mrproxy.control.api.call import Call
from mrproxy.control.api.cursors import encode_cursor
from mrproxy.control.api.pages import PageQuery, answer_page, next_url
from mrproxy.control.api.problem import Problem


def call_of(url):
    return Call(actor=owner("r"), plane=None, request=None, query=PageQuery(), url=url)


def test_the_last_page_leads_nowhere():
    answer = answer_page(call_of("/x"), [1, 2], None)
    assert (answer.value.items, answer.value.next_cursor, answer.headers) == ([1, 2], None, ())


def test_a_page_says_where_the_next_one_is():
    answer = answer_page(call_of("/x?limit=2&search=a%26b"), [1, 2], 17)
    cursor = encode_cursor(17)
    assert answer.value.next_cursor == cursor
    assert answer.headers == (("Link", f'</x?limit=2&search=a%26b&cursor={cursor}>; rel="next"'),)


def test_the_next_url_replaces_the_cursor():
    assert next_url("/x?cursor=old&limit=1", "new") == "/x?limit=1&cursor=new"


@pytest.mark.parametrize("text", ["a>; rel=evil", 'a"', "a\r\nSet-Cookie: x"])
def test_what_was_asked_for_cannot_leave_the_link(text):
    from urllib.parse import urlencode

    url = next_url("/x?" + urlencode({"search": text}), "c")
    assert not set(url) & set('<>"\r\n')


def test_the_first_page_begins_nowhere_and_others_at_their_cursor():
    assert PageQuery().behind(int) is None
    assert PageQuery(cursor=encode_cursor(5)).behind(int) == 5
    with pytest.raises(Problem):
        PageQuery(cursor="x").behind(int)
