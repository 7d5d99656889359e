"""Shell. `mrproxy status` and `mrproxy whoami`, against an API that a test has scripted."""

import json

from mrproxy.control.reports import JournalLag, Silent, decode_report
from mrproxy.control.status import Scene, summarize
from tests.fakes.worker import report

STATUS = summarize(
    Scene("1.2.3", 61.0, (decode_report(json.dumps(report()).encode()), Silent("1", "hung")), JournalLag(0, 0.0), 0)
)


def test_it_says_whether_it_is_ready_what_warns_and_how_backends_do(api, run):
    api.answers["GET /status"] = STATUS
    lines = run("status").stdout.splitlines()
    assert lines[0] == "mrproxy 1.2.3: not ready: worker 1: hung"
    assert "warning: there is no database" in lines
    assert "workers: 0, 1 (hung); up 61 s" in lines
    assert lines[-2].startswith("gpu-a\tvllm\troutable\t2\t64")
    assert json.loads(run("status", "--json").stdout) == json.loads(json.dumps(STATUS))


def test_one_may_ask_who_one_is(api, run):
    api.answers["GET /me"] = {"kind": "local", "name": "", "permissions": ["a", "b"]}
    assert "permissions\ta, b\n" in run("whoami").stdout
