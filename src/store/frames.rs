//! The file of a recording: a header, then frames that only ever follow one another, each with its own checksum. Any
//! prefix of it plays: what is whole counts, the first frame that is not ends it.
//!
//! ```text
//! header   "PVM1" | rate u32 | begun, Unix milliseconds u64 | CRC-32 of the 16 bytes before u32
//! frame    samples n u32 | CRC-32 of (first sample's place u64, n u32, samples) u32 | n samples of 16 bits
//! ```
//! All numbers are little-endian. The place in the checksum keeps a block of another moment, which a file system may
//! leave behind after power loss, from being taken for this one.

use std::io;
use std::path::Path;

use crate::files::Files;
use crate::limits::SAMPLES_APPENDED_MAX;

const MAGIC: &[u8; 4] = b"PVM1";
const HEADER_BYTES: usize = 20;
const FRAME_HEADER_BYTES: usize = 8;

/// Bytes asked of a file at once when frames are walked over.
const WINDOW_BYTES: usize = 64 * 1024;

/// What stands at the head of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) rate_hz: u32,
    pub(crate) begun_unix_ms: i64,
}

impl Header {
    pub(crate) fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(MAGIC);
        bytes[4..8].copy_from_slice(&self.rate_hz.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.begun_unix_ms.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..16]);
        bytes[16..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let good = &bytes[..4] == MAGIC && crc32fast::hash(&bytes[..16]).to_le_bytes() == bytes[16..];
        let rate_hz = u32::from_le_bytes(bytes[4..8].try_into().ok()?);
        let begun_unix_ms = i64::from_le_bytes(bytes[8..16].try_into().ok()?);
        (good && rate_hz > 0).then_some(Self { rate_hz, begun_unix_ms })
    }
}

/// Writes a frame of `samples`, at most [`SAMPLES_APPENDED_MAX`], whose first one has the place `at`, to the end of
/// `bytes`.
pub(crate) fn encode_frame(at: u64, samples: &[i16], bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.reserve(FRAME_HEADER_BYTES + samples.len() * 2);
    bytes.extend_from_slice(&(samples.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    let sum = checksum(at, &bytes[start + FRAME_HEADER_BYTES..]);
    bytes[start + 4..start + FRAME_HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
}

fn checksum(at: u64, samples: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&at.to_le_bytes());
    hasher.update(&((samples.len() / 2) as u32).to_le_bytes());
    hasher.update(samples);
    hasher.finalize()
}

/// Where a frame begins: the place of its first sample, and its offset in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) sample: u64,
    pub(crate) offset: u64,
}

impl Place {
    /// The first frame.
    pub(crate) const START: Self = Self { sample: 0, offset: HEADER_BYTES as u64 };
}

/// Reads a recording frame by frame.
pub(crate) struct Frames<'a> {
    files: &'a dyn Files,
    path: &'a Path,
    header: Header,
    next: Place,
    window: Vec<u8>,
    /// Offset in the file of the window's first byte.
    window_at: u64,
}

impl<'a> Frames<'a> {
    /// Opens the recording at `path`; reading begins with the first frame.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] when it has no whole header.
    pub(crate) fn open(files: &'a dyn Files, path: &'a Path) -> io::Result<Self> {
        let mut bytes = [0; HEADER_BYTES];
        let read = files.read_at(path, 0, &mut bytes)?;
        let header = (read == HEADER_BYTES).then(|| Header::decode(&bytes)).flatten();
        let header = header.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a recording"))?;
        Ok(Self { files, path, header, next: Place::START, window: Vec::new(), window_at: 0 })
    }

    pub(crate) fn header(&self) -> Header {
        self.header
    }

    /// The frame to be read next; after the last one, the end of what is whole.
    pub(crate) fn place(&self) -> Place {
        self.next
    }

    /// Goes on from `place`, which an earlier reading of the same file gave.
    pub(crate) fn seek(&mut self, place: Place) {
        self.next = place;
    }

    /// The samples of the next frame; none where whole frames end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Vec<i16>>> {
        let Some(head) = self.bytes(0, FRAME_HEADER_BYTES)? else { return Ok(None) };
        let count = u32::from_le_bytes(head[..4].try_into().expect("four bytes")) as usize;
        let sum = u32::from_le_bytes(head[4..].try_into().expect("four bytes"));
        if count == 0 || count > SAMPLES_APPENDED_MAX {
            return Ok(None);
        }
        let at = self.next.sample;
        let Some(body) = self.bytes(FRAME_HEADER_BYTES, count * 2)? else { return Ok(None) };
        if checksum(at, body) != sum {
            return Ok(None);
        }
        let samples = body.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
        self.next.sample += count as u64;
        self.next.offset += (FRAME_HEADER_BYTES + count * 2) as u64;
        Ok(Some(samples))
    }

    /// `length` bytes, `skip` after the next frame's beginning, if the file has them.
    fn bytes(&mut self, skip: usize, length: usize) -> io::Result<Option<&[u8]>> {
        let from = self.next.offset + skip as u64;
        let within = |at: u64, window: &[u8]| from >= at && from + length as u64 <= at + window.len() as u64;
        if !within(self.window_at, &self.window) {
            self.window.resize(WINDOW_BYTES.max(length), 0);
            let read = self.files.read_at(self.path, from, &mut self.window)?;
            self.window.truncate(read);
            self.window_at = from;
        }
        if !within(self.window_at, &self.window) {
            return Ok(None);
        }
        let start = (from - self.window_at) as usize;
        Ok(Some(&self.window[start..start + length]))
    }
}
