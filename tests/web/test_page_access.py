"""The mailbox's page for everybody: by keyboard alone, on a narrow screen, in light and dark, by others' rules."""

import json
import os
import re

import pytest
from playwright.sync_api import expect

from browsing import PATIENCE_MS, focused, overflow, sign_in, tab_to, until
from fake_web import PAGE

expect.set_options(timeout=PATIENCE_MS)

NARROW = {"viewport": {"width": 320, "height": 640}, "has_touch": True, "is_mobile": True}
DARK = {"color_scheme": "dark"}
VIEWS = ("Inbox", "Greetings", "Options")


@pytest.fixture
def furnished(service):
    """A mailbox whose every part has something to show."""
    mailbox = service.mailbox
    mailbox.leave_message("+442079460123", "Bartholomew Featherstonehaugh-Cholmondeley", secs=300.0)
    mailbox.leave_message("sip:a.very.long.address.without.any.space@gateway.example.test", None, partial=True)
    mailbox.leave_message(None, None, state="saved")
    mailbox.record_greeting("own", 11.0)
    return service


def each_state(page, service):
    """Shows, one after the other, every view, dialog and notice of the page; says which."""
    page.get_by_role("heading", level=1).wait_for()
    yield "sign in"
    sign_in(page, service)
    page.get_by_role("button", name="Play the message from Bartholomew").click()
    page.get_by_role("slider").wait_for()
    yield "inbox with a player"
    page.get_by_role("button", name="Save: message from sip").click()
    page.get_by_role("button", name="Undo").wait_for()
    yield "notice"
    page.get_by_role("button", name="Play on phone: message from Bartholomew").click()
    yield "dialog"
    page.get_by_label("Number to ring").fill("1001")
    page.get_by_role("button", name="Ring the phone").click()
    page.get_by_role("button", name="Hang up").wait_for()
    yield "call"
    page.get_by_role("link", name="Greetings").click()
    page.locator(".recording").nth(2).wait_for()
    yield "greetings"
    page.get_by_role("link", name="Options").click()
    page.get_by_role("heading", name="Options").wait_for()
    yield "options"
    page.get_by_role("button", name="Reset PIN …").click()
    yield "question"


def test_a_message_is_heard_and_deleted_by_keyboard_alone(open_page, furnished):
    page = open_page()
    keys = page.keyboard
    tab_to(page, "Mailbox number")
    keys.type(furnished.mailbox.address)
    tab_to(page, "Password")
    keys.type(furnished.password)
    keys.press("Enter")
    expect(page.get_by_role("heading", name="Inbox")).to_be_focused()
    tab_to(page, "Play the message from Bartholomew")
    keys.press("Enter")
    until(page, "document.querySelector('audio')?.currentTime > 0")
    tab_to(page, "Position")
    keys.press(" ")
    until(page, "document.querySelector('audio').paused")
    keys.press("End")
    keys.press("PageDown")
    assert page.evaluate("document.querySelector('audio').currentTime") == pytest.approx(285, abs=0.1)
    keys.press("Home")
    keys.press("ArrowRight")
    assert page.evaluate("document.querySelector('audio').currentTime") == pytest.approx(5, abs=0.1)
    expect(page.get_by_role("slider")).to_have_attribute("aria-valuetext", "5 seconds of 5 minutes")
    tab_to(page, "Delete: message from Bartholomew")
    keys.press("Enter")
    expect(page.get_by_text("deleted.")).to_be_visible()
    # The focus goes on with the next message, not to the top.
    until(page, "document.activeElement.ariaLabel?.startsWith('Play the message from sip')")
    tab_to(page, "Undo")
    keys.press("Enter")
    expect(page.get_by_text("Undone.")).to_be_visible()
    expect(page.get_by_role("button", name="Dismiss")).to_be_focused()
    # It had been heard, and comes back as what it was.
    expect(page.get_by_role("link", name="Saved 2")).to_be_visible()


def test_a_phone_is_rung_and_hung_up_by_keyboard_alone(open_page, furnished):
    page = open_page()
    sign_in(page, furnished)
    keys = page.keyboard
    tab_to(page, "Play on phone: message from Bartholomew")
    keys.press("Enter")
    expect(page.get_by_label("Number to ring")).to_be_focused()
    keys.press("Escape")
    expect(page.get_by_role("button", name="Play on phone: message from Bartholomew")).to_be_focused()
    keys.press("Enter")
    keys.type("1001")
    keys.press("Enter")
    expect(page.get_by_role("region", name="Play on phone")).to_be_focused()
    keys.press("Tab")
    assert focused(page) == "Hang up"
    keys.press("Enter")
    expect(page.locator("#call-state")).to_have_text("The call has ended.")
    expect(page.get_by_role("button", name="Close")).to_be_focused()
    keys.press("Enter")
    expect(page.get_by_role("button", name="Play on phone: message from Bartholomew")).to_be_focused()


def test_the_first_tab_leads_past_the_navigation(open_page, furnished):
    page = open_page()
    sign_in(page, furnished)
    page.reload()
    expect(page.get_by_role("heading", name="Inbox")).to_be_visible()
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert focused(page).startswith("New")


def test_every_control_shows_that_it_has_the_focus(open_page, furnished):
    page = open_page()
    sign_in(page, furnished)
    page.get_by_role("button", name="Play the message from Bartholomew").click()
    page.get_by_role("slider").wait_for()
    page.get_by_role("heading", name="Inbox").focus()
    seen = []
    while True:
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            break
        seen.append(focused(page))
        assert len(seen) < 60, seen
        outline = page.evaluate(
            "[document.activeElement, document.activeElement.parentElement]"
            ".some((one) => getComputedStyle(one).outlineStyle === 'solid')"
        )
        assert outline, f"{seen[-1]} does not show the focus"
    assert len(seen) > 12, seen


def test_nothing_sticks_out_at_320_pixels(open_page, furnished):
    page = open_page(**NARROW)
    assert {state: out for state in each_state(page, furnished) if (out := overflow(page))[0] > 0} == {}


@pytest.mark.parametrize("look", [{}, DARK, NARROW], ids=["light", "dark", "narrow"])
def test_the_rules_of_axe_find_nothing(open_page, furnished, axe, look):
    page = open_page(reduced_motion="reduce", **look)
    found = {}
    for state in each_state(page, furnished):
        page.evaluate(axe)
        result = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        violations = [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in result["violations"]]
        assert len(result["passes"]) > 10
        if violations:
            found[state] = violations
    assert found == {}, json.dumps(found, indent=1)


def test_buttons_and_fields_are_large_enough_for_a_thumb(open_page, furnished):
    page = open_page(**NARROW)
    sign_in(page, furnished)
    page.get_by_role("button", name="Play the message from Bartholomew").click()
    page.get_by_role("slider").wait_for()
    small = page.evaluate(
        "[...document.querySelectorAll('button, nav a, select, input')].filter((one) => one.checkVisibility())"
        ".map((one) => [one.textContent.trim(), one.getBoundingClientRect()])"
        ".filter(([, box]) => box.height < 44 || box.width < 44).map(([words, box]) => [words, box.width, box.height])"
    )
    assert small == []


def test_nothing_moves_for_who_wants_no_motion(open_page, furnished):
    page = open_page(reduced_motion="reduce")
    sign_in(page, furnished)
    page.get_by_role("button", name="Play on phone: message from Bartholomew").click()
    page.get_by_label("Number to ring").fill("1001")
    page.get_by_role("button", name="Ring the phone").click()
    furnished.phone.rings()
    expect(page.locator("#call-state")).to_contain_text("ringing")
    assert page.evaluate("document.getAnimations().length") == 0


def test_times_are_told_as_the_mailboxs_language_tells_them(open_page, service):
    service.mailbox.leave_message("1005", "Dan")
    british = open_page(locale="en-GB")
    sign_in(british, service)
    expect(british.locator("time")).to_have_text(re.compile(r"^today, \d\d:\d\d$"))
    # A browser of another language does not change the mailbox's.
    german = open_page(locale="de-DE")
    sign_in(german, service)
    expect(german.locator("time")).to_contain_text("today, ")
    assert german.evaluate("document.documentElement.lang") == "en"


# The page's files


def sources():
    for name in sorted(os.listdir(PAGE)):
        if name.endswith((".js", ".html")):
            with open(os.path.join(PAGE, name)) as file:
                yield name, file.read()


def texts(language):
    with open(os.path.join(PAGE, f"texts.{language}.json")) as file:
        return json.load(file)


def test_every_language_has_every_text_with_the_same_places():
    with open(os.path.join(PAGE, "index.html")) as file:
        languages = re.search(r'data-languages="(.+?)"', file.read())[1].split()
    assert sorted(languages) == sorted(re.findall(r"texts\.(.+?)\.json", " ".join(os.listdir(PAGE))))
    english = texts("en")
    for language in languages:
        others = texts(language)
        plurals = {key.rsplit(".", 1)[0] for key in english if key.endswith(".other")}
        strip = {key for key in english if key.rsplit(".", 1)[0] not in plurals}
        assert strip <= set(others) and {f"{key}.other" for key in plurals} <= set(others), language
        for key in strip:
            assert set(re.findall(r"\{\w+\}", english[key])) == set(re.findall(r"\{\w+\}", others[key])), key


def test_every_text_that_is_asked_for_is_there_and_no_other():
    english = set(texts("en"))
    asked, patterns = set(), []
    for name, source in sources():
        asked |= set(re.findall(r'data-(?:text|label)="([^"]+)"', source))
        words = set(re.findall(r'"([a-z_]+\.[a-z_-]+)"', source)) | set(re.findall(r'\bt\("([a-z_.-]+)"', source))
        asked |= {word for word in words if not word.endswith(".js")}
        # `call.${state}`: any end will do.
        patterns += re.findall(r"`([a-z_]+[._][a-z_.]*)\$\{", source)
    asked = {key + form for key in asked for form in ("", ".one", ".other") if key + form in english or form == ""}
    missing = {key for key in asked if key not in english and f"{key}.other" not in english}
    assert missing == set()
    unused = {key for key in english - asked if not key.startswith(tuple(patterns))}
    assert unused == set()


def test_the_page_asks_for_no_policy_weaker_than_its_own_files():
    weaker = r"\sstyle=|\son\w+=\"|<style|javascript:|innerHTML|localStorage|sessionStorage"
    for name, source in sources():
        assert not re.search(weaker, source), name
        assert not re.search(r"(?:src|href)=\"(?:https?:)?//", source), name
    assert all("<script>" not in source for _, source in sources())
