"""Shell. What `mrproxy doctor` finds by asking."""

import msgspec
import pytest
import trio

from mrproxy.cli.checks import Level
from mrproxy.cli.checks_beyond import backends_of, check_backends, check_database, check_gateway
from mrproxy.cli.client import Api, Place
from mrproxy.config import Backend, Settings
from mrproxy.link.snapshot import BackendSpec, Snapshot, write
from mrproxy.provision import open_data_directory
from mrproxy.storage.audit import Head, Program, append, read_head_of, save_head
from mrproxy.storage.bridge import open_bridge
from mrproxy.storage.database import open_database
from mrproxy.storage.migrate import migrate
from mrproxy.storage.urls import locate
from tests.fakes.api_server import Answer, FakeApi, run_api

OK, WARNING, ERROR = Level.OK, Level.WARNING, Level.ERROR


def test_an_embedded_database_without_tables_is_a_warning(tmp_path):
    (found,) = check_database(locate("", tmp_path), tmp_path)
    assert (found.level, list(tmp_path.iterdir())) == (WARNING, [])


async def fill(directory):
    async with open_bridge() as bridge, open_database(locate("", directory), bridge) as database:
        await migrate(database)
        await database.transact(append, Program(), "user.create", "user", "ada", None, None, 1.0)
        head = await database.read(read_head_of)
        assert head is not None
        save_head(directory, head)


def test_a_database_answers_and_its_audit_log_goes_on(tmp_path):
    trio.run(fill, tmp_path)
    assert [found.level for found in check_database(locate("", tmp_path), tmp_path)] == [OK, OK]
    save_head(tmp_path, Head(9, "ff" * 32))
    assert [found.level for found in check_database(locate("", tmp_path), tmp_path)] == [OK, ERROR]


def test_a_damaged_database_is_an_error(tmp_path):
    location = locate("", tmp_path)
    assert location.file is not None
    location.file.write_bytes(b"no database" * 100)
    (found,) = check_database(location, tmp_path)
    assert found.level is ERROR


def test_a_server_that_is_away_is_an_error_without_its_password(tmp_path):
    location = locate("postgresql://ada:pa55@127.0.0.1:9/mrproxy", tmp_path)
    (found,) = check_database(location, tmp_path)
    assert (found.level, "pa55" in found.detail) == (ERROR, False)


def test_backends_are_those_of_the_snapshot_or_else_of_the_configuration(tmp_path):
    directory = open_data_directory(str(tmp_path))
    settings = Settings(backends=(Backend(kind="vllm", url="http://a", name="configured"),))
    assert [each.name for each in backends_of(settings, directory)] == ["configured"]
    spec = BackendSpec("managed", "vllm", "http://a", 1)
    write(directory.snapshot, Snapshot(generation=1, created_utc=0.0, backends=(spec,)))
    assert [each.name for each in backends_of(settings, directory)] == ["managed"]


def test_each_backend_is_asked_what_it_is():
    models = {"object": "list", "data": [{"id": "m", "object": "model"}]}
    with run_api(FakeApi({"GET /v1/models": models})) as there:
        good = BackendSpec("good", "openai", there.url, 1)
        found = check_backends((good, BackendSpec("gone", "openai", "http://127.0.0.1:9", 1)), 10)
    assert [(each.check, each.level) for each in found] == [("backend good", OK), ("backend gone", ERROR)]
    assert found[0].detail == "openai, 1 models"
    assert check_backends((), 10)[0].level is WARNING


STATUS = {"version": "1", "ready": True, "reasons": [], "warnings": [], "uptime_seconds": 5.0}


@pytest.mark.parametrize(
    ("changes", "level"),
    [({}, OK), ({"warnings": ["the database is full"]}, WARNING), ({"ready": False, "reasons": ["none"]}, ERROR)],
)
def test_a_gateway_is_judged_by_its_own_words(tmp_path, changes, level):
    directory = open_data_directory(str(tmp_path))
    with run_api(FakeApi({"GET /status": STATUS | changes}), directory.control_socket):
        assert check_gateway(Api(Place(5, directory=directory))).level is level


def test_no_gateway_is_a_warning_and_one_that_hangs_up_an_error(tmp_path):
    directory = open_data_directory(str(tmp_path))
    place = Place(5, directory=directory)
    assert check_gateway(Api(place)).level is WARNING
    hanging_up = FakeApi({"GET /status": Answer(hang_up=True)})
    with run_api(hanging_up, directory.control_socket):
        assert check_gateway(Api(place)).level is ERROR


def test_findings_can_be_printed():
    assert msgspec.json.encode(check_backends((), 1)[0].detail)
