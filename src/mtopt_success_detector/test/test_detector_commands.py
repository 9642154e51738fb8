from __future__ import annotations

import cv2
import pytest
from typer.testing import CliRunner

from mtopt_core.checkpoint import load_manifest, newest_checkpoint
from mtopt_core.errors import CheckpointError, ConfigurationError
from mtopt_success_detector.cli import app
from mtopt_success_detector.manifest import DetectorManifest


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_train_evaluate_and_threshold_follow_one_another(squares, tmp_path):
    data = squares.data
    squares.collect(60, seed=1)
    out = tmp_path / 'models'
    said = run('train', '--bags', data.root, '--labels', 'simulator', '--out', out, '--steps', 3, '--image-size', 32)
    assert 'outcomes by simulator' in said
    assert 'always unsure: lift-banana' in said
    path = newest_checkpoint(out)
    manifest = load_manifest(path, DetectorManifest)
    assert (manifest.network.image_size, manifest.training.steps) == (32, 3)

    run(
        'train',
        '--bags',
        data.root,
        '--labels',
        'simulator',
        '--out',
        out,
        '--steps',
        4,
        '--image-size',
        32,
        '--from',
        out,
    )
    newest = newest_checkpoint(out)
    assert load_manifest(newest, DetectorManifest).started_from == path.name

    said = run('evaluate', '--checkpoint', out, '--bags', data.root, '--labels', 'simulator')
    assert all(task in said for task in squares.JUDGED)
    assert '…' not in said, 'nothing is cut off in a terminal of 80 columns'

    said = run('threshold', '--checkpoint', out, '--bags', data.root, '--labels', 'simulator', '--unsure', '0.1')
    assert f'the weights of {newest.name}' in said
    anew = newest_checkpoint(out)
    assert load_manifest(anew, DetectorManifest).rule.unsure == 0.1
    assert load_manifest(anew, DetectorManifest).sha256 == load_manifest(newest, DetectorManifest).sha256

    said = run(
        'evaluate', '--checkpoint', out, '--bags', data.root, '--labels', 'simulator', '--views', 'side_left,main'
    )
    assert 'side_left,main' in said
    with pytest.raises(ConfigurationError, match='wrist'):
        run('evaluate', '--checkpoint', out, '--bags', data.root, '--labels', 'simulator', '--views', 'wrist')


def test_a_folder_without_a_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match='holds none'):
        run('evaluate', '--checkpoint', tmp_path, '--bags', tmp_path)


def test_regions_are_shown_outlined_and_rectified_and_what_is_missing_is_named(squares, tmp_path):
    cell, out = tmp_path / 'cell.yaml', tmp_path / 'regions.png'
    cell.write_text(
        'regions: {place: {main: [[1, 0], [1, 1], [0, 1], [0, 0]], wrist: [[0, 0], [1, 0], [1, 1], [0, 1]]}}'
    )
    command = ['regions', '--bags', str(squares.data.root), '--out', str(out), '--cell-file', str(cell)]
    squares.data.bags.mkdir(parents=True)
    assert 'holds no episode' in str(CliRunner().invoke(app, command).exception)
    squares.collect(2, seed=3)
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert 'place' in result.output
    sheet = cv2.imread(str(out))
    assert sheet.shape == (640, 640, 3)
    upper, lower = sheet[:320, :320], sheet[320:, :320]
    # The first corner is the upper right one: what was right is above.
    assert lower[:120].mean() > lower[200:].mean() + 30
    assert upper[:, 200:].mean() > upper[:, :120].mean() + 30
    assert not sheet[:, 320:].any()  # the wrist camera has no image
    assert 'seed9' in str(CliRunner().invoke(app, [*command, '--episode', 'seed9']).exception)
    cell.write_text('{}')
    assert 'no regions' in str(CliRunner().invoke(app, command).exception)
