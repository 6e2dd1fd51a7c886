"""A connection to Ray: to a cluster that runs, or to one that is started for this process alone.

What Ray reads in the environment is set for as long as the connection lasts, where nobody set it.
"""

import ipaddress
import logging
import os
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ..borrowed import of_ray
from ..errors import PaintersError
from .workers import why

_ANSWER = 10  # seconds that a cluster may take to answer
# An empty frame of settings, with which both sides of HTTP/2 begin (RFC 9113, 3.4 and 6.5).
_SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_STORE = 200 * 2**20  # bytes for what is sent: tables of items
# Whether a machine is known to others by an address of its own, or by loopback's alone.
_OUTWARD = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
_TOKENS = "RAY_AUTH_MODE"  # whether a token is shown, and asked for
_PLACES = "~/.ray/auth_token or RAY_AUTH_TOKEN"


def connected(address: str | None, cores: int) -> tuple[Any, Callable[[], None]]:
    """Ray, connected to the cluster at an address or to one of so many cores, and what ends that.

    A process that is connected already stays so. Raises PaintersError.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        if address:
            _refuse_another(ray.get_runtime_context().gcs_address, address)
        return ray, ExitStack().close
    with ExitStack() as undo:
        ray = _joined(address, undo) if address else _started(cores, undo)
        return ray, undo.pop_all().close


def _joined(address: str, undo: ExitStack) -> Any:
    """Ray, joined to a cluster that runs."""
    answering = _answering(address)
    undo.enter_context(_told(_joining(*_parted(answering))))
    ray = _ray()
    try:
        seen = of_ray.seen_as(ray, answering)
        if seen != answering:  # Ray would ask there for minutes
            _answering(seen, "; one of this machine alone is given as 127.0.0.1:PORT")
        _refuse_without_token(ray, seen)
        undo.callback(ray.shutdown)
        ray.init(address=answering, log_to_driver=False, logging_level=logging.ERROR)
    except PaintersError:
        raise
    except (Exception, SystemExit) as error:  # Ray has many, from each of its layers
        raise PaintersError(
            f"the Ray cluster at {address} cannot be joined: {why(error)}"
        ) from error
    return ray


def _joining(host: str, port: int) -> dict[str, str]:
    """What Ray must know of the environment to join a cluster there."""
    told = {"RAY_gcs_server_request_timeout_seconds": str(_ANSWER)}
    if not _is_loopback(host):
        return told
    if _OUTWARD not in os.environ and not _answers(_own_address(), port):
        # Ray would put the machine's own address in place of loopback's.
        told[_OUTWARD] = "0"
    # A token that lies on this machine is shown on this machine: `ray start` asks for it unasked.
    # To others Ray shows it where RAY_AUTH_MODE says so.
    if any(name in os.environ for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")) or (
        Path("~/.ray/auth_token").expanduser().is_file()
    ):
        told[_TOKENS] = "token"
    return told


def _started(cores: int, undo: ExitStack) -> Any:
    """Ray, with a cluster for this machine alone: at loopback, in a folder of its own."""
    told = {_OUTWARD: "0", "RAY_USAGE_STATS_ENABLED": "0"}
    if _TOKENS not in os.environ:
        # Ray would write one into the home, which each `ray start` of this user asks for then.
        told |= {_TOKENS: "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    undo.enter_context(_told(told))
    ray = _ray()
    # Sockets lie in it, whose paths must be short.
    folder = tempfile.mkdtemp(prefix="painters-ray-", dir="/tmp" if Path("/tmp").is_dir() else None)
    undo.callback(shutil.rmtree, folder, ignore_errors=True)
    undo.callback(ray.shutdown)
    try:
        ray.init(
            address="local",
            num_cpus=max(cores, os.cpu_count() or 1),
            include_dashboard=False,
            object_store_memory=_STORE,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _temp_dir=folder,
        )
    except Exception as error:
        raise PaintersError(f"no Ray cluster can be started here: {why(error)}") from error
    return ray


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise PaintersError(
            "--executor ray needs Ray; pip install 'painters_interp[ray]'"
        ) from error
    return ray


@contextmanager
def _told(told: Mapping[str, str]) -> Iterator[None]:
    """The environment with these names too, where it has none of them."""
    added = [name for name in told if name not in os.environ]
    os.environ.update({name: told[name] for name in added})
    of_ray.read_environment_again()
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
        of_ray.read_environment_again()


def _parted(address: str) -> tuple[str, int]:
    """Host and port; no host for "auto". Raises PaintersError where no cluster can be."""
    if address == "auto":
        return "", 0
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        raise PaintersError(
            f"--address {address!r} is not the address of a cluster's head, such as "
            "10.0.0.1:6379, or auto for one on this machine"
        )
    return host.strip("[]"), int(port)


def _answering(address: str, hint: str = "") -> str:
    """The address with its host as a number: names Ray looks up itself, and not as all others do.

    Raises PaintersError where no cluster can be, or where nobody answers.
    """
    host, port = _parted(address)
    if not host:
        return address
    try:
        with socket.create_connection((host, port), _ANSWER / 2) as line:
            other, number = _other_than_grpc(line), line.getpeername()[0]
    except (OSError, OverflowError) as error:
        other = str(error)
    if other:
        raise PaintersError(
            f"no Ray cluster answers at {address} ({other}); start one there, with "
            f"`ray start --head`, or leave out --address{hint}"
        )
    return f"[{number}]:{port}" if ":" in number else f"{number}:{port}"


def _other_than_grpc(line: socket.socket) -> str:
    """What speaks there, if it is not gRPC as the head of a cluster does; nothing if it is.

    Ray itself would ask for minutes, and then end the process.
    """
    if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
        return ""  # enciphered, what is said first is another
    line.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _SETTINGS)
    answer = b""
    while len(answer) < len(_SETTINGS) and (more := line.recv(len(_SETTINGS) - len(answer))):
        answer += more
    return "" if answer[3:4] == _SETTINGS[3:4] else "something else than Ray speaks there"


def _refuse_without_token(ray: Any, address: str) -> None:
    """Raise PaintersError for a cluster that asks for another token than it would be shown.

    Ray itself would ask for half a minute, and not say why.
    """
    own = of_ray.has_token(ray)
    shown = os.environ.get(_TOKENS, "").lower() == "token"
    if shown and not own:  # without any, asking ends the process
        raise PaintersError(f"RAY_AUTH_MODE is token, and no token is in {_PLACES}")
    if _parted(address) == ("", 0):
        return
    try:
        of_ray.ask(ray, address)
    except ray.exceptions.AuthenticationError as error:
        if shown:
            what = f"the one in {_PLACES} is not its own"
        elif own:
            what = "export RAY_AUTH_MODE=token, and yours is shown"
        else:
            what = f"put that of its head into {_PLACES}, and export RAY_AUTH_MODE=token"
        raise PaintersError(f"the Ray cluster at {address} asks for a token; {what}") from error


def _refuse_another(address: str, asked: str) -> None:
    """Raise PaintersError where a process is connected to another cluster than is asked for."""
    (here, port), (host, number) = _parted(address), _parted(asked)
    if not host or (number == port and (host == here or _is_loopback(host))):
        return
    raise PaintersError(
        f"this process is connected to the Ray cluster at {address}; call ray.shutdown() before "
        f"it is asked to join the one at {asked}"
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _own_address() -> str:
    """The address of this machine that others see; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        try:
            line.connect(("192.0.2.1", 53))
        except OSError:  # no network but loopback
            return "127.0.0.1"
        return str(line.getsockname()[0])


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), _ANSWER / 2).close()
    except (OSError, OverflowError):
        return False
    return True
