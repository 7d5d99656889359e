"""Pure. The chunked transfer coding (RFC 9112 §7.1), decoded strictly and incrementally.

States, in the order in which a body passes them:
    SIZE -> DATA -> DATA_END -> SIZE ... SIZE (0) -> TRAILER -> DONE
A chunk extension is allowed and ignored, but bounded; sizes are 1 to 16 hex digits and nothing else; every line
ends with CRLF. Trailers are read and dropped, bounded. Whatever follows DONE is `rest`: the next message.
"""

import enum
import re

_HEX = frozenset(b"0123456789abcdefABCDEF")
# Apache and node bound a chunk line at 8 KiB and 16 KiB; nobody we know sends more than a signature of 100 bytes.
MAX_LINE_BYTES = 4096
MAX_TRAILER_BYTES = 8192
_MAX_SIZE_DIGITS = 16
# A request line after the last chunk is no trailer: somebody else may have seen the end of the body there.
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*")

# The fast path of a stream: one chunk, one read. Strict by construction, since only valid spellings are in them.
CHUNK_SIZES: dict[bytes, int] = {b"%x" % size: size for size in range(1, 8193)}


def _chunk_lines(largest: int) -> list[bytes]:
    lines = [b"\n"] * (largest + len(b"%x" % largest) + 5)  # no chunk begins so, and none is that long
    for size in range(1, largest + 1):
        line = b"%x\r\n" % size
        lines[size + len(line) + 2] = line
    return lines


# By the length of a whole chunk, how it begins.
CHUNK_LINES: list[bytes] = _chunk_lines(8192)

LAST_CHUNK = b"0\r\n\r\n"


def count_whole_chunks(data: bytes) -> int:
    """How many chunks `data` consists of, if it is nothing but whole, small ones that each end a line; else 0.

    A word never spans two lines, so what is searched for in `data` cannot hide across two such chunks.
    """
    position = count = 0
    while position < len(data):
        line_end = data.find(b"\r\n", position, position + 8)
        stop = line_end + 2 + CHUNK_SIZES.get(data[position:line_end], 0)
        if line_end < 0 or stop == line_end + 2 or data[stop - 1 : stop + 2] != b"\n\r\n":
            return 0
        position = stop + 2
        count += 1
    return count


class State(enum.Enum):
    SIZE = enum.auto()
    DATA = enum.auto()
    DATA_END = enum.auto()
    TRAILER = enum.auto()
    DONE = enum.auto()


class ChunkedDecoder:
    """receive_data(bytes) -> payload bytes; ValueError for anything that is not the coding."""

    __slots__ = ("_line", "_missing", "_trailer_bytes", "rest", "state")

    def __init__(self) -> None:
        self.state = State.SIZE
        self._line = b""
        self._missing = 0
        self._trailer_bytes = 0
        self.rest = b""

    @property
    def is_done(self) -> bool:
        return self.state is State.DONE

    @property
    def is_between_chunks(self) -> bool:
        """At a place where a whole chunk may follow."""
        return self.state is State.SIZE and not self._line

    def receive_data(self, data: bytes) -> bytes:
        """Decode as much as there is; what follows the last chunk stays in `rest`."""
        pieces: list[bytes] = []
        position = 0
        while position < len(data):
            if self.is_between_chunks:
                position = _receive_whole_chunks(data, position, pieces)
                if position == len(data):
                    break
            match self.state:
                case State.DATA:
                    piece = data[position : position + self._missing]
                    position += len(piece)
                    self._missing -= len(piece)
                    pieces.append(piece)
                    if not self._missing:
                        self.state = State.DATA_END
                case State.DONE:
                    self.rest = data[position:]
                    break
                case _:
                    position = self._receive_line(data, position)
        return b"".join(pieces) if len(pieces) != 1 else pieces[0]

    def _receive_line(self, data: bytes, position: int) -> int:
        end = data.find(b"\n", position)
        stop = len(data) if end < 0 else end + 1
        self._line += data[position:stop]
        if len(self._line) > MAX_LINE_BYTES:
            raise ValueError("chunk line too long")
        if end >= 0:
            line, self._line = self._line, b""
            if not line.endswith(b"\r\n"):
                raise ValueError("bare LF in chunked framing")
            self._line_complete(line[:-2])
        return stop

    def _line_complete(self, line: bytes) -> None:
        if self.state is State.DATA_END:
            if line:
                raise ValueError("chunk longer than its size")
            self.state = State.SIZE
        elif self.state is State.SIZE:
            self._missing = parse_chunk_size(line)
            self.state = State.DATA if self._missing else State.TRAILER
        elif line:
            self._trailer_bytes += len(line)
            if self._trailer_bytes > MAX_TRAILER_BYTES:
                raise ValueError("trailers too long")
            if not _TRAILER.fullmatch(line):
                raise ValueError("malformed trailer")
        else:
            self.state = State.DONE


def _receive_whole_chunks(data: bytes, position: int, pieces: list[bytes]) -> int:
    """Take the small chunks that are there whole and spelled as usual; where what is not so begins.

    Somebody may send each byte by itself: line by line 64 KiB of that take 0.1 s, and so a hundredth.
    """
    while True:
        line_end = data.find(b"\r\n", position, position + 6)
        if line_end < 0 or (size := CHUNK_SIZES.get(data[position:line_end])) is None:
            return position
        stop = line_end + 2 + size
        if data[stop : stop + 2] != b"\r\n":
            return position
        pieces.append(data[line_end + 2 : stop])
        position = stop + 2


def parse_chunk_size(line: bytes) -> int:
    """The size in a chunk line without its CRLF; extensions are checked for control bytes and dropped."""
    digits, _, extension = line.partition(b";")
    if not digits or len(digits) > _MAX_SIZE_DIGITS or not _HEX.issuperset(digits):
        raise ValueError("malformed chunk size")
    if any(byte < 32 and byte != 9 for byte in extension) or b"\x7f" in extension:
        raise ValueError("control byte in a chunk extension")
    return int(digits, 16)
