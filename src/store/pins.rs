//! How PINs are kept: argon2id over an HMAC with a key that lies outside the store, so that a stolen database alone
//! tells no PIN, however short.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use argon2::{Algorithm, Argon2, Params, Version};
use hmac::{Hmac, KeyInit, Mac};
use postern_mailbox::limits::PIN_DIGITS_MAX;
use postern_mailbox::{LetterId, MailboxId, Pin};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::error::{Fault, OpenError};

/// Fewest bytes of the key.
pub const KEY_BYTES_MIN: usize = 16;

/// Bytes of a key that we make.
const NEW_KEY_BYTES: usize = 32;

/// First byte of a kept PIN: which parameters made it.
const FORM: u8 = 1;
pub(crate) const SALT_BYTES: usize = 16;
pub(crate) const HASH_BYTES: usize = 32;

/// The key that PINs are hashed under. Wiped when dropped.
#[derive(Clone)]
pub struct PinKey(Zeroizing<Vec<u8>>);

impl PinKey {
    /// The key of these bytes, as a file holds them.
    ///
    /// # Errors
    /// Fewer than [`KEY_BYTES_MIN`].
    pub fn new(bytes: Vec<u8>) -> Result<Self, OpenError> {
        if bytes.len() < KEY_BYTES_MIN {
            return Err(OpenError::ShortKey { bytes: bytes.len() });
        }
        Ok(Self(Zeroizing::new(bytes)))
    }

    /// The key in a file, which is made with random bytes, readable by its owner alone, when it is not there.
    ///
    /// # Errors
    /// The operator's: the file can be neither read nor made, or is too short.
    pub fn load_or_create(path: &Path) -> Result<Self, OpenError> {
        let because = |source| OpenError::KeyFile { path: path.to_owned(), source };
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(mut file) => {
                let mut bytes = Zeroizing::new(vec![0; NEW_KEY_BYTES]);
                getrandom::fill(&mut bytes).map_err(OpenError::Random)?;
                // Synced before any PIN is kept under it: without it no PIN can be verified any more.
                file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(because)?;
                let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let directory = directory.unwrap_or(Path::new("."));
                File::open(directory).and_then(|directory| directory.sync_all()).map_err(because)?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(because(error)),
        }
        Self::new(std::fs::read(path).map_err(because)?)
    }

    /// As [`load_or_create`](Self::load_or_create), for the store with this database: one that is there has had a key,
    /// and a new one would void every PIN.
    ///
    /// # Errors
    /// The operator's: besides, a database without its key.
    pub fn of_store(path: &Path, database: &Path) -> Result<Self, OpenError> {
        // The key is made before the database, so the database is looked for first.
        if database.exists() && !path.exists() {
            return Err(OpenError::KeyLost { path: path.to_owned(), database: database.to_owned() });
        }
        Self::load_or_create(path)
    }

    /// What is kept of `pin`: form, salt, hash. Takes tens of milliseconds and 19 MB.
    pub(crate) fn hash(&self, mailbox: MailboxId, pin: &Pin) -> Result<Vec<u8>, Fault> {
        let mut kept = vec![FORM; 1 + SALT_BYTES + HASH_BYTES];
        getrandom::fill(&mut kept[1..=SALT_BYTES])?;
        let hash = self.derive(mailbox, pin, &kept[1..=SALT_BYTES]);
        kept[1 + SALT_BYTES..].copy_from_slice(&*hash);
        Ok(kept)
    }

    /// Whether `kept` is of `pin`. Costs the same for whatever is kept, and for nothing kept.
    pub(crate) fn matches(&self, mailbox: MailboxId, pin: &Pin, kept: Option<&[u8]>) -> bool {
        let good = kept.filter(|kept| kept.len() == 1 + SALT_BYTES + HASH_BYTES && kept[0] == FORM);
        let empty = [0; 1 + SALT_BYTES + HASH_BYTES];
        let kept = good.unwrap_or(&empty);
        let hash = self.derive(mailbox, pin, &kept[1..=SALT_BYTES]);
        bool::from(hash.ct_eq(&kept[1 + SALT_BYTES..])) && good.is_some()
    }

    /// The PIN of a letter as the database keeps it: without the key it tells nothing, its length included.
    pub(crate) fn seal(&self, letter: LetterId, pin: &Pin) -> Vec<u8> {
        let mut sealed = self.pad(letter);
        // A PIN has at most PIN_DIGITS_MAX digits.
        sealed[0] ^= pin.digits().len() as u8;
        sealed[1..].iter_mut().zip(pin.digits().bytes()).for_each(|(byte, digit)| *byte ^= digit);
        sealed.to_vec()
    }

    /// The PIN that [`seal`](Self::seal) kept; none when it is of another key or letter.
    pub(crate) fn open(&self, letter: LetterId, sealed: &[u8]) -> Option<Pin> {
        let mut plain = self.pad(letter);
        if sealed.len() != plain.len() {
            return None;
        }
        plain.iter_mut().zip(sealed).for_each(|(byte, sealed)| *byte ^= sealed);
        let digits = plain.get(1..=usize::from(plain[0]))?;
        Pin::new(std::str::from_utf8(digits).ok()?)
    }

    /// Each letter has its own, so that no two PINs are ever kept under the same one.
    fn pad(&self, letter: LetterId) -> Zeroizing<[u8; 1 + PIN_DIGITS_MAX]> {
        let mut keyed = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        keyed.update(b"postern letter 1");
        keyed.update(&letter.to_bytes());
        let mut pad = Zeroizing::new([0; 1 + PIN_DIGITS_MAX]);
        let bytes = pad.len();
        pad.copy_from_slice(&keyed.finalize().into_bytes()[..bytes]);
        pad
    }

    fn derive(&self, mailbox: MailboxId, pin: &Pin, salt: &[u8]) -> Zeroizing<[u8; HASH_BYTES]> {
        self.stretch(b"postern PIN 1", mailbox, pin.digits().as_bytes(), salt)
    }

    /// `parts` under the key. `purpose` keeps one use from another.
    pub(crate) fn keyed(&self, purpose: &[u8], parts: [&[u8]; 2]) -> Zeroizing<[u8; 32]> {
        let mut keyed = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        keyed.update(purpose);
        for part in parts {
            keyed.update(part);
        }
        Zeroizing::new(<[u8; 32]>::from(keyed.finalize().into_bytes()))
    }

    /// argon2id of `secret` under the key. Takes tens of milliseconds and 19 MB.
    pub(crate) fn stretch(
        &self,
        purpose: &[u8],
        mailbox: MailboxId,
        secret: &[u8],
        salt: &[u8],
    ) -> Zeroizing<[u8; HASH_BYTES]> {
        let keyed = self.keyed(purpose, [&mailbox.to_bytes(), secret]);
        let params = Params::new(19 * 1024, 2, 1, Some(HASH_BYTES)).expect("parameters within argon2's own bounds");
        let mut hash = Zeroizing::new([0; HASH_BYTES]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(&*keyed, salt, &mut *hash)
            .expect("lengths within argon2's own bounds");
        hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_matches_what_was_kept_of_it_and_of_nothing_else() {
        let key = PinKey::new(vec![7; 32]).unwrap();
        let mailbox = MailboxId::from_bytes([1; 16]);
        let pin = |digits| Pin::new(digits).unwrap();
        let kept = key.hash(mailbox, &pin("739182")).unwrap();
        assert!(key.matches(mailbox, &pin("739182"), Some(&kept)));
        assert!(!key.matches(mailbox, &pin("739183"), Some(&kept)));
        assert!(!key.matches(MailboxId::from_bytes([2; 16]), &pin("739182"), Some(&kept)));
        assert!(!PinKey::new(vec![8; 32]).unwrap().matches(mailbox, &pin("739182"), Some(&kept)));
        assert!(!key.matches(mailbox, &pin("739182"), None));
        assert!(!key.matches(mailbox, &pin("739182"), Some(&kept[1..])));
        assert_ne!(key.hash(mailbox, &pin("739182")).unwrap(), kept, "another salt");
    }

    #[test]
    fn a_lost_key_is_not_replaced_in_silence() {
        let directory = std::env::temp_dir().join(format!("postern-pin-key-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let (key, database) = (directory.join("pin.key"), directory.join("postern.db"));
        PinKey::of_store(&key, &database).unwrap();
        std::fs::write(&database, "").unwrap();
        PinKey::of_store(&key, &database).unwrap();
        std::fs::remove_file(&key).unwrap();
        assert!(matches!(PinKey::of_store(&key, &database), Err(OpenError::KeyLost { .. })));
        assert!(!key.exists());
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_short_key_is_refused() {
        assert!(matches!(PinKey::new(vec![0; 15]), Err(OpenError::ShortKey { bytes: 15 })));
    }
}
