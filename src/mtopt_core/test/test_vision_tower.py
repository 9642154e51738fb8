from __future__ import annotations

import pytest
import torch

from mtopt_core.errors import ConfigurationError
from mtopt_core.vision_tower import VisionTower, map_size

torch.set_num_threads(1)


@pytest.mark.parametrize(('preset', 'image_size', 'side'), [('paper', 472, 27), ('paper', 218, 13), ('small', 64, 8)])
def test_the_tower_ends_in_a_map_of_the_promised_size(preset, image_size, side):
    with torch.device('meta'):
        maps = VisionTower(preset, 'group')(torch.empty(1, 3, image_size, image_size))
    assert maps.shape[2:] == (side, side)
    assert map_size(preset, image_size) == side


def test_pooling_pads_as_tensorflow_same_does():
    sizes = []
    with torch.device('meta'):
        tower = VisionTower('paper', 'batch').eval()
        maps = torch.empty(1, 3, 472, 472)
        for layer in tower.layers:
            maps = layer(maps)
            sizes.append(maps.shape[2])
    # Grasping44: conv1 236, pool1 79, pool2 27.
    assert list(dict.fromkeys(sizes)) == [236, 79, 27]
    pool = tower.layers[3]
    # 79 = 26 * 3 + 1 places: one row of padding on either side, so the first window holds rows 0 and 1.
    rows = torch.arange(79.0)[None, None, :, None].expand(1, 1, 79, 79)
    assert pool(rows)[0, 0, :2, 0].tolist() == [1, 4]
    # 236 = 78 * 3 + 2: the odd row of padding comes last, so the first window holds rows 0 to 2.
    rows = torch.arange(236.0)[None, None, :, None].expand(1, 1, 236, 236)
    assert pool(rows)[0, 0, [0, -1], 0].tolist() == [2, 235]


@pytest.mark.parametrize('size', [216, 471])
def test_an_image_the_paper_network_cannot_take_is_refused(size):
    with pytest.raises(ConfigurationError, match='even image size of at least 218'):
        map_size('paper', size)
