"""The diffusion transformer equals its definition, written plainly with `torch.nn.MultiheadAttention`."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.core.errors import InputError
from robotics.policy.cache.base import NoCache
from robotics.policy.denoiser import DenoiserConfig
from robotics.policy.dit import ActionDiT
from robotics.policy.evaluation import Account, Evaluation
from tests.robotics.policy.tiny import observations, tiny


def net(seed: int = 0, **more: object) -> ActionDiT:
    return tiny(seed, sampler="flow", kind="dit", **more).denoiser.double()


def attention(q: nn.Linear, kv: nn.Linear, out: nn.Linear, heads: int) -> nn.MultiheadAttention:
    made = nn.MultiheadAttention(q.in_features, heads, batch_first=True)
    made.in_proj_weight = nn.Parameter(torch.cat([q.weight, kv.weight]))
    made.in_proj_bias = nn.Parameter(torch.cat([q.bias, kv.bias]))
    made.out_proj = out
    return made


def straight(net: ActionDiT, actions: Tensor, time: float, seen: Tensor) -> Tensor:
    c = net.config
    rates = [math.exp(-i * math.log(10000) / (c.hidden // 2 - 1)) for i in range(c.hidden // 2)]
    at = torch.tensor([[*(math.sin(time * r) for r in rates), *(math.cos(time * r) for r in rates)]], dtype=actions.dtype)
    at = F.silu(net.time_down(F.silu(net.time_up(at))))
    memory = net.observation_down(F.mish(net.observation_up(net.observation_in(seen) + net.observation_place)))
    h = net.action_in(actions) + net.action_place
    for layer in net.layers:
        s = layer.time(at).chunk(9, dim=-1)
        first, rest = layer.qkv.weight.split([c.hidden, 2 * c.hidden]), layer.qkv.bias.split([c.hidden, 2 * c.hidden])
        q, kv = nn.Linear(c.hidden, c.hidden), nn.Linear(c.hidden, 2 * c.hidden)
        q.weight, kv.weight = (nn.Parameter(w) for w in first)
        q.bias, kv.bias = (nn.Parameter(b) for b in rest)
        x = F.layer_norm(h, [c.hidden]) * (1 + s[1]) + s[0]
        h = h + s[2] * attention(q, kv, layer.self_out, c.heads)(x, x, x)[0]
        x = F.layer_norm(h, [c.hidden]) * (1 + s[4]) + s[3]
        h = h + s[5] * attention(layer.q, layer.kv, layer.cross_out, c.heads)(x, memory, memory)[0]
        x = F.layer_norm(h, [c.hidden]) * (1 + s[7]) + s[6]
        h = h + s[8] * layer.down(F.gelu(layer.up(x)))
    shift, scale = net.head_time(at).chunk(2, dim=-1)
    return net.head(F.layer_norm(h, [c.hidden]) * (1 + scale) + shift)


@pytest.mark.parametrize("observation_steps", [1, 2, 4])
def test_equal_to_its_definition(observation_steps) -> None:
    n = net(1, observation_steps=observation_steps)
    g = torch.Generator().manual_seed(2)
    actions = torch.randn(4, 6, 3, generator=g, dtype=torch.float64)
    seen = torch.randn(4, observation_steps, 5, generator=g, dtype=torch.float64)
    times = torch.tensor([999.0, 500.0, 70.0, 0.0])
    for clock, rows in ((n.clock(times[None]), [0] * 4), (n.clock(times[:, None]), [0, 1, 2, 3])):
        condition = n.condition(seen, clock)
        for i, row in enumerate(rows):
            found = NoCache().evaluate(Evaluation(n, actions, condition, row, Account()))
            wanted = straight(n, actions[i : i + 1], float(times[i]), seen[i : i + 1])
            # the table is made from a float32 sine
            torch.testing.assert_close(found[i : i + 1], wanted, rtol=1e-4, atol=1e-4)


def test_before_training_units_add_nothing() -> None:
    torch.manual_seed(0)
    n = ActionDiT(DenoiserConfig(kind="dit", action_size=3, observation_size=5, hidden=16, heads=2)).eval()
    condition = n.condition(observations(), n.clock(torch.tensor([[3.0]])))
    h = n.start(torch.randn(1, 8, 3), condition, 0)
    assert all(not n.unit(u, h, condition, 0).any() for u in range(n.units))
    assert not n.finish(h, condition, 0).any()


def test_heads_divide_the_hidden_size() -> None:
    with pytest.raises(InputError, match="hidden 12: must be a multiple of twice the 4 heads"):
        ActionDiT(DenoiserConfig(kind="dit", action_size=1, observation_size=1, hidden=12))


def test_flops_are_those_of_the_products() -> None:
    n = net(layers=1)
    square = 2 * 6 * 16 * 16
    assert n.flops(0) == 4 * square + 2 * (2 * 6 * 6 * 16)
    assert n.flops(1) == 2 * square + 2 * (2 * 6 * 2 * 16)
    assert n.flops(2) == 2 * 4 * square
    assert n.flops_around() == 2 * (2 * 6 * 16 * 3)
