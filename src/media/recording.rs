//! The format of recordings on disk: a header and frames that are only ever appended, so that any prefix of a file is a
//! recording that can be played, up to its last whole frame.
//!
//! ```text
//! header, 32 bytes                                frame
//!  0  "postrec" and the version, 1                 0  0xf5
//!  8  coding                                       1  kind
//!  9  0, 0, 0                                      2  bytes of payload (2)
//! 12  samples per second (4)                       4  number of the frame, from 0 (4)
//! 16  Unix milliseconds of the start (8)           8  milliseconds since the start (4)
//! 24  0 (4)                                       12  payload
//! 28  CRC-32 of the above (4)                        CRC-32 of the above (4)
//! ```
//!
//! Numbers are big-endian. A frame's CRC goes on from the header's, so that a frame left on the disk by another file is
//! none of this one. A reader stops at the first frame that is cut, damaged or out of order.

use crate::codec::Codec;
use crate::coder::{Decoder, Encoder};
use crate::crc32::crc32;
use crate::event::FrameKind;
use crate::limits;

/// Bytes of a header.
pub const HEADER_BYTES: usize = 32;

/// Bytes of a frame beside its payload.
pub const FRAME_OVERHEAD_BYTES: usize = FRAME_HEADER_BYTES + 4;

const FRAME_HEADER_BYTES: usize = 12;
const MAGIC: &[u8; 8] = b"postrec\x01";
const FRAME_MARK: u8 = 0xf5;

/// How samples are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    Pcmu,
    Pcma,
    G722,
    /// 16-bit linear, big-endian.
    L16,
}

impl Coding {
    const ALL: [Self; 4] = [Self::Pcmu, Self::Pcma, Self::G722, Self::L16];

    /// The smallest coding that loses nothing of what a codec brought: a decoded G.711 sample finds its byte again, a
    /// decoded G.722 sample does not.
    pub fn lossless_for(codec: Codec) -> Self {
        match codec {
            Codec::Pcmu => Self::Pcmu,
            Codec::Pcma => Self::Pcma,
            Codec::G722 => Self::L16,
        }
    }

    /// Samples per byte of payload, times two.
    fn half_samples_per_byte(self) -> usize {
        match self {
            Self::Pcmu | Self::Pcma => 2,
            Self::G722 => 4,
            Self::L16 => 1,
        }
    }
}

/// What stands at a recording's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub coding: Coding,
    /// Samples per second: 8000 or 16000; G.722 has 16000.
    pub rate: u32,
    /// Unix milliseconds.
    pub started_unix_ms: u64,
}

/// Not the start of a recording, or of one we cannot read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a recording, or its header is damaged")]
pub struct NotARecording;

impl Header {
    /// Its bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8] = self.coding as u8;
        bytes[12..16].copy_from_slice(&self.rate.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.started_unix_ms.to_be_bytes());
        let crc = crc32(0, &bytes[..28]);
        bytes[28..].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// Reads it from the start of a file.
    ///
    /// # Errors
    ///
    /// [`NotARecording`].
    pub fn decode(bytes: &[u8]) -> Result<Self, NotARecording> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(NotARecording)?;
        if bytes[..8] != MAGIC[..] || crc32(0, &bytes[..28]) != word(&bytes[28..]) {
            return Err(NotARecording);
        }
        let coding = Coding::ALL.into_iter().find(|coding| *coding as u8 == bytes[8]).ok_or(NotARecording)?;
        let rate = word(&bytes[12..]);
        let fits = matches!((coding, rate), (_, 16_000) | (Coding::Pcmu | Coding::Pcma | Coding::L16, 8_000));
        if !fits {
            return Err(NotARecording);
        }
        Ok(Self { coding, rate, started_unix_ms: u64::from(word(&bytes[16..])) << 32 | u64::from(word(&bytes[20..])) })
    }
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// Makes the bytes of one recording. Whoever owns the file appends them in order.
pub struct Recorder {
    header: Header,
    seed: u32,
    encoder: Option<Encoder>,
    number: u32,
    samples: u64,
}

impl Recorder {
    /// A recording with this header, whose bytes come first in the file.
    pub fn new(header: Header) -> Self {
        let encoder = match header.coding {
            Coding::Pcmu => Some(Encoder::new(Codec::Pcmu)),
            Coding::Pcma => Some(Encoder::new(Codec::Pcma)),
            Coding::G722 => Some(Encoder::new(Codec::G722)),
            Coding::L16 => None,
        };
        let bytes = header.encode();
        Self { header, seed: word(&bytes[28..]), encoder, number: 0, samples: 0 }
    }

    /// The header's bytes.
    pub fn header(&self) -> [u8; HEADER_BYTES] {
        self.header.encode()
    }

    /// Samples recorded.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Milliseconds recorded.
    pub fn duration_ms(&self) -> u64 {
        self.samples * 1_000 / u64::from(self.header.rate)
    }

    /// Appends a frame of samples at the header's rate to `out`. At most
    /// [`RECORDED_FRAME_BYTES_MAX`](limits::RECORDED_FRAME_BYTES_MAX) of payload are kept.
    pub fn frame(&mut self, pcm: &[i16], kind: FrameKind, since_start_ms: u32, out: &mut Vec<u8>) {
        let samples_max = limits::RECORDED_FRAME_BYTES_MAX * self.header.coding.half_samples_per_byte() / 2;
        let pcm = &pcm[..pcm.len().min(samples_max)];
        let start = self.open(kind, since_start_ms, out);
        match &mut self.encoder {
            Some(encoder) => encoder.encode(pcm, out),
            None => pcm.iter().for_each(|sample| out.extend_from_slice(&sample.to_be_bytes())),
        }
        self.close(start, out);
    }

    /// Appends a frame of payload that is in the header's coding already.
    pub fn coded_frame(&mut self, payload: &[u8], kind: FrameKind, since_start_ms: u32, out: &mut Vec<u8>) {
        let start = self.open(kind, since_start_ms, out);
        out.extend_from_slice(&payload[..payload.len().min(limits::RECORDED_FRAME_BYTES_MAX)]);
        self.close(start, out);
    }

    fn open(&mut self, kind: FrameKind, since_start_ms: u32, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        out.extend_from_slice(&[FRAME_MARK, kind as u8, 0, 0]);
        out.extend_from_slice(&self.number.to_be_bytes());
        out.extend_from_slice(&since_start_ms.to_be_bytes());
        start
    }

    fn close(&mut self, start: usize, out: &mut Vec<u8>) {
        let payload = out.len() - start - FRAME_HEADER_BYTES;
        out[start + 2..start + 4].copy_from_slice(&(payload as u16).to_be_bytes());
        let crc = crc32(self.seed, &out[start..]);
        out.extend_from_slice(&crc.to_be_bytes());
        self.number = self.number.wrapping_add(1);
        self.samples += (payload * self.header.coding.half_samples_per_byte() / 2) as u64;
    }
}

/// A frame that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedFrame<'a> {
    pub kind: FrameKind,
    pub since_start_ms: u32,
    pub payload: &'a [u8],
}

/// Reads frames, as far as they are whole.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    header: Header,
    seed: u32,
    bytes: &'a [u8],
    at: usize,
    number: u32,
}

impl<'a> Reader<'a> {
    /// Over a file's bytes.
    ///
    /// # Errors
    ///
    /// [`NotARecording`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, NotARecording> {
        let header = Header::decode(bytes)?;
        Ok(Self { header, seed: word(&bytes[28..]), bytes, at: HEADER_BYTES, number: 0 })
    }

    /// The header.
    pub fn header(&self) -> Header {
        self.header
    }

    /// Bytes up to the end of the last whole frame that was read: what is worth keeping.
    pub fn intact_bytes(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = RecordedFrame<'a>;

    fn next(&mut self) -> Option<RecordedFrame<'a>> {
        let rest = self.bytes.get(self.at..)?;
        let head: &[u8; FRAME_HEADER_BYTES] = rest.first_chunk()?;
        let payload_end = FRAME_HEADER_BYTES + usize::from(u16::from_be_bytes([head[2], head[3]]));
        let frame = rest.get(..payload_end + 4)?;
        let kind = [FrameKind::Audio, FrameKind::Concealed, FrameKind::ComfortNoise, FrameKind::Nothing]
            .into_iter()
            .find(|kind| *kind as u8 == head[1])?;
        let intact = head[0] == FRAME_MARK
            && word(&head[4..]) == self.number
            && crc32(self.seed, &frame[..payload_end]) == word(&frame[payload_end..]);
        if !intact {
            return None;
        }
        self.at += frame.len();
        self.number = self.number.wrapping_add(1);
        Some(RecordedFrame { kind, since_start_ms: word(&head[8..]), payload: &frame[FRAME_HEADER_BYTES..payload_end] })
    }
}

/// A recording's samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    pub rate: u32,
    pub pcm: Vec<i16>,
    /// Bytes of the file that are whole; less than the file when its end is damaged.
    pub intact_bytes: usize,
}

/// Decodes all whole frames of a file.
///
/// # Errors
///
/// [`NotARecording`] when not even the header is whole.
pub fn render(bytes: &[u8]) -> Result<Rendered, NotARecording> {
    let mut reader = Reader::new(bytes)?;
    let mut player = Player::new(reader.header());
    let mut pcm = Vec::with_capacity(bytes.len());
    for frame in &mut reader {
        player.decode(frame.payload, &mut pcm);
    }
    Ok(Rendered { rate: reader.header().rate, pcm, intact_bytes: reader.intact_bytes() })
}

/// Decodes frame by frame, for whoever reads a long recording piece by piece.
pub struct Player {
    decoder: Option<Decoder>,
}

impl Player {
    /// For a recording with that header, from its first frame on.
    pub fn new(header: Header) -> Self {
        Self {
            decoder: match header.coding {
                Coding::Pcmu => Some(Decoder::new(Codec::Pcmu)),
                Coding::Pcma => Some(Decoder::new(Codec::Pcma)),
                Coding::G722 => Some(Decoder::new(Codec::G722)),
                Coding::L16 => None,
            },
        }
    }

    /// Appends a frame's samples.
    pub fn decode(&mut self, payload: &[u8], pcm: &mut Vec<i16>) {
        match &mut self.decoder {
            Some(decoder) => decoder.decode(payload, pcm),
            None => pcm.extend(payload.chunks_exact(2).map(|pair| i16::from_be_bytes([pair[0], pair[1]]))),
        }
    }
}
