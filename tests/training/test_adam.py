import copy

import pytest
import torch
from torch import nn
from torch.optim import Adam

from vaegan.training.adam import FusedAdam

OPTIONS = {"lr": 1e-2, "betas": (0.8, 0.99), "weight_decay": 0.1, "fused": True}


def parameters() -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(size)) for size in ((30, 70), (30,), (1, 30), (1,))]


def move(optimizer: Adam, steps: range, without: int | None = None) -> None:
    """Steps with gradients that depend on the number of the step alone; one parameter may get none."""
    for step in steps:
        torch.manual_seed(step)
        optimizer.param_groups[0]["lr"] = 1e-2 / (1 + step)
        for number, parameter in enumerate(optimizer.param_groups[0]["params"]):
            gradient = torch.randn(parameter.shape)
            parameter.grad = None if number == without else gradient
        optimizer.step()


def assert_same(one: Adam, other: Adam) -> None:
    for a, b in zip(one.param_groups[0]["params"], other.param_groups[0]["params"], strict=True):
        assert torch.equal(a, b)
        assert one.state[a].keys() == other.state[b].keys() == {"step", "exp_avg", "exp_avg_sq"}
        assert all(torch.equal(one.state[a][name], other.state[b][name]) for name in one.state[a])


def both() -> tuple[FusedAdam, Adam]:
    return FusedAdam(parameters(), **OPTIONS), Adam(parameters(), **OPTIONS)


def test_weights_and_state_are_those_of_torch_to_the_bit():
    ours, torchs = both()
    for optimizer in (ours, torchs):
        move(optimizer, range(6))
    assert_same(ours, torchs)
    assert ours.state[ours.param_groups[0]["params"][2]]["step"] == 6


@pytest.mark.parametrize("without", [0, 3])
def test_a_parameter_without_a_gradient_stays_and_its_steps_are_not_counted(without):
    ours, torchs = both()
    for optimizer in (ours, torchs):
        move(optimizer, range(2), without=without)  # so that this one's state is younger than the others'
        move(optimizer, range(2, 5))
        move(optimizer, range(5, 7), without=without)
        move(optimizer, range(7, 9))
    assert_same(ours, torchs)
    assert ours.state[ours.param_groups[0]["params"][without]]["step"] == 5


def test_torch_is_asked_in_the_first_step_only(monkeypatch):
    asked = []
    before = Adam._init_group
    monkeypatch.setattr(Adam, "_init_group", lambda *args: asked.append(1) or before(*args))
    ours, _ = both()
    move(ours, range(4))
    assert len(asked) == 1


def test_a_state_that_is_loaded_or_replaced_is_gone_on_with(tmp_path):
    ours, torchs = both()
    for optimizer in (ours, torchs):
        move(optimizer, range(3))
    torch.save(ours.state_dict(), tmp_path / "state")
    kept = torch.load(tmp_path / "state", weights_only=True)
    weights = copy.deepcopy(ours.param_groups[0]["params"])

    move(ours, range(3, 6))
    move(torchs, range(3, 6))
    assert_same(ours, torchs)

    # The same once more from what was kept: in the optimizer that has gone on, in a new one, and in torch's.
    for optimizer in (ours, FusedAdam(parameters(), **OPTIONS), Adam(parameters(), **OPTIONS)):
        with torch.no_grad():
            for parameter, weight in zip(optimizer.param_groups[0]["params"], weights, strict=True):
                parameter.copy_(weight)
        optimizer.load_state_dict(copy.deepcopy(kept))
        move(optimizer, range(3, 4))
        for parameter in optimizer.param_groups[0]["params"]:  # as Lightning does to move them to another device
            optimizer.state[parameter] = {name: value.clone() for name, value in optimizer.state[parameter].items()}
        move(optimizer, range(4, 6))
        assert_same(optimizer, torchs)


def test_the_closure_is_called_before_the_step_with_gradients_on():
    ours, torchs = both()
    for optimizer in (ours, torchs):
        move(optimizer, range(1))
        first = optimizer.param_groups[0]["params"][0]

        def closure(first: nn.Parameter = first) -> torch.Tensor:
            first.grad = torch.full_like(first, 2.0)
            assert torch.is_grad_enabled()
            return first.sum()

        before = first.sum().item()
        assert optimizer.step(closure).item() == before
    assert_same(ours, torchs)
