from pathlib import Path

from setuptools import find_packages, setup

NAME = 'mtopt_bringup'
# Resolved, because colcon also runs a link to this file; relative, because setuptools wants that.
HERE = Path(__file__).resolve().parent
LAUNCH = sorted(str(path.relative_to(HERE)) for path in HERE.glob('launch/*.launch.py'))

setup(
    name=NAME,
    version='0.1.0',
    description='The graph of mtopt, its launcher, simulate, evaluate and the demo.',
    maintainer='mtopt maintainers',
    maintainer_email='maintainers@mtopt.example',
    license='Apache-2.0',
    packages=find_packages(exclude=['test']),
    package_data={NAME: ['templates/*.html']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (f'share/{NAME}', ['package.xml']),
        (f'share/{NAME}/launch', LAUNCH),
    ],
    install_requires=['setuptools'],
    zip_safe=True,
    entry_points={
        'mtopt.commands': [
            f'simulate = {NAME}.simulate:simulate',
            f'evaluate = {NAME}.evaluate:evaluate',
            f'run = {NAME}.run_node:run',
            f'fleet = {NAME}.fleet_node:fleet',
            f'replay = {NAME}.replay_node:replay',
            f'stop = {NAME}.stop_node:stop',
            f'resume = {NAME}.resume_node:resume',
            f'report = {NAME}.report:report',
            f'bootstrap = {NAME}.bootstrap:bootstrap',
            f'demo = {NAME}.demo:demo',
            f'study = {NAME}.study:study',
        ],
    },
)
