from zlib import crc32

import pytest

from bench.backends.emitter import Emitter, Sequence
from bench.backends.faults import Fault
from bench.backends.residency import Lane
from bench.backends.stats import Stats
from bench.backends.work import Timing, frame

from .engine_bench import NotingPeer, work


class Ended:
    """Notes who ended, and does to a sequence what the engine does."""

    def __init__(self):
        self.sequences = []

    def __call__(self, sequence, _now):
        sequence.is_alive = False
        self.sequences.append(sequence)


def sequence_of(fault=None, **fields):
    return Sequence(work(**fields), NotingPeer(), Lane("m", True, 300.0), Timing(0), fault)


def emitter_of():
    ended, stats = Ended(), Stats()
    return Emitter(stats, lambda: 42, ended), ended, stats


def test_each_token_is_one_chunk_with_the_stamp_of_its_moment():
    emitter, ended, _ = emitter_of()
    sequence = sequence_of(tokens=3)
    emitter.emit(sequence, 1)
    emitter.emit(sequence, 2)
    assert sequence.peer.sent[1:] == [frame(b"t0000000000000000042 \n")] * 2
    assert sequence.is_alive
    emitter.emit(sequence, 3)
    assert ended.sequences == [sequence]
    assert sequence.peer.finished


def test_what_was_sent_is_noted_without_its_usage_event():
    emitter, _, stats = emitter_of()
    sequence = sequence_of(tokens=1)
    emitter.emit(sequence, 1)
    payload = b"open\nt0000000000000000042 \nend 1\n"
    assert stats.sent[sequence.work.id] == (1, len(payload), crc32(payload))


def test_a_whole_answer_goes_out_once_and_only_to_who_is_still_there():
    emitter, ended, stats = emitter_of()
    sequence = sequence_of(tokens=2, stream=False)
    emitter.answer_whole(sequence, 5)
    emitter.answer_whole(sequence, 6)
    assert sequence.peer.sent == [b"HEAD\r\n\r\n2"]
    assert stats.sent[sequence.work.id] == (0, 1, crc32(b"2"))
    assert len(ended.sequences) == 1


@pytest.mark.parametrize(
    ("kind", "ends"), [("hang_stream", ""), ("reset_stream", "was_reset"), ("truncate", "was_closed")]
)
def test_faults_strike_in_mid_stream(kind, ends):
    emitter, ended, _ = emitter_of()
    sequence = sequence_of(Fault(kind, after_tokens=1), tokens=9)
    for due in range(3):
        if sequence.is_alive:
            emitter.emit(sequence, due)
    assert sequence.sent == 1
    assert bool(ended.sequences) == bool(ends)
    assert [name for name in ("was_reset", "was_closed") if getattr(sequence.peer, name)] == [ends] * bool(ends)
