"""What the docstrings call an Example is shown as code, as the section Examples is."""

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Gives the section the name by which the reader of docstrings knows it."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rename it in one docstring."""
        if obj.docstring:
            renamed = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
            obj.docstring.value = renamed
