from zlib import crc32

import pytest

from bench.backends.faults import Fault
from bench.backends.work import frame

from .engine_bench import MILLISECOND, NotingPeer, engine_of, work


def token_count(peer):
    return sum(b"t0" in data for data in peer.sent)


def test_a_stream_is_head_opening_tokens_and_closing():
    engine, timers, _stats = engine_of()
    peer = NotingPeer()
    engine.submit(work(tokens=2), peer, None, 0)
    timers.advance(100 * MILLISECOND)
    first, second, last = peer.sent[1], peer.sent[2], peer.sent[3]
    assert peer.sent[0] == b"HEAD\r\n\r\n" + frame(b"open\n")
    assert first == frame(b"t%019d \n" % (5 * MILLISECOND))
    assert second.startswith(b"16\r\nt0")
    assert last == frame(b"end 2\n") + frame(b"usage\n") + b"0\r\n\r\n"
    assert peer.finished
    assert engine.running == 0


def test_the_fingerprint_covers_all_but_framing_and_usage():
    engine, timers, stats = engine_of()
    peer = NotingPeer()
    submitted = work(tokens=2)
    engine.submit(submitted, peer, None, 0)
    timers.advance(100 * MILLISECOND)
    payload = b"open\n" + peer.sent[1][4:-2] + peer.sent[2][4:-2] + b"end 2\n"
    assert stats.sent[submitted.id] == (2, len(payload), crc32(payload))


def test_independent_clocks_draw_their_phase_and_then_keep_their_interval():
    engine, timers, _ = engine_of(seed=3)
    peers = [NotingPeer() for _ in range(3)]
    for peer in peers:
        engine.submit(work(tokens=4), peer, None, 0)
    timers.advance(100 * MILLISECOND)
    stamps = [[int(data[5:24]) for data in peer.sent[1:5]] for peer in peers]
    assert len({one[1] for one in stamps}) == 3
    for one in stamps:
        assert one[2] - one[1] == one[3] - one[2] == 10 * MILLISECOND


def test_step_pacing_emits_the_whole_batch_at_once():
    engine, timers, _ = engine_of(pacing="step")
    peers = [NotingPeer() for _ in range(3)]
    for peer in peers:
        engine.submit(work(tokens=2), peer, None, 0)
    timers.advance(10 * MILLISECOND)
    assert [token_count(peer) for peer in peers] == [1, 1, 1]
    timers.advance(20 * MILLISECOND)
    assert all(peer.finished for peer in peers)


def test_beyond_the_knee_steps_take_longer():
    engine, timers, _ = engine_of(pacing="step", batch_knee=2)
    peers = [NotingPeer() for _ in range(4)]
    for peer in peers:
        engine.submit(work(tokens=3), peer, None, 0)
    timers.advance(29 * MILLISECOND)
    assert [token_count(peer) for peer in peers] == [1, 1, 1, 1]
    timers.advance(30 * MILLISECOND)
    assert [token_count(peer) for peer in peers] == [2, 2, 2, 2]


def test_beyond_the_slots_requests_wait_and_beyond_the_queue_they_are_refused():
    engine, timers, _ = engine_of(max_num_seqs=1, queue_limit=1)
    peers = [NotingPeer() for _ in range(3)]
    accepted = [engine.submit(work(tokens=1), peer, None, 0) is not None for peer in peers]
    assert accepted == [True, True, False]
    assert (engine.running, engine.waiting) == (1, 1)
    timers.advance(5 * MILLISECOND)
    assert peers[0].finished
    assert (engine.running, engine.waiting) == (1, 0)
    timers.advance(10 * MILLISECOND)
    assert peers[1].finished


@pytest.mark.parametrize(("at", "phase"), [(1, "prefill"), (20, "streaming")])
def test_a_client_that_leaves_frees_its_slot_and_is_noted(at, phase):
    engine, timers, stats = engine_of(max_num_seqs=1)
    sequence = engine.submit(work(tokens=100), NotingPeer(), None, 0)
    waiting = NotingPeer()
    engine.submit(work(tokens=1), waiting, None, 0)
    timers.advance(at * MILLISECOND)
    engine.abort(sequence, timers.now)
    assert [entry["phase"] for entry in stats.aborted] == [phase]
    assert stats.aborted[0]["at_ns"] == at * MILLISECOND
    assert (engine.running, engine.waiting) == (1, 0)
    timers.advance((at + 5) * MILLISECOND)
    assert waiting.finished


def test_a_waiting_client_that_leaves_is_taken_out_of_the_queue():
    engine, _, stats = engine_of(max_num_seqs=1)
    engine.submit(work(), NotingPeer(), None, 0)
    sequence = engine.submit(work(), NotingPeer(), None, 0)
    engine.abort(sequence, 1)
    assert (engine.waiting, stats.aborted[0]["phase"]) == (0, "waiting")


def test_a_lagging_client_gets_no_tokens_until_it_has_caught_up():
    engine, timers, _ = engine_of()
    peer = NotingPeer()
    engine.submit(work(tokens=50), peer, None, 0)
    timers.advance(20 * MILLISECOND)
    seen = token_count(peer)
    peer.is_lagging = True
    timers.advance(100 * MILLISECOND)
    assert token_count(peer) == seen
    peer.is_lagging = False
    timers.advance(120 * MILLISECOND)
    assert token_count(peer) > seen


@pytest.mark.parametrize(("json_seconds", "done_at"), [(None, 35), (0.050, 50), (0.0, 0)])
def test_an_answer_that_does_not_stream_takes_its_time(json_seconds, done_at):
    engine, timers, _ = engine_of(json_seconds=json_seconds)
    peer = NotingPeer()
    engine.submit(work(tokens=3, stream=False), peer, None, 0)
    timers.advance(done_at * MILLISECOND - 1 if done_at else 0)
    assert peer.finished == (done_at == 0)
    timers.advance(done_at * MILLISECOND)
    assert peer.data == b"HEAD\r\n\r\n3"


def test_a_model_is_loaded_before_its_first_request_and_kept_for_the_next():
    engine, timers, _ = engine_of(kind="ollama", load_seconds=0.100)
    first, second = NotingPeer(), NotingPeer()
    engine.submit(work(tokens=1), first, None, 0)
    timers.advance(100 * MILLISECOND)
    assert not first.sent
    timers.advance(105 * MILLISECOND)
    assert first.finished
    engine.submit(work(tokens=1), second, None, timers.now)
    timers.advance(110 * MILLISECOND)
    assert second.finished


def test_an_idle_model_is_unloaded_when_its_keep_alive_has_passed():
    engine, timers, _ = engine_of(kind="ollama")
    engine.submit(work(tokens=1, keep_alive_seconds=1.0), NotingPeer(), None, 0)
    timers.advance(5 * MILLISECOND)
    engine.residency.expire(900 * MILLISECOND)
    assert engine.residency.lanes["m"].is_loaded
    engine.residency.expire(1100 * MILLISECOND)
    assert not engine.residency.lanes["m"].is_loaded


def test_a_full_memory_evicts_the_idle_model_and_waits_for_a_busy_one():
    engine, timers, _ = engine_of(kind="ollama", max_loaded_models=1)
    a, b, c = NotingPeer(), NotingPeer(), NotingPeer()
    engine.submit(work(tokens=2, model="a"), a, None, 0)
    engine.submit(work(tokens=1, model="b"), b, None, 0)
    assert engine.waiting == 1  # a is busy
    timers.advance(50 * MILLISECOND)
    assert a.finished
    assert b.finished
    assert [lane.model for lane in engine.residency.lanes.values() if lane.is_loaded] == ["b"]
    engine.submit(work(tokens=1, model="c"), c, None, timers.now)  # b is idle
    timers.advance(60 * MILLISECOND)
    assert c.finished


def test_unloading_a_model_frees_it_at_once_unless_it_is_busy():
    engine, timers, _ = engine_of(kind="ollama")
    engine.submit(work(tokens=1, model="a"), NotingPeer(), None, 0)
    engine.residency.unload("a")
    assert engine.residency.lanes["a"].is_loaded
    timers.advance(5 * MILLISECOND)
    engine.residency.unload("a")
    assert not engine.residency.lanes["a"].is_loaded


def test_hang_stream_stops_after_its_tokens_and_stays_open():
    engine, timers, _ = engine_of()
    peer = NotingPeer()
    engine.submit(work(tokens=100), peer, Fault("hang_stream", after_tokens=2), 0)
    timers.advance(1000 * MILLISECOND)
    assert token_count(peer) == 2
    assert not peer.finished
    assert not peer.was_reset


def test_reset_stream_resets_after_its_tokens():
    engine, timers, _ = engine_of()
    peer = NotingPeer()
    engine.submit(work(tokens=100), peer, Fault("reset_stream", after_tokens=2), 0)
    timers.advance(1000 * MILLISECOND)
    assert (token_count(peer), peer.was_reset, engine.running) == (2, True, 0)


def test_truncate_ends_in_the_middle_of_a_chunk():
    engine, timers, _ = engine_of()
    peer = NotingPeer()
    engine.submit(work(tokens=100), peer, Fault("truncate", after_tokens=1), 0)
    timers.advance(1000 * MILLISECOND)
    assert len(peer.sent[2]) == len(peer.sent[1]) // 2
    assert peer.was_closed


def test_slow_takes_ten_times_as_long():
    engine, timers, _ = engine_of()
    peer = NotingPeer()
    engine.submit(work(tokens=2), peer, Fault("slow"), 0)
    timers.advance(49 * MILLISECOND)
    assert not peer.sent
    timers.advance(150 * MILLISECOND)
    assert peer.finished


SCRIPT = ((b"a1\n", b"a2\n"), (), (b"b\n",))


def test_a_script_sends_the_events_of_each_token_as_chunks_of_their_own():
    engine, timers, stats = engine_of()
    peer = NotingPeer()
    submitted = work(tokens=3, script=SCRIPT)
    engine.submit(submitted, peer, None, 0)
    timers.advance(100 * MILLISECOND)
    chunks = [frame(b"a1\n") + frame(b"a2\n"), frame(b"b\n"), frame(b"end 3\n") + frame(b"usage\n") + b"0\r\n\r\n"]
    assert peer.sent == [b"HEAD\r\n\r\n" + frame(b"open\n"), *chunks]
    assert (peer.finished, stats.generation_tokens, stats.tokens_sent) == (True, 3, 3)
    payload = b"open\na1\na2\nb\nend 3\n"
    assert stats.sent[submitted.id] == (3, len(payload), crc32(payload))


def test_a_token_without_events_takes_its_time_and_the_head_waits_for_the_first_event():
    engine, timers, _ = engine_of(pacing="step")
    peer = NotingPeer()
    engine.submit(work(tokens=3, script=((), (), ())), peer, None, 0)
    timers.advance(25 * MILLISECOND)
    assert not peer.sent
    timers.advance(30 * MILLISECOND)
    assert peer.finished
    assert peer.sent[0].startswith(b"HEAD")


def test_dated_events_of_a_script_carry_the_wall_clock():
    engine, timers, _ = engine_of()
    peer = NotingPeer()
    engine.submit(work(tokens=1, script=((b"at %b: 100%%\n",),), is_dated=True), peer, None, 0)
    timers.advance(5 * MILLISECOND)
    assert b"Z: 100%\n" in peer.data


@pytest.mark.parametrize(
    ("kind", "script", "ending"),
    [
        ("truncate", ((b"a\n",), (), (b"bcd\n",)), b"4\r\nb"),
        ("error_event", ((b"a\n",), (), ()), frame(b"oops\n") + b"0\r\n\r\n"),
    ],
)
def test_faults_strike_scripts_too(kind, script, ending):
    engine, timers, _ = engine_of()
    peer = NotingPeer()
    engine.submit(work(tokens=3, script=script, failure=(b"oops\n",)), peer, Fault(kind, after_tokens=2), 0)
    timers.advance(100 * MILLISECOND)
    assert peer.data.endswith(frame(b"a\n") + ending)
    assert peer.was_closed == (kind == "truncate")
    assert peer.finished == (kind == "error_event")


def test_a_failure_is_said_in_the_stream_of_a_plain_answer_as_well():
    engine, timers, _ = engine_of()
    peer = NotingPeer()
    engine.submit(work(tokens=9, failure=(b"oops\n",)), peer, Fault("error_event", after_tokens=1), 0)
    timers.advance(100 * MILLISECOND)
    assert peer.sent[-1] == frame(b"oops\n") + b"0\r\n\r\n"
    assert (token_count(peer), peer.finished, engine.running) == (1, True, 0)


def test_another_context_length_reloads_the_model_once_it_is_idle():
    engine, timers, _ = engine_of(kind="ollama", load_seconds=0.100)
    peers = [NotingPeer() for _ in range(3)]
    sequences = [
        engine.submit(work(tokens=2, num_ctx=num_ctx), peer, None, 0)
        for peer, num_ctx in zip(peers, (4096, 8192, 8192), strict=True)
    ]
    timers.advance(105 * MILLISECOND)
    assert [bool(peer.sent) for peer in peers] == [True, False, False]
    timers.advance(400 * MILLISECOND)
    assert all(peer.finished for peer in peers)
    lane = engine.residency.lane_of("m")
    assert (lane.loads, lane.context_reloads, lane.num_ctx) == (2, 1, 8192)
    assert [sequence.timing.load_ns for sequence in sequences] == [100 * MILLISECOND] * 3
