"""CenterFace's maps, decoded by the book: one cell at a time."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blurd.core.heads import HEADS, LARGEST_SIDE_PX, decode_centerface


def empty_maps(rows: int = 8, columns: int = 10) -> dict[str, Any]:
    return {
        "heatmap": np.zeros((1, 1, rows, columns), np.float32),
        "scale": np.zeros((1, 2, rows, columns), np.float32),
        "offset": np.zeros((1, 2, rows, columns), np.float32),
    }


def random_maps(seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    rows, columns = random.integers(1, 12, 2)
    return {
        "heatmap": random.choice([0.0, 0.1, 0.2, 0.5, 0.9], (1, 1, rows, columns)).astype(np.float32),
        "scale": random.normal(1, 1, (1, 2, rows, columns)).astype(np.float32),
        "offset": random.normal(0, 1, (1, 2, rows, columns)).astype(np.float32),
    }


def decoded_cell_by_cell(maps: dict[str, Any], floor: float) -> list[list[float]]:
    heat, scale, offset = maps["heatmap"][0, 0], maps["scale"][0], maps["offset"][0]
    found = []
    for row in range(heat.shape[0]):
        for column in range(heat.shape[1]):
            around = heat[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
            if heat[row, column] < floor or heat[row, column] < around.max():
                continue
            height, width = (4 * math.exp(scale[channel, row, column]) for channel in (0, 1))
            y = (row + float(offset[0, row, column]) + 0.5) * 4
            x = (column + float(offset[1, row, column]) + 0.5) * 4
            found.append([x - width / 2, y - height / 2, x + width / 2, y + height / 2, float(heat[row, column])])
    return found


@given(st.integers(0, 10_000), st.sampled_from([0.05, 0.2, 0.9]))
def test_against_the_slow_way(seed: int, floor: float) -> None:
    maps = random_maps(seed)
    (hits,) = decode_centerface(maps, floor)
    expected = decoded_cell_by_cell(maps, floor)
    assert hits.shape == (len(expected), 5)
    assert np.allclose(hits, np.array(expected).reshape(-1, 5))


def test_one_face_lies_where_the_maps_put_it() -> None:
    maps = empty_maps()
    maps["heatmap"][0, 0, 3, 5] = 0.75
    maps["scale"][0, :, 3, 5] = math.log(40 / 4), math.log(20 / 4)
    maps["offset"][0, :, 3, 5] = 0.25, -0.5
    (hits,) = decode_centerface(maps, 0.1)
    assert hits.tolist() == [pytest.approx([10, -5, 30, 35, 0.75], abs=1e-5)]


def test_nothing_under_the_floor_and_everything_on_it() -> None:
    maps = empty_maps()
    maps["heatmap"][0, 0, 0, 0] = 0.25
    assert len(decode_centerface(maps, 0.25)[0]) == 1
    assert decode_centerface(maps, 0.2500001)[0].shape == (0, 5)


def test_wild_values_become_no_wild_boxes() -> None:
    maps = empty_maps()
    maps["heatmap"][0, 0, 0, 0] = np.nan
    maps["heatmap"][0, 0, 0, 4] = np.inf
    maps["heatmap"][0, 0, 4, 0] = 0.9
    maps["scale"][0, :, 4, 0] = 1e30
    maps["heatmap"][0, 0, 4, 4] = 0.8
    maps["offset"][0, 0, 4, 4] = np.nan
    maps["heatmap"][0, 0, 7, 9] = 1.5
    (hits,) = decode_centerface(maps, 0.1)
    assert hits[:, 4].tolist() == [pytest.approx(0.9), 1.0]
    assert hits[0, 2] - hits[0, 0] == LARGEST_SIDE_PX


def test_every_head_names_the_outputs_that_it_reads() -> None:
    for name, head in HEADS.items():
        for left_out in head.outputs:
            maps = {output: values for output, values in empty_maps().items() if output != left_out}
            with pytest.raises(KeyError):
                head.decode(maps, 0.1)
        assert name
