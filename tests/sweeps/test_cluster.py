"""Actors of a cluster: who gets what, who loads when, and what becomes of work whose actor dies."""

import importlib
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from painters_interp.errors import PaintersError
from painters_interp.sweeps import cluster, connection
from painters_interp.sweeps.cluster import Cluster
from painters_interp.sweeps.shards import Group, Question, Shard
from painters_interp.sweeps.spec import read_spec
from painters_interp.sweeps.work import Failed, Work

SPEC = read_spec({"models": "tiny", "tasks": "probe_facts", "plans": "0-5"})


class Died(RuntimeError):
    """What Ray says of an actor that is gone."""


class Pretend:
    """Ray, whose actors answer in the order in which they were asked."""

    exceptions = SimpleNamespace(RayActorError=Died, RayError=RuntimeError)

    def __init__(self, act: Callable[[str, Any], Any], room: int = 99) -> None:
        self.act = act  # what an actor of a name does; it may raise
        self.room = room  # of all who are hired, so many ever arrive
        self.hired = 0
        self.asked: list[tuple[int, str, Any]] = []
        self.loading = self.most_loading = 0
        self.open: deque[tuple[int, str, Any]] = deque()
        self.killed: list[Any] = []

    def hire(self) -> Any:
        self.hired += 1
        number = self.hired
        calls = {
            name: SimpleNamespace(remote=lambda *given, name=name: self.ask(number, name, given))
            for name in ("arrive", "load", "survey", "answer")
        }
        return SimpleNamespace(number=number, **calls)

    def ask(self, number: int, name: str, given: Any) -> Any:
        reference = (number, name, given[0] if given else None)
        self.asked.append(reference)
        if number <= self.room:
            self.open.append(reference)
        self.loading += name == "load"
        self.most_loading = max(self.most_loading, self.loading)
        return reference

    def wait(self, references: Any, timeout: float) -> Any:
        if not self.open:
            return [], references
        first = self.open.popleft()
        assert first in references
        return [first], []

    def get(self, reference: Any) -> Any:
        _, name, given = reference
        self.loading -= name == "load"
        return self.act(name, given)

    def kill(self, actor: Any) -> None:
        self.killed.append(actor.number)


def group(name: str) -> Group:
    return Group(name, "float32")


def work(model: str, item: int = 0) -> Work:
    question = Question("facts", "facts", None, None, 0)
    return Work(Shard(group(model), question, "task metrics", (item,)), ("0-5",))


def never() -> bool:
    return False


def nothing() -> None:
    """There is no cluster to leave."""


def did(name: str, given: Any) -> Any:
    return None if name == "load" else f"{name} done"


def test_an_actor_keeps_its_model_and_one_at_a_time_loads_another() -> None:
    ray = Pretend(did)
    crew = Cluster(ray, ray.hire, 3, nothing)
    works = [work(model, item) for model in "ab" for item in range(6)]
    begun: list[Work] = []
    found = dict(crew.answers(works, never, begun.append))
    assert {*found} == {*works} == {*begun}
    assert {*found.values()} == {"answer done"}
    assert ray.most_loading == 1
    loads = [(number, of.model) for number, name, of in ray.asked if name == "load"]
    assert len(loads) == len({*loads})  # nobody goes back to a model
    crew.close()
    assert ray.killed == [1, 2, 3]


def test_surveys_are_of_each_model_once() -> None:
    ray = Pretend(did)
    crew = Cluster(ray, ray.hire, 2, nothing)
    found = dict(crew.surveys({group("a"): [], group("b"): []}, never))
    assert found == {group("a"): "survey done", group("b"): "survey done"}


def test_the_work_of_an_actor_that_died_is_done_by_another() -> None:
    left = [True]

    def dying(name: str, given: Any) -> Any:
        if name == "answer" and given.shard.items == (1,) and left.pop(0):
            left.append(False)
            raise Died("killed")
        return did(name, given)

    ray = Pretend(dying)
    works = [work("a", item) for item in range(4)]
    found = dict(Cluster(ray, ray.hire, 2, nothing).answers(works, never, lambda key: None))
    assert {*found} == {*works}
    assert {*found.values()} == {"answer done"}
    assert ray.hired == 3
    who = [number for number, name, of in ray.asked if name == "answer" and of is works[1]]
    assert len(who) == 2


def test_what_kills_every_actor_is_given_up_and_the_rest_is_done() -> None:
    def deadly(name: str, given: Any) -> Any:
        if name == "answer" and given.shard.items == (1,):
            raise Died("killed")
        return did(name, given)

    ray = Pretend(deadly)
    works = [work("a", item) for item in range(3)]
    found = dict(Cluster(ray, ray.hire, 2, nothing).answers(works, never, lambda key: None))
    assert found[works[1]] == Failed("3 workers died over it; the last: Died: killed")
    assert found[works[0]] == found[works[2]] == "answer done"


def test_where_there_is_no_room_for_another_actor_the_others_do_what_was_lost() -> None:
    def dying(name: str, given: Any) -> Any:
        if name == "answer" and ray.hired == 2:
            raise Died("its machine is gone")
        return did(name, given)

    ray = Pretend(dying, room=2)
    works = [work(model, item) for model in "abc" for item in range(3)]
    found = dict(Cluster(ray, ray.hire, 2, nothing).answers(works, never, lambda key: None))
    assert found == dict.fromkeys(works, "answer done")
    assert ray.hired == 3


def test_a_cluster_without_room_is_waited_for_and_that_is_said() -> None:
    ray, looks = Pretend(did, room=0), iter([False] * cluster._PATIENCE * 4 + [True] * 4)
    crew = Cluster(ray, ray.hire, 2, nothing)
    answers = crew.answers([work("a")], lambda: next(looks), lambda key: None)
    with pytest.warns(UserWarning, match="no worker has arrived; the sweep waits") as said:
        assert [*answers] == []
    assert len(said) == 1


def test_where_no_actor_can_be_started_all_work_fails_with_the_reason() -> None:
    def broken(name: str, given: Any) -> Any:
        raise Died("no such package")

    ray = Pretend(broken)
    works = [work("a"), work("b")]
    with pytest.warns(UserWarning, match="a worker cannot be started: Died: no such package"):
        found = dict(Cluster(ray, ray.hire, 2, nothing).answers(works, never, lambda key: None))
    assert found == dict.fromkeys(
        works, Failed("a worker cannot be started: Died: no such package")
    )
    assert ray.hired == 6


def test_a_model_that_cannot_be_loaded_fails_its_own_work_alone() -> None:
    def refusing(name: str, given: Any) -> Any:
        return Failed("no such model") if given == group("a") else did(name, given)

    ray = Pretend(refusing)
    works = [work("a"), work("b")]
    found = dict(Cluster(ray, ray.hire, 1, nothing).answers(works, never, lambda key: None))
    assert found == {works[0]: Failed("no such model"), works[1]: "answer done"}


def test_after_a_wish_to_stop_what_is_under_way_is_finished_and_nothing_begun() -> None:
    ray = Pretend(did)
    begun: list[Work] = []
    works = [work("a", item) for item in range(8)]
    found = dict(
        Cluster(ray, ray.hire, 2, nothing).answers(works, lambda: len(begun) > 2, begun.append)
    )
    assert [*found] == begun
    assert len(begun) == 3


@pytest.mark.parametrize(
    ("workers", "gpus", "cpus", "seats"),
    [(None, 1.0, 1, 2), (1, 0.25, 2, 1), (None, 1.0, 5, 1), (None, 0.5, 1, 4)],
)
def test_there_are_as_many_workers_as_have_room(
    workers: int | None, gpus: float, cpus: int, seats: int
) -> None:
    assert cluster._seats({"CPU": 8.0, "GPU": 2.0}, workers, gpus, cpus) == seats


def test_gpus_that_nobody_takes_are_said() -> None:
    with pytest.warns(UserWarning, match="has 2 GPUs, of which the workers take none"):
        assert cluster._seats({"CPU": 8.0, "GPU": 2.0}, None, 0.0, 2) == 4


@pytest.mark.parametrize(("workers", "gpus", "cpus"), [(3, 1.0, 1), (None, 4.0, 1), (None, 0.5, 9)])
def test_workers_that_would_wait_for_ever_are_refused(
    workers: int | None, gpus: float, cpus: int
) -> None:
    with pytest.raises(PaintersError, match="has 8 cores and 2 GPUs, which is not enough"):
        cluster._seats({"CPU": 8.0, "GPU": 2.0}, workers, gpus, cpus)


@pytest.mark.parametrize("address", ["nonsense", "ray://host:1", "host:port", ":6379"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(PaintersError, match="is not the address of a cluster's head"):
        Cluster.joined(SPEC, address)


def test_a_ray_that_is_imported_already_is_told_to_keep_to_loopback() -> None:
    ray: Any = importlib.import_module("ray")
    constants = ray._private.ray_constants
    found = constants.ENABLE_RAY_CLUSTER
    with connection._told({"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}):
        assert ray._private.services.get_node_ip_address() == "127.0.0.1"
    assert found == constants.ENABLE_RAY_CLUSTER


def test_an_address_at_which_nobody_answers_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(PaintersError, match=f"no Ray cluster answers at {address}"):
            Cluster.joined(SPEC, address)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "something else than Ray speaks there"),
        (b"", "something else than Ray speaks there"),  # it hangs up
        (None, "timed out"),  # it is silent
    ],
)
def test_whatever_else_listens_at_an_address_is_refused(
    answer: bytes | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_ANSWER", 0.2 if answer is None else 10)
    with listening(answer) as address, pytest.raises(PaintersError, match=said):
        Cluster.joined(SPEC, address)


def test_what_speaks_as_a_cluster_does_is_asked_further_by_its_number() -> None:
    with listening(bytes([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 5, 0, 0, 64, 0])) as address:
        named = address.replace("127.0.0.1", "localhost")
        assert connection._answering(named) == address


@contextmanager
def listening(answer: bytes | None) -> Iterator[str]:
    """The address of a server that says this to whoever comes, and nothing if it is None."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            line, _ = server.accept()
            with line:
                line.recv(64)
                if answer is not None:
                    line.sendall(answer)
                else:
                    line.recv(64)  # until they go

        served = threading.Thread(target=serve)
        served.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        served.join()
