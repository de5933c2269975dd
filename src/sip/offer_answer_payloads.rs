//! Our payload types within one call: a number once given a meaning keeps it (RFC 3264 section 8.3.2).

use crate::offer_answer_capabilities::Codec;
use crate::offer_answer_media::Media;
use crate::sdp_media::MediaDescription;

/// What our own offers number the formats with.
#[derive(Clone, Debug)]
pub(crate) struct PayloadTypes {
    codecs: Vec<(Codec, u8)>,
    telephone_event: u8,
    telephone_event_settled: bool,
    comfort_noise: u8,
    /// A bit per dynamic number that the peer used for something else.
    taken: u128,
}

impl Default for PayloadTypes {
    fn default() -> Self {
        Self {
            codecs: Codec::ALL.into_iter().map(|codec| (codec, codec.static_payload_type())).collect(),
            telephone_event: 101,
            telephone_event_settled: false,
            comfort_noise: 13,
            taken: 0,
        }
    }
}

impl PayloadTypes {
    /// Takes over the numbers of an offer that we answered with `media`.
    pub(crate) fn learn(&mut self, offered: &MediaDescription, media: &Media) {
        for (codec, number) in &mut self.codecs {
            if *codec == media.codec {
                *number = media.payload_type.receive;
            }
        }
        if let Some(comfort_noise) = media.comfort_noise {
            self.comfort_noise = comfort_noise.receive;
        }
        for number in offered.payload_types().filter(|number| (96..128).contains(number)) {
            self.taken |= 1 << number;
        }
        match media.telephone_event {
            Some(event) => {
                self.telephone_event = event.receive;
                self.telephone_event_settled = true;
            }
            None if !self.telephone_event_settled && self.taken & (1 << self.telephone_event) != 0 => {
                let free = (96..128).rev().find(|number| self.taken & (1 << number) == 0);
                self.telephone_event = free.unwrap_or(self.telephone_event);
            }
            None => {}
        }
    }

    pub(crate) fn of_codec(&self, codec: Codec) -> u8 {
        let known = self.codecs.iter().find(|(known, _)| *known == codec);
        known.map_or(codec.static_payload_type(), |(_, number)| *number)
    }

    pub(crate) fn telephone_event(&self) -> u8 {
        self.telephone_event
    }

    pub(crate) fn comfort_noise(&self) -> u8 {
        self.comfort_noise
    }
}
