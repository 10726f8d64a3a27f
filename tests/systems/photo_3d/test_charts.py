from dataclasses import replace

import numpy as np
import pytest

from kinema.systems.photo_3d.atlas import BLOCK, PADDING, lay_out, paint
from kinema.systems.photo_3d.charts import make_charts
from kinema.systems.photo_3d.packing import pack
from tests.systems.photo_3d.surfaces import from_photo

PLACES = 64 * 96


def test_one_surface_is_one_chart(one_layer):
    assert not make_charts(one_layer).any()


@pytest.mark.parametrize("cap", [8, 17, 256])
def test_charts_hold_each_place_once_and_only_linked_neighbours(two_layers, cap):
    image, chart = two_layers, make_charts(two_layers, cap=cap)
    for number in range(chart.max() + 1):
        inside = np.flatnonzero(chart == number)
        places = {(image.x[p], image.y[p]): p for p in inside}
        assert len(places) == len(inside) > 0
        if number:
            assert np.ptp(image.x[inside]) < cap
            assert np.ptp(image.y[inside]) < cap
        for (x, y), p in places.items():
            assert places.get((x + 1, y), image.neighbours[p, 1]) == image.neighbours[p, 1]
            assert places.get((x, y + 1), image.neighbours[p, 3]) == image.neighbours[p, 3]


def test_the_far_side_of_an_edge_leaves_the_photos_layout(two_layers):
    chart = make_charts(two_layers, rim=3)
    photo = chart[:PLACES].reshape(64, 96)
    assert not photo[20:44, 30:60].any()
    assert photo[32, 29] > 0
    assert photo[32, 27] > 0
    assert photo[32, 26] == 0
    assert (chart[PLACES:] > 0).all()


def test_specks_of_the_hidden_surface_are_left_out():
    disparity = np.full((20, 30), 0.2)
    disparity[8:12, 10:14] = 0.8
    image = from_photo(np.zeros((20, 30, 3)), disparity, growth=2)
    alone = image.neighbours.copy()
    speck = np.flatnonzero(image.layer > 0)[0]  # cut loose from all others
    for side, other in enumerate(alone[speck]):
        if other >= 0:
            alone[other, side ^ 1] = -1
    alone[speck] = -1
    chart = make_charts(replace(image, neighbours=alone))
    assert chart[speck] == -1
    assert (chart >= 0).sum() == len(chart) - 1
    assert set(chart.tolist()) == set(range(-1, chart.max() + 1))


def test_the_texture_holds_every_pixel_once_and_unblended(two_layers):
    atlas = paint(two_layers, make_charts(two_layers))
    found = np.bincount(atlas.owner[atlas.owner >= 0], minlength=len(two_layers.x))
    assert (found == 1).all()
    white = (atlas.texels == 255).all(-1)
    blue = (atlas.texels == np.rint(np.array([0.1, 0.2, 0.9]) * 255)).all(-1)
    assert (white | blue | (atlas.texels == 128).all(-1)).all()
    square = np.zeros(len(two_layers.x), bool)
    square[:PLACES] = two_layers.disparity[:PLACES] > 0.5
    for v, u in np.argwhere((atlas.owner >= 0) & square[atlas.owner]):
        assert white[max(0, v - 1) : v + 2, max(0, u - 1) : u + 2].all()


def test_a_margin_repeats_what_really_comes_next(one_layer):
    chart = np.zeros(PLACES, np.int32)
    chart.reshape(64, 96)[:, 40:] = 1
    atlas = paint(one_layer, chart)
    photo = np.rint(one_layer.colour.reshape(64, 96, 3) * 255)
    dx, dy = atlas.offset[1]
    np.testing.assert_array_equal(
        atlas.texels[dy : dy + 64, dx + 40 - PADDING : dx + 96], photo[:, 40 - PADDING :]
    )


def test_charts_do_not_share_a_jpeg_block(two_layers):
    chart = make_charts(two_layers, cap=12)
    offset, (width, height) = lay_out(two_layers, chart)
    assert width % BLOCK == height % BLOCK == 0
    blocks: dict[tuple[int, int], int] = {}
    u, v = two_layers.x + offset[chart, 0], two_layers.y + offset[chart, 1]
    for block, number in zip(zip(u // BLOCK, v // BLOCK), chart.tolist()):
        assert blocks.setdefault(block, number) == number


def test_packed_rectangles_do_not_overlap():
    rng = np.random.default_rng(0)
    widths, heights = rng.integers(1, 9, 200), rng.integers(1, 9, 200)
    widths[0], heights[0] = 20, 30
    corners, (width, height) = pack(widths, heights, 128)
    canvas = np.zeros((height, width), int)
    for (x, y), w, h in zip(corners, widths, heights):
        canvas[y : y + h, x : x + w] += 1
    assert canvas.max() == 1
    assert tuple(corners[0]) == (0, 0)
    assert canvas.mean() > 0.85
    assert pack(widths, heights, 30) is None
