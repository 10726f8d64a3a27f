"""Log-mel spectra: one front end that computes those of Kaldi, of librosa (Slaney) and of Whisper, by its settings.

Letters: n samples, F frames, M mel bands, K = fft // 2 + 1 frequencies.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

MelScale = Literal["htk", "slaney"]
KALDI_FLOOR = 1.1920928955078125e-07  # float32's epsilon

_SLANEY_STEP = 200.0 / 3  # Hz a mel below 1 kHz
_SLANEY_KNEE = 1000.0  # Hz, where the logarithmic part begins
_SLANEY_LOG = math.log(6.4) / 27  # a mel above it


@dataclass(frozen=True, kw_only=True)
class MelSettings:
    """What a log-mel spectrum is computed with; lengths in samples, frequencies in Hz.

    The scale of Kaldi is that of HTK up to a factor, which leaves the bands as they are. Its triangles are straight
    in mel, those of librosa and torchaudio in Hz. `gain` is applied to the sound first: 2**15 for models that were
    trained on 16-bit integers.
    """

    rate: int = 16000
    bands: int = 80
    window: int = 400
    hop: int = 160
    fft: int = 512  # the window is filled up with zeros to this length
    shape: Literal["hann", "hann_symmetric", "hamming_symmetric", "povey", "rectangular"] = "hann"
    # snip: only frames that fit. reflect, zeros: frame i is centred on sample i * hop. kaldi: snip_edges=False.
    edges: Literal["snip", "reflect", "zeros", "kaldi"] = "reflect"
    drop_last: bool = False  # leave out the last frame, as Whisper does
    gain: float = 1.0
    remove_dc: bool = False  # the mean of each frame
    preemphasis: float = 0.0  # within each frame
    power: float = 2.0  # of the magnitude
    low: float = 0.0
    high: float | None = None  # None: half the rate
    scale: MelScale = "slaney"
    triangles: Literal["mel", "hertz"] = "hertz"
    norm: Literal["slaney", "none"] = "slaney"  # slaney: triangles of equal area over mel or Hz
    log: Literal["natural", "log10", "none"] = "log10"
    floor: float = 1e-10  # of what the logarithm is taken of

    def __post_init__(self) -> None:
        if not 1 <= self.window <= self.fft or self.hop < 1 or self.bands < 1:
            raise ValueError(
                f"window={self.window}, hop={self.hop}, bands={self.bands} must be at least 1, and the window"
                f" no longer than fft={self.fft}"
            )
        if not 0 <= self.low < self.top <= self.rate / 2:
            raise ValueError(
                f"low={self.low} and high={self.top} must lie in this order between 0 and {self.rate / 2} Hz,"
                f" half of rate={self.rate}"
            )

    @property
    def top(self) -> float:
        """The upper end of the highest band (Hz)."""
        return self.rate / 2 if self.high is None else self.high

    def frames(self, samples: int) -> int:
        """The frames of a sound of that many samples."""
        if self.edges == "snip":
            count = 0 if samples < self.window else 1 + (samples - self.window) // self.hop
        elif self.edges == "kaldi":
            count = (samples + self.hop // 2) // self.hop
        else:
            count = 1 + samples // self.hop
        return max(0, count - int(self.drop_last))

    @classmethod
    def preset(cls, name: str) -> MelSettings:
        """One of MEL_PRESETS; raises ValueError with the closest names otherwise."""
        if name in MEL_PRESETS:
            return MEL_PRESETS[name]
        close = difflib.get_close_matches(name, MEL_PRESETS, n=3, cutoff=0.0)
        raise ValueError(f"there is no mel preset {name!r}: did you mean {', '.join(close)}?")


KALDI = MelSettings(
    shape="povey", edges="snip", remove_dc=True, preemphasis=0.97, low=20.0, scale="htk", triangles="mel",
    norm="none", log="natural", floor=KALDI_FLOOR,
)  # fmt: skip
WHISPER = MelSettings(fft=400, drop_last=True)

MEL_PRESETS: dict[str, MelSettings] = {
    "kaldi": KALDI,  # torchaudio.compliance.kaldi.fbank with 80 bands and no dither
    "imagebind": replace(KALDI, bands=128, shape="hann_symmetric"),  # also AST and AudioMAE
    # 80 bands each 10 ms are the paper's; window, scale and floor are Kaldi's, our choice.
    "llama3_speech": KALDI,
    "w2v_bert": replace(KALDI, gain=2.0**15),  # also SeamlessM4T
    "whisper": WHISPER,  # before its scaling, which is `whisper_scale`
    "whisper_v3": replace(WHISPER, bands=128),
}  # fmt: skip


def hertz_to_mel(hertz: Tensor, scale: MelScale = "slaney") -> Tensor:
    """Frequencies (Hz) -> mel, any shape."""
    if scale == "htk":
        return 2595.0 * torch.log10(1.0 + hertz / 700.0)
    above = _SLANEY_KNEE / _SLANEY_STEP + torch.log(hertz.clamp_min(1.0) / _SLANEY_KNEE) / _SLANEY_LOG
    return torch.where(hertz >= _SLANEY_KNEE, above, hertz / _SLANEY_STEP)


def mel_to_hertz(mel: Tensor, scale: MelScale = "slaney") -> Tensor:
    """The inverse of `hertz_to_mel`."""
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    knee = _SLANEY_KNEE / _SLANEY_STEP
    return torch.where(mel >= knee, _SLANEY_KNEE * torch.exp(_SLANEY_LOG * (mel - knee)), mel * _SLANEY_STEP)


@lru_cache(maxsize=64)
def mel_filters(settings: MelSettings) -> Tensor:
    """The triangles of the bands over the frequencies: float32 (M, K)."""
    with torch.inference_mode(False), torch.device("cpu"):
        ends = hertz_to_mel(torch.tensor([settings.low, settings.top], dtype=torch.float64), settings.scale)
        edges = torch.linspace(float(ends[0]), float(ends[1]), settings.bands + 2, dtype=torch.float64)
        hertz = mel_to_hertz(edges, settings.scale)
        bins = torch.arange(settings.fft // 2 + 1, dtype=torch.float64) * (settings.rate / settings.fft)
        if settings.triangles == "mel":
            corner, place = edges, hertz_to_mel(bins, settings.scale)
        else:
            corner, place = hertz, bins
        low, middle, high = corner[:-2, None], corner[1:-1, None], corner[2:, None]
        rise, fall = (place - low) / (middle - low), (high - place) / (high - middle)
        triangles = torch.minimum(rise, fall).clamp_min(0.0)
        if settings.norm == "slaney":
            triangles = triangles * (2.0 / (corner[2:] - corner[:-2]))[:, None]
        return triangles.float()


@lru_cache(maxsize=64)
def mel_window(settings: MelSettings) -> Tensor:
    """The window: float32 (window,)."""
    with torch.inference_mode(False), torch.device("cpu"):
        size = settings.window
        if settings.shape == "rectangular":
            window = torch.ones(size, dtype=torch.float64)
        elif settings.shape == "hamming_symmetric":
            window = torch.hamming_window(size, periodic=False, dtype=torch.float64)
        else:
            window = torch.hann_window(size, periodic=settings.shape == "hann", dtype=torch.float64)
        if settings.shape == "povey":
            window = window**0.85
        return window.float()


def mel_frames(sound: Tensor, settings: MelSettings) -> Tensor:
    """Cut a sound into frames: (..., n) -> (..., F, window), with gain, mean and pre-emphasis dealt with.

    Raises ValueError where the sound is too short for a frame.
    """
    samples = sound.shape[-1]
    count = settings.frames(samples)
    side = settings.window // 2
    other = settings.window - side  # one more where the window is odd
    if count < 1 or (settings.edges == "reflect" and samples <= other):
        need = settings.window if settings.edges == "snip" else other + 1
        raise ValueError(f"a sound of {samples} samples is too short for a frame: it needs at least {need}")
    x = sound * settings.gain if settings.gain != 1.0 else sound
    if settings.edges == "kaldi":
        x = _mirrored(x, count, settings)
    elif settings.edges == "zeros":
        x = F.pad(x, (side, other))
    elif settings.edges == "reflect":
        x = F.pad(x.reshape(-1, samples), (side, other), mode="reflect").reshape(*x.shape[:-1], -1)
    cut = x.unfold(-1, settings.window, settings.hop)[..., :count, :]
    if settings.remove_dc:
        cut = cut - cut.mean(dim=-1, keepdim=True)
    if settings.preemphasis:
        before = torch.cat([cut[..., :1], cut[..., :-1]], dim=-1)  # the first sample stands before itself
        cut = cut - settings.preemphasis * before
    return cut


def _mirrored(x: Tensor, count: int, settings: MelSettings) -> Tensor:
    """The ends continued by their mirror image, as Kaldi does it without snip_edges."""
    samples = x.shape[-1]
    first = settings.hop // 2 - settings.window // 2  # where the first frame begins
    places = torch.arange(first, first + (count - 1) * settings.hop + settings.window, device=x.device)
    places = places.remainder(2 * samples)
    return x[..., torch.where(places < samples, places, 2 * samples - 1 - places)]


def mel_spectrum(sound: Tensor, settings: MelSettings) -> Tensor:
    """Magnitude to the `power` in mel bands, before the logarithm: (..., n) -> (..., M, F)."""
    cut = mel_frames(sound, settings) * mel_window(settings).to(sound)
    spectrum = torch.fft.rfft(cut, settings.fft)  # (..., F, K)
    strength = spectrum.abs() if settings.power == 1.0 else spectrum.real.square() + spectrum.imag.square()
    if settings.power not in (1.0, 2.0):
        strength = strength ** (settings.power / 2)
    return (strength @ mel_filters(settings).to(strength).T).transpose(-1, -2)


def log_mel(sound: Tensor, settings: MelSettings) -> Tensor:
    """Log-mel spectrum: float (..., n) -> (..., M, F). Differentiable; a batch of two equals two batches."""
    mel = mel_spectrum(sound, settings)
    if settings.log == "none":
        return mel
    mel = mel.clamp_min(settings.floor)
    return mel.log() if settings.log == "natural" else mel.log10()


def whisper_scale(mel: Tensor) -> Tensor:
    """What Whisper does to a log10-mel spectrum (..., M, F): at most 8 below its clip's peak, then (x + 4) / 4."""
    peak = mel.amax(dim=(-2, -1), keepdim=True)
    return (torch.maximum(mel, peak - 8.0) + 4.0) / 4.0
