"""Several hosts on this machine: network namespaces with names of their own, joined by a bridge.

The namespaces are those of processes, and end with them. Without root there is one host: workers are processes with
homes of their own, and no network can be cut.
"""

import ctypes
import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_NEW_NETWORK, _NEW_NAMES = 0x40000000, 0x04000000
_C = ctypes.CDLL(None, use_errno=True)


@dataclass
class Host:
    """A place where programs run."""

    name: str
    holder: "subprocess.Popen[bytes] | None" = None  # the process whose namespaces it is

    def command(self, command: Sequence[str]) -> list[str]:
        """Give the command that runs a command on this host."""
        if self.holder is None:
            return list(command)
        return ["nsenter", "-t", str(self.holder.pid), "-n", "-u", "--", *command]

    def cut(self) -> None:
        """Cut its network: nobody is told."""
        _ip(f"link set to-{self.name} down")

    def join(self) -> None:
        """End the cut."""
        _ip(f"link set to-{self.name} up")


@dataclass
class Hosts:
    """This process's host, where the others reach what listens, and the others."""

    address: str
    others: list[Host]
    apart: bool  # they are namespaces


@contextmanager
def hosts(*names: str) -> Iterator[Hosts]:
    """Make hosts, and give this process a network of its own meanwhile."""
    if os.geteuid() != 0:
        yield Hosts("127.0.0.1", [Host(name) for name in names], apart=False)
        return
    outside = [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY) for kind in ("net", "uts")]
    if _C.unshare(_NEW_NETWORK | _NEW_NAMES):
        yield Hosts("127.0.0.1", [Host(name) for name in names], apart=False)
        return
    made: list[Host] = []
    try:
        socket.sethostname("hub")
        _ip("link set lo up")
        _ip("link add bridge type bridge")
        _ip("address add 10.77.0.1/24 dev bridge")
        _ip("link set bridge up")
        for number, name in enumerate(names, 2):
            made.append(_make(name, f"10.77.0.{number}"))
        yield Hosts("10.77.0.1", made, apart=True)
    finally:
        for host in made:
            if host.holder:
                host.holder.kill()
                host.holder.communicate()
        for namespace, kind in zip(outside, (_NEW_NETWORK, _NEW_NAMES), strict=True):
            _C.setns(namespace, kind)
            os.close(namespace)


def _make(name: str, address: str) -> Host:
    holder = subprocess.Popen(  # noqa: S603 - ends with its standard input at the latest
        ["unshare", "--net", "--uts", "--", "sh", "-c", f"hostname {name}; echo; exec cat"],  # noqa: S607
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout
    holder.stdout.readline()
    host = Host(name, holder)
    _ip(f"link add to-{name} type veth peer name uplink netns {holder.pid}")
    _ip(f"link set to-{name} master bridge up")
    for setting in ("link set lo up", f"address add {address}/24 dev uplink", "link set uplink up"):
        subprocess.run(host.command(["ip", *setting.split()]), check=True)  # noqa: S603 - our own host
    return host


def _ip(arguments: str) -> None:
    subprocess.run([Path("/usr/sbin/ip"), *arguments.split()], check=True)  # noqa: S603 - our own namespaces
