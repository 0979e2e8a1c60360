"""One server of a language that serves all tests of a file which has the same tasks in each; each test has executions of its
own. The fixtures of such a file are

    served = world.fixture("durable", LANGUAGES, READY, {"default/leaf", "other/far"})
    from support.world import db, ledger, world  # noqa: F401
"""

import os

import psycopg
import pytest

from .ledger import Ledger
from .node import needs_node
from .server import Server
from .wait import wait_for


class World:
    """A language's server, its database and its ledger. before(db): what the database has to have first."""

    def __init__(self, language, dsn, directory, node_tree, serves, before=None):
        self.language, self.dsn, self.directory, self.serves = language, dsn, directory, serves
        self.ledger = Ledger(f"{directory}/ledger")
        self.log_path = f"{directory}/server.log"
        self.db = psycopg.connect(dsn, autocommit=True)
        if before:
            before(self.db)
        self.config = language.configure(self.ledger, directory, node_tree)
        self.server = None

    def start(self):
        self.server = Server(self.dsn, self.log_path, config=self.config, env=self.language.environment())

        def serves():
            assert self.server.running(), self.server.log
            row = self.db.execute("select serves from pgconductor.nodes where pid = %s order by id desc limit 1",
                                  (self.server.pid,)).fetchone()
            return row is not None and self.serves <= set(row[0])
        wait_for(serves, 20, "the node serves its tasks")

    def close(self):
        self.server.stop(15)
        self.db.close()


def fixture(name, languages, ready, serves, before=None):
    """The World of each language that is ready, by its name; serves: what each node is to say that it serves."""
    params = [pytest.param(one, marks=[needs_node] if one == "node" else []) for one in ready]

    @pytest.fixture(scope="module", params=params)
    def served(request, cluster, module_tmp):
        database = f"{name}_{request.param}"
        directory = os.path.join(module_tmp, request.param)
        os.mkdir(directory)
        os.chmod(directory, 0o777)
        cluster.create_database(database, "template_pgconductor")
        one = World(languages[request.param], cluster.dsn(database), directory,
                    lambda: request.getfixturevalue("node_tree"), serves, before)
        one.start()
        yield one
        one.close()
        cluster.drop_database(database)
        assert not one.server.sanitizer_lines(), one.server.sanitizer_lines()
    return served


@pytest.fixture
def world(request, served):
    request.node.user_properties.append(("server_log", served.log_path))
    return served


@pytest.fixture
def db(world):
    return world.db


@pytest.fixture
def ledger(world):
    return world.ledger
