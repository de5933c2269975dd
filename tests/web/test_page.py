"""The mailbox's page in Chromium: signing in, messages, Play on Phone, greetings, options."""

import re

import pytest
from playwright.sync_api import expect

from browsing import PATIENCE_MS, play, sign_in, until
from edge_process import await_that

expect.set_options(timeout=PATIENCE_MS)


def message(page, caller):
    return page.get_by_role("list", name="Messages").get_by_role("listitem").filter(has_text=caller)


def button(page, words, exact=False):
    return page.get_by_role("button", name=words, exact=exact)


def ring(page, number=None):
    if number:
        page.get_by_label("Number to ring").fill(number)
    button(page, "Ring the phone").click()


def state(page):
    return page.locator("#call-state")


# Signing in


def test_a_password_opens_the_mailbox_and_signing_out_closes_it(open_page, service):
    page = open_page()
    sign_in(page, service)
    expect(page.get_by_text("Alice Ng, mailbox 1001")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Inbox")).to_be_visible()
    button(page, "Sign out").click()
    expect(page.get_by_text("You are signed out.")).to_be_visible()
    page.reload()
    expect(button(page, "Sign in")).to_be_visible()


def test_a_wrong_password_is_refused_with_its_remedy_and_typed_anew(open_page, service):
    page = open_page()
    page.get_by_label("Mailbox number").fill(service.mailbox.address)
    page.get_by_label("Password", exact=True).fill("0000")
    button(page, "Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("the password is not your PIN")
    expect(page.get_by_label("Password", exact=True)).to_be_focused()
    expect(page.get_by_label("Password", exact=True)).to_have_value("")


def test_an_empty_form_names_what_is_missing_and_asks_nothing(open_page, fake):
    page = open_page()
    button(page, "Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("Enter your mailbox number and your password.")
    expect(page.get_by_label("Mailbox number")).to_be_focused()
    assert ("POST", "/api/v1/session", "wrong") not in fake.refused


@pytest.mark.parametrize("complaints", [["401 (Unauthorized)", "429 (Too Many Requests)"]])
def test_who_is_locked_out_is_told_how_long(open_page, fake):
    page = open_page()
    fake.wrong_passwords = 5
    page.get_by_label("Mailbox number").fill("1001")
    page.get_by_label("Password", exact=True).fill(fake.password)
    button(page, "Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("Wait 10 minutes and try again")


@pytest.mark.parametrize("complaints", [["ERR_FAILED", "Failed to fetch", "401 (Unauthorized)"]])
def test_a_page_that_came_without_its_texts_says_so(open_page, service):
    page = open_page()
    page.route("**/texts.*.json", lambda route: route.abort())
    page.reload()
    expect(page.get_by_role("alert")).to_have_text("This page came incomplete. Load it again.")


def test_a_one_time_link_sets_the_password_and_leaves_no_trace(open_page, service):
    link = service.one_time_link()
    page = open_page(link)
    page.get_by_label("New password", exact=True).fill("a staple of batteries")
    page.get_by_label("New password again").fill("a staple of horses")
    button(page, "Set password").click()
    expect(page.get_by_role("alert")).to_contain_text("not the same")
    page.get_by_label("New password again").fill("a staple of batteries")
    button(page, "Set password").click()
    expect(page.get_by_role("status").filter(has_text="Your password is set")).to_be_visible()
    assert link.rsplit("/", 1)[1] not in page.url
    service.password = "a staple of batteries"
    sign_in(page, service)


@pytest.mark.parametrize("complaints", [["401 (Unauthorized)", "422 (Unprocessable Entity)", "410 (Gone)"]])
def test_a_weak_password_and_a_used_link_are_refused_with_their_remedies(open_page, service):
    page = open_page(service.one_time_link())

    def choose(password):
        page.get_by_label("New password", exact=True).fill(password)
        page.get_by_label("New password again").fill(password)
        button(page, "Set password").click()

    choose("1001")
    expect(page.get_by_role("alert")).to_contain_text("Use 10 to 128 characters")
    choose("a staple of batteries")
    expect(page.get_by_text("Your password is set")).to_be_visible()
    page.goto(service.url + "/#/link/used")
    choose("a staple of batteries")
    expect(page.get_by_role("alert")).to_contain_text("Ask your administrator for a new one")


def test_a_link_that_is_used_by_who_is_signed_in_leads_back_to_signing_in(inbox, service):
    inbox.goto(service.one_time_link())
    inbox.get_by_label("New password", exact=True).fill("a staple of batteries")
    inbox.get_by_label("New password again").fill("a staple of batteries")
    button(inbox, "Set password").click()
    expect(inbox.get_by_role("status").filter(has_text="Your password is set")).to_be_visible()
    expect(inbox.get_by_role("navigation", name="Main")).to_be_hidden()
    service.password = "a staple of batteries"
    sign_in(inbox, service)


def test_a_view_that_does_not_exist_is_the_inbox(inbox, service):
    inbox.goto(service.url + "/#/constructor")
    expect(inbox.get_by_role("link", name="New")).to_have_attribute("aria-current", "page")
    expect(inbox.get_by_role("heading", level=1)).to_be_visible()


def test_a_session_that_has_ended_leads_back_to_signing_in(inbox, fake):
    await_that(lambda: fake.listeners, timeout=20.0, what="the page to listen")
    fake.end_sessions()
    fake.mailbox.leave_message("1005", "Dan")
    expect(inbox.get_by_text("You were signed out.")).to_be_visible()
    expect(inbox.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(inbox.get_by_role("navigation", name="Main")).to_be_hidden()


def test_nothing_stays_in_the_browser_but_the_cookie_that_scripts_cannot_read(inbox):
    stored = inbox.evaluate("[localStorage.length, sessionStorage.length, document.cookie]")
    assert stored == [0, 0, ""]
    (cookie,) = inbox.context.cookies()
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict"


# Messages


def test_messages_lie_in_their_folders_newest_first(inbox, service):
    service.mailbox.leave_message("1005", "Dan", ago_secs=500)
    service.mailbox.leave_message("+12025550147", None, secs=75.0, partial=True, ago_secs=400)
    service.mailbox.leave_message(None, None, state="saved")
    callers = inbox.get_by_role("list", name="Messages").locator(".caller-name")
    expect(callers).to_have_text(["+12025550147", "Dan"])
    expect(message(inbox, "+12025550147")).to_contain_text("1:15")
    expect(message(inbox, "+12025550147")).to_contain_text("Incomplete")
    expect(inbox.get_by_role("link", name="New 2")).to_have_attribute("aria-current", "page")
    inbox.get_by_role("link", name="Saved 1").click()
    expect(callers).to_have_text(["Unknown caller"])
    inbox.get_by_role("link", name="Deleted").click()
    expect(inbox.get_by_text("No deleted messages.")).to_be_visible()


def test_a_message_that_arrives_is_shown_and_said_at_once(inbox, service):
    expect(inbox.get_by_text("No new messages.")).to_be_visible()
    service.mailbox.leave_message("1005", "Dan")
    expect(message(inbox, "Dan")).to_be_visible()
    expect(inbox.get_by_role("status").filter(has_text="1 new message arrived.")).to_be_visible()


def test_a_message_is_played_and_sought_and_is_then_a_saved_one(inbox, service):
    service.mailbox.leave_message("1005", "Dan", secs=300.0)
    play(inbox, "Dan")
    row = message(inbox, "Dan")
    expect(row.get_by_text("New", exact=True)).to_be_hidden()
    expect(inbox.get_by_role("link", name="Saved 1")).to_be_visible()
    slider = row.get_by_role("slider", name="Position")
    box = slider.bounding_box()
    inbox.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + box["height"] / 2)
    until(inbox, "document.querySelector('audio').currentTime >= 220")
    assert row.locator(".wave path").first.get_attribute("d").count("M") == 200
    button(row, "Pause the message from Dan").click()
    until(inbox, "document.querySelector('audio').paused")
    row.get_by_label("Speed").select_option("1.5")
    assert inbox.evaluate("document.querySelector('audio').playbackRate") == 1.5


def test_one_message_plays_at_a_time(inbox, service):
    service.mailbox.leave_message("1005", "Dan", secs=300.0)
    service.mailbox.leave_message("1006", "Eve", secs=300.0)
    play(inbox, "Dan")
    expect(inbox.get_by_role("link", name="Saved 1")).to_be_visible()
    expect(message(inbox, "Dan")).to_be_visible()
    play(inbox, "Eve")
    expect(inbox.locator("audio")).to_have_count(1)
    expect(message(inbox, "Dan")).to_have_count(0)
    expect(message(inbox, "Eve").locator("audio")).to_have_count(1)


def test_playing_goes_on_while_messages_come_and_go(inbox, service):
    other = service.mailbox.leave_message("1006", "Eve")
    service.mailbox.leave_message("1005", "Dan", secs=300.0)
    play(inbox, "Dan")
    service.mailbox.move(other, "deleted")
    service.mailbox.leave_message("1007", "Finn")
    expect(message(inbox, "Finn")).to_be_visible()
    expect(message(inbox, "Eve")).to_have_count(0)
    assert inbox.evaluate("!document.querySelector('audio').paused && document.querySelectorAll('audio').length === 1")


def test_a_deleted_message_comes_back_by_undo(inbox, service):
    service.mailbox.leave_message("1005", "Dan")
    button(inbox, "Delete: message from Dan").click()
    expect(inbox.get_by_text("Message from Dan deleted.")).to_be_visible()
    expect(inbox.get_by_text("No new messages.")).to_be_visible()
    button(inbox, "Undo").click()
    expect(message(inbox, "Dan")).to_contain_text("New")


def test_news_do_not_take_undo_away(inbox, service):
    service.mailbox.leave_message("1005", "Dan")
    button(inbox, "Delete: message from Dan").click()
    expect(button(inbox, "Undo")).to_be_visible()
    service.mailbox.leave_message("1006", "Eve")
    expect(inbox.get_by_text("Message from Dan deleted. 1 new message arrived.")).to_be_visible()
    button(inbox, "Undo").click()
    expect(message(inbox, "Dan")).to_be_visible()


def test_messages_are_saved_marked_as_new_and_restored(inbox, service):
    service.mailbox.leave_message("1005", "Dan")
    button(inbox, "Save: message from Dan").click()
    expect(inbox.get_by_text("No new messages.")).to_be_visible()
    inbox.get_by_role("link", name="Saved 1").click()
    button(inbox, "Mark as new: message from Dan").click()
    expect(inbox.get_by_text("No saved messages.")).to_be_visible()
    inbox.get_by_role("link", name="New 1").click()
    button(inbox, "Delete: message from Dan").click()
    inbox.get_by_role("link", name="Deleted").click()
    expect(button(message(inbox, "Dan"), "Play on phone")).to_be_hidden()
    button(inbox, "Restore: message from Dan").click()
    inbox.get_by_role("link", name="Saved 1").click()
    expect(message(inbox, "Dan")).to_be_visible()


@pytest.mark.parametrize("complaints", [["401 (Unauthorized)", "404 (Not Found)"]])
def test_a_message_that_is_gone_meanwhile_is_said_to_be_gone(inbox, fake):
    id = fake.mailbox.leave_message("1005", "Dan")
    expect(message(inbox, "Dan")).to_be_visible()
    del fake.mailbox.messages[id]
    button(inbox, "Delete: message from Dan").click()
    expect(inbox.get_by_text("This is no longer there.")).to_be_visible()
    expect(message(inbox, "Dan")).to_have_count(0)


@pytest.mark.parametrize("complaints", [["401 (Unauthorized)", "404 (Not Found)"]])
def test_audio_that_cannot_be_loaded_is_said_and_tried_again(inbox, fake):
    id = fake.mailbox.leave_message("1005", "Dan")
    expect(message(inbox, "Dan")).to_be_visible()
    kept = fake.mailbox.messages.pop(id)
    button(inbox, "Play the message from Dan").click()
    expect(inbox.get_by_role("alert")).to_contain_text("The audio could not be loaded. Try again")
    fake.mailbox.messages[id] = kept
    play(inbox, "Dan")
    expect(inbox.get_by_role("alert")).to_have_count(0)


# Play on Phone


def test_a_call_is_followed_from_ringing_to_its_end(inbox, service):
    service.mailbox.leave_message("1005", "Dan")
    button(inbox, "Play on phone: message from Dan").click()
    ring(inbox, "1001")
    expect(inbox.get_by_text("Play on phone: 1001")).to_be_visible()
    service.phone.is_called()
    expect(state(inbox)).to_contain_text("Calling the phone")
    service.phone.rings()
    expect(state(inbox)).to_contain_text("The phone is ringing")
    service.phone.picks_up()
    expect(state(inbox)).to_contain_text("Connected")
    service.phone.hangs_up()
    expect(state(inbox)).to_have_text("The call has ended.")
    button(inbox, "Close").click()
    expect(state(inbox)).to_be_hidden()


def test_a_call_is_hung_up_from_the_page(inbox, service):
    service.mailbox.leave_message("1005", "Dan")
    button(inbox, "Play on phone: message from Dan").click()
    ring(inbox, "1001")
    service.phone.rings()
    button(inbox, "Hang up").click()
    expect(state(inbox)).to_have_text("The call has ended.")


ENDS = {
    "is_busy": "The phone is busy. Try again later",
    "is_never_picked_up": "Nobody picked up. Ring again",
    "is_out_of_reach": "did not put the call through (SIP 503). Try again in a minute",
}


@pytest.mark.parametrize("end", ENDS)
def test_a_call_that_fails_says_why_and_what_to_do(inbox, service, end):
    service.mailbox.leave_message("1005", "Dan")
    button(inbox, "Play on phone: message from Dan").click()
    ring(inbox, "1001")
    expect(button(inbox, "Hang up")).to_be_visible()
    getattr(service.phone, end)()
    expect(state(inbox)).to_contain_text(ENDS[end])


@pytest.mark.parametrize("complaints", [["401 (Unauthorized)", "403 (Forbidden)"]])
def test_a_number_that_may_not_be_called_is_refused_in_the_dialog(inbox, fake):
    fake.mailbox.allowed = lambda number: not number.startswith("00")
    fake.mailbox.leave_message("1005", "Dan")
    button(inbox, "Play on phone: message from Dan").click()
    ring(inbox, "00881612345")
    expect(inbox.get_by_role("alert")).to_contain_text("may not be called")
    expect(inbox.get_by_label("Number to ring")).to_be_focused()
    ring(inbox, "1001")
    expect(button(inbox, "Hang up")).to_be_visible()


def test_the_number_is_remembered_when_asked_for(inbox, fake):
    fake.mailbox.leave_message("1005", "Dan")
    button(inbox, "Play on phone: message from Dan").click()
    expect(inbox.get_by_label("Remember this number")).to_be_checked()
    ring(inbox, "1001")
    expect(button(inbox, "Hang up")).to_be_visible()
    fake.phone.hangs_up()
    button(inbox, "Close").click()
    button(inbox, "Play on phone: message from Dan").click()
    expect(inbox.get_by_label("Number to ring")).to_have_value("1001")
    assert fake.mailbox.options["play_on_phone_number"] == "1001"


def test_a_call_is_still_followed_after_the_page_is_loaded_again(inbox, service):
    service.mailbox.leave_message("1005", "Dan")
    button(inbox, "Play on phone: message from Dan").click()
    ring(inbox, "1001")
    service.phone.rings()
    expect(state(inbox)).to_contain_text("ringing")
    inbox.get_by_role("link", name="Options").click()
    inbox.reload()
    expect(state(inbox)).to_contain_text("ringing")
    button(inbox, "Hang up").click()
    expect(state(inbox)).to_have_text("The call has ended.")


def test_who_signs_in_next_in_this_tab_does_not_see_which_phone_was_rung(inbox, service):
    service.mailbox.leave_message("1005", "Dan")
    button(inbox, "Play on phone: message from Dan").click()
    ring(inbox, "1001")
    service.phone.rings()
    expect(state(inbox)).to_contain_text("ringing")
    assert inbox.evaluate("history.state?.number") == "1001"
    button(inbox, "Sign out").click()
    expect(inbox.get_by_role("heading", name="Sign in")).to_be_visible()
    assert inbox.evaluate("history.state") is None


@pytest.mark.parametrize("complaints", [["401 (Unauthorized)", "503 (Service Unavailable)", "ERR_INCOMPLETE_CHUNKED"]])
def test_a_call_is_followed_without_events_too(inbox, fake):
    fake.mailbox.leave_message("1005", "Dan")
    expect(message(inbox, "Dan")).to_be_visible()
    fake.break_events()
    button(inbox, "Play on phone: message from Dan").click()
    ring(inbox, "1001")
    expect(button(inbox, "Hang up")).to_be_visible()
    fake.phone.rings()
    expect(state(inbox)).to_contain_text("ringing")
    fake.phone.picks_up()
    expect(state(inbox)).to_contain_text("Connected")


def test_events_come_again_after_they_were_cut(inbox, fake):
    await_that(lambda: fake.listeners, timeout=20.0, what="the page to listen")
    fake.cut_events()
    fake.mailbox.leave_message("1005", "Dan")
    expect(message(inbox, "Dan")).to_be_visible()


def test_a_hidden_page_holds_no_connection_and_catches_up_when_it_is_seen_again(inbox, fake):
    def become(state):
        inbox.evaluate(
            "(state) => { Object.defineProperty(document, 'visibilityState', { value: state, configurable: true });"
            " document.dispatchEvent(new Event('visibilitychange')); }",
            state,
        )

    def is_alone():
        # A connection that is closed is found out by writing to it.
        fake.publish("ping", {})
        return not fake.listeners

    await_that(lambda: fake.listeners, timeout=20.0, what="the page to listen")
    become("hidden")
    await_that(is_alone, timeout=20.0, what="the page to hang up")
    fake.mailbox.leave_message("1005", "Dan")
    become("visible")
    expect(message(inbox, "Dan")).to_be_visible()
    arrived = inbox.get_by_role("status").filter(has_text="1 new message arrived.")
    expect(arrived).to_be_visible()


def test_without_play_on_phone_nothing_offers_it(open_page, fake):
    fake.mailbox.play_on_phone = False
    fake.mailbox.leave_message("1005", "Dan")
    page = open_page()
    sign_in(page, fake)
    expect(button(page, "Delete: message from Dan")).to_be_visible()
    expect(button(page, re.compile("Play on phone"))).to_have_count(0)
    page.get_by_role("link", name="Greetings").click()
    expect(page.get_by_text("Calls from this page are not set up.")).to_be_visible()
    expect(button(page, re.compile("Record"))).to_have_count(0)


# Greetings, options, PIN


def test_a_greeting_is_recorded_by_phone_heard_and_used(inbox, service):
    inbox.get_by_role("link", name="Greetings").click()
    own = inbox.get_by_role("list", name="Your recordings").get_by_role("listitem").filter(has_text="Own greeting")
    expect(own).to_contain_text("Not recorded yet.")
    expect(inbox.get_by_role("radio", name="Standard greeting")).to_be_checked()
    expect(inbox.get_by_role("radio", name="Own greeting")).to_be_disabled()
    button(own, "Record by phone").click()
    ring(inbox, "1001")
    expect(button(inbox, "Hang up")).to_be_visible()
    service.phone.picks_up()
    expect(state(inbox)).to_contain_text("Connected")
    service.phone.hangs_up()
    expect(own).to_contain_text("Recorded, 0:04.")
    button(own, "Play", exact=True).click()
    until(inbox, "document.querySelector('.recording audio').currentTime > 0")
    inbox.get_by_role("radio", name="Own greeting").check()
    expect(inbox.get_by_text("Callers now hear: Own greeting.")).to_be_visible()
    inbox.reload()
    expect(inbox.get_by_role("radio", name="Own greeting")).to_be_checked()


def test_options_are_kept_and_what_another_page_changed_is_shown(inbox, service, open_page):
    inbox.get_by_role("link", name="Options").click()
    inbox.get_by_label("Play on Phone number").fill("+4420 7946 0123")
    inbox.get_by_label("Mail me when a caller leaves no message").check()
    button(inbox, "Save options").click()
    expect(inbox.get_by_text("Options saved.")).to_be_visible()
    other = open_page()
    sign_in(other, service)
    other.get_by_role("link", name="Options").click()
    expect(other.get_by_label("Play on Phone number")).to_have_value("+4420 7946 0123")
    expect(other.get_by_label("Mail me when a caller leaves no message")).to_be_checked()
    other.get_by_label("Play on Phone number").fill("")
    button(other, "Save options").click()
    expect(inbox.get_by_label("Play on Phone number")).to_have_value("")


def test_what_is_being_typed_outlives_a_change_from_elsewhere(inbox, fake):
    inbox.get_by_role("link", name="Options").click()
    inbox.get_by_label("Play on Phone number").fill("+4420")
    fake.mailbox.change_options({"missed_call_mail": True})
    expect(inbox.get_by_label("Mail me when a caller leaves no message")).to_be_checked()
    expect(inbox.get_by_label("Play on Phone number")).to_have_value("+4420")
    button(inbox, "Save options").click()
    expect(inbox.get_by_text("Options saved.")).to_be_visible()
    assert fake.mailbox.options["play_on_phone_number"] == "+4420" and fake.mailbox.options["missed_call_mail"]


def test_a_pin_is_reset_only_after_a_yes(inbox, fake):
    inbox.get_by_role("link", name="Options").click()
    button(inbox, "Reset PIN …").click()
    button(inbox, "Cancel").click()
    assert fake.mailbox.pins_sent == 0
    button(inbox, "Reset PIN …").click()
    button(inbox, "Reset PIN", exact=True).click()
    expect(inbox.get_by_text("A new PIN is on its way to a…@example.test.")).to_be_visible()
    assert fake.mailbox.pins_sent == 1


@pytest.mark.parametrize("complaints", [["401 (Unauthorized)", "409 (Conflict)"]])
def test_without_mail_the_administrator_is_named(open_page, fake):
    fake.mailbox.mail = False
    page = open_page()
    sign_in(page, fake)
    page.get_by_role("link", name="Options").click()
    expect(page.get_by_label("Mail me when a caller leaves no message")).to_be_disabled()
    button(page, "Reset PIN …").click()
    button(page, "Reset PIN", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("Ask your administrator for a new PIN")


def test_the_password_is_changed_by_who_knows_it(inbox, service):
    inbox.get_by_role("link", name="Options").click()

    def change(old):
        inbox.get_by_label("Current password").fill(old)
        inbox.get_by_label("New password", exact=True).fill("a staple of batteries")
        inbox.get_by_label("New password again").fill("a staple of batteries")
        button(inbox, "Change password").click()

    change("guessed")
    expect(inbox.get_by_role("alert")).to_contain_text("The current password is wrong.")
    change(service.password)
    expect(inbox.get_by_text("Your password is changed. Sign in with the new one.")).to_be_visible()
    service.password = "a staple of batteries"
    sign_in(inbox, service)


@pytest.mark.parametrize("complaints", [["401 (Unauthorized)", "403 (Forbidden)"]])
def test_another_sign_in_of_the_same_browser_does_not_break_the_page(inbox, service):
    service.mailbox.leave_message("1005", "Dan")
    expect(message(inbox, "Dan")).to_be_visible()
    other = inbox.context.new_page()
    other.goto(service.url)
    button(other, "Sign out").click()
    sign_in(other, service)
    with inbox.expect_event("load"):
        button(inbox, "Delete: message from Dan").click()
    button(inbox, "Delete: message from Dan").click()
    expect(inbox.get_by_text("Message from Dan deleted.")).to_be_visible()
