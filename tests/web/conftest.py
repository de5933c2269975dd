"""Fixtures of the page's tests: a service to ask, Chromium, and a page that must not complain.

`service` is what the page is opened on. A test that takes it uses nothing but its `url`, `password`, `one_time_link()`,
`phone` and `mailbox` (`address`, `leave_message`, `record_greeting`); what only the fake can do is asked of `fake`.
"""

import os

import pytest
from playwright.sync_api import sync_playwright

from browsing import PATIENCE_MS, launch, sign_in
from edge_process import REPOSITORY
from fake_web import FakeWeb


@pytest.fixture
def fake():
    """The web services without anything behind them."""
    web = FakeWeb()
    yield web
    web.stop()


@pytest.fixture
def service(fake):
    """The service that the page is opened on."""
    return fake


@pytest.fixture(scope="module")
def chromium(tool):
    tool("chromium")
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def complaints():
    """Parts of what the browser may complain of in this test, besides being signed out at first."""
    return ["401 (Unauthorized)"]


@pytest.fixture
def open_page(chromium, service, complaints):
    """Opens the page in a browser of its own; at the end the browser must have had nothing to complain of."""
    contexts, said = [], []

    def open_at(path="/", **options):
        options = {"locale": "en-GB", "timezone_id": "Europe/London", "ignore_https_errors": True} | options
        context = chromium.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.on("console", lambda message: message.type in ("error", "warning") and said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(path if "://" in path else service.url + path)
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert not [text for text in said if not any(part in text for part in complaints)]


@pytest.fixture
def inbox(open_page, service):
    """The page, signed in."""
    page = open_page()
    sign_in(page, service)
    return page


@pytest.fixture(scope="session")
def axe():
    """The rules for accessible pages that others wrote, as a script."""
    installed = os.environ.get("CLIENTS", os.path.join(REPOSITORY, "target", "tests", "clients"))
    with open(os.path.join(installed, "node_modules", "axe-core", "axe.min.js")) as file:
        return file.read()
