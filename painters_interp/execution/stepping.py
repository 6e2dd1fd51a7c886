"""One step of a plan, its blocks called directly: what each call makes of the residual stream."""

from collections.abc import Callable, Iterable, Sequence

from torch import Tensor, nn

from ..plans import Call, Step, turns
from .layer_arguments import Arguments
from .slots import OpenSteps, output_of

See = Callable[[Call, Tensor, Tensor], object]


def after_step(
    step: Step,
    stream: Tensor,
    blocks: Sequence[nn.Module],
    given: Iterable[Arguments],
    see: See = lambda call, read, output: None,
) -> Tensor:
    """The stream after `step`, whose calls get the arguments `given`, one after another.

    `see` is shown what each call reads and what it makes of that, before it is put back.
    """
    steps = OpenSteps()
    for call, turn, arguments in zip(step.calls, turns(step), given, strict=True):
        steps.begin(turn, stream)
        output = output_of(blocks[call.layer], call.half, stream, arguments)
        see(call, stream, output)
        stream = steps.end(turn, output)
    return stream
