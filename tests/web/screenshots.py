"""Makes the pictures of the page that the README shows: `python tests/web/screenshots.py [DIRECTORY]`.

They show the page of this work tree against `fake_web.py`, in Chromium, light at 1280 and dark at 390 pixels.
"""

import contextlib
import os
import sys

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__)), os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]

from playwright.sync_api import sync_playwright  # noqa: E402

from browsing import launch, play, sign_in, until  # noqa: E402
from edge_process import REPOSITORY  # noqa: E402
from fake_web import FakeWeb  # noqa: E402

WIDE = {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"}
SMALL = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}
HOUR = 3600


def furnished():
    web = FakeWeb()
    mailbox = web.mailbox
    mailbox.leave_message("+442079460123", "Bob Miller", 24.0, ago_secs=900)
    mailbox.leave_message("1017", "Carla Rossi", 9.5, ago_secs=5 * HOUR)
    mailbox.leave_message("+12025550147", None, 3.2, partial=True, ago_secs=27 * HOUR)
    mailbox.leave_message("1005", "Dan Okafor", 41.0, state="saved", ago_secs=120 * HOUR)
    mailbox.leave_message(None, None, 5.0, state="deleted", ago_secs=300 * HOUR)
    mailbox.record_greeting("own", 11.0)
    mailbox.record_greeting("name", 1.5)
    mailbox.options |= {"greeting": "own", "play_on_phone_number": "1001"}
    return web


@contextlib.contextmanager
def page_of(browser, web, **options):
    context = browser.new_context(locale="en-GB", timezone_id="Europe/London", reduced_motion="reduce", **options)
    try:
        page = context.new_page()
        page.goto(web.url)
        yield page
    finally:
        context.close()


def take(browser, form, options, directory):
    web = furnished()

    def shot(page, name):
        page.screenshot(path=os.path.join(directory, f"{name}-{form}.png"))

    try:
        with page_of(browser, web, **options) as page:
            page.get_by_label("Mailbox number").wait_for()
            shot(page, "sign-in")
            sign_in(page, web)
            play(page, "Bob Miller")
            until(page, "document.querySelector('audio').currentTime > 2")
            page.get_by_role("button", name="Pause the message from Bob Miller").click()
            shot(page, "inbox")
            page.get_by_role("button", name="Play on phone: message from Carla Rossi").click()
            shot(page, "phone")
            page.get_by_role("button", name="Ring the phone").click()
            page.get_by_role("button", name="Hang up").wait_for()
            web.phone.rings()
            page.get_by_text("The phone is ringing").wait_for()
            shot(page, "ringing")
            web.phone.hangs_up()
            page.get_by_role("button", name="Close").click()
            for view in ("Greetings", "Options"):
                page.get_by_role("link", name=view).click()
                page.get_by_role("heading", name=view, exact=True).wait_for()
                page.wait_for_load_state("networkidle") if view == "Options" else page.locator(".recording").last.wait_for()
                shot(page, view.lower())
    finally:
        web.stop()


def main():
    directory = sys.argv[1] if len(sys.argv) > 1 else os.path.join(REPOSITORY, "src", "web", "screenshots")
    os.makedirs(directory, exist_ok=True)
    with sync_playwright() as playwright:
        browser = launch(playwright)
        take(browser, "wide", WIDE, directory)
        take(browser, "small", SMALL, directory)
        browser.close()


if __name__ == "__main__":
    main()
