"""What produced some numbers: facts of the work, and versions of the packages."""

import platform
from importlib import metadata
from typing import Any

_PACKAGES = ("painters_interp", "torch", "transformers", "transformer_lens", "lm_eval")


def provenance(**facts: Any) -> dict[str, Any]:
    """What produced some numbers: the given facts, and the versions of Python and the packages.

    Holds no time of day, so that the same work writes the same file.

    Args:
        facts: Whatever else should be known, as JSON can hold it.

    Returns:
        The facts, `python` and `packages`.

    Example:
        >>> [*provenance(seed=0)]
        ['seed', 'python', 'packages']
    """
    return {**facts, "python": platform.python_version(), "packages": _versions()}


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions
