"""Where a checkpoint's layers go when it is loaded: to one device, or spread over several."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import torch

from ..errors import ModelError
from .device import place_of

# A way to spread layers, or a device by the name of a module; "disk" is one.
DeviceMap: TypeAlias = str | Mapping[str, int | str | torch.device]

WAYS = ("auto", "balanced", "balanced_low_0", "sequential")


@dataclass(frozen=True)
class Placement:
    """One device, or a map that accelerate dispatches the layers by, with a folder for "disk"."""

    device: torch.device = field(default_factory=lambda: place_of(None))
    device_map: DeviceMap | None = None
    offload_folder: Path | None = None

    @classmethod
    def of(
        cls,
        device: str | torch.device | None,
        device_map: DeviceMap | None,
        offload_folder: str | Path | None = None,
    ) -> "Placement":
        """What was asked for. Raises ModelError for what is no place here."""
        if device_map is None:
            if offload_folder is not None:
                raise ModelError("offload_folder is for a device_map that keeps layers on disk")
            return cls(place_of(device))
        if device is not None:
            raise ModelError("device names one device and device_map several; give one of the two")
        if isinstance(device_map, str):
            if device_map not in WAYS:
                raise ModelError(
                    f"device_map {device_map!r} is not one of {', '.join(WAYS)}; for one device "
                    "give device=..., and a dict says where each module goes"
                )
        else:
            for place in {str(place): place for place in device_map.values()}.values():
                if place != "disk":
                    _refuse_empty(place)
        folder = None if offload_folder is None else Path(offload_folder).expanduser()
        return cls(device_map=device_map, offload_folder=folder)

    @property
    def options(self) -> dict[str, Any]:
        """What `from_pretrained` is told."""
        if self.device_map is None:
            return {}
        spread = self.device_map if isinstance(self.device_map, str) else dict(self.device_map)
        return {"device_map": spread, "offload_folder": self.offload_folder}

    def placed(self, model: Any) -> Any:
        """The model where it belongs; one that accelerate has dispatched is there already."""
        return model.to(self.device) if self.device_map is None else model


def _refuse_empty(place: int | str | torch.device) -> None:
    """Refuse devices that are not here, and the one that holds no numbers."""
    if place_of(f"cuda:{place}" if isinstance(place, int) else place).type == "meta":
        raise ModelError(f"device_map names {str(place)!r}, which holds no numbers")
