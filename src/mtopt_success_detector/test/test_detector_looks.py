"""What a detector sees of final images that are larger than it needs."""

import cv2
import numpy as np

from mtopt_core.configuration import load_cell
from mtopt_core.images import crop_resize, decode_jpeg, encode_jpeg
from mtopt_core.regions import rectify
from mtopt_success_detector.looks import Looks

PLACES = load_cell().regions['place']
LOOKS = Looks(tuple(PLACES), 64, {'place': PLACES})


def smooth(side):
    coarse = np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)
    return encode_jpeg(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC), 95)


def test_a_large_picture_shows_the_same_although_no_more_of_it_is_decoded_than_is_needed(monkeypatch):
    for side, decoded in ((128, [128] * 3), (480, [240] * 3), (472, [236, 236, 472])):
        jpeg, seen = smooth(side), []
        with monkeypatch.context() as patched:
            patched.setattr(
                'mtopt_success_detector.looks.crop_resize',
                lambda rgb, size, seen=seen: seen.append(rgb.shape) or crop_resize(rgb, size),
            )
            whole, rectified = LOOKS.of(dict.fromkeys(PLACES, jpeg))
        assert seen == [(pixels, pixels, 3) for pixels in decoded]
        full = decode_jpeg(jpeg)
        for view, image, region in zip(PLACES, whole, rectified, strict=True):
            assert np.abs(image - crop_resize(full, 64).astype(int)).mean() < 1
            assert np.abs(region - rectify(full, PLACES[view], 64).astype(int)).mean() < 1
