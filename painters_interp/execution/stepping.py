"""One step of a plan, its blocks called directly: what each member makes of the residual stream."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from ..plans import Call, Step
from .anatomy import Arguments
from .slots import Mixture, stream_of
from .sublayers import only

See = Callable[[Call, Tensor], object]


def after_step(
    step: Step,
    stream: Tensor,
    blocks: Sequence[nn.Module],
    given: Sequence[Arguments],
    see: See = lambda call, output: None,
) -> Tensor:
    """The stream after `step`, whose calls get the arguments `given`, one after another.

    `see` is shown what each member makes of `stream`, before it is put back.
    """
    mixture = Mixture(step)
    for call, arguments in zip(step.calls, given, strict=True):
        block = blocks[call.layer]
        with only(block, call.half):
            output = stream_of(block(stream, *arguments.args, **arguments.kwargs))
        see(call, output)
        mixture.add(stream, output)
    return mixture.result(stream)
