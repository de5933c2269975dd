//! The OpaqueString profile (RFC 8265 section 4.2), by which USERNAME, REALM and passwords are prepared.

use std::borrow::Cow;

use precis_profiles::OpaqueString;
use precis_profiles::precis_core::profile::PrecisFastInvocation;

/// No UTF-8, empty, or with characters that the profile forbids (control characters among them): the sender's fault.
/// Whoever has such a name is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an opaque string")]
pub struct NotOpaque;

/// Prepares and enforces: other spaces become U+0020, the rest is normalised to NFC. Printable ASCII comes back as it
/// is, without allocation.
///
/// # Errors
/// [`NotOpaque`]
pub fn enforce(bytes: &[u8]) -> Result<Cow<'_, str>, NotOpaque> {
    let text = std::str::from_utf8(bytes).map_err(|_| NotOpaque)?;
    if !text.is_empty() && bytes.iter().all(|byte| (0x20..0x7F).contains(byte)) {
        return Ok(Cow::Borrowed(text));
    }
    let prepared = OpaqueString::enforce(text).map_err(|_| NotOpaque)?;
    if prepared == text {
        return Ok(prepared);
    }
    // RFC 8264 section 7: code points are judged last, when normalisation may have made a forbidden one.
    match OpaqueString::enforce(&*prepared) {
        Ok(again) if again == prepared => {}
        _ => return Err(NotOpaque),
    }
    Ok(prepared)
}
