from setuptools import find_packages, setup

NAME = 'mtopt_policy'

setup(
    name=NAME,
    version='0.1.0',
    description='Q-function, CEM, scripted policies, the learner and the policy and trainer nodes of mtopt.',
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
            f'policy_node = {NAME}.policy_node:main',
            f'trainer_node = {NAME}.trainer_node:main',
        ],
        'mtopt.commands': [f'train = {NAME}.learner.cli:train'],
    },
)
