"""Pure. What reading a JSON value may raise, whoever wrote it: said once, because each of them has been forgotten.

msgspec raises its own errors, UnicodeDecodeError for a member's name that is not UTF-8 and RecursionError for depth;
what is made of a lone surrogate cannot be encoded again.
"""

import msgspec

UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError)
