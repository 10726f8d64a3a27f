"""Two layered images on which most of a mesh can be seen."""

from __future__ import annotations

import numpy as np
import pytest

from tests.systems.photo_3d.surfaces import from_photo, soft_picture


@pytest.fixture(scope="session")
def one_layer():
    """A slanted plane, 96 wide and 64 high."""
    y, x = np.mgrid[:64, :96]
    return from_photo(soft_picture(64, 96), 0.3 + 0.2 * y / 64 + 0.1 * x / 96)


@pytest.fixture(scope="session")
def two_layers():
    """A white square before a blue plane, which goes on behind the square's rim."""
    disparity = np.full((64, 96), 0.2)
    colour = np.full((64, 96, 3), (0.1, 0.2, 0.9))
    disparity[20:44, 30:60], colour[20:44, 30:60] = 0.8, 1.0
    return from_photo(colour, disparity, growth=6)
