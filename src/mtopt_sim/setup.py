from setuptools import find_packages, setup

NAME = 'mtopt_sim'

setup(
    name=NAME,
    version='0.1.0',
    description='The simulated 7-DoF cell of mtopt.',
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
        'console_scripts': [f'simulator_node = {NAME}.simulator_node:main'],
        'mtopt.commands': [
            f'picture = {NAME}.picture:picture',
            f'world = {NAME}.gazebo.world_command:world',
        ],
    },
)
