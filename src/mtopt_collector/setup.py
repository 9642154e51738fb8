from setuptools import find_packages, setup

NAME = 'mtopt_collector'

setup(
    name=NAME,
    version='0.1.0',
    description='Camera ingestion, arm controller, recorder, reset, scheduler and collector of mtopt.',
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
        'console_scripts': [
            f'{node} = {NAME}.{node}:main'
            for node in (
                'camera_ingestion_node',
                'arm_controller_node',
                'recorder_node',
                'reset_node',
                'collector_node',
            )
        ],
    },
)
