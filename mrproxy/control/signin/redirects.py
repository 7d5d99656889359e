"""Pure. Where a browser may be sent after it has signed in: to a path of our own, and nowhere else.

Browsers read `//host`, `/\\host`, and either with tabs and line ends inside, as another host (WHATWG URL, "special
authority slashes state": backslashes count as slashes, tabs and newlines are removed first). So a path is taken
only if it is plain: printable ASCII, one slash in front, no backslash.
"""

import re

HOME = "/"
MAX_CHARACTERS = 2000

_PLAIN = re.compile(r"/(?![/\\])[!-\[\]-~]*")


def own_path(wanted: str | None) -> str:
    """`wanted` if it is a path of ours, else the home page. Back to signing in would be a loop."""
    if wanted is None or len(wanted) > MAX_CHARACTERS or not _PLAIN.fullmatch(wanted):
        return HOME
    path = wanted.partition("?")[0].partition("#")[0]
    if "//" in path or path.startswith(("/login", "/logout")) or any(part in (".", "..") for part in path.split("/")):
        return HOME
    return wanted
