"""What a sweep is to do, read from YAML: a mistake is named with its line and what would be right.

A list of one may be written without its brackets. Everything is crossed with everything: each plan
on each task, for every model, number format, limit, number of shots and seed.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidationError,
    model_validator,
)

from .. import experiments
from ..arguments import amount
from ..digests import digest
from ..errors import PaintersError, PlanError
from ..plans import Plan
from ..tables.labels import labels_for, with_intact

EXPERIMENTS = ("single_layers", "variants", "loops", "decoding", "internal_loops", "controls",
               "damages", "suite", *experiments.GRIDS)  # fmt: skip
# Layers that a plan may name before the model is known.
_DEEPEST = 100_000
# Items that go through a model together. Fixed, and shards are whole numbers of them, so that the
# last bit of an answer does not depend on how a sweep is cut.
TOGETHER = 8
_ITEMS = 32


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str | int | float | Path | BaseModel) else value


def _entries_of(value: Any) -> Any:
    """A list of entries; a mapping is one by name: {name: {setting: value}, name: ...}."""
    if isinstance(value, Mapping) and "name" not in value:
        return [{name: settings} for name, settings in value.items()]
    return [value] if isinstance(value, Mapping) else _listed(value)


def _named(value: Any) -> Any:
    """An experiment by its name, or as {name: {argument: value}}."""
    if isinstance(value, Mapping) and len(value) == 1 and "name" not in value:
        [(name, arguments)] = value.items()
        return {"name": name, "arguments": arguments or {}}
    return _entry(value)


def _entry(value: Any) -> Any:
    """What has settings of its own, by its name alone or as {name: {setting: value}}."""
    if isinstance(value, str | int | float):  # a number is refused by its place
        return {"name": value}
    if isinstance(value, Mapping) and len(value) == 1 and "name" not in value:
        [(name, settings)] = value.items()
        if settings is None or isinstance(settings, Mapping):
            return {**(settings or {}), "name": name}
    return value


def _study(text: str) -> str:
    from ..studies.registry import named

    try:
        return named(text).id
    except PaintersError as error:  # no ValueError, which pydantic would understand
        raise ValueError(str(error)) from error


def _labelled(value: Any) -> Any:
    if isinstance(value, str):
        value = [value]
    return {str(text): text for text in value} if isinstance(value, list) else value


def _parsed(text: str) -> str:
    Plan.parse(text, n_layers=_DEEPEST)  # PlanError is a ValueError, which pydantic understands
    return text


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{getattr(value, 'name', value)!r} stands there twice")
    return values


Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]
Shots = Annotated[int, Field(ge=0, strict=True)]
Limit = Annotated[  # a whole one stays whole where it is written down
    float, Field(gt=0), AfterValidator(partial(amount, "limit")), PlainSerializer(lambda most: most)
]
Line = Annotated[str, AfterValidator(_parsed)]
_LIST = BeforeValidator(_listed), AfterValidator(_distinct)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Experiment(_Strict):
    """A function of `painters.experiments`, with what it is given beside the number of layers."""

    name: Literal[EXPERIMENTS]  # type: ignore[valid-type]
    arguments: dict[str, Any] = {}

    @model_validator(mode="after")
    def _takes_them(self) -> "Experiment":
        taken = [*inspect.signature(self.function).parameters][1:]
        for argument in self.arguments:
            if argument not in taken:
                raise ValueError(
                    f"{self.name} takes no {argument!r}; it takes {', '.join(taken) or 'nothing'}"
                )
        return self

    @property
    def function(self) -> Callable[..., pd.DataFrame]:
        """The one that makes its table."""
        return experiments.GRIDS.get(self.name) or getattr(experiments, self.name)


class ModelAsked(_Strict):
    """A model, and how it is loaded: what `load_model` takes by these names."""

    name: Text
    revision: Text | None = None
    trust: bool = False
    device_map: Text | dict[str, str | int] | None = None


class TaskAsked(_Strict):
    """A task, with limits and shots of its own in place of the spec's."""

    name: Text
    limits: Annotated[tuple[Limit | None, ...], Field(min_length=1), *_LIST] | None = None
    shots: Annotated[tuple[Shots | None, ...], Field(min_length=1), *_LIST] | None = None


class StudyAsked(_Strict):
    """A study by its id, with what it is asked in place of its own choice."""

    name: Annotated[Text, AfterValidator(_study)]
    tasks: Annotated[tuple[Text, ...], Field(min_length=1), *_LIST] | None = None
    limit: Limit | None = None


class Spec(_Strict):
    """A sweep: what is crossed with what. See the page "Many GPUs and Slurm" of the documentation.

    `items_per_shard` is how much is answered and written at once, and what an interruption may
    cost; a multiple of 8, which go through a model together.
    """

    models: Annotated[
        tuple[Annotated[ModelAsked, BeforeValidator(_entry)], ...],
        Field(min_length=1), BeforeValidator(_entries_of), AfterValidator(_distinct),
    ]  # fmt: skip
    tasks: Annotated[
        tuple[Annotated[TaskAsked, BeforeValidator(_entry)], ...],
        BeforeValidator(_entries_of), AfterValidator(_distinct),
    ] = ()  # fmt: skip
    plans: Annotated[dict[Text, Line], BeforeValidator(_labelled)] = {}
    experiments: Annotated[
        tuple[Annotated[Experiment, BeforeValidator(_named)], ...], BeforeValidator(_listed)
    ] = ()
    studies: Annotated[
        tuple[Annotated[StudyAsked, BeforeValidator(_entry)], ...],
        BeforeValidator(_entries_of), AfterValidator(_distinct),
    ] = ()  # fmt: skip
    dtypes: Annotated[
        tuple[Literal["float32", "float64", "bfloat16", "float16"], ...],
        Field(min_length=1), *_LIST,
    ] = ("float32",)  # fmt: skip
    limits: Annotated[tuple[Limit | None, ...], Field(min_length=1), *_LIST] = (None,)
    shots: Annotated[tuple[Shots | None, ...], Field(min_length=1), *_LIST] = (None,)
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1), *_LIST] = (0,)
    metrics: Annotated[tuple[Literal["kl"], ...], *_LIST] = ()
    cache: Literal["exact", "averaged"] = "exact"
    data: Path | None = None
    include: Annotated[tuple[Path, ...], *_LIST] = ()
    trust: bool = False
    chat: bool = False
    items_per_shard: Annotated[int, Field(ge=1, multiple_of=TOGETHER, strict=True)] = _ITEMS

    @model_validator(mode="after")
    def _has_plans(self) -> "Spec":
        plans, studies = self.plans or self.experiments, self.studies
        if not plans and not (studies and not self.tasks):
            raise ValueError("it names neither plans nor experiments; give one of them")
        if plans and not self.tasks:
            raise ValueError("it names plans and no tasks; give tasks to score them on")
        return self

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that tell it from others."""
        return digest(self.model_dump(mode="json"))

    def labels(self, n_layers: int) -> pd.DataFrame:
        """The labelled plans for a model of so many layers, the intact one among them.

        Raises PlanError for a plan that such a model cannot run.
        """
        tables = []
        if self.plans:
            own = with_intact(labels_for(self.plans, n_layers), f"0-{n_layers - 1}")
            tables.append(own.assign(experiment="plans"))
        for experiment in self.experiments:
            try:
                tables.append(experiment.function(n_layers, **experiment.arguments))
            except TypeError as error:
                raise PlanError(f"experiment {experiment.name}: {error}") from error
        return pd.concat(tables, ignore_index=True).assign(n_layers=n_layers)


# What the parts of a spec are made of, by their keys.
_PARTS: dict[Any, type[_Strict]] = {
    "experiments": Experiment,
    "models": ModelAsked,
    "tasks": TaskAsked,
    "studies": StudyAsked,
}


def read_spec(source: "Spec | str | Path | Mapping[str, Any]") -> Spec:
    """What a sweep is to do, from a file of YAML, or from what such a file would hold.

    Args:
        source: The path of the file; a mapping; or a `Spec`, which is returned as it is.

    Returns:
        The spec.

    Raises:
        PaintersError: naming file and line of the first mistake, and the nearest right key.

    Example:
        >>> spec = read_spec({"models": "smollm2-135m", "tasks": "probe_facts", "plans": "0-28"})
        >>> spec.models[0].name, spec.plans
        ('smollm2-135m', {'0-28': '0-28'})
    """
    if isinstance(source, Spec):
        return source
    if isinstance(source, Mapping):
        return _validated(dict(source), "the spec", lambda place: None)
    path = Path(source)
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PaintersError(f"the spec {path} cannot be read: {reason}") from error
    except yaml.YAMLError as error:
        raise PaintersError(f"{path}{_line_of(error)}: this is no YAML ({_said(error)})") from error
    if not isinstance(root, yaml.MappingNode):
        raise PaintersError(f"{path}: a spec is a mapping, which has models, tasks and plans")
    for node in _repeated(root):
        raise PaintersError(f"{path}, line {_line(node)}: {node.value!r} stands there twice")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:
        raise PaintersError(f"{path}{_line_of(error)}: this is no YAML ({_said(error)})") from error
    return _validated(values, str(path), partial(_line_in, root))


def _validated(
    values: dict[Any, Any], name: str, line_of: Callable[[tuple[Any, ...]], int | None]
) -> Spec:
    try:
        return Spec.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        line = line_of(first["loc"])
        where = name if line is None else f"{name}, line {line}"
        raise PaintersError(f"{where}: {_in_words(first)}") from error


def _in_words(mistake: Any) -> str:
    """A mistake that pydantic found, as a sentence."""
    place = ".".join(map(str, mistake["loc"])).removesuffix(".name")
    if mistake["type"] == "extra_forbidden":
        known = [
            *_PARTS.get(mistake["loc"][0] if len(mistake["loc"]) > 1 else "", Spec).model_fields
        ]
        close = get_close_matches(str(mistake["loc"][-1]), known, n=1, cutoff=0.4)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
        return f"there is no key {mistake['loc'][-1]!r}; {hint}"
    if mistake["type"] == "missing":
        return f"the key {mistake['loc'][-1]!r} is missing"
    if mistake["type"] == "value_error":
        return f"{place}: {mistake['ctx']['error']}" if place else str(mistake["ctx"]["error"])
    given = mistake["input"]
    close = []
    if mistake["type"] == "literal_error" and isinstance(given, str):
        close = get_close_matches(given, mistake["ctx"]["expected"].replace("'", "").split(", "))
    hint = f"; did you mean {close[0]!r}?" if close else ""
    quoted = "; put it in quotes" if mistake["type"] == "string_type" else ""
    return f"{place} is {given!r}: {mistake['msg'].lower()}{quoted}{hint}"


def _line_in(root: yaml.Node, place: tuple[Any, ...]) -> int:
    """The line of the innermost node on the way to `place` that stands in the file."""
    node, line = root, _line(root)
    for key in place:
        entries = [*_entries(node)]
        found = next(((at, value) for name, at, value in entries if name == str(key)), None)
        if found is None:
            break
        line, node = _line(found[0]), found[1]
    return line


def _entries(node: yaml.Node) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
    """What errors call the parts of a node, where each begins, and the part itself."""
    if isinstance(node, yaml.MappingNode):
        yield from ((str(key.value), key, value) for key, value in node.value)
    elif isinstance(node, yaml.SequenceNode):
        yield from ((str(place), part, part) for place, part in enumerate(node.value))
        # Plans in a list are called by their texts.
        yield from ((str(part.value), part, part) for part in node.value)


def _repeated(node: yaml.Node) -> Iterator[yaml.ScalarNode]:
    """Keys that a mapping has twice, of which YAML silently takes the last."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if str(key.value) in seen:
                yield key
            seen.add(str(key.value))
            yield from _repeated(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _repeated(value)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _line_of(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return "" if mark is None else f", line {mark.line + 1}"


def _said(error: Exception) -> str:
    return str(getattr(error, "problem", None) or error).partition("\n")[0]
