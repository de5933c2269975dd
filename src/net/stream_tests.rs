//! Client streams, plain and TLS, against blocking clients on loopback.

use std::any::Any;
use std::io::{ErrorKind, Read};
use std::net::Shutdown;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::fixtures::{plain_pair, read_to_end, tls_pair, until, write_all};
use crate::limits::{MEDIA_QUEUE_BYTES_MAX, STREAM_MESSAGE_BYTES_MAX};
use crate::stream::{Flush, ReadOutcome, Stream};

/// Reads until `n` bytes are buffered, or the client has ended.
fn fill(stream: &mut Stream, n: usize) -> ReadOutcome {
    until(|| match stream.read().unwrap() {
        ReadOutcome::Closed => Some(ReadOutcome::Closed),
        _ if stream.buffered().len() >= n => Some(ReadOutcome::Data),
        _ => None,
    })
}

fn flush_all(stream: &mut Stream) {
    until(|| (stream.flush(Instant::now()).unwrap() == Flush::Idle).then_some(()));
}

fn messages_cross_both_ways(client: &mut (impl std::io::Read + std::io::Write), stream: &mut Stream) {
    write_all(client, b"request");
    assert_eq!(fill(stream, 7), ReadOutcome::Data);
    assert_eq!(stream.buffered(), b"request");
    stream.consume(3);
    assert_eq!(stream.buffered(), b"uest");
    stream.consume(4);
    assert_eq!(stream.read().unwrap(), ReadOutcome::WouldBlock);
    stream.queue_control(b"answer");
    assert!(stream.wants_write());
    flush_all(stream);
    assert!(!stream.wants_write());
    let mut answer = [0; 6];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"answer");
}

#[test]
fn messages_cross_a_plain_stream_both_ways() {
    let (mut client, mut stream) = plain_pair();
    assert!(!stream.is_tls());
    assert_eq!(stream.peer_addr(), client.local_addr().unwrap());
    assert_eq!(stream.local_addr(), client.peer_addr().unwrap());
    messages_cross_both_ways(&mut client, &mut stream);
}

#[test]
fn messages_cross_a_tls_stream_both_ways() {
    let (mut client, mut stream) = tls_pair();
    assert!(stream.is_tls());
    messages_cross_both_ways(&mut client, &mut stream);
}

#[test]
fn the_longest_message_is_buffered_whole_behind_a_partly_consumed_one() {
    for tls in [false, true] {
        let message: Vec<u8> = (0..STREAM_MESSAGE_BYTES_MAX).map(|i| i as u8).collect();
        let sent = [&b"before"[..], &message].concat();
        // A client that closes with TLS tickets unread resets, so both stay open until the end.
        let (mut stream, sender): (Stream, JoinHandle<Box<dyn Any + Send>>) = if tls {
            let (mut client, stream) = tls_pair();
            (stream, std::thread::spawn(move || (write_all(&mut client, &sent), Box::new(client) as Box<_>).1))
        } else {
            let (mut client, stream) = plain_pair();
            (stream, std::thread::spawn(move || (write_all(&mut client, &sent), Box::new(client) as Box<_>).1))
        };
        fill(&mut stream, 6);
        stream.consume(6);
        fill(&mut stream, message.len());
        assert_eq!(stream.buffered(), message);
        sender.join().unwrap();
    }
}

#[test]
fn a_client_that_sends_without_ever_being_consumed_is_an_error() {
    let (mut client, mut stream) = plain_pair();
    let sender = std::thread::spawn(move || {
        use std::io::Write;
        // Ends with an error when the stream is dropped.
        while client.write_all(&[0; 4096]).is_ok() {}
    });
    let error = until(|| stream.read().err());
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    assert!(stream.buffered().len() >= STREAM_MESSAGE_BYTES_MAX);
    drop(stream);
    sender.join().unwrap();
}

#[test]
fn the_clients_end_is_told_after_its_last_bytes() {
    let (mut client, mut stream) = plain_pair();
    write_all(&mut client, b"last");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(fill(&mut stream, usize::MAX), ReadOutcome::Closed);
    assert_eq!(stream.buffered(), b"last");

    let (mut client, mut stream) = tls_pair();
    write_all(&mut client, b"last");
    client.conn.send_close_notify();
    client.conn.complete_io(&mut client.sock).unwrap();
    assert_eq!(fill(&mut stream, usize::MAX), ReadOutcome::Closed);
    assert_eq!(stream.buffered(), b"last");

    let (client, mut stream) = tls_pair();
    client.sock.shutdown(Shutdown::Both).unwrap();
    assert_eq!(fill(&mut stream, 1), ReadOutcome::Closed, "without close_notify");
}

#[test]
fn our_end_reaches_the_client_after_all_that_was_queued() {
    let (mut client, mut stream) = plain_pair();
    stream.queue_control(b"answer");
    stream.end_output();
    flush_all(&mut stream);
    assert!(stream.output_ended());
    assert_eq!(read_to_end(&mut client), b"answer");

    let (mut client, mut stream) = tls_pair();
    stream.queue_control(b"answer");
    stream.end_output();
    flush_all(&mut stream);
    // A missing close_notify would be an error here.
    assert_eq!(read_to_end(&mut client), b"answer");
}

#[test]
fn tls_that_does_not_decrypt_is_an_error_of_that_stream() {
    let (mut client, mut stream) = tls_pair();
    write_all(&mut client.sock, &[0x17, 3, 3, 0, 32, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    write_all(&mut client.sock, &[0; 64]);
    let error = until(|| stream.read().err());
    assert_eq!(error.kind(), ErrorKind::InvalidData);
}

/// A frame that says its own number and length: `| number: 4 | kind: 1 | filler |`.
fn frame(number: u32, kind: u8) -> Vec<u8> {
    let mut frame = vec![number as u8; FRAME_BYTES];
    frame[..4].copy_from_slice(&number.to_be_bytes());
    frame[4] = kind;
    frame
}

const FRAME_BYTES: usize = 1000;
const FRAMES: u32 = 20_000;
const MEDIA: u8 = 1;
const CONTROL: u8 = 2;

/// The client reads nothing while the relay sends 20 MB of media and now and then a control message.
fn a_slow_reader_loses_only_whole_old_media(client: &mut (impl Read + Send), mut stream: Stream) {
    let now = Instant::now();
    let mut dropped = 0;
    for number in 0..FRAMES {
        dropped += stream.queue_media(&frame(number, MEDIA), now);
        if number % 200 == 0 {
            stream.queue_control(&frame(number, CONTROL));
        }
        stream.flush(now).unwrap();
    }
    dropped += stream.take_dropped();
    assert!(dropped > 0);
    stream.end_output();
    let bytes = std::thread::scope(|scope| {
        let reader = scope.spawn(|| read_to_end(client));
        until(|| (stream.flush(now).unwrap() == Flush::Idle).then_some(()));
        reader.join().unwrap()
    });

    let (frames, rest) = bytes.as_chunks::<FRAME_BYTES>();
    assert!(rest.is_empty(), "frames are whole");
    let mut media = Vec::new();
    let mut control = Vec::new();
    for frame in frames {
        let number = u32::from_be_bytes(*frame.first_chunk().unwrap());
        assert!(frame[5..].iter().all(|&byte| byte == number as u8), "no frame is cut");
        if frame[4] == MEDIA { media.push(number) } else { control.push(number) }
    }
    assert!(control.iter().copied().eq((0..FRAMES).step_by(200)), "control is complete and in order");
    assert!(media.is_sorted_by(|a, b| a < b));
    assert_eq!(media.len() + dropped, FRAMES as usize);
    let newest = MEDIA_QUEUE_BYTES_MAX / FRAME_BYTES - 1;
    assert!(media.iter().rev().take(newest).copied().eq((0..FRAMES).rev().take(newest)), "the newest survive");
}

#[test]
fn a_slow_plain_reader_loses_only_whole_old_media() {
    let (mut client, stream) = plain_pair();
    a_slow_reader_loses_only_whole_old_media(&mut client, stream);
}

#[test]
fn a_slow_tls_reader_loses_only_whole_old_media() {
    let (mut client, stream) = tls_pair();
    a_slow_reader_loses_only_whole_old_media(&mut client, stream);
}

#[test]
fn media_that_waited_too_long_is_dropped_by_the_flush() {
    let (_client, mut stream) = plain_pair();
    let now = Instant::now();
    // Fill the socket, so that the rest waits.
    let mut number = 0;
    while stream.flush(now).unwrap() == Flush::Idle {
        stream.queue_media(&frame(number, MEDIA), now);
        number += 1;
    }
    stream.take_dropped();
    (0..10).for_each(|more| assert_eq!(stream.queue_media(&frame(number + more, MEDIA), now), 0));
    assert_eq!(stream.flush(now + Duration::from_millis(50)).unwrap(), Flush::Pending);
    assert_eq!(stream.take_dropped(), 0);
    stream.flush(now + Duration::from_millis(150)).unwrap();
    assert!(stream.take_dropped() >= 10);
}

#[test]
fn a_client_that_never_reads_its_answers_is_given_up() {
    let (_client, mut stream) = plain_pair();
    let now = Instant::now();
    let error = until(|| {
        stream.queue_control(&[0; 16 * 1024]);
        stream.flush(now).err()
    });
    assert_eq!(error.kind(), ErrorKind::StorageFull);
}
