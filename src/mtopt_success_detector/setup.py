from setuptools import find_packages, setup

NAME = 'mtopt_success_detector'

setup(
    name=NAME,
    version='0.1.0',
    description='The learned multi-task success detector of mtopt.',
    maintainer='mtopt maintainers',
    maintainer_email='maintainers@mtopt.example',
    license='Apache-2.0',
    packages=find_packages(exclude=['test']),
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (f'share/{NAME}', ['package.xml']),
    ],
    install_requires=['setuptools'],
    zip_safe=True,
    entry_points={
        'console_scripts': [f'detector_node = {NAME}.detector_node:main'],
        'mtopt.commands': [f'detector = {NAME}.cli:app', f'relabel = {NAME}.relabel:relabel'],
    },
)
