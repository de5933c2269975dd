"""What the tests of a call share: the office, the service in it, phones that others wrote, and what is said."""

import os

import pytest

import speech
from baresip import Baresip
from natlab import Office, OfficeAddresses
from service import PILOT, REPEAT, Service

A = OfficeAddresses
# Where phones of the office stand: host and address.
FIRST = ("phone", A.PHONE)
SECOND = ("phone-second", A.PHONE_SECOND)


@pytest.fixture(scope="session")
def office(worker):
    """The network of this test process; gone at its end, also after failures."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    office = Office(os.environ.get("POSTERN_LAB", f"t{os.getpid()}") + worker + "c")
    office.down()
    try:
        yield office.up()
    finally:
        office.down()


@pytest.fixture(scope="module")
def edges():
    """The edges that a module's service has; modules override this."""
    return ()


@pytest.fixture(scope="module")
def service_changes():
    """What a module's UM service and workers have differently; modules override this."""
    return {}


@pytest.fixture(scope="module")
def service(office, authority, binary, edges, service_changes, tmp_path_factory):
    service = Service(office, tmp_path_factory.mktemp("service"), authority, service_changes)
    try:
        yield service.start(edges)
        service.assert_sound()
    finally:
        service.stop()


@pytest.fixture
def words(tool, tmp_path, request):
    """Speech that no other test says: a function from words to samples."""
    espeak = tool("espeak-ng")
    return lambda text: speech.say(espeak, tmp_path, text)


@pytest.fixture
def phones(office, tool, tmp_path):
    """Makes phones; all of them end with the test."""
    made = []

    def make(kind, host, address, user, **options):
        tool(kind.PROGRAM)
        directory = tmp_path / f"phone-{len(made)}"
        directory.mkdir()
        phone = kind(office.host(host), directory, address, user, **options)
        made.append(phone)
        return phone

    yield make
    for phone in made:
        phone.stop()


@pytest.fixture
def hear(service, phones):
    """Retrieves what was left: calls the pilot as the owner of a mailbox, logs on, and listens until it was heard."""

    def hear_new(number, said, kind=Baresip, target=f"sip:{PILOT}@{A.ROUTER}:5060;transport=tcp", place=SECOND, **options):
        owner = phones(kind, *place, number, **options).start()
        owner.call(target)
        owner.log_on()
        owner.listen_for(said, again=REPEAT)
        owner.hang_up()
        owner.stop()
        return owner

    return hear_new


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    service = getattr(item, "funcargs", {}).get("service")
    if report.failed and service is not None:
        report.sections.append(("what the processes said", service.logs()))
    return report
