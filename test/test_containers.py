"""The containers keep to what a cell's network may be asked to take in. Nothing here needs Docker."""

import re

import pytest
import yaml
from sources import ROOT

COMPOSE = yaml.safe_load((ROOT / 'docker-compose.yml').read_text())
BASE = 'mtopt'
SERVICES = {name: service for name, service in COMPOSE['services'].items() if name != BASE}


def dockerfile(service):
    return (ROOT / COMPOSE['services'][service]['build']['dockerfile']).read_text()


def test_there_is_a_container_for_each_part_of_the_cell():
    assert SERVICES.keys() == {'gazebo', 'cell', 'trainer', 'web'}


@pytest.mark.parametrize('service', COMPOSE['services'])
def test_no_container_runs_as_root_and_every_base_has_its_version(service):
    text = dockerfile(service)
    stages = re.split(r'^FROM ', text, flags=re.MULTILINE)[1:]
    assert re.findall(r'^USER (\S+)', stages[-1], re.MULTILINE)[-1] == '10001'
    for stage in stages:
        image, tag = stage.split()[0].split(':')
        assert image == BASE or re.match(r'\d+\.\d+', tag), image


@pytest.mark.parametrize('service', SERVICES)
def test_every_service_says_whether_it_is_well_and_publishes_nothing(service):
    assert 'HEALTHCHECK' in dockerfile(service)
    assert SERVICES[service]['networks'] == ['cell']
    assert 'ports' not in SERVICES[service]
    assert SERVICES[service]['cap_drop'] == ['ALL']


def test_the_network_is_internal_and_what_must_last_is_in_named_volumes():
    assert COMPOSE['networks'] == {'cell': {'internal': True}}
    mounts = [mount.split(':')[0] for service in SERVICES.values() for mount in service.get('volumes', ())]
    assert set(mounts) == COMPOSE['volumes'].keys() == {'bags', 'models'}
