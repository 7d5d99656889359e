from bench.backends.build import build_server, id_source
from bench.backends.settings import EngineSettings
from bench.reactor import Reactor


def test_ids_repeat_under_a_seed():
    one, same, other = id_source(1), id_source(1), id_source(2)
    first = [one() for _ in range(3)]
    assert first == [same() for _ in range(3)]
    assert first != [other() for _ in range(3)]
    assert all(len(made) == 16 for made in first)


def test_a_server_listens_on_any_port_and_closes():
    for kind in ("vllm", "ollama", "anthropic"):
        reactor = Reactor()
        server = build_server(EngineSettings(kind, ("m",)), reactor)
        assert server.listen("127.0.0.1", 0) > 0
        server.close()
        reactor.close()
