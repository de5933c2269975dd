//! SRTP against the standards' vectors, a second computation of its own, and forgers.
//!
//! The crate takes master keys only, while RFC 7714 gives session keys. So the packets are computed a second time here,
//! from the key derivation (RFC 3711 section 4.3) up; that computation is checked against the standards' vectors, and
//! the crate against it.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac;
use postern_media::limits;
use postern_media::srtp::{Inbound, Outbound, Protect, SrtpError, Unprotect};
use postern_media::srtp_profile::{MasterKey, SrtpProfile};

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len() / 2).map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn key_stream(key: &[u8], counter: [u8; 16], bytes: &mut [u8]) {
    let algorithm = if key.len() == 16 { &AES_128 } else { &AES_256 };
    let key = EncryptingKey::ctr(UnboundCipherKey::new(algorithm, key).unwrap()).unwrap();
    key.less_safe_encrypt(bytes, EncryptionContext::Iv128(counter.into())).unwrap();
}

/// RFC 3711 section 4.3.1.
fn derive(master: &[u8], salt: &[u8], label: u8, length: usize) -> Vec<u8> {
    let mut counter = [0; 16];
    counter[..salt.len()].copy_from_slice(salt);
    counter[7] ^= label;
    let mut out = vec![0; length];
    key_stream(master, counter, &mut out);
    out
}

/// RFC 3711 section 4.1.1: the counter of an AES-CM packet.
fn counter(salt: &[u8], ssrc: u32, index: u64) -> [u8; 16] {
    let mut counter = [0; 16];
    counter[..14].copy_from_slice(salt);
    for (byte, x) in counter[4..8].iter_mut().zip(ssrc.to_be_bytes()) {
        *byte ^= x;
    }
    for (byte, x) in counter[8..14].iter_mut().zip(&index.to_be_bytes()[2..]) {
        *byte ^= x;
    }
    counter
}

fn seal_gcm(key: &[u8], nonce: [u8; 12], aad: &[u8], text: &[u8]) -> Vec<u8> {
    let algorithm = if key.len() == 16 { &AES_128_GCM } else { &AES_256_GCM };
    let key = LessSafeKey::new(UnboundKey::new(algorithm, key).unwrap());
    let mut out = text.to_vec();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut out).unwrap();
    out
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}

/// RFC 7714 section 8.1: the nonce of a packet with the rollover counter 0.
fn gcm_nonce(salt: &[u8], ssrc: u32, low: u64) -> [u8; 12] {
    let mut nonce: [u8; 12] = salt.try_into().unwrap();
    for (byte, x) in nonce[2..6].iter_mut().zip(ssrc.to_be_bytes()) {
        *byte ^= x;
    }
    for (byte, x) in nonce[6..].iter_mut().zip(&low.to_be_bytes()[2..]) {
        *byte ^= x;
    }
    nonce
}

fn gcm_rtp(key: &[u8], salt: &[u8], packet: &[u8], roc: u32) -> Vec<u8> {
    let sequence = u16::from_be_bytes([packet[2], packet[3]]);
    let nonce = gcm_nonce(salt, word(&packet[8..]), u64::from(roc) << 16 | u64::from(sequence));
    let mut out = packet[..12].to_vec();
    out.extend(seal_gcm(key, nonce, &packet[..12], &packet[12..]));
    out
}

fn gcm_rtcp(key: &[u8], salt: &[u8], packet: &[u8], index: u32) -> Vec<u8> {
    let nonce = gcm_nonce(salt, word(&packet[4..]), u64::from(index));
    let esrtcp = (index | 1 << 31).to_be_bytes();
    let aad = [&packet[..8], &esrtcp].concat();
    let mut out = packet[..8].to_vec();
    out.extend(seal_gcm(key, nonce, &aad, &packet[8..]));
    out.extend(esrtcp);
    out
}

fn cm_rtp(profile: SrtpProfile, master: &[u8], salt: &[u8], packet: &[u8], roc: u32, tag: usize) -> Vec<u8> {
    let key = derive(master, salt, 0, profile.key_bytes());
    let session_salt = derive(master, salt, 2, 14);
    let sequence = u16::from_be_bytes([packet[2], packet[3]]);
    let mut out = packet.to_vec();
    let index = u64::from(roc) << 16 | u64::from(sequence);
    key_stream(&key, counter(&session_salt, word(&packet[8..]), index), &mut out[12..]);
    let auth = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &derive(master, salt, 1, 20));
    let signed = hmac::sign(&auth, &[&out[..], &roc.to_be_bytes()].concat());
    out.extend_from_slice(&signed.as_ref()[..tag]);
    out
}

fn cm_rtcp(profile: SrtpProfile, master: &[u8], salt: &[u8], packet: &[u8], index: u32) -> Vec<u8> {
    let key = derive(master, salt, 3, profile.key_bytes());
    let session_salt = derive(master, salt, 5, 14);
    let mut out = packet.to_vec();
    key_stream(&key, counter(&session_salt, word(&packet[4..]), u64::from(index)), &mut out[8..]);
    out.extend((index | 1 << 31).to_be_bytes());
    let auth = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &derive(master, salt, 4, 20));
    let signed = hmac::sign(&auth, &out);
    out.extend_from_slice(&signed.as_ref()[..10]);
    out
}

const MASTER_KEY: &str = "E1F97A0D3E018BE0D64FA32C06DE4139";
const MASTER_SALT: &str = "0EC675AD498AFEEBB6960B3AABE6";

#[test]
fn key_stream_and_derivation_are_those_of_rfc_3711_appendix_b() {
    let mut stream = vec![0; 48];
    let mut start = [0; 16];
    start.copy_from_slice(&hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000"));
    key_stream(&hex("2B7E151628AED2A6ABF7158809CF4F3C"), start, &mut stream);
    assert_eq!(
        stream,
        hex("E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB 41E95B3BB0A2E8DD477901E4FCA894C0")
    );
    let (key, salt) = (hex(MASTER_KEY), hex(MASTER_SALT));
    assert_eq!(derive(&key, &salt, 0, 16), hex("C61E7A93744F39EE10734AFE3FF7A087"));
    assert_eq!(derive(&key, &salt, 2, 14), hex("30CBBC08863D8C85D49DB34A9AE1"));
    assert_eq!(
        derive(&key, &salt, 1, 94)[..32],
        hex("CEBE321F6FF7716B6FD4AB49AF256A15 6D38BAA48F0A0ACF3C34E2359E6CDBCE")[..]
    );
}

const GALLIA: &str = "47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 61727465 73207472 6573";

#[test]
fn gcm_packets_are_those_of_rfc_7714_sections_16_and_17() {
    let salt = hex("517569642070726f2071756f");
    let packet = [hex("8040f17b 8041f8d3 5501a0b2"), hex(GALLIA)].concat();
    let key128 = hex("000102030405060708090a0b0c0d0e0f");
    let key256 = hex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    assert_eq!(
        gcm_rtp(&key128, &salt, &packet, 0),
        hex("8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a \
             51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce")
    );
    assert_eq!(
        gcm_rtp(&key256, &salt, &packet, 0),
        hex("8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 b50b2a02 \
             76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13")
    );
    let report =
        hex("81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef deadbeef deadbeef \
         deadbeef deadbeef");
    assert_eq!(
        gcm_rtcp(&key128, &salt, &report, 0x5d4),
        hex("81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 730d6fda \
             4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4")
    );
}

fn master(profile: SrtpProfile) -> MasterKey {
    let bytes: Vec<u8> = (0..profile.key_bytes() + profile.salt_bytes()).map(|i| i as u8 * 5 + 3).collect();
    MasterKey::from_concatenated(profile, &bytes).unwrap()
}

fn rtp(sequence: u16, ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 0x0f];
    packet.extend(sequence.to_be_bytes());
    packet.extend([0xde, 0xca, 0xfb, 0xad]);
    packet.extend(ssrc.to_be_bytes());
    packet.extend([0xab; 20]);
    packet
}

fn rtcp(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 3];
    packet.extend(ssrc.to_be_bytes());
    packet.extend([0x11; 8]);
    packet
}

fn protect(outbound: &mut Outbound, packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    outbound.protect_rtp(&mut packet).unwrap();
    packet
}

fn open(inbound: &mut Inbound, packet: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut out = Vec::new();
    inbound.unprotect_rtp(packet, &mut out).map(|()| out)
}

fn open_rtcp(inbound: &mut Inbound, packet: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut out = Vec::new();
    inbound.unprotect_rtcp(packet, &mut out).map(|()| out)
}

/// The second computation, for any profile.
fn computed(profile: SrtpProfile, packet: &[u8], roc: u32) -> Vec<u8> {
    let master = master(profile);
    let (key, salt) = (master.key(), master.salt());
    match profile {
        SrtpProfile::AeadAes128Gcm | SrtpProfile::AeadAes256Gcm => {
            let session = derive(key, salt, 0, profile.key_bytes());
            gcm_rtp(&session, &derive(key, salt, 2, 12), packet, roc)
        }
        SrtpProfile::Aes128CmHmacSha1_32 | SrtpProfile::Aes256CmHmacSha1_32 => {
            cm_rtp(profile, key, salt, packet, roc, 4)
        }
        _ => cm_rtp(profile, key, salt, packet, roc, 10),
    }
}

#[test]
fn the_known_packet_under_the_key_of_appendix_b() {
    // Key and salt of RFC 3711 appendix B.3, and the packet that SRTP implementations have in common.
    let key =
        MasterKey::from_concatenated(SrtpProfile::Aes128CmHmacSha1_80, &[hex(MASTER_KEY), hex(MASTER_SALT)].concat())
            .unwrap();
    let clear = hex("800f1234decafbadcafebabeabababababababababababababababab");
    let want = hex("800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb");
    let mut outbound = Outbound::new(SrtpProfile::Aes128CmHmacSha1_80, &key).unwrap();
    assert_eq!(protect(&mut outbound, &clear), want);
    let mut inbound = Inbound::new(SrtpProfile::Aes128CmHmacSha1_80, &key).unwrap();
    assert_eq!(open(&mut inbound, &want), Ok(clear));
}

#[test]
fn every_profile_is_computed_alike_twice_across_a_rollover() {
    for profile in SrtpProfile::ALL {
        let key = master(*profile);
        let mut outbound = Outbound::new(*profile, &key).unwrap();
        let mut inbound = Inbound::new(*profile, &key).unwrap();
        for number in 65_500..65_600u32 {
            let clear = rtp(number as u16, 9);
            let protected = protect(&mut outbound, &clear);
            assert_eq!(protected, computed(*profile, &clear, number >> 16), "{profile:?} {number}");
            assert_eq!(open(&mut inbound, &protected), Ok(clear));
        }
        for index in 1..5 {
            let clear = rtcp(9);
            let mut protected = clear.clone();
            outbound.protect_rtcp(&mut protected).unwrap();
            let (master_key, salt) = (key.key(), key.salt());
            let want = match profile {
                SrtpProfile::AeadAes128Gcm | SrtpProfile::AeadAes256Gcm => {
                    let session = derive(master_key, salt, 3, profile.key_bytes());
                    gcm_rtcp(&session, &derive(master_key, salt, 5, 12), &clear, index)
                }
                _ => cm_rtcp(*profile, master_key, salt, &clear, index),
            };
            assert_eq!(protected, want, "{profile:?} {index}");
            assert_eq!(open_rtcp(&mut inbound, &protected), Ok(clear));
        }
    }
}

#[test]
fn odd_headers_are_encrypted_from_the_right_place() {
    // A one-byte extension with padding inside, one with a profile of no meaning, contributors.
    let extension = |profile: [u8; 2], words: &[u8]| {
        let mut packet = rtp(7, 9);
        packet[0] |= 0x10;
        let mut inserted = profile.to_vec();
        inserted.extend((words.len() as u16 / 4).to_be_bytes());
        inserted.extend(words);
        packet.splice(12..12, inserted);
        packet
    };
    let mut contributors = rtp(7, 9);
    contributors[0] |= 2;
    contributors.splice(12..12, [1; 8]);
    let packets = [
        extension([0xbe, 0xde], &[0, 0, 0x10, 0xff, 0, 0, 0, 0]),
        extension([0x10, 0x00], &[0, 0, 0, 0]),
        extension([0xab, 0xcd], &[1, 2, 3, 4]),
        extension([0xbe, 0xde], &[0xf0, 1, 2, 3]),
        contributors,
    ];
    for profile in [SrtpProfile::Aes128CmHmacSha1_80, SrtpProfile::AeadAes128Gcm] {
        for packet in &packets {
            let key = master(profile);
            let header = postern_media::rtp::Header::parse(packet).unwrap();
            let protected = protect(&mut Outbound::new(profile, &key).unwrap(), packet);
            assert_eq!(protected[..header.bytes], packet[..header.bytes], "the header stays in clear");
            assert_ne!(protected[header.bytes..header.bytes + 20], packet[header.bytes..]);
            assert_eq!(open(&mut Inbound::new(profile, &key).unwrap(), &protected).as_ref(), Ok(packet));
        }
    }
}

#[test]
fn a_packet_is_taken_once_and_a_changed_one_never() {
    for profile in SrtpProfile::ALL {
        let key = master(*profile);
        let mut outbound = Outbound::new(*profile, &key).unwrap();
        let mut inbound = Inbound::new(*profile, &key).unwrap();
        let packets: Vec<_> = (0..300).map(|sequence| protect(&mut outbound, &rtp(sequence, 9))).collect();
        for (i, packet) in packets.iter().enumerate() {
            let mut forged = packet.clone();
            let at = i % forged.len();
            forged[at] ^= 1 << (i % 8);
            assert!(open(&mut inbound, &forged).is_err());
            assert!(open(&mut inbound, packet).is_ok(), "{profile:?}: the forgery did no harm");
            assert_eq!(open(&mut inbound, packet), Err(SrtpError::Replay));
        }
        assert_eq!(open(&mut inbound, &packets[10]), Err(SrtpError::Replay), "too old to tell");
        let mut report = rtcp(9);
        outbound.protect_rtcp(&mut report).unwrap();
        assert!(open_rtcp(&mut inbound, &report).is_ok());
        assert_eq!(open_rtcp(&mut inbound, &report), Err(SrtpError::Replay));
    }
}

#[test]
fn a_forged_first_packet_does_not_close_the_window_for_the_true_ones() {
    let profile = SrtpProfile::Aes128CmHmacSha1_80;
    let key = master(profile);
    let mut inbound = Inbound::new(profile, &key).unwrap();
    let mut forged = rtp(30_000, 9);
    forged.extend([0; 10]);
    assert_eq!(open(&mut inbound, &forged), Err(SrtpError::Authentication));
    let protected = protect(&mut Outbound::new(profile, &key).unwrap(), &rtp(5, 9));
    assert!(open(&mut inbound, &protected).is_ok());
}

#[test]
fn strangers_leave_no_state_and_sources_are_bounded() {
    let profile = SrtpProfile::AeadAes128Gcm;
    let key = master(profile);
    let mut inbound = Inbound::new(profile, &key).unwrap();
    for ssrc in 0..1_000 {
        let mut forged = rtp(1, ssrc);
        forged.extend([0; 16]);
        assert_eq!(open(&mut inbound, &forged), Err(SrtpError::Authentication));
    }
    for ssrc in 0..limits::SRTP_SOURCES_MAX as u32 + 1 {
        let protected = protect(&mut Outbound::new(profile, &key).unwrap(), &rtp(1, ssrc));
        let opened = open(&mut inbound, &protected);
        assert_eq!(opened.is_ok(), ssrc < limits::SRTP_SOURCES_MAX as u32, "{ssrc}: {opened:?}");
    }
}

#[test]
fn unencrypted_or_short_srtcp_is_refused() {
    for profile in SrtpProfile::ALL {
        let key = master(*profile);
        let mut protected = rtcp(9);
        Outbound::new(*profile, &key).unwrap().protect_rtcp(&mut protected).unwrap();
        let mut inbound = Inbound::new(*profile, &key).unwrap();
        // With the encryption bit clear the crate would not look at the tag.
        let mut bare = rtcp(9);
        bare.extend(1u32.to_be_bytes());
        bare.extend([0; 10]);
        assert!(open_rtcp(&mut inbound, &bare).is_err(), "{profile:?}");
        for length in 0..protected.len() {
            assert!(open_rtcp(&mut inbound, &protected[..length]).is_err(), "{profile:?} {length}");
        }
        for length in 0..40 {
            assert!(open(&mut inbound, &rtp(1, 9)[..length.min(32)]).is_err());
        }
        assert!(open_rtcp(&mut inbound, &protected).is_ok());
    }
}
