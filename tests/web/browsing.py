"""What every test of the page does: Chromium, signing in, playing, asking where the focus is."""

import shutil
import time

# Generous: a wait ends when its condition is true.
PATIENCE_MS = 20_000


def launch(playwright):
    """The machine's Chromium, without sound hardware and as root where the tests run so."""
    browser = playwright.chromium.launch(
        executable_path=shutil.which("chromium"),
        args=["--no-sandbox", "--disable-gpu", "--mute-audio", "--disable-dev-shm-usage"],
    )
    return browser


def sign_in(page, service):
    """Signs in by the form that is shown."""
    page.get_by_label("Mailbox number").fill(service.mailbox.address)
    page.get_by_label("Password", exact=True).fill(service.password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Inbox").wait_for()


def play(page, caller):
    """Plays a caller's message until something of it was heard."""
    page.get_by_role("button", name=f"Play the message from {caller}").click()
    until(page, "document.querySelector('.player audio')?.currentTime > 0")


def until(page, expression):
    """Waits until a JavaScript expression is true. Playwright's own wait evaluates in the page, which its policy forbids."""
    end = time.monotonic() + PATIENCE_MS / 1000
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"never true: {expression}"
        page.wait_for_timeout(30)


def focused(page):
    """The accessible words of what has the focus: its name, else its text."""
    return page.evaluate(
        "(() => { const at = document.activeElement;"
        " return at.getAttribute('aria-label') ?? at.labels?.[0]?.textContent.trim() ?? at.textContent.trim(); })()"
    )


def tab_to(page, words, presses=40):
    """Presses Tab until what has the focus says `words`."""
    for _ in range(presses):
        page.keyboard.press("Tab")
        if words in focused(page):
            return
    raise AssertionError(f"{presses} times Tab did not reach {words!r}; the focus is at {focused(page)!r}")


def overflow(page):
    """Pixels by which the page is wider than the window; and what sticks out."""
    return page.evaluate(
        "(() => { const width = document.documentElement.clientWidth;"
        " const out = [...document.querySelectorAll('body *')].filter((one) => one.getBoundingClientRect().right > width + 0.5"
        " && getComputedStyle(one).display !== 'none').map((one) => one.tagName + '.' + one.className);"
        " return [document.documentElement.scrollWidth - width, out.slice(0, 5)]; })()"
    )
