"""Images are changed as light and cameras change them, each by an amount of its own, and stay images."""

import torch

from mtopt_core.augmentation import recolour, turn


def images():
    return torch.rand((5, 3, 6, 6), generator=torch.Generator().manual_seed(1))


def test_no_turn_changes_nothing():
    torch.testing.assert_close(turn(images(), 0, torch.Generator()), images())


def test_every_image_is_turned_about_its_middle_by_an_angle_of_its_own_within_bounds():
    before = torch.zeros(200, 3, 41, 41)
    before[:, :, 19:22, 33:36] = 1
    after = turn(before, 0.4, torch.Generator().manual_seed(4))[:, 0]
    places = torch.arange(41.0) - 20
    weight = after.sum(dim=(1, 2))
    x, y = (after * places).sum(dim=(1, 2)) / weight, (after * places[:, None]).sum(dim=(1, 2)) / weight
    torch.testing.assert_close(torch.hypot(x, y), torch.full((200,), 14.0), rtol=0, atol=0.2)
    angles = torch.atan2(y, x)
    assert angles.min() < -0.35
    assert angles.max() > 0.35
    assert angles.abs().max() < 0.42


def test_no_change_of_colour_changes_nothing():
    torch.testing.assert_close(recolour(images(), 0, 0, torch.Generator()), images())


def test_saturation_moves_colours_from_their_grey_and_leaves_the_grey():
    # Away from black and white, where nothing is cut off.
    before = 0.4 + 0.2 * images()
    after = recolour(before, 0, 0.5, torch.Generator().manual_seed(2))
    grey = before.mean(dim=1, keepdim=True)
    torch.testing.assert_close(after.mean(dim=1, keepdim=True), grey)
    strength = ((after - grey) / (before - grey)).flatten(1)
    torch.testing.assert_close(
        strength, strength.median(dim=1, keepdim=True).values.expand_as(strength), rtol=1e-3, atol=1e-3
    )
    assert strength.median(dim=1).values.std() > 0.05


def test_a_tint_multiplies_every_colour_of_an_image_by_a_number_of_its_own():
    before = 0.3 + 0.2 * images()
    gains = (recolour(before, 0.4, 0, torch.Generator().manual_seed(2)) / before).flatten(2)
    torch.testing.assert_close(gains, gains.mean(dim=2, keepdim=True).expand_as(gains))
    assert gains.mean(dim=2).std() > 0.1


def test_the_result_is_an_image_again():
    after = recolour(images(), 0.9, 0.9, torch.Generator().manual_seed(3))
    assert after.min() >= 0
    assert after.max() <= 1
