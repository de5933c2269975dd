"""`postern mailbox` over a store of its own: what it adds, lists, resets, unlocks and removes, and what it refuses."""

import json
import os
import pty
import re
import select
import sqlite3
import subprocess
import termios

import pytest

from edge_process import await_that

CONFIGURATION = """
[mailbox]
[mailbox.pin]
attempts_max = 6

[[dial_plan]]
name = "office"
digits = 4
pilots = ["7000"]
language = "en-GB"
time_zone = "Europe/Berlin"
operator = "0"
allow = ["900*", "sip:*@example.test"]

[[dial_plan]]
name = "sales"
uri_type = "sip"
domains = ["example.test"]
pilots = ["voicemail"]

[[dial_plan]]
name = "world"
uri_type = "e164"
country_code = "49"
national_prefix = "0"
international_prefix = "00"
"""

ALICE = ("add", "1001", "--plan", "office", "--name", "Alice Ng")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "postern.toml"
    path.write_text(CONFIGURATION)
    return path


@pytest.fixture
def mailbox(binary, file):
    """Runs `postern mailbox` with these arguments and this standard input."""

    def run(*arguments, stdin="", config=file):
        command = [binary, "mailbox", *arguments, "--config", config]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60)

    return run


def well(done):
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(done):
    """The one line of a refusal."""
    assert done.returncode == 1, done.stdout
    assert done.stdout == "" and "panicked" not in done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("postern: "), done.stderr
    return lines[0]


def listed(mailbox, *arguments):
    return json.loads(well(mailbox("list", "--json", *arguments)))


def everything_below(directory):
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


def test_a_mailbox_is_added_with_a_pin_of_standard_input_which_is_never_shown(mailbox, tmp_path):
    done = mailbox(*ALICE, "--pin", "-", stdin="739182\n")
    assert "1001" in well(done) and "Alice Ng" in done.stdout
    assert "739182" not in done.stdout + done.stderr
    assert b"739182" not in everything_below(tmp_path)
    [entry] = listed(mailbox)
    assert entry["addresses"] == ["1001"] and entry["plan"] == "office" and entry["name"] == "Alice Ng"
    assert not entry["locked"] and entry["new_messages"] == 0
    assert must_change(tmp_path) == 0


def must_change(directory):
    with sqlite3.connect(directory / "postern.db") as database:
        return database.execute("SELECT pin_must_change FROM mailboxes").fetchone()[0]


def test_without_a_pin_one_is_made_up_told_once_and_to_be_changed(mailbox, tmp_path):
    pins = re.findall(r"\b\d{6}\b", well(mailbox(*ALICE)))
    assert len(pins) == 1
    assert must_change(tmp_path) == 1
    assert pins[0].encode() not in everything_below(tmp_path)
    assert pins[0] not in mailbox("list").stdout + mailbox("list", "--json").stdout


def test_what_is_not_given_comes_from_the_plan(mailbox):
    well(mailbox(*ALICE))
    [entry] = listed(mailbox)
    assert (entry["language"], entry["time_zone"]) == ("en-GB", "Europe/Berlin")
    # Workers ask the plan for it at each call.
    assert entry["operator"] is None


def test_what_is_given_is_kept(mailbox):
    own = ("--language", "en-US", "--time-zone", "Asia/Tokyo", "--operator", "reception@example.test", "--quota-messages", "5")
    well(mailbox(*ALICE, *own, "--alias", "1002", "--alias", "1001"))
    [entry] = listed(mailbox)
    assert (entry["language"], entry["time_zone"]) == ("en-US", "Asia/Tokyo")
    assert (entry["quota_messages"], entry["quota_minutes"]) == (5, None)
    assert entry["operator"] == "sip:reception@example.test"
    well(mailbox("add", "1003", "--plan", "office", "--name", "Bob", "--operator", ""))
    assert listed(mailbox)[1]["operator"] == ""
    assert entry["addresses"] == ["1001", "1002"]


def test_an_address_is_kept_as_calls_of_its_plan_name_it(mailbox):
    for plan, given, kept in [
        ("office", "+49 30 1234 1007", "1007"),
        ("sales", "sip:Bob@Example.test:5061;transport=tls", "sip:bob@example.test"),
        ("sales", "carol", "sip:carol@example.test"),
        ("world", "030 12345678", "+493012345678"),
    ]:
        assert kept in well(mailbox("add", given, "--plan", plan, "--name", "N"))
        assert kept in well(mailbox("unlock", given, "--plan", plan))


def test_a_full_number_is_kept_beside_the_extension_that_it_ends_with(mailbox):
    well(mailbox(*ALICE, "--alias", "+49 30 1234 1001", "--alias", "+4930 1234 2001"))
    assert listed(mailbox)[0]["addresses"] == ["1001", "+493012341001", "2001", "+493012342001"]
    assert "2001 belongs to another mailbox" in refused(mailbox("add", "2001", "--plan", "office", "--name", "B"))


def test_an_alias_that_no_call_of_the_plan_can_have_is_kept_and_told(mailbox):
    done = mailbox(*ALICE, "--alias", "sip:alice@example.test")
    assert "sip:alice@example.test" in well(done)
    assert "sip:alice@example.test is no address that calls of the dial plan office can have" in done.stderr
    assert listed(mailbox)[0]["addresses"] == ["1001", "sip:alice@example.test"]


@pytest.mark.parametrize("prompts", [False, True], ids=["built-in", "of-a-directory"])
def test_a_language_without_prompts_is_taken_and_told(mailbox, file, prompts):
    if prompts:
        file.write_text(CONFIGURATION.replace("[mailbox]", '[mailbox]\nprompts = "recorded"'))
    done = mailbox(*ALICE, "--language", "de-DE")
    assert well(done) and "no prompts in de-DE yet" in done.stderr
    assert listed(mailbox)[0]["language"] == "de-DE"


@pytest.mark.parametrize(
    "arguments, told",
    [
        (("add", "1001", "--plan", "nowhere", "--name", "A"), "no dial plan \"nowhere\": give one of office, sales, world"),
        (("add", "1001", "--name", "A"), "say which with --plan: office, sales, world"),
        (("add", "alice", "--plan", "office", "--name", "A"), "\"alice\" is no address of the dial plan office: give 4 digits"),
        (("add", "101", "--plan", "office", "--name", "A"), "give 4 digits"),
        (("add", "a@other.test", "--plan", "sales", "--name", "A"), "give a user at example.test"),
        (("add", "*97", "--plan", "world", "--name", "A"), "give a number such as"),
        (("add", "7000", "--plan", "office", "--name", "A"), "7000 is a pilot of the dial plan office"),
        ((*ALICE, "--alias", "7000"), "7000 is a pilot"),
        ((*ALICE, "--alias", "x"), "\"x\" is no address of a mailbox: an extension has"),
        ((*ALICE, *(word for at in range(1100, 1120) for word in ("--alias", str(at)))), "1 to 16 addresses"),
        (("add", "1001", "--plan", "office", "--name", " "), "--name takes 1 to 128 characters"),
        (("add", "1001", "--plan", "office", "--name", "A\nB"), "--name takes 1 to 128 characters"),
        ((*ALICE, "--time-zone", "Mars/Base"), "no time zone \"Mars/Base\""),
        ((*ALICE, "--language", "en US"), "\"en US\" is no language tag"),
        ((*ALICE, "--operator", "the boss"), "give a number or user@host with --operator"),
        ((*ALICE, "--operator", "+19005550100"), "allow it by dial_plan.allow of office"),
        ((*ALICE, "--operator", "sip:boss@other.test"), "allow it by dial_plan.allow of office"),
        (("add", "carol", "--plan", "sales", "--name", "C", "--operator", "reception@example.test"), "dial_plan.allow of sales"),
    ],
)
def test_what_cannot_be_added_is_refused_with_its_remedy(mailbox, arguments, told):
    assert told in refused(mailbox(*arguments))


@pytest.mark.parametrize(
    "typed, told",
    [
        ("", "no PIN: give it as one line"),
        ("12345\n", "length_min asks for 6 digits"),
        ("111111\n", "common_patterns"),
        ("345678\n", "common_patterns"),
        ("291001\n", "the mailbox's own number"),
        ("27182a\n", "1 to 24 digits and nothing else"),
        ("2" * 25 + "\n", "1 to 24 digits"),
        ("2" * 100_000, "1 to 24 digits"),
    ],
)
def test_a_pin_against_the_policy_is_refused_and_not_repeated(mailbox, tmp_path, typed, told):
    line = refused(mailbox(*ALICE, "--pin", "-", stdin=typed))
    assert told in line and (not typed.strip() or typed.strip() not in line)
    assert not (tmp_path / "postern.db").exists()


def test_a_pin_on_the_command_line_is_refused_and_not_repeated(mailbox):
    line = refused(mailbox(*ALICE, "--pin", "739182"))
    assert "write --pin -" in line and "739182" not in line


def test_an_address_that_is_taken_is_refused_within_its_plan_only(mailbox):
    well(mailbox(*ALICE))
    assert "1001 belongs to another mailbox" in refused(mailbox(*ALICE))
    assert "1001 belongs to another mailbox" in refused(
        mailbox("add", "1003", "--plan", "office", "--name", "B", "--alias", "1001")
    )
    well(mailbox("add", "1001@example.test", "--plan", "sales", "--name", "B"))
    assert len(listed(mailbox)) == 2
    assert [entry["plan"] for entry in listed(mailbox, "--plan", "sales")] == ["sales"]


def test_the_list_is_a_table_for_people(mailbox):
    well(mailbox(*ALICE))
    heading, line = well(mailbox("list")).splitlines()
    assert heading.split()[:3] == ["PLAN", "ADDRESS", "NAME"]
    assert line.startswith("office  1001     Alice Ng  0    0      ok ")
    assert "no dial plan \"nowhere\"" in refused(mailbox("list", "--plan", "nowhere"))


def lock(tmp_path, wrong):
    with sqlite3.connect(tmp_path / "postern.db") as database:
        database.execute("UPDATE mailboxes SET wrong_pins = ?", (wrong,))


def test_a_locked_mailbox_shows_and_is_unlocked(mailbox, tmp_path):
    well(mailbox(*ALICE))
    lock(tmp_path, 6)
    assert listed(mailbox)[0]["locked"] and "locked" in well(mailbox("list"))
    assert "is unlocked: 6 wrong PINs" in well(mailbox("unlock", "1001"))
    assert not listed(mailbox)[0]["locked"]
    assert "was not locked: 0 wrong PINs" in well(mailbox("unlock", "1001"))


def test_a_reset_pin_is_another_one_and_unlocks(mailbox, tmp_path):
    well(mailbox(*ALICE, "--pin", "-", stdin="739182\n"))

    def kept():
        with sqlite3.connect(tmp_path / "postern.db") as database:
            return database.execute("SELECT pin FROM mailboxes").fetchone()[0]

    before = kept()
    lock(tmp_path, 6)
    made_up = re.findall(r"\b\d{6}\b", well(mailbox("reset-pin", "1001")))
    assert len(made_up) == 1 and must_change(tmp_path) == 1
    assert kept() != before and not listed(mailbox)[0]["locked"]
    done = mailbox("reset-pin", "1001", "--pin", "-", stdin="280417")
    assert well(done) and "280417" not in done.stdout + done.stderr and must_change(tmp_path) == 0
    assert "common_patterns" in refused(mailbox("reset-pin", "1001", "--pin", "-", stdin="222222"))


def test_a_mailbox_is_removed_after_a_yes_which_says_what_goes(mailbox):
    well(mailbox(*ALICE))
    for answer in ("", "no\n", "y\n"):
        done = mailbox("remove", "1001", stdin=answer)
        assert done.returncode == 1 and "nothing was removed" in done.stderr
        assert "1001 of the dial plan office (Alice Ng) with 0 new messages" in done.stderr
    assert len(listed(mailbox)) == 1
    assert "Removed mailbox 1001" in well(mailbox("remove", "1001", stdin="yes\n"))
    assert listed(mailbox) == []
    assert "There are no mailboxes" in well(mailbox("list"))


def test_its_messages_go_with_it(mailbox, tmp_path):
    well(mailbox(*ALICE))
    name, audio = bytes(range(16)), tmp_path / "recordings"
    with sqlite3.connect(tmp_path / "postern.db") as database:
        database.execute(
            "INSERT INTO messages SELECT ?, id, NULL, NULL, 0, 2000000000, 'new', 0, 0 FROM mailboxes", (name,)
        )
    done = mailbox("remove", "1001", "--yes")
    assert "with 1 new message, 0 saved messages and 0 recorded greetings" in well(done)
    with sqlite3.connect(tmp_path / "postern.db") as database:
        assert database.execute("SELECT COUNT(*) FROM messages").fetchone() == (0,)
    assert list(audio.iterdir()) == []


@pytest.mark.parametrize("command", ["reset-pin", "unlock", "remove"])
def test_a_mailbox_that_is_not_there_is_told(mailbox, command):
    well(mailbox(*ALICE))
    told = refused(mailbox(command, "1009"))
    assert "no mailbox has 1009 in the dial plans office, sales, world" in told and "mailbox list" in told
    assert "no mailbox has 1001 in the dial plan sales" in refused(mailbox(command, "1001", "--plan", "sales"))
    assert "is no address of a mailbox" in refused(mailbox(command, "no one"))


def test_an_address_in_two_plans_asks_for_the_plan(mailbox, file):
    file.write_text(CONFIGURATION + '[[dial_plan]]\nname = "branch"\n')
    for plan in ("office", "branch"):
        well(mailbox("add", "1001", "--plan", plan, "--name", "A"))
    assert "several dial plans: say which with --plan: office, branch" in refused(mailbox("unlock", "1001"))
    assert "of the dial plan branch" in well(mailbox("unlock", "1001", "--plan", "branch"))


def test_a_mailbox_of_a_plan_that_has_gone_can_still_be_removed(mailbox, file):
    well(mailbox(*ALICE))
    file.write_text(CONFIGURATION.replace('"office"', '"bureau"'))
    assert well(mailbox("list")).count("office") == 1
    assert "Removed" in well(mailbox("remove", "1001", "--plan", "office", "--yes"))


def test_a_store_that_is_not_there_is_made_by_add_alone(mailbox, tmp_path):
    for command in (["list"], ["unlock", "1001"], ["remove", "1001", "--yes"], ["reset-pin", "1001"]):
        told = refused(mailbox(*command))
        assert "postern.db is not there: `postern mailbox add` makes it" in told
    assert [path.name for path in tmp_path.iterdir()] == ["postern.toml"]


def test_a_configuration_that_cannot_be_used_is_told_by_line(mailbox, file, tmp_path):
    done = mailbox("list", config=tmp_path / "absent.toml")
    assert done.returncode == 1 and "absent.toml:1: does not exist" in done.stderr
    file.write_text('[mailbox]\nkey_map = "none"\n')
    done = mailbox("list")
    assert done.returncode == 1 and "postern.toml:2: mailbox.key_map" in done.stderr
    file.write_text('[[dial_plan]]\nname = "office"\n[router]\nstartup_mode = "tcp"\ntcp = ["127.0.0.1:5060"]\n')
    file.write_text(file.read_text() + '[[gateway]]\naddress = "127.0.0.1"\ndial_plan = "office"\n')
    assert "has no [mailbox]" in refused(mailbox("list"))


def test_a_store_that_is_none_is_told(mailbox, tmp_path):
    (tmp_path / "postern.db").write_bytes(b"this is no database of ours, however long it may be" * 100)
    (tmp_path / "pin.key").write_bytes(bytes(range(32)))
    assert "postern.db: the database does not open" in refused(mailbox("list"))


def test_a_store_whose_key_is_gone_is_told_and_no_other_key_is_made(mailbox, tmp_path):
    assert mailbox("add", "1001", "--plan", "office", "--name", "Alice Ng").returncode == 0
    (tmp_path / "pin.key").unlink()
    assert "the key of PINs is gone" in refused(mailbox("list"))
    assert not (tmp_path / "pin.key").exists()


def test_only_one_of_many_at_once_gets_the_address_and_nothing_is_lost(binary, mailbox, file):
    def start(address):
        command = [binary, "mailbox", "add", address, "--plan", "office", "--name", "N", "--config", file]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    processes = [start(address) for address in ("1001", "1001", "1001", "1002", "1003")]
    codes = [(process.communicate(timeout=60), process.returncode)[1] for process in processes]
    assert sorted(codes[:3]) == [0, 1, 1] and codes[3:] == [0, 0]
    assert sorted(entry["addresses"][0] for entry in listed(mailbox)) == ["1001", "1002", "1003"]


def test_a_terminal_asks_for_the_pin_and_does_not_show_it(binary, file):
    typist, program = pty.openpty()
    command = [binary, "mailbox", *ALICE, "--pin", "-", "--config", file]
    process = subprocess.Popen(command, stdin=program, stdout=program, stderr=program)
    shown = b""

    def silent():
        return not termios.tcgetattr(program)[3] & termios.ECHO

    try:
        await_that(silent, what="a terminal that shows nothing")
        os.write(typist, b"739182\n")
        assert process.wait(60) == 0
        while select.select([typist], [], [], 0)[0]:
            shown += os.read(typist, 4096)
        assert b"PIN (not shown)" in shown and b"Added" in shown and b"739182" not in shown
        assert not silent(), "the terminal shows again"
    finally:
        process.kill()
        os.close(typist)
        os.close(program)
