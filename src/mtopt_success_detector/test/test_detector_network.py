from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from mtopt_core.precision import Precision
from mtopt_core.tasks import load_tasks
from mtopt_success_detector.judging import Judge
from mtopt_success_detector.network import DetectorConfiguration, SuccessDetector


@pytest.fixture(scope='module')
def network() -> SuccessDetector:
    torch.manual_seed(0)
    return SuccessDetector(DetectorConfiguration.small(12)).eval()


def test_the_paper_s_network_is_the_q_network_without_state_and_action():
    network = SuccessDetector(DetectorConfiguration.paper(12))
    blocks_left_out = sum(width * 256 + 256 for width in (3, 2, 1, 1, 1, 1, 1))
    parameters = sum(weights.numel() for weights in network.parameters() if weights.requires_grad)
    assert parameters == 1_246_145 - blocks_left_out


@torch.inference_mode()
def test_the_logit_is_the_mean_over_the_views_present(network):
    images = torch.rand(1, 1, 3, 3, 64, 64)
    alone = torch.cat([network(images, torch.eye(3, dtype=torch.bool)[view][None, None]) for view in range(3)])
    torch.testing.assert_close(network(images, torch.tensor([[[True, True, True]]])), alone.mean(0, keepdim=True))
    torch.testing.assert_close(
        network(images, torch.tensor([[[True, False, True]]])), alone[[0, 2]].mean(0, keepdim=True)
    )


@torch.inference_mode()
def test_episodes_of_a_batch_do_not_touch_each_other(network):
    images = torch.rand(4, 1, 3, 3, 64, 64)
    shown = [[True, True, True], [True, False, False], [False, True, True], [False, False, True]]
    present = torch.tensor(shown)[:, None]
    alone = torch.cat([network(images[n : n + 1], present[n : n + 1]) for n in range(4)])
    torch.testing.assert_close(network(images, present), alone)


@torch.inference_mode()
def test_tasks_are_judged_differently(network):
    logits = network(torch.rand(1, 1, 3, 3, 64, 64), torch.ones(1, 1, 3, dtype=torch.bool))
    assert logits.shape == (1, 12)
    assert logits.unique().numel() == 12


@torch.inference_mode()
def test_a_task_is_judged_by_the_look_of_its_skill_alone():
    torch.manual_seed(0)
    tasks = load_tasks()
    corners = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
    regions = {'place': {'side_left': corners, 'wrist': corners}, 'pour': {'main': corners}}
    configuration = DetectorConfiguration.small(len(tasks)).of_tasks(tasks).looking_at(regions)
    assert configuration.regions == {'place': {'side_left': corners}}
    network = SuccessDetector(configuration).eval()
    images, present = torch.rand(2, 2, 3, 3, 64, 64), torch.ones(2, 2, 3, dtype=torch.bool)
    present[:, 1] = torch.tensor([False, True, False])
    logits = network(images, present)
    other = images.clone()
    other[:, 1] = torch.rand(2, 3, 3, 64, 64)
    lifts = [task.skill == 'lift' for task in tasks.tasks]
    moved = (network(other, present) != logits).all(dim=0)
    assert moved.tolist() == [not lift for lift in lifts]
    judged = network.judge(network.tower(images[present]), present)
    torch.testing.assert_close(judged.logits, logits)
    seen = ~judged.by_view.isnan()
    assert seen.any(dim=2).tolist() == [[True] * 3] * 2
    assert seen[0, 1].all()
    assert seen[0, 0].tolist() == lifts


def test_a_detector_with_regions_must_know_the_skills_of_its_tasks():
    with pytest.raises(ValidationError, match='skills of its 2 tasks'):
        DetectorConfiguration(preset='small', tasks=2, image_size=64, norm='group', regions={'place': {}})


def test_a_compiled_judge_judges_as_the_network_does_whatever_the_number_of_images_and_in_any_thread():
    torch.manual_seed(0)
    tasks, rng = load_tasks(), np.random.default_rng(0)
    network = SuccessDetector(DetectorConfiguration.small(len(tasks)).of_tasks(tasks)).eval()
    precision = Precision(torch.device('cpu'), bfloat16=False)
    compiled = Judge.compiled(network, precision, streams=2)
    batches = []
    for episodes in (1, 5, 2):
        images = rng.integers(0, 256, (episodes, 1, 3, 64, 64, 3), np.uint8)
        present = np.ones((episodes, 1, 3), bool)
        present[:, 0, 1] = rng.random(episodes) < 0.5
        batches.append((images, present))
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda batch: compiled(*batch), batches))
    for batch, judged in zip(batches, found, strict=True):
        expected = Judge(network, precision)(*batch)
        spread = expected.logits.std()
        np.testing.assert_allclose(judged.logits, expected.logits, atol=0.05 * spread, rtol=0.02)
        assert (np.isnan(judged.by_view) == np.isnan(expected.by_view)).all()
        np.testing.assert_allclose(judged.distances, expected.distances, rtol=0.02)
