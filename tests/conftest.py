"""Fixtures: a lab per test process, an edge per module, authorities and clients."""

import contextlib
import os
import shutil

import pytest

from certificates import Authority
from edge_process import BINARY, Edge, default_config, merged
from natlab import Lab
from reference import Reference


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="also run the tests marked long")
    parser.addoption("--reference", action="store_true", help="coturn in the edge's place, to judge the tests by")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--long"):
        skip = pytest.mark.skip(reason="takes minutes: tests/run --long")
        for item in items:
            if "long" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def worker(request):
    """This test process's name, also when only one runs."""
    return getattr(request.config, "workerinput", {}).get("workerid", "w0")


@pytest.fixture(scope="session")
def lab(worker):
    """The network of this test process; gone at its end, also after failures."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    lab = Lab(os.environ.get("POSTERN_LAB", f"t{os.getpid()}") + worker)
    lab.down()
    try:
        yield lab.up()
    finally:
        lab.down()


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def binary():
    if not os.path.exists(BINARY):
        pytest.fail(f"{BINARY} is not built: cargo build --workspace --bins")
    return BINARY


@contextlib.contextmanager
def edges(lab, authority, request, tmp_path_factory):
    """A function that starts edges with changes to the default configuration; all of them end with the block."""
    started = []
    kind = Reference if request.config.getoption("--reference") else Edge
    if kind is Edge:
        request.getfixturevalue("binary")

    def start(changes=None, host="edge", wait=True, **options):
        config = merged(default_config(authority), changes or {})
        edge = kind(lab.host(host), tmp_path_factory.mktemp("edge"), config)
        started.append(edge)
        return edge.start(**options) if wait else edge.spawn(**options)

    try:
        yield start
    finally:
        for edge in started:
            edge.stop()


@pytest.fixture(scope="module")
def start_module_edge(lab, authority, request, tmp_path_factory):
    """Starts edges that live as long as the module's tests."""
    with edges(lab, authority, request, tmp_path_factory) as start:
        yield start


@pytest.fixture
def start_edge(lab, authority, request, tmp_path_factory):
    """Starts edges that live as long as the test."""
    with edges(lab, authority, request, tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="module")
def edge_changes():
    """What a module's edge has differently; modules override this."""
    return {}


@pytest.fixture(scope="module")
def edge(start_module_edge, edge_changes):
    """The module's edge on every transport and family. It must have survived the module."""
    edge = start_module_edge(edge_changes)
    yield edge
    assert edge.process.poll() is None, f"the edge died with {edge.process.returncode}:\n{edge.log()[-4000:]}"
    assert "panicked" not in edge.log()


@pytest.fixture(scope="session")
def tool():
    """The path of a program that a Debian package holds; its absence is said, not passed over."""

    def find(name):
        path = shutil.which(name)
        if path is None:
            pytest.skip(f"{name} is not installed (tests/run installs it as root)")
        return path

    return find
