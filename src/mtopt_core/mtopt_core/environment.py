"""The environment of every process that talks ROS: DDS stays on this machine and whole images fit.

With other machines it talks only where `MTOPT_PEERS` names them (addresses or host names, separated by commas): then
without multicast, and to those machines alone.

`prepare` sets it from within, before ROS is initialised; `python -m mtopt_core.environment` prints it for a shell.
"""

from __future__ import annotations

import os
import random
import shlex
import socket

from mtopt_core.errors import MtoptError
from mtopt_core.paths import shipped
from mtopt_core.shared_memory import remove_stale_segments

PEERS_ENVIRONMENT_VARIABLE = 'MTOPT_PEERS'
# Above 101 a domain's ports reach into those that Linux hands out to others.
DOMAINS = range(1, 102)
# RTPS: each participant of a domain listens for others at a port of its own, two above the one before. Fast DDS counts
# the participants of a process over all domains, so the first port of a domain may be free while somebody is in it.
FIRST_PORT, PORTS_PER_DOMAIN, PARTICIPANTS = 7410, 250, 100


def peers() -> tuple[str, ...]:
    """Return the other machines that this one talks to; usually none."""
    return tuple(name.strip() for name in os.environ.get(PEERS_ENVIRONMENT_VARIABLE, '').split(',') if name.strip())


def variables() -> dict[str, str]:
    """Return the environment variables mtopt wants, by name.

    Raises:
        ConfigurationError: The Fast DDS profile was not shipped.
    """
    others = peers()
    named = {'ROS_STATIC_PEERS': ';'.join(others)} if others else {}
    return {
        **named,
        # What is found beyond this machine is found by name alone.
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
        # The name Jazzy's Fast DDS 2 reads; FASTDDS_DEFAULT_PROFILES_FILE is that of Fast DDS 3 and ignored here.
        'FASTRTPS_DEFAULT_PROFILES_FILE': str(shipped('config', 'fastdds_remote.xml' if others else 'fastdds.xml')),
    }


def prepare() -> None:
    """Set the variables the user has not set, and remove what killed processes left in shared memory.

    Must run before `rclpy.init`; child processes inherit the result.

    Raises:
        ConfigurationError: The Fast DDS profile was not shipped.
    """
    for name, value in variables().items():
        os.environ.setdefault(name, value)
    remove_stale_segments()


def free_domain() -> int:
    """Draw a ROS domain that nobody on this machine takes part in: another graph must not hear what is said there.

    Raises:
        MtoptError: All are taken.
    """
    for domain in random.sample(DOMAINS, len(DOMAINS)):
        if all(_port_is_free(FIRST_PORT + PORTS_PER_DOMAIN * domain + 2 * k) for k in range(PARTICIPANTS)):
            return domain
    raise MtoptError('every ROS domain is taken on this machine; end a graph, or set ROS_DOMAIN_ID to share its domain')


def _port_is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(('', port))
        except OSError:
            return False
    return True


if __name__ == '__main__':
    for variable, wanted in variables().items():
        print(f'export {variable}={shlex.quote(os.environ.get(variable, wanted))}')
