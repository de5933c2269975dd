//! The PIN that a mailbox gets from its administrator: typed, or made up.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;

use anyhow::{Context, Result, anyhow, bail};
use postern_mailbox::limits::PIN_DIGITS_MAX;
use postern_mailbox::{Mailbox, Pin, PinPolicy, PinRefusal};
use postern_net::terminal::Silenced;
use zeroize::Zeroizing;

use crate::output;

/// Fewest digits of a PIN that is made up.
const DIGITS_MIN: usize = 6;

/// A PIN of an open policy is found at once; a policy that takes none is not asked for ever.
const TRIES: usize = 100;

/// Bytes of a line with a PIN, so that a longer one is told as such.
const LINE_BYTES_MAX: usize = 64;

/// The PIN that a mailbox gets.
pub(crate) struct Chosen {
    pub(crate) pin: Pin,
    /// Nobody knows it yet, and it must be changed.
    pub(crate) is_made_up: bool,
}

/// The PIN for `mailbox`: of standard input where `asked` is `-`, made up where it is none.
///
/// # Errors
/// The operator's: it stands on the command line, is no PIN, or is against the policy.
pub(crate) fn choose(asked: Option<&str>, policy: &PinPolicy, mailbox: &Mailbox) -> Result<Chosen> {
    match asked {
        Some("-") => {
            let pin = typed()?;
            policy.judge(&pin, mailbox).map_err(|refusal| against(refusal, policy))?;
            Ok(Chosen { pin, is_made_up: false })
        }
        Some(_) => bail!(
            "a PIN on the command line can be read by everybody on this machine: write --pin - and give it on standard \
             input, or leave --pin out and have one made up"
        ),
        None => Ok(Chosen { pin: made_up(policy, mailbox)?, is_made_up: true }),
    }
}

fn against(refusal: PinRefusal, policy: &PinPolicy) -> anyhow::Error {
    match refusal {
        PinRefusal::TooShort => {
            anyhow!("the PIN is too short: mailbox.pin.length_min asks for {} digits", policy.length_min)
        }
        PinRefusal::TooLong => anyhow!("the PIN is too long: {PIN_DIGITS_MAX} digits are the most"),
        PinRefusal::CommonPattern => anyhow!(
            "the PIN is {refusal}, which anybody would try: choose another, or set mailbox.pin.common_patterns = true"
        ),
        PinRefusal::OwnNumber => anyhow!("the PIN is {refusal}, which anybody would try: choose another"),
    }
}

/// One line of standard input. A terminal asks, and does not show it.
fn typed() -> Result<Pin> {
    let line = if io::stdin().is_terminal() {
        output::complain("PIN (not shown):");
        let silenced = Silenced::stdin().context("the terminal cannot be kept from showing the PIN")?;
        line_of(&mut silenced.reader()?)
    } else {
        line_of(&mut File::from(io::stdin().as_fd().try_clone_to_owned()?))
    };
    let line = line.context("standard input cannot be read")?;
    let text = std::str::from_utf8(&line).unwrap_or_default();
    match Pin::new(text.trim()) {
        Some(pin) => Ok(pin),
        None if text.trim().is_empty() => bail!("standard input has no PIN: give it as one line"),
        None => bail!("standard input has no PIN: a PIN is 1 to {PIN_DIGITS_MAX} digits and nothing else"),
    }
}

/// Byte by byte: what is buffered elsewhere would not be wiped, nor left to who reads on.
fn line_of(input: &mut impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(LINE_BYTES_MAX));
    let mut byte = [0];
    while line.len() < LINE_BYTES_MAX {
        match input.read(&mut byte) {
            Ok(0) => break,
            Ok(_) if byte[0] == b'\n' => break,
            Ok(_) => line.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(line)
}

fn made_up(policy: &PinPolicy, mailbox: &Mailbox) -> Result<Pin> {
    let digits = policy.length_min.clamp(DIGITS_MIN, PIN_DIGITS_MAX);
    for _ in 0..TRIES {
        if let Some(pin) = Pin::new(&random_digits(digits)?)
            && policy.judge(&pin, mailbox).is_ok()
        {
            return Ok(pin);
        }
    }
    bail!("no PIN fits [mailbox.pin] and the numbers of this mailbox: give one with --pin -")
}

/// Each digit as likely as any other.
fn random_digits(count: usize) -> Result<Zeroizing<String>> {
    let mut digits = Zeroizing::new(String::with_capacity(count));
    let mut random = Zeroizing::new([0; 2 * PIN_DIGITS_MAX]);
    while digits.len() < count {
        getrandom::fill(&mut *random).map_err(|error| anyhow!("no randomness from the system: {error}"))?;
        let fair = random.iter().filter(|byte| **byte < 250).map(|byte| char::from(b'0' + byte % 10));
        let missing = count - digits.len();
        digits.extend(fair.take(missing));
    }
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use postern_mailbox::{Address, GreetingInUse, MailboxId, OwnQuota, PlanName};

    use super::*;

    fn mailbox() -> Mailbox {
        Mailbox {
            id: MailboxId::from_bytes([0; 16]),
            plan: PlanName("office".into()),
            addresses: vec![Address::Extension("1001".into())],
            name: "Alice Ng".into(),
            language: "en".into(),
            time_zone: postern_mailbox::time_zone("UTC").unwrap(),
            operator: None,
            quota: OwnQuota::default(),
            greeting: GreetingInUse::Standard,
            recorded: Vec::new(),
        }
    }

    #[test]
    fn a_pin_that_is_made_up_is_new_each_time_and_within_the_policy() {
        let policy = PinPolicy { length_min: 9, ..PinPolicy::default() };
        let mut seen = HashSet::new();
        for _ in 0..200 {
            let chosen = choose(None, &policy, &mailbox()).unwrap();
            assert!(chosen.is_made_up && chosen.pin.digits().len() == 9);
            assert_eq!(policy.judge(&chosen.pin, &mailbox()), Ok(()));
            seen.insert(chosen.pin.digits().to_owned());
        }
        assert_eq!(seen.len(), 200);
    }

    #[test]
    fn a_pin_that_is_made_up_has_six_digits_or_more() {
        let policy = PinPolicy { length_min: 4, ..PinPolicy::default() };
        assert_eq!(choose(None, &policy, &mailbox()).unwrap().pin.digits().len(), 6);
    }

    #[test]
    fn every_digit_comes_about_as_often() {
        let mut counts = [0_u32; 10];
        for _ in 0..1000 {
            random_digits(24).unwrap().bytes().for_each(|byte| counts[usize::from(byte - b'0')] += 1);
        }
        // 2400 each, with a standard deviation of 46: eight of them either way.
        assert!(counts.iter().all(|count| (2030..2770).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_pin_on_the_command_line_is_refused_and_not_repeated() {
        let refused = choose(Some("271828"), &PinPolicy::default(), &mailbox()).err().unwrap();
        assert!(refused.to_string().contains("--pin -") && !format!("{refused:?}").contains("271828"));
    }

    #[test]
    fn a_line_ends_at_its_end_and_leaves_the_rest() {
        let mut input = &b"271828\nyes\n"[..];
        assert_eq!(**line_of(&mut input).unwrap(), *b"271828");
        assert_eq!(input, b"yes\n");
        let endless = vec![b'1'; 1000];
        assert_eq!(line_of(&mut endless.as_slice()).unwrap().len(), LINE_BYTES_MAX);
    }
}
