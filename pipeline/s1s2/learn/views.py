"""Views: what may be done to a chip that leaves it a chip some sensor could have recorded.

Batches, on the device they lie on. Geometry is drawn once and put on both sensors, so that their
pixels stay on one ground. Then each sensor has its own physics: optics in reflectance, radar in
linear power. Nothing mixes wavelengths.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812  # its name everywhere
from torch import Generator, Tensor

from s1s2.bands import OPTICAL, Band, Sensor
from s1s2.learn.settings import ViewSpec
from s1s2.learn.units import Scaling, to_decibels, to_power, to_reflectance

LEAST_REFLECTANCE, MOST_REFLECTANCE = 1e-4, 6.5535
"""What a valid pixel of the product can hold: digital numbers 1 to 65535."""
_CLOUD_REFLECTANCE = {
    Band.B01: 0.75, Band.B02: 0.74, Band.B03: 0.72, Band.B04: 0.73, Band.B05: 0.74, Band.B06: 0.76,
    Band.B07: 0.77, Band.B08: 0.76, Band.B8A: 0.78, Band.B09: 0.65, Band.B11: 0.50, Band.B12: 0.38,
}  # fmt: skip
"""Of a thick water cloud: flat up to 900 nm, darker where water and ice absorb. Round numbers."""
_CLOUD_SCALES = (2, 4, 8, 16)
"""Cells of noise along a view's side, largest first; each finer one counts half of the last."""
_MATRICES = tuple(
    ((c * f, -s), (s * f, c)) for f in (1, -1) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1))
)
"""Turns by 90 degrees, with and without a flip."""


def draw_geometry(count: int, least_share: float, generator: Generator) -> Tensor:
    """Draw a crop, a turn by 90 degrees and a flip for each chip of a batch.

    Crops are square: a pixel measures the same in x and y, before and after.

    Args:
        count: Chips.
        least_share: Smallest share of the chip's area.
        generator: Decides; the result lies on its device.

    Returns:
        Affine matrices (count, 2, 3) from a view's coordinates to the chip's, both -1 to 1.
    """
    device = generator.device
    share = least_share + (1 - least_share) * _uniform((count,), generator)
    side = share.sqrt()
    centre = (1 - side)[:, None] * (2 * _uniform((count, 2), generator) - 1)
    turns = torch.tensor(_MATRICES, dtype=torch.float32, device=device)
    chosen = torch.randint(len(turns), (count,), generator=generator, device=device)
    return torch.cat([turns[chosen] * side[:, None, None], centre[:, :, None]], dim=2)


def cut(values: Tensor, valid: Tensor, geometry: Tensor, size_px: int) -> tuple[Tensor, Tensor]:
    """Cut views of chips, bilinear; what is invalid lends nothing to its neighbours.

    Args:
        values: (B, band, y, x), of a kind whose mean over pixels means something: reflectance or
            linear power, never dB.
        valid: (B, 1, y, x) bool.
        geometry: Of `draw_geometry`.
        size_px: Side of a view.

    Returns:
        Values (B, band, size_px, size_px) and what is valid (B, 1, size_px, size_px).
    """
    grid = F.affine_grid(geometry, [len(values), 1, size_px, size_px], align_corners=False)
    weight = valid.to(values.dtype)
    both = torch.cat([torch.where(valid, values, 0.0), weight], dim=1)
    sampled = F.grid_sample(both, grid, padding_mode="border", align_corners=False)
    weight = sampled[:, -1:]
    return sampled[:, :-1] / weight.clamp(min=1e-6), weight > 0.5  # noqa: PLR2004  # mostly valid


def change_light(reflectance: Tensor, brightness: float, contrast: float, g: Generator) -> Tensor:
    """Change brightness and contrast of each band by itself: haze, sun and season, not hue.

    Args:
        reflectance: (B, band, y, x).
        brightness: Greatest relative change.
        contrast: Greatest relative change of the distance from the band's mean.
        g: Decides.

    Returns:
        Reflectance that the product could hold, in the same order within each band.
    """
    shape = (*reflectance.shape[:2], 1, 1)
    mean = reflectance.mean(dim=(2, 3), keepdim=True)
    stretched = mean + (reflectance - mean) * (1 + contrast * _sign(shape, g))
    brightened = stretched * (1 + brightness * _sign(shape, g))
    return brightened.clamp(LEAST_REFLECTANCE, MOST_REFLECTANCE)


def add_cloud(reflectance: Tensor, probability: float, g: Generator) -> Tensor:
    """Put a synthetic cloud over some of the chips: the same cover in every band.

    Returns:
        Reflectance between the ground's and the cloud's, pixel by pixel.
    """
    count, _, height, width = reflectance.shape
    spectrum = torch.tensor([_CLOUD_REFLECTANCE[b] for b in OPTICAL], device=reflectance.device)
    bright = spectrum[:, None, None] * (0.8 + 0.3 * _uniform((count, 1, 1, 1), g))
    here = _uniform((count, 1, 1, 1), g) < probability
    cover = _cloud_cover(count, (height, width), g) * here
    return torch.lerp(reflectance, bright.expand_as(reflectance), cover.expand_as(reflectance))


def _cloud_cover(count: int, shape: tuple[int, int], g: Generator) -> Tensor:
    """Return how opaque clouds are, (count, 1, y, x) from 0 to 1, smooth, some thin, some thick."""
    noise = torch.zeros((count, 1, *shape), device=g.device)
    for octave, cells in enumerate(_CLOUD_SCALES):
        coarse = torch.randn((count, 1, cells, cells), generator=g, device=g.device)
        noise += F.interpolate(coarse, shape, mode="bilinear", align_corners=True) / 2**octave
    threshold = 2 * _uniform((count, 1, 1, 1), g) - 1
    opacity = 0.3 + 0.7 * _uniform((count, 1, 1, 1), g)
    return (noise - threshold).clamp(0, 1) * opacity


def add_speckle(power: Tensor, looks: float, g: Generator) -> Tensor:
    """Multiply by speckle: gamma distributed, mean 1, variance 1 / looks, alone in each pixel.

    Wilson and Hilferty's cube of a normal number, whose mean is 1 - 1 / (9 looks)^3.

    Args:
        power: Linear (B, polarisation, y, x).
        looks: At its strongest; each chip has its own, at this or a milder strength.
        g: Decides.
    """
    strength = _uniform((len(power), 1, 1, 1), g)
    c = strength / (9 * looks)
    normal = torch.randn(power.shape, generator=g, device=g.device)
    return power * (1 - c + c.sqrt() * normal).clamp(min=0).pow(3)


def change_gain(power: Tensor, gain_db: float, g: Generator) -> Tensor:
    """Change the level of a whole view, the same in both polarisations, by up to `gain_db`."""
    return power * torch.pow(10.0, gain_db / 10 * _sign((len(power), 1, 1, 1), g))


def drop_bands(values: Tensor, probability: float, g: Generator) -> Tensor:
    """Blank each band of normalised chips with a probability (0, its mean); one always stays."""
    count, bands = values.shape[:2]
    drawn = _uniform((count, bands), g)
    keep = (drawn >= probability) | (drawn == drawn.amax(dim=1, keepdim=True))
    return values * keep[:, :, None, None]


def drop_polarisation(values: Tensor, probability: float, g: Generator) -> Tensor:
    """Blank one polarisation of some normalised chips (B, 2, y, x), never both."""
    here = _uniform((len(values), 1), g) < probability
    victim = torch.randint(values.shape[1], (len(values), 1), generator=g, device=g.device)
    drop = here & (torch.arange(values.shape[1], device=g.device) == victim)
    return values * ~drop[:, :, None, None]


@dataclass(frozen=True)
class Views:
    """Makes views of stored chips, normalised, invalid pixels 0."""

    spec: ViewSpec
    scaling: dict[Sensor, Scaling]

    def of(
        self, raw: Tensor, sensor: Sensor, geometry: Tensor, strength: float, g: Generator
    ) -> Tensor:
        """Return one view of each chip.

        Args:
            raw: As stored, (B, band, y, x), on the generator's device.
            sensor: Whose.
            geometry: Of `draw_geometry`; the same for both sensors.
            strength: 0 to 1: how far the probabilities of dropout and cloud have grown.
            g: Decides.

        Returns:
            (B, band, size, size) float32.
        """
        size = self.spec.size_px or raw.shape[-1]
        make = self._optical if sensor is Sensor.S2 else self._radar
        return make(raw, geometry, size, strength, g)

    def _optical(
        self, raw: Tensor, geometry: Tensor, size: int, strength: float, g: Generator
    ) -> Tensor:
        spec = self.spec
        values, valid = cut(*to_reflectance(raw), geometry, size)
        values = change_light(values, spec.brightness, spec.contrast, g)
        values = add_cloud(values, spec.cloud * strength, g)
        values = self.scaling[Sensor.S2].apply(values, valid)
        return drop_bands(values, spec.band_dropout * strength, g)

    def _radar(
        self, raw: Tensor, geometry: Tensor, size: int, strength: float, g: Generator
    ) -> Tensor:
        spec = self.spec
        values, valid = cut(*to_power(raw), geometry, size)
        if spec.speckle_looks:
            values = add_speckle(values, spec.speckle_looks, g)
        values = change_gain(values, spec.gain_db, g)
        values = self.scaling[Sensor.S1].apply(to_decibels(values), valid)
        return drop_polarisation(values, spec.polarisation_dropout * strength, g)


def _uniform(shape: tuple[int, ...], g: Generator) -> Tensor:
    return torch.rand(shape, generator=g, device=g.device)


def _sign(shape: tuple[int, ...], g: Generator) -> Tensor:
    return 2 * _uniform(shape, g) - 1
