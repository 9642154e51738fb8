from pathlib import Path

from setuptools import find_packages, setup

NAME = 'mtopt_core'
# Resolved, because colcon also runs a link to this file; relative, because setuptools wants that.
HERE = Path(__file__).resolve().parent
# Links to the repository's folders, which colcon can only install from within the package.
SHIPPED = sorted(path.relative_to(HERE) for path in HERE.glob('shipped/*/**/*') if path.is_file())

setup(
    name=NAME,
    version='0.1.0',
    description='Tasks, episodes, bags, labels, kinematics and the command line root of mtopt. Imports no ROS.',
    maintainer='mtopt maintainers',
    maintainer_email='maintainers@mtopt.example',
    license='Apache-2.0',
    packages=find_packages(exclude=['test']),
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (f'share/{NAME}', ['package.xml']),
        *((f'share/{NAME}/{path.parent.relative_to("shipped")}', [str(path)]) for path in SHIPPED),
    ],
    install_requires=['setuptools'],
    zip_safe=True,
    entry_points={
        'console_scripts': ['mtopt = mtopt_core.cli:main'],
        'mtopt.commands': [
            'bags = mtopt_core.bag_commands:app',
            'labels = mtopt_core.label_commands:app',
            'task = mtopt_core.task_commands:app',
            'transfer = mtopt_core.transfer_commands:app',
        ],
    },
)
