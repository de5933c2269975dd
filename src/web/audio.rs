//! Recordings as WAV files (16 bits, mono), whole or in part, read from the store while they are sent.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use postern_mailbox::{AudioId, Store};
use postern_store::{AudioSize, SqliteStore};

use crate::limits::SAMPLES_AT_ONCE;
use crate::problem::Problem;
use crate::range::{Wanted, wanted};

const HEADER_BYTES: usize = 44;

/// Answers with a recording of this size. `name` stands for its content, which never changes.
pub(crate) fn answer(
    store: &Arc<SqliteStore>,
    audio: AudioId,
    size: AudioSize,
    name: &str,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let length = HEADER_BYTES as u64 + size.samples * 2;
    let etag = format!("\"{name}\"");
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    // RFC 9110 section 13.1.5: a part of something else is of no use.
    let is_same = text(header::IF_RANGE).is_none_or(|known| known == etag);
    let asked = text(header::RANGE).filter(|_| is_same);
    let (status, from, to) = match wanted(asked, length) {
        Wanted::Nothing => return Err(Problem::Range { length }),
        Wanted::Whole => (StatusCode::OK, 0, length),
        Wanted::Part(from, to) => (StatusCode::PARTIAL_CONTENT, from, to),
    };
    let reading = Reading { store: Arc::clone(store), audio, header: wav_header(size), at: from, to };
    let mut response = (
        status,
        [
            (header::CONTENT_TYPE, HeaderValue::from_static("audio/wav")),
            (header::ACCEPT_RANGES, HeaderValue::from_static("bytes")),
            (header::CONTENT_LENGTH, HeaderValue::from(to - from)),
        ],
        Body::from_stream(stream::try_unfold(reading, Reading::next)),
    )
        .into_response();
    let mut insert = |name, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    };
    insert(header::ETAG, etag);
    if status == StatusCode::PARTIAL_CONTENT {
        insert(header::CONTENT_RANGE, format!("bytes {from}-{}/{length}", to - 1));
    }
    Ok(response)
}

/// How far a recording is sent.
struct Reading {
    store: Arc<SqliteStore>,
    audio: AudioId,
    header: [u8; HEADER_BYTES],
    /// The next byte of the WAV file.
    at: u64,
    /// The byte after the last one.
    to: u64,
}

impl Reading {
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        if self.at >= self.to {
            return Ok(None);
        }
        let left = usize::try_from(self.to - self.at).unwrap_or(usize::MAX);
        let mut piece = match self.at.checked_sub(HEADER_BYTES as u64) {
            None => self.header[self.at as usize..].to_vec(),
            Some(byte) => self.samples(byte).await?,
        };
        piece.truncate(left);
        self.at += piece.len() as u64;
        Ok(Some((piece.into(), self)))
    }

    /// Samples from this byte of them on; at least one byte.
    async fn samples(&self, byte: u64) -> io::Result<Vec<u8>> {
        let audio = self.store.read_audio(self.audio, byte / 2, SAMPLES_AT_ONCE).await.map_err(io::Error::other)?;
        let bytes = audio.samples.iter().flat_map(|sample| sample.to_le_bytes()).skip((byte % 2) as usize);
        let bytes: Vec<u8> = bytes.collect();
        // The length was promised: the connection ends rather than that silence is made up.
        if bytes.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(bytes) }
    }
}

fn wav_header(size: AudioSize) -> [u8; HEADER_BYTES] {
    let data = u32::try_from(size.samples * 2).unwrap_or(u32::MAX - 36);
    let mut header = [0; HEADER_BYTES];
    let parts: [&[u8]; 13] = [
        b"RIFF",
        &(36 + data).to_le_bytes(),
        b"WAVE",
        b"fmt ",
        &16_u32.to_le_bytes(),
        // PCM, one channel.
        &1_u16.to_le_bytes(),
        &1_u16.to_le_bytes(),
        &size.rate_hz.to_le_bytes(),
        &(size.rate_hz * 2).to_le_bytes(),
        &2_u16.to_le_bytes(),
        &16_u16.to_le_bytes(),
        b"data",
        &data.to_le_bytes(),
    ];
    let mut at = 0;
    for part in parts {
        header[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    header
}
