from setuptools import find_packages, setup

NAME = 'mtopt_web'

setup(
    name=NAME,
    version='0.1.0',
    description='The web page of mtopt: show, label, review, and see how well the success detector judges.',
    maintainer='mtopt maintainers',
    maintainer_email='maintainers@mtopt.example',
    license='Apache-2.0',
    packages=find_packages(exclude=['test']),
    package_data={NAME: ['static/*']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (f'share/{NAME}', ['package.xml']),
    ],
    install_requires=['setuptools'],
    zip_safe=False,
    entry_points={
        'mtopt.commands': [f'web = {NAME}.web_node:web'],
        'mtopt.pages': [
            f'robots = {NAME}.robots_page:PAGE',
            f'show = {NAME}.show_page:PAGE',
            f'label = {NAME}.label_page:PAGE',
            f'review = {NAME}.review_page:PAGE',
            f'detector = {NAME}.detector_page:PAGE',
        ],
    },
)
