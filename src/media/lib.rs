//! RTP, RTCP, SRTP, jitter buffer, codecs, DTMF, tones and WAV, without sockets or clock.
