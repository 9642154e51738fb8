"""The command line as a user starts it: a process, its output and its exit status."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mtopt_core.bag import BagWriter, partial_path
from mtopt_core.configuration import CellConfiguration
from mtopt_core.episode import Episode, Outcome, Verdict
from mtopt_core.episode_bag import write_episode
from mtopt_core.label_store import HUMAN, LabelStore
from mtopt_core.paths import DataFolder

Make = Callable[..., Episode]
SUCCESS = Outcome('lift-can', Verdict.SUCCESS, 1.0)

COMMANDS = {
    'greet': '''
        def greet(name: str, loud: bool = False) -> None:
            """Say hello to somebody.

            At length.
            """
            print(f'hello {name}' + '!' * loud)
    ''',
    'broken': '''
        """Break when imported."""
        raise RuntimeError('no luck')
    ''',
    'fails': '''
        """Fail in ways that are foreseen."""
        import typer
        from mtopt_core.errors import MtoptError
        app = typer.Typer(add_completion=False)
        @app.command()
        def foreseen() -> None:
            raise MtoptError('line one\\n  line two')
        @app.command()
        def unforeseen() -> None:
            raise ZeroDivisionError('a fault of ours')
    ''',
}
ENTRY_POINTS = """
[mtopt.commands]
bags = mtopt_core.bag_commands:app
labels = mtopt_core.label_commands:app
greet = greet_command:greet
broken = broken_command:app
fails = fails_command:app
absent = absent_package.module:app
"""


@pytest.fixture
def mtopt(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return what runs `mtopt` in a place where some commands are installed, not all of them well."""
    site = tmp_path / 'site'
    metadata = site / 'mtopt_core-0.1.0.dist-info'
    metadata.mkdir(parents=True)
    (metadata / 'METADATA').write_text('Metadata-Version: 2.1\nName: mtopt_core\nVersion: 0.1.0\n')
    (metadata / 'entry_points.txt').write_text(ENTRY_POINTS)
    for name, code in COMMANDS.items():
        lines = code.strip('\n').splitlines()
        (site / f'{name}_command.py').write_text('\n'.join(line[8:] for line in lines))
    path = os.pathsep.join([str(site), *sys.path])
    plain = {'PYTHONPATH': path, 'COLUMNS': '300', 'NO_COLOR': '1', 'TERM': 'dumb'}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, '-m', 'mtopt_core.cli', *arguments],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, **plain},
            timeout=60,
        )

    return run


@pytest.fixture
def data(tmp_path: Path, make_episode: Make) -> DataFolder:
    """Return a folder with two whole episodes, of which one is labelled, one cut off and one set aside."""
    data = DataFolder(tmp_path / 'data')
    for name in ('one', 'two', 'cut', 'aside'):
        write_episode(data.bags, make_episode(name), CellConfiguration(), [SUCCESS])
    for name, place in (('cut', partial_path(data.bags, 'cut')), ('aside', data.set_aside / 'aside')):
        file = data.bags / name / f'{name}_0.mcap'
        file.write_bytes(file.read_bytes()[:-60])
        place.parent.mkdir(exist_ok=True)
        file.parent.rename(place)
    (data.set_aside / 'aside' / 'reason.txt').write_text('truncated\n')
    store = LabelStore(data)
    store.add('one', HUMAN, '', [replace(SUCCESS, verdict=Verdict.FAILURE)], who='Ada')
    store.close()
    return data


def test_help_lists_every_command_with_its_summary_and_examples(mtopt: Callable) -> None:
    done = mtopt('--help')
    assert done.returncode == 0
    assert 'List, check and salvage the recorded episodes of a folder.' in done.stdout
    assert 'Say hello to somebody.' in done.stdout
    assert 'At length' not in done.stdout
    assert 'Break when imported.' in done.stdout
    assert "cannot be loaded: ModuleNotFoundError: No module named 'absent_package'" in done.stdout
    assert 'mtopt bags list data' in done.stdout


def test_help_is_fast_because_it_imports_no_command(mtopt: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PYTHONPROFILEIMPORTTIME', '1')
    imported = {line.rpartition('|')[2].strip() for line in mtopt('--help').stderr.splitlines()}
    assert 'typer' in imported
    assert not imported & {'greet_command', 'mtopt_core.bag_commands', 'mtopt_core.bag', 'numpy', 'cv2', 'torch'}


def test_a_function_becomes_a_command(mtopt: Callable) -> None:
    done = mtopt('greet', 'Ada', '--loud')
    assert (done.returncode, done.stdout) == (0, 'hello Ada!\n')
    assert 'At length.' in mtopt('greet', '--help').stdout


def test_a_command_that_cannot_be_imported_says_so_in_one_line_and_hides_no_other(mtopt: Callable) -> None:
    done = mtopt('broken')
    assert done.returncode == 1
    assert done.stderr.startswith('mtopt: command broken cannot be loaded from broken_command:app: RuntimeError: no l')
    assert done.stderr.count('\n') == 1
    assert mtopt('greet', 'Ada').returncode == 0


def test_a_foreseen_error_is_one_line_and_an_unforeseen_one_a_traceback(mtopt: Callable) -> None:
    foreseen = mtopt('fails', 'foreseen')
    assert (foreseen.returncode, foreseen.stderr) == (1, 'mtopt: line one line two\n')
    unforeseen = mtopt('fails', 'unforeseen')
    assert unforeseen.returncode == 1
    assert 'Traceback' in unforeseen.stderr
    assert 'ZeroDivisionError: a fault of ours' in unforeseen.stderr


def test_a_mistyped_command_is_corrected(mtopt: Callable) -> None:
    done = mtopt('bag')
    assert done.returncode == 2
    assert "Did you mean 'bags'" in done.stderr


def test_the_version_is_shown(mtopt: Callable) -> None:
    assert mtopt('--version').stdout == 'mtopt 0.1.0\n'


def test_bags_are_listed_with_the_outcome_that_counts(mtopt: Callable, data: DataFolder) -> None:
    lines = {line.split()[1]: line for line in mtopt('bags', 'list', str(data.root)).stdout.splitlines() if '│' in line}
    assert set(lines) == {'one', 'two'}
    assert 'failure' in lines['one']
    assert 'scripted_ending' in lines['one']
    assert 'success' not in lines['two']
    assert 'the last 1 of 2' in mtopt('bags', 'list', str(data.root), '--last', '1').stdout
    assert 'the last 0 of 0' in mtopt('bags', 'list', str(data.root), '--task', 'lift-milk').stdout


def test_an_unknown_source_of_outcomes_is_named(mtopt: Callable, data: DataFolder) -> None:
    done = mtopt('bags', 'list', str(data.root), '--outcomes', 'me')
    assert done.returncode == 1
    assert 'known: human, detector, simulator' in done.stderr


def test_checking_moves_bad_bags_and_says_so(mtopt: Callable, data: DataFolder) -> None:
    done = mtopt('bags', 'check', str(data.root))
    assert (done.returncode, done.stdout) == (
        0,
        '2 episodes, 2 of them new; 0 set aside, 0 cannot be read now, 0 gone, 1 being written or cut off\n',
    )
    file = data.bags / 'two' / 'two_0.mcap'
    file.write_bytes(file.read_bytes()[:-1])
    done = mtopt('bags', 'check', str(data.root), '--again')
    assert done.returncode == 1
    assert f'{data.set_aside / "two"}: bag {data.bags / "two"} is truncated' in done.stdout
    assert '1 episodes, 1 of them new; 1 set aside' in done.stdout


def test_salvaging_brings_cut_off_and_damaged_bags_back(mtopt: Callable, data: DataFolder) -> None:
    done = mtopt('bags', 'salvage', str(data.root))
    assert done.stdout.splitlines() == [f'{data.bags / name}: salvaged' for name in ('cut', 'aside')]
    assert sorted(path.name for path in data.bags.iterdir()) == ['aside', 'cut', 'one', 'two']
    assert list(data.set_aside.iterdir()) == []
    assert mtopt('bags', 'check', str(data.root)).stdout.startswith('4 episodes, 4 of them new; 0 set aside')


def test_what_cannot_be_salvaged_stays_set_aside(mtopt: Callable, data: DataFolder) -> None:
    for path in (partial_path(data.bags, 'cut') / 'cut_0.mcap', data.set_aside / 'aside' / 'aside_0.mcap'):
        path.write_bytes(path.read_bytes()[:500])
    done = mtopt('bags', 'salvage', str(data.root))
    assert done.stdout.count('holds no whole chunk') == 2
    assert sorted(path.name for path in data.bags.iterdir()) == ['one', 'two']
    assert {path.name for path in data.set_aside.iterdir()} == {'cut', 'aside'}
    assert (data.set_aside / 'aside' / 'reason.txt').read_text() == 'truncated\n'


def test_what_is_whole_and_yet_no_episode_stays_set_aside(mtopt: Callable, data: DataFolder) -> None:
    shutil.rmtree(data.set_aside / 'aside')
    foreign = BagWriter(data.set_aside, 'foreign')
    foreign.write('/chatter', 'std_msgs/msg/Empty', b'\0\1\0\0\0', 1)
    foreign.finish()
    assert 'not of mtopt' in mtopt('bags', 'salvage', str(data.root)).stdout
    assert [path.name for path in data.set_aside.iterdir()] == ['foreign']
    assert sorted(path.name for path in data.bags.iterdir()) == ['cut', 'one', 'two']


def test_labels_are_rebuilt_from_journal_and_bags(mtopt: Callable, data: DataFolder) -> None:
    for path in data.root.glob('labels.sqlite*'):
        path.unlink()
    done = mtopt('labels', 'rebuild', str(data.root))
    assert '1 gradings by people restored' in done.stdout
    assert '2 gradings by simulator' in done.stdout
    store = LabelStore(data)
    assert store.outcomes('one')['lift-can'].verdict is Verdict.FAILURE
    assert store.outcomes('two', ['simulator']) == {'lift-can': SUCCESS}
    store.close()


def test_a_folder_that_does_not_exist_is_named(mtopt: Callable, tmp_path: Path) -> None:
    done = mtopt('bags', 'list', str(tmp_path / 'nowhere'))
    assert done.returncode == 2
    assert 'does not exist' in done.stderr


def test_the_installed_command_runs() -> None:
    assert subprocess.run(['mtopt', '--help'], check=False, capture_output=True).returncode == 0
