"""Prepare Gazebo 11: a Debian 11 tree in the cache folder, made by debootstrap once and kept as a tarball.

`make gazebo-root`. Gazebo 11 is in no later Debian, so it gets a tree of its own and nothing is installed on the
machine but debootstrap itself. The tree also holds the definitions of Gazebo's messages, compiled from Debian's own
packages to descriptor sets. On another machine, or without root, the tarball is enough: put it into the cache folder.
Where this machine has Gazebo 11 itself, with the headers that the definitions come with, there is no need of a tree.

Exits with 69 where this machine cannot have it: no mirror, no right to make the tree or to run a server in namespaces
of its own. `gazebo_root.py --script FILE` writes what makes a Debian 11 into such a tree, for an image of a container.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO

from debian_packages import MissingPackagesError, ensure

from mtopt_sim.gazebo.errors import TransportError
from mtopt_sim.gazebo.installation import MESSAGES, cache_folder, host_installation, installation_in
from mtopt_sim.gazebo.server import NO_NAMESPACES, isolation

MIRROR_ENVIRONMENT_VARIABLE = 'MTOPT_DEBIAN_MIRROR'
SUITE = 'bullseye'
PACKAGES = ('gazebo', 'gazebo-plugin-base', 'libgl1-mesa-dri', 'xvfb', 'iproute2', 'protobuf-compiler')
# Only unpacked: their dependencies are a compiler's worth of headers, and all that is wanted are the .proto files.
MESSAGE_PACKAGES = ('libgazebo-dev', 'libignition-msgs-dev')
CERTIFICATES = Path('/etc/ssl/certs/ca-certificates.crt')
KEYRING = Path('/usr/share/keyrings/debian-archive-keyring.gpg')
RECIPE = hashlib.sha256(repr((SUITE, PACKAGES, MESSAGE_PACKAGES, 1)).encode()).hexdigest()[:12]

PROBES: dict[str, Callable[[], bool]] = {
    'debootstrap': lambda: shutil.which('debootstrap') is not None,
    'debian-archive-keyring': KEYRING.exists,
    'zstd': lambda: shutil.which('zstd') is not None,
}

COMPILE = """
(cd {headers}/gazebo-11/gazebo/msgs/proto && protoc -I. --descriptor_set_out={messages}/gazebo.desc ./*.proto)
(cd {headers}/ignition/msgs5 && protoc -I. --descriptor_set_out={messages}/ignition.desc ignition/msgs/*.proto)
"""

FURNISH = """
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C HOME=/root
printf '%s\\n' 'path-exclude /usr/share/doc/*' 'path-exclude /usr/share/man/*' 'path-exclude /usr/share/locale/*' \
  > /etc/dpkg/dpkg.cfg.d/slim
# Suites this old have stopped being renewed.
echo 'Acquire::Check-Valid-Until "false";' > /etc/apt/apt.conf.d/99old
apt-get update -qq
apt-get install -qq --yes --no-install-recommends {packages} > /dev/null
mkdir -p {unpacked} {messages}
cd {unpacked}
apt-get download -qq {message_packages}
for package in *.deb; do dpkg-deb -x "$package" .; done
{compile}
cd /
rm -rf {unpacked} /var/cache/apt /var/lib/apt/lists /usr/share/locale /usr/share/doc /usr/share/man
echo {recipe} > {messages}/recipe
"""
HEADERS, UNPACKED = Path('/usr/include'), Path('/opt/unpacked')


class RootError(Exception):
    """The tree cannot be made; the message says what to do."""


def mirrors() -> list[str]:
    """Return where to look for Debian's packages: as told, else wherever this machine's apt looks for anything."""
    given = os.environ.get(MIRROR_ENVIRONMENT_VARIABLE)
    if given:
        return [given.rstrip('/')]
    if shutil.which('apt-get') is None:
        return []
    listed = subprocess.run(['apt-get', 'update', '--print-uris'], capture_output=True, text=True)
    return list(dict.fromkeys(re.findall(r"^'(\S+)/dists/\S+/InRelease'", listed.stdout, re.MULTILINE)))


def mirror_with_suite() -> str:
    """Return the first mirror that has the suite.

    Raises:
        RootError: None has.
    """
    tried = mirrors()
    for mirror in tried:
        try:
            with urllib.request.urlopen(f'{mirror}/dists/{SUITE}/Release', timeout=30) as answer:  # noqa: S310 (apt's)
                release = answer.read().decode(errors='replace')
        except (OSError, ValueError, http.client.HTTPException):
            continue
        # Others name their suites for Debian's packages after Debian's suites.
        if re.search(r'^Origin: Debian$', release, re.MULTILINE):
            return mirror
    raise RootError(
        f'Debian {SUITE} is not on {", ".join(tried) or "any mirror, as apt names none here"}. Set '
        f'{MIRROR_ENVIRONMENT_VARIABLE} to a mirror that has it, or to the archive of ended releases, or copy '
        f'{tarball()} from a machine where it was made'
    )


def tarball() -> Path:
    """Return where the finished tree is kept."""
    return cache_folder() / f'gazebo-11-{RECIPE}.tar.zst'


def make_tree(root: Path) -> None:
    """Make the tree with Gazebo and the message definitions.

    Raises:
        RootError: This user may not.
        MissingPackagesError: debootstrap or what it needs is not there.
        subprocess.CalledProcessError: A command failed; it has said why.
    """
    if os.geteuid() != 0:
        raise RootError(
            f'making the Debian {SUITE} tree needs root: `sudo make gazebo-root`, '
            f'or copy {tarball()} from a machine where it was made'
        )
    mirror = mirror_with_suite()
    try:
        ensure(PROBES, 'make gazebo-root')
    except subprocess.CalledProcessError as error:
        raise RootError(f'{error.cmd[0]} could not install what it needs; see above') from None
    print(f'Making a Debian {SUITE} tree with Gazebo 11 (about 330 MB to download, some minutes)', flush=True)
    isolated = ('unshare', '--mount', '--pid', '--fork', '--kill-child')
    furnish = f'set -e\nmount -t proc proc /proc\n{furnishing()}'
    log = cache_folder() / 'gazebo-11.log'
    # Of what speaks TLS, the bare tree has nothing.
    with_tls = ('--include=ca-certificates',) if mirror.startswith('https:') else ()
    with log.open('w') as output:
        try:
            _run(output, 'debootstrap', '--variant=minbase', *with_tls, f'--keyring={KEYRING}', SUITE, root, mirror)
            shutil.copy('/etc/resolv.conf', root / 'etc/resolv.conf')
            if with_tls:
                shutil.copy(CERTIFICATES, root / CERTIFICATES.relative_to('/'))
            _run(output, *isolated, 'chroot', root, 'sh', '-c', furnish)
        except subprocess.CalledProcessError as error:
            last = '\n'.join(log.read_text(errors='replace').splitlines()[-8:])
            raise RootError(f'{error.cmd[0]} failed; {log} ends with\n{last}') from None
    log.unlink()


def _run(output: IO[str], *command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True, stdout=output, stderr=subprocess.STDOUT)


def furnishing() -> str:
    """Return the shell script that makes a bare Debian 11 into the tree."""
    messages = Path('/') / MESSAGES
    return FURNISH.format(
        packages=' '.join(PACKAGES),
        message_packages=' '.join(MESSAGE_PACKAGES),
        messages=messages,
        compile=COMPILE.format(headers=UNPACKED / 'usr/include', messages=messages),
        unpacked=UNPACKED,
        recipe=RECIPE,
    )


def host_has_gazebo() -> bool:
    """Return whether Gazebo 11 is installed on this machine, with what its messages are compiled from."""
    needed = ('gzserver', 'Xvfb', 'protoc')
    if not all(map(shutil.which, needed)) or not (HEADERS / 'gazebo-11').is_dir():
        return False
    version = subprocess.run(['gzserver', '--version'], capture_output=True, text=True)
    return 'version 11' in version.stdout


def use_host() -> None:
    """Compile the message definitions of this machine's Gazebo.

    Raises:
        subprocess.CalledProcessError: They are not where Debian and Ubuntu have them.
    """
    host = host_installation()
    host.messages.mkdir(parents=True, exist_ok=True)
    script = 'set -eu' + COMPILE.format(headers=HEADERS, messages=host.messages)
    subprocess.run(['sh', '-c', script], check=True)
    host.stamp.write_text(RECIPE)


def see_that_servers_may_run() -> None:
    """Try what every server is started in.

    Raises:
        RootError: This user, or this container, may not.
    """
    try:
        command = [*isolation(), 'mount', '-t', 'proc', 'proc', '/proc']
        tried = subprocess.run(command, capture_output=True, text=True)
    except TransportError as error:
        raise RootError(str(error)) from None
    if tried.returncode:
        raise RootError(f'{tried.stderr.strip()}. {NO_NAMESPACES}')


def main() -> None:
    """See that Gazebo is there and may run.

    Raises:
        RootError: It cannot be made, or servers may not run here.
        MissingPackagesError: Programs are missing.
        subprocess.CalledProcessError: A command failed.
    """
    see_that_servers_may_run()
    see_that_it_is_there()


def see_that_it_is_there() -> None:
    """Find the tree as it is, unpack it from the tarball, or make it.

    Raises:
        RootError: It cannot be made.
        MissingPackagesError: Programs are missing.
        subprocess.CalledProcessError: A command failed.
    """
    folder = cache_folder()
    final = installation_in(folder / 'gazebo-11')
    if final.stamp.exists() and final.stamp.read_text().strip() == RECIPE:
        print(f'Gazebo 11 is in {final.root}')
        return
    folder.mkdir(parents=True, exist_ok=True)
    kept = tarball()
    if not kept.exists() and host_has_gazebo():
        use_host()
        print("This machine's own Gazebo 11 will do")
        return
    with tempfile.TemporaryDirectory(dir=folder, prefix='gazebo-11-making-') as scratch:
        root = Path(scratch) / 'root'
        root.mkdir()
        if kept.exists():
            print(f'Unpacking {kept}', flush=True)
            subprocess.run(['tar', '--extract', '--zstd', '--file', kept, '--directory', root], check=True)
        else:
            make_tree(root)
            part = Path(scratch) / 'part'
            # Devices cannot be unpacked without root, and the server brings its own.
            pack = ('tar', '--create', '--zstd', '--file', part, '--directory', root, '--exclude=./dev/*', '.')
            subprocess.run(pack, check=True)
            part.rename(kept)
        shutil.rmtree(final.root, ignore_errors=True)
        root.rename(final.root)
    print(f'Gazebo 11 is in {final.root}, kept as {kept} ({kept.stat().st_size / 1e6:.0f} MB)')


if __name__ == '__main__':
    try:
        if sys.argv[1:2] == ['--script']:
            Path(sys.argv[2]).write_text(furnishing())
        else:
            main()
    except (RootError, MissingPackagesError) as error:
        print(f'make gazebo-root: {error}', file=sys.stderr)
        sys.exit(os.EX_UNAVAILABLE)
    except subprocess.CalledProcessError as error:
        sys.exit(f'make gazebo-root: {error.cmd[0]} failed with exit code {error.returncode}; see above')
