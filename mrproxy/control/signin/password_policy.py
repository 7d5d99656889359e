"""Pure. Which passwords are taken: long enough, not absurdly long, not the user's own name, not what everybody tries.

No rules about kinds of characters and no expiry: they make passwords worse (NIST SP 800-63B-4 §3.1.1.2). Ten
characters are the least: NIST asks for eight beside a second factor and fifteen without; guessing here is throttled and
the hash is slow, and a password that has to be written on a note protects less. Length is counted after NFKC, in
code points, as §3.1.1.2 says, so that a password is the same on every keyboard.
"""

import unicodedata

MIN_CHARACTERS = 10
MAX_BYTES = 1024  # a hash takes any length; this is what one sign-in may make us read

# What lists of leaked passwords begin with, of those that are long enough.
_COMMON = """1234567890 0123456789 0987654321 9876543210 12345678910 123456789a a123456789 123456789q q123456789
1q2w3e4r5t 1q2w3e4r5t6y 1qaz2wsx3edc zaq12wsxcde3 qwertyuiop qwertyuiop1 qwerty12345 qwerty123456 qwerty1234
asdfghjkl1 zxcvbnm123 password12 password123 password1234 password12345 password123456 passw0rd123 p@ssw0rd123
password1! password123! mypassword1 iloveyou12 iloveyou123 welcome123 welcome1234 welcome123! administrator
adminadmin admin12345 admin123456 letmein123 letmein1234 changeme12 changeme123 changemenow superadmin rootroot12
abc1234567 abcdefghij abcdefghijk 1234512345 1212121212 monkey12345 dragon12345 football12 baseball12 princess12
sunshine12 trustno1trustno1"""
COMMON = frozenset(_COMMON.split())

MIN_DIFFERENT = 4


def normal_password(password: str) -> bytes:
    """What is hashed. NFKC: one password, however a keyboard composes it. Lone surrogates cannot be typed."""
    return unicodedata.normalize("NFKC", password).encode("utf-8", "replace")


def is_too_long(password: str) -> bool:
    """Before any work is done for it; normalising can make text eighteen times as long (UAX #15 §12.2)."""
    return len(password) > MAX_BYTES or len(normal_password(password)) > MAX_BYTES


def why_not(password: str, *names: str) -> str | None:
    """A sentence for the person who chose it, or None. `names`: user name, address and the like."""
    if is_too_long(password):
        return f"A password may have {MAX_BYTES} bytes at most."
    text = unicodedata.normalize("NFKC", password)
    folded = text.casefold()
    if len(text) < MIN_CHARACTERS:
        return f"A password needs {MIN_CHARACTERS} characters at least."
    if any("\ud800" <= character <= "\udfff" or character == "\0" for character in text):
        return "A password may not contain characters that are none."
    if any(is_made_of(folded, name.casefold()) for name in names if name):
        return "A password may not be the user's name."
    if folded in COMMON or len(set(folded)) < MIN_DIFFERENT:
        return "This password is one of those that are tried first. Please choose another one."
    return None


def is_made_of(folded: str, name: str) -> bool:
    """The name itself, backwards, repeated, or with a few digits and signs around it."""
    if folded in (name, name[::-1]) or (folded.replace(name, "") == "" and name):
        return True
    rest = folded.replace(name, "", 1)
    return name in folded and len(rest) < MIN_DIFFERENT + 1 and not rest.isalpha()
