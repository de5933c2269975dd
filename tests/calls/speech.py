"""What callers say, as WAV files of 8 kHz, and the judgement of what was heard of it."""

import dataclasses
import subprocess
import wave

import numpy

RATE = 8000
LEVEL = 0.12  # RMS of what is said, of full scale 1
_FRAME, _PIECE, _SLACK = RATE // 100, RATE // 4, RATE // 5


def say(espeak, directory, words):
    """The samples of these spoken words, at RATE and LEVEL."""
    path = directory / "spoken.wav"
    subprocess.run([espeak, "-s", "160", "-w", path, words], check=True, stdin=subprocess.DEVNULL)
    samples, rate = read_wav(path, rate=None)
    loud = numpy.flatnonzero(abs(samples) > 0.02)
    samples = _resampled(samples[loud[0] : loud[-1] + 1], rate)
    return samples * (LEVEL / rms(samples))


def silence(secs):
    return numpy.zeros(round(secs * RATE))


def tone(secs, frequency=440.0):
    return 0.1 * numpy.sin(2 * numpy.pi * frequency * numpy.arange(round(secs * RATE)) / RATE)


def after_greeting(said, greeting_secs=3.0):
    """What a microphone hears of somebody who waits for the tone; the greeting is of beeps."""
    return numpy.concatenate([silence(greeting_secs), said, silence(0.4)])


def rms(samples):
    return float(numpy.sqrt(numpy.mean(numpy.square(samples)))) if len(samples) else 0.0


def write_wav(path, *parts):
    """Writes the parts one after the other, 16-bit mono."""
    samples = numpy.concatenate(parts)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1), file.setsampwidth(2), file.setframerate(RATE)
        file.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return path


def read_wav(path, rate=RATE):
    """The first channel of a WAV file, at `rate` if that is given, and the rate. A file still being written is fine."""
    with open(path, "rb") as file:
        data = file.read()
    if b"data" not in data:
        return silence(0), rate  # just begun
    at = data.find(b"fmt ")
    channels, stored_rate = int.from_bytes(data[at + 10 : at + 12], "little"), int.from_bytes(data[at + 12 : at + 16], "little")
    assert int.from_bytes(data[at + 22 : at + 24], "little") == 16, f"{path}: not of 16 bits"
    body = data[data.find(b"data", at) + 8 :]
    body = body[: len(body) - len(body) % (2 * channels)]
    samples = numpy.frombuffer(body, "<i2")[::channels] / 32768
    if rate not in (None, stored_rate):
        return _resampled(samples, stored_rate, rate), rate
    return samples, stored_rate


def _resampled(samples, rate, wanted=RATE):
    """By cutting the spectrum: exact for what both rates can hold."""
    count = round(len(samples) * wanted / rate)
    spectrum = numpy.fft.rfft(samples)
    keep = min(len(spectrum), count // 2 + 1)
    return numpy.fft.irfft(spectrum[:keep], count) * (count / len(samples))


@dataclasses.dataclass(frozen=True)
class Likeness:
    """How well something was found in what was heard."""

    at_secs: float
    correlation: float  # over the whole length, 1 is perfect
    pieces: tuple  # the same for each quarter of a second by itself, a little before or after its place
    gap_secs: float  # the longest stretch where sound was said and next to none heard

    @property
    def is_heard(self):
        """Whether it is there as it was said: whole, undistorted, without a gap.

        Jitter buffers on the way may stretch or cut time a little, which spoils the correlation as a whole and of the
        piece where it happens; of others, and of beginning and end, it spoils nothing.
        """
        good = [each >= 0.9 for each in self.pieces]
        in_pieces = good[0] and good[-1] and sum(good) >= 0.85 * len(good)
        return self.gap_secs <= 0.08 and (self.correlation >= 0.9 or in_pieces)


def find(heard, said):
    """Finds `said` in `heard`, at any loudness. Both are samples at RATE."""
    heard = numpy.concatenate([heard, silence(len(said) / RATE)])
    at = place = _best_place(heard, said)
    whole = heard[at : at + len(said)]
    loudness = rms(whole) / rms(said)
    pieces, longest, gap = [], 0, 0
    for begin in range(0, len(said) - _PIECE + 1, _PIECE):
        part, first = said[begin : begin + _PIECE], max(0, place + begin - _SLACK)
        around = heard[first : place + begin + _PIECE + _SLACK]
        there = first + _best_place(around, part)
        pieces.append(round(_correlation(heard[there : there + _PIECE], part), 3))
        if pieces[-1] >= 0.9:
            place = there - begin
        for frame in range(0, _PIECE - _FRAME + 1, _FRAME):
            level, got = rms(part[frame : frame + _FRAME]), rms(heard[place + begin + frame :][:_FRAME])
            # Frames that are all but silent neither make nor end a gap.
            if level > LEVEL / 5:
                gap = gap + 1 if got < level * loudness / 5 else 0
                longest = max(longest, gap)
    return Likeness(at / RATE, round(_correlation(whole, said), 3), tuple(pieces), longest * _FRAME / RATE)


def _best_place(heard, said):
    """Where the normalised correlation is highest."""
    size = 1 << (len(heard) + len(said)).bit_length()
    product = numpy.fft.rfft(heard, size) * numpy.conj(numpy.fft.rfft(said, size))
    correlation = numpy.fft.irfft(product, size)[: len(heard) - len(said) + 1]
    energy = numpy.concatenate([[0.0], numpy.cumsum(numpy.square(heard))])
    energy = energy[len(said) :] - energy[: len(energy) - len(said)]
    return int(numpy.argmax(correlation / numpy.sqrt(energy + 1e-3)))


def _correlation(one, other):
    both = numpy.sqrt(numpy.dot(one, one) * numpy.dot(other, other))
    return float(numpy.dot(one, other) / both) if both > 0 else 0.0
