"""The servers that tests run on are fresh, real, and steerable."""

import shutil
import subprocess
from pathlib import Path

import asyncpg
import nats

from deploy.local import nats_server
from tests.fixtures.nats import NatsServer
from tests.fixtures.postgres import PostgresServer


async def test_a_test_gets_a_nats_server_without_streams(nats_url: str) -> None:
    connection = await nats.connect(nats_url)
    assert await connection.jetstream().streams_info() == []
    await connection.close()


async def test_what_was_acknowledged_survives_the_kill_of_the_server(nats_server_process: NatsServer) -> None:
    connection = await nats.connect(nats_server_process.url)
    await connection.jetstream().add_stream(name="FACTS", subjects=["facts.>"])
    await connection.jetstream().publish("facts.one", b"kept")
    await connection.close()
    nats_server_process.stop(hard=True)
    nats_server_process.start()
    connection = await nats.connect(nats_server_process.url)
    message = await connection.jetstream().get_msg("FACTS", 1)
    await connection.close()
    assert message.data == b"kept"


async def test_a_test_gets_an_empty_database_of_its_own(
    postgres: PostgresServer, empty_database: str
) -> None:
    connection = await asyncpg.connect(empty_database)
    assert await connection.fetchval("select count(*) from pg_tables where schemaname = 'public'") == 0
    assert await connection.fetchval("show server_encoding") == "UTF8"
    await connection.close()


async def test_a_test_gets_the_schema_of_the_store_without_rows(database: str) -> None:
    connection = await asyncpg.connect(database)
    applied = await connection.fetchval("select count(*) from migrations")
    await connection.close()
    assert applied >= 1


def test_the_configuration_of_the_cluster_is_one_that_the_server_accepts(tmp_path: Path) -> None:
    shutil.copy(nats_server.CONFIG.with_name("cluster.conf"), tmp_path)
    (tmp_path / "auth").mkdir()
    (tmp_path / "auth" / "auth.conf").write_text('authorization { user: headrace, password: "secret" }\n')
    command: list[str | Path] = [nats_server.binary(), "-t", "-c", tmp_path / "cluster.conf"]
    environ = {"POD_NAME": "nats-0", "HEADRACE_NATS_SYNC": '"2m"'}
    checked = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
