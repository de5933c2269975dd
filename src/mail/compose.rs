//! A letter as the bytes that are sent.

use std::time::{Duration, SystemTime};

use lettre::Message as Mail;
use lettre::address::{Address, AddressError, Envelope};
use lettre::message::header::{ContentType, ContentTypeErr, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox as Named, MultiPart, SinglePart};
use postern_mailbox::{AudioId, Caller, Mailbox, Message, Store, StoreError};
use postern_store::{Letter, MailAddress, News};
use zeroize::Zeroizing;

use crate::attachment::{AudioError, wav_of};
use crate::limits::{ATTACHED_BYTES_MAX, CALLER_CHARS_MAX};
use crate::plain_text::plain;
use crate::texts::{Texts, fill, texts};

/// From whom letters are.
#[derive(Clone, Debug, PartialEq)]
pub struct Sender {
    pub address: MailAddress,
}

/// A letter ready to be sent. Wiped when dropped: it may hold a PIN.
pub struct Composed {
    pub envelope: Envelope,
    /// Headers and body (RFC 5322, lines ended by CR LF).
    pub bytes: Zeroizing<Vec<u8>>,
}

/// Why a letter has no bytes yet.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// The store cannot tell the audio now.
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("not an address: {0}")]
    Address(#[from] AddressError),
    #[error(transparent)]
    Type(#[from] ContentTypeErr),
    #[error("the letter does not fit together: {0}")]
    Mail(#[from] lettre::error::Error),
}

impl Sender {
    /// The letter, the same bytes each time. A message that is too long, or whose audio is damaged, is told without it.
    ///
    /// # Errors
    /// The store cannot tell the audio now, or ours.
    pub async fn compose(&self, letter: &Letter, store: &dyn Store) -> Result<Composed, ComposeError> {
        let audio = match &letter.news {
            News::Message(message) => audio_of(store, message).await?,
            News::MissedCall { .. } | News::PinReset(_) => None,
        };
        self.render(letter, audio)
    }

    fn render(&self, letter: &Letter, audio: Option<Vec<u8>>) -> Result<Composed, ComposeError> {
        let texts = texts(&letter.mailbox.language);
        let (subject, body) = words(texts, letter, audio.is_some());
        let from: Address = self.address.as_str().parse()?;
        let to: Address = letter.to.as_str().parse()?;
        let owner = plain(&letter.mailbox.name, CALLER_CHARS_MAX);
        let mail = Mail::builder()
            .from(Named::new(None, from.clone()))
            .to(Named::new(Some(owner).filter(|name| !name.is_empty()), to.clone()))
            .subject(subject)
            .date(SystemTime::from(letter.made))
            .message_id(Some(format!("<{}@{}>", letter.id, self.address.domain())))
            // RFC 3834: no answering machine is to answer.
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ));
        let body = SinglePart::plain(body);
        let mail = match (&letter.news, audio) {
            (News::Message(message), Some(wav)) => {
                let wav = Attachment::new(file_name(message)).body(wav, ContentType::parse("audio/wav")?);
                // A caller's words cannot hold it, since nobody knows it before.
                mail.multipart(
                    MultiPart::mixed().boundary(format!("_{}_", letter.id)).singlepart(body).singlepart(wav),
                )?
            }
            _ => mail.singlepart(body)?,
        };
        let envelope = Envelope::new(Some(from), vec![to])?;
        Ok(Composed { envelope, bytes: Zeroizing::new(mail.formatted()) })
    }
}

/// The audio to attach; none when there is none that can be.
async fn audio_of(store: &dyn Store, message: &Message) -> Result<Option<Vec<u8>>, StoreError> {
    match wav_of(store, AudioId::Message(message.id), ATTACHED_BYTES_MAX).await {
        Ok(wav) => Ok(Some(wav)),
        // Waiting mends none of these.
        Err(
            AudioError::TooLong { .. } | AudioError::Wav(_) | AudioError::Store(StoreError::Damaged | StoreError::Gone),
        ) => Ok(None),
        Err(AudioError::Store(error)) => Err(error),
    }
}

/// By when the message came, by no word of the caller's; short, since some programs do not read names in pieces
/// (RFC 2231 section 3).
fn file_name(message: &Message) -> String {
    message.received.strftime("%Y%m%dT%H%M%SZ.wav").to_string()
}

/// Subject and body.
fn words(texts: &Texts, letter: &Letter, attached: bool) -> (String, String) {
    let owner = &letter.mailbox;
    let time = |at: jiff::Timestamp| at.to_zoned(owner.time_zone.clone()).strftime(texts.time).to_string();
    let (words, caller, at, length, pin) = match &letter.news {
        News::Message(message) => {
            (&texts.message, called(&message.caller, texts), time(message.received), clock(message.length), None)
        }
        News::MissedCall { caller, at } => (&texts.missed_call, called(caller, texts), time(*at), String::new(), None),
        News::PinReset(pin) => (&texts.pin_reset, String::new(), String::new(), String::new(), Some(pin.digits())),
    };
    let name = plain(&owner.name, CALLER_CHARS_MAX);
    let mailbox = number(owner);
    let values = [
        ("name", name.as_str()),
        ("mailbox", &mailbox),
        ("caller", &caller),
        ("time", &at),
        ("length", &length),
        ("pin", pin.unwrap_or_default()),
    ];
    let mut paragraphs = vec![fill(texts.greeting, &values), fill(words.body, &values)];
    if let News::Message(message) = &letter.news {
        if message.partial {
            paragraphs.push(texts.partial.to_owned());
        }
        paragraphs.push(if attached { texts.attached } else { texts.not_attached }.to_owned());
    }
    paragraphs.push(texts.closing.to_owned());
    (fill(words.subject, &values), paragraphs.join("\n\n") + "\n")
}

/// A caller by name and number, as far as they are told.
fn called(caller: &Caller, texts: &Texts) -> String {
    let fit = |text: &Option<String>| {
        let text = plain(text.as_deref().unwrap_or_default(), CALLER_CHARS_MAX);
        Some(text).filter(|text| !text.is_empty())
    };
    match (fit(&caller.name), fit(&caller.address)) {
        (Some(name), Some(address)) if name != address => format!("{name} ({address})"),
        (_, Some(address)) => address,
        (Some(name), None) => name,
        (None, None) => texts.nobody.to_owned(),
    }
}

/// The mailbox as its owner knows it.
fn number(mailbox: &Mailbox) -> String {
    mailbox.addresses.first().map(|address| plain(&address.to_string(), CALLER_CHARS_MAX)).unwrap_or_default()
}

/// Minutes and seconds.
fn clock(length: Duration) -> String {
    let secs = length.as_secs();
    format!("{}:{:02}", secs / 60, secs % 60)
}
