from __future__ import annotations

from array import array

import cv2
import numpy as np
import pytest

from mtopt_core.errors import ImageError
from mtopt_core.images import crop_resize, decode_jpeg, decode_square, encode_jpeg, to_rgb

# One colour per image, so that chroma subsampling and demosaicing must give it back exactly everywhere.
COLOUR = np.array([200, 100, 30], np.uint8)
HEIGHT, WIDTH = 6, 8
RGB = np.tile(COLOUR, (HEIGHT, WIDTH, 1))


def _bayer(first_rows: str) -> np.ndarray:
    """Return what a sensor with that colour pattern sees."""
    channel = ['RGB'.index(letter) for letter in first_rows.upper()]
    mosaic = np.empty((HEIGHT, WIDTH), np.uint8)
    for place, colour in enumerate(channel):
        mosaic[place // 2 :: 2, place % 2 :: 2] = COLOUR[colour]
    return mosaic


def _yuv(order: str) -> np.ndarray:
    red, green, blue = COLOUR.astype(float)
    luma = 16 + 0.257 * red + 0.504 * green + 0.098 * blue
    parts = {
        'y': luma,
        'u': 128 - 0.148 * red - 0.291 * green + 0.439 * blue,
        'v': 128 + 0.439 * red - 0.368 * green - 0.071 * blue,
    }
    return np.tile(np.array([round(parts[letter]) for letter in order], np.uint8), (HEIGHT, WIDTH // 2))


ENCODED = {
    'rgb8': RGB,
    'bgr8': RGB[..., ::-1],
    'rgba8': np.dstack([RGB, np.full((HEIGHT, WIDTH), 9, np.uint8)]),
    'bgra8': np.dstack([RGB[..., ::-1], np.full((HEIGHT, WIDTH), 9, np.uint8)]),
    'yuv422': _yuv('uyvy'),
    'uyvy': _yuv('uyvy'),
    'yuv422_yuy2': _yuv('yuyv'),
    'yuyv': _yuv('yuyv'),
    'bayer_rggb8': _bayer('rggb'),
    'bayer_bggr8': _bayer('bggr'),
    'bayer_gbrg8': _bayer('gbrg'),
    'bayer_grbg8': _bayer('grbg'),
}


@pytest.mark.parametrize('padding', [0, 5])
@pytest.mark.parametrize('encoding', ENCODED)
def test_every_encoding_gives_the_same_colour_with_and_without_padded_rows(encoding: str, padding: int) -> None:
    rows = ENCODED[encoding].reshape(HEIGHT, -1)
    step = rows.shape[1] + padding
    data = np.pad(rows, ((0, 0), (0, padding)), constant_values=77).tobytes()
    rgb = to_rgb(encoding, HEIGHT, WIDTH, step, array('B', data))
    assert rgb.shape == (HEIGHT, WIDTH, 3)
    assert rgb.dtype == np.uint8
    np.testing.assert_allclose(rgb, RGB, atol=3)


def test_pixels_keep_their_places() -> None:
    image = np.arange(HEIGHT * WIDTH * 3, dtype=np.uint8).reshape(HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(to_rgb('rgb8', HEIGHT, WIDTH, WIDTH * 3, image.tobytes()), image)


def test_grey_becomes_three_equal_channels() -> None:
    grey = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH)
    rgb = to_rgb('mono8', HEIGHT, WIDTH, WIDTH, grey.tobytes())
    np.testing.assert_array_equal(rgb, np.dstack([grey] * 3))


def test_the_last_row_may_lack_its_padding() -> None:
    data = np.pad(RGB.reshape(HEIGHT, -1), ((0, 0), (0, 4))).tobytes()[:-4]
    np.testing.assert_array_equal(to_rgb('rgb8', HEIGHT, WIDTH, WIDTH * 3 + 4, data), RGB)


@pytest.mark.parametrize(
    ('encoding', 'height', 'width', 'step', 'size', 'says'),
    [
        ('32FC1', 4, 4, 16, 64, 'not supported'),
        ('mono16', 4, 4, 8, 32, 'rgb8'),
        ('rgb8', 4, 4, 12, 47, '48 bytes, got 47'),
        ('rgb8', 4, 4, 11, 48, 'step of at least 12'),
        ('rgb8', 0, 4, 12, 48, '4x0'),
        ('yuv422', 4, 3, 6, 24, 'cannot be converted'),
    ],
)
def test_an_image_that_cannot_be_converted_says_why(
    encoding: str, height: int, width: int, step: int, size: int, says: str
) -> None:
    with pytest.raises(ImageError, match=says):
        to_rgb(encoding, height, width, step, bytes(size))


def test_the_crop_is_the_centre_square() -> None:
    image = np.zeros((40, 100, 3), np.uint8)
    image[:, 30:70] = 255
    assert (crop_resize(image, 40) == 255).all()
    assert (crop_resize(image, 10) == 255).all()
    assert (crop_resize(image.transpose(1, 0, 2), 20) == 255).all()


def test_shrinking_averages_areas() -> None:
    checkers = np.indices((64, 64)).sum(0) % 2 * 200
    small = crop_resize(np.dstack([checkers] * 3).astype(np.uint8), 16)
    assert (small == 100).all()


def test_a_jpeg_comes_back_as_rgb() -> None:
    image = cv2.resize(np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8), (64, 32), interpolation=cv2.INTER_NEAREST)
    decoded = decode_jpeg(encode_jpeg(image, 95))
    assert decoded.shape == image.shape
    assert np.abs(decoded[:, :28].astype(int) - [255, 0, 0]).max() < 6
    assert np.abs(decoded[:, 36:].astype(int) - [0, 0, 255]).max() < 6


def _smooth(height: int, width: int) -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize('size', [(64, 64), (100, 127), (128, 128), (472, 472), (301, 640), (480, 640), (1030, 514)])
def test_a_network_sees_the_centre_square_however_large_the_jpeg(size: tuple[int, int]) -> None:
    jpeg = encode_jpeg(_smooth(*size), 95)
    seen, expected = decode_square(jpeg, 64), crop_resize(decode_jpeg(jpeg), 64)
    assert seen.shape == (64, 64, 3)
    assert seen.flags.c_contiguous
    assert np.abs(seen.astype(int) - expected).mean() < 1


@pytest.mark.parametrize(('size', 'decoded'), [(127, 127), (128, 64), (255, 255), (472, 118), (512, 64), (1024, 128)])
@pytest.mark.parametrize('progressive', [0, 1])
def test_no_more_of_a_jpeg_is_decoded_than_is_needed(
    size: int, decoded: int, progressive: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr('mtopt_core.images.crop_resize', lambda rgb, _: seen.append(rgb.shape))
    _, jpeg = cv2.imencode('.jpg', _smooth(size, size), (cv2.IMWRITE_JPEG_PROGRESSIVE, progressive))
    decode_square(jpeg.tobytes(), 64)
    assert seen == [(decoded, decoded, 3)]


def test_a_jpeg_may_be_padded_with_zeros() -> None:
    jpeg = encode_jpeg(RGB, 95)
    np.testing.assert_array_equal(decode_jpeg(jpeg + bytes(7)), decode_jpeg(jpeg))


def test_a_jpeg_cut_off_anywhere_is_an_error() -> None:
    jpeg = encode_jpeg(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8), 90)
    for length in range(0, len(jpeg) - 1, 7):
        for decode in (decode_jpeg, lambda data: decode_square(data, 8)):
            with pytest.raises(ImageError):
                decode(jpeg[:length])


def test_something_else_is_no_jpeg() -> None:
    _, png = cv2.imencode('.png', RGB)
    with pytest.raises(ImageError, match='not a complete JPEG'):
        decode_jpeg(png.tobytes())
    with pytest.raises(ImageError, match='damaged'):
        decode_jpeg(b'\xff\xd8 nonsense \xff\xd9')


@pytest.mark.parametrize('image', [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)])
def test_only_colour_images_are_encoded(image: np.ndarray) -> None:
    with pytest.raises(ImageError):
        encode_jpeg(image, 90)
