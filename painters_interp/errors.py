"""What every room raises: one family of errors, each a line that says what would be right."""


def in_a_line(text: str) -> str:
    """A text with what would end a line in it, or cannot be seen, written as in Python's own.

    Example:
        >>> print(in_a_line("task 'a\\nb'"))
        task 'a\\nb'
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


class PaintersError(Exception):
    """Base of all errors a user can cause; the command line prints it and exits with 2.

    However many lines the names have that it quotes, it is one.
    """

    def __str__(self) -> str:
        return in_a_line(super().__str__())


class SettingError(PaintersError, ValueError):
    """A number that a setting cannot be: too small, too large, or none at all."""


class PlanError(PaintersError, ValueError):
    """A plan's text does not parse, or asks for a layer that the model does not have."""


class ModelError(PaintersError):
    """A model cannot be found, fetched or read."""


class UnsupportedModelError(ModelError):
    """A model whose layers cannot be exchanged without being silently wrong."""


class TextError(PaintersError, ValueError):
    """Texts or tokens that cannot be used as they are: empty, too short, of the wrong shape."""


class TaskError(PaintersError):
    """A task that does not exist, whose data are missing, or that cannot be scored."""


class MeasureError(PaintersError, ValueError):
    """A measure that does not exist or cannot be computed on these streams."""


class PatchError(PaintersError, ValueError):
    """A patch that cannot be made: positions, layers, prompts or a metric that do not fit."""


class TableError(PaintersError, ValueError):
    """A table that lacks the columns or rows that a function needs."""


class OutputError(PaintersError, OSError):
    """A folder or file that cannot be written."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, which tells nothing about a model."""
    text = str(error).lower()
    told = "out of memory" in text or "not enough memory" in text or "can't allocate" in text
    # The class of torch by its name, so that whoever names errors does not load it.
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return told or bool(kinds & {"MemoryError", "OutOfMemoryError"})
