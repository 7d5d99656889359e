"""Pure. Secrets that must be had back, such as backends' API keys: encrypted under the data directory's secret.

One secret, one key for each purpose: HKDF-SHA256 (RFC 5869) with the purpose as `info`, so that what one part of the
program holds opens nothing of another's. Encryption is Fernet (AES-128-CBC and HMAC-SHA256,
https://github.com/fernet/spec). Whoever copies the database alone has nothing.
"""

import base64

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

BACKEND_KEYS = "backend api keys"
SUBKEY_BYTES = 32


class SecretUnreadable(Exception):
    """It was encrypted under another secret, or damaged."""


def subkey(secret: bytes, purpose: str) -> bytes:
    """32 bytes. The same for the same two, for good."""
    return HKDF(SHA256(), SUBKEY_BYTES, salt=None, info=b"mrproxy " + purpose.encode()).derive(secret)


class SecretBox:
    """Encrypts and decrypts for one purpose."""

    def __init__(self, secret: bytes, purpose: str) -> None:
        self._fernet = Fernet(base64.urlsafe_b64encode(subkey(secret, purpose)))

    def seal(self, text: str) -> str:
        """Another text each time."""
        return self._fernet.encrypt(text.encode()).decode()

    def open(self, sealed: str) -> str:
        """Raises SecretUnreadable."""
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except (InvalidToken, UnicodeError) as exc:
            raise SecretUnreadable("encrypted under another secret, or damaged") from exc
