"""Private names of Ray: what joining a cluster needs to know before Ray asks for minutes."""

import sys
from typing import Any

SEEN = "2.60.0"
NAMES = {
    "ray": {
        "_private": "Ray puts another address in place of loopback's, and asks there for minutes",
        "_raylet": "the environment's token is read once, and a wrong one is not told from silence",
    },
}


def seen_as(ray: Any, address: str) -> str:
    """The address that Ray puts in place of this one."""
    return str(ray._private.services.canonicalize_bootstrap_address(address) or address)


def read_environment_again() -> None:
    """Let a Ray that is imported see what the environment says of tokens, and of loopback."""
    raylet = sys.modules.get("ray._raylet")
    if raylet is not None:
        raylet.Config.initialize("")
        raylet.AuthenticationTokenLoader.instance().reset_cache()
    constants: Any = sys.modules.get("ray._private.ray_constants")
    if constants is not None:
        constants.ENABLE_RAY_CLUSTER = constants.env_bool(
            constants.ENABLE_RAY_CLUSTERS_ENV_VAR, not constants.IS_WINDOWS_OR_OSX
        )


def has_token(ray: Any) -> bool:
    """Whether there is a token to show."""
    loader = ray._raylet.AuthenticationTokenLoader
    return bool(loader.instance().has_token(ignore_auth_mode=True))


def ask(ray: Any, address: str) -> None:
    """Ask the head of a cluster once. Raises ray.exceptions.AuthenticationError."""
    ray._raylet.GcsClient(address=address)
