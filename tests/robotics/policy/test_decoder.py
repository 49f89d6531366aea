"""The decoder equals `torch.nn.TransformerDecoder` with the same weights, unit by unit summed up."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.core.errors import InputError
from robotics.policy.cache.base import NoCache
from robotics.policy.decoder import ActionDecoder
from robotics.policy.denoiser import DenoiserConfig
from robotics.policy.evaluation import Account, Evaluation
from tests.robotics.policy.tiny import observations, tiny


def stock(net: ActionDecoder) -> nn.TransformerDecoder:
    c = net.config
    layer = nn.TransformerDecoderLayer(
        c.hidden, c.heads, c.feed_ratio * c.hidden, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    out = nn.TransformerDecoder(layer, c.layers, norm=nn.LayerNorm(c.hidden)).to(net.head.weight.dtype)
    for theirs, ours in zip(out.layers, net.layers, strict=True):
        theirs.norm1, theirs.norm2, theirs.norm3 = ours.norm_self, ours.norm_cross, ours.norm_feed
        theirs.linear1, theirs.linear2 = ours.up, ours.down
        theirs.self_attn.in_proj_weight, theirs.self_attn.in_proj_bias = ours.qkv.weight, ours.qkv.bias
        theirs.self_attn.out_proj, theirs.multihead_attn.out_proj = ours.self_out, ours.cross_out
        theirs.multihead_attn.in_proj_weight = nn.Parameter(torch.cat([ours.q.weight, ours.kv.weight]))
        theirs.multihead_attn.in_proj_bias = nn.Parameter(torch.cat([ours.q.bias, ours.kv.bias]))
    out.norm = net.norm
    return out.eval()


def straight(net: ActionDecoder, actions: Tensor, times: Tensor, seen: Tensor) -> Tensor:
    """As the reference writes it: all condition tokens through the encoder at every step."""
    c = net.config
    rates = torch.exp(torch.arange(c.hidden // 2) * (-math.log(10000) / (c.hidden // 2 - 1)))
    wave = torch.cat([(times[:, None] * rates).sin(), (times[:, None] * rates).cos()], dim=-1).to(actions.dtype)
    memory = torch.cat([wave[:, None], net.observation_in(seen)], dim=1) + net.condition_place
    memory = net.encode_down(F.mish(net.encode_up(memory)))
    t, s = torch.arange(c.horizon)[:, None], torch.arange(1 + c.observation_steps)[None]
    hidden = stock(net)(
        net.action_in(actions) + net.action_place, memory, tgt_mask=t < torch.arange(c.horizon)[None], memory_mask=t < s - 1
    )
    return net.head(hidden)


@pytest.mark.parametrize("observation_steps", [1, 2, 4])
def test_equal_to_the_stock_layers(observation_steps) -> None:
    net = tiny(1, observation_steps=observation_steps).denoiser.double()
    g = torch.Generator().manual_seed(2)
    actions = torch.randn(4, 6, 3, generator=g, dtype=torch.float64)
    seen = torch.randn(4, observation_steps, 5, generator=g, dtype=torch.float64)
    times = torch.tensor([99.0, 50.0, 7.0, 0.0])
    for clock, rows in ((net.clock(times[None]), [0] * 4), (net.clock(times[:, None]), [0, 1, 2, 3])):
        condition = net.condition(seen, clock)
        wanted = straight(net, actions, times, seen)
        for n, row in enumerate(rows):
            found = NoCache().evaluate(Evaluation(net, actions, condition, row, Account()))
            assert torch.allclose(found[n], wanted[n], atol=1e-12)


def test_an_action_sees_no_later_one_and_no_later_observation() -> None:
    net = tiny(3).denoiser.double()
    g = torch.Generator().manual_seed(1)
    actions, seen = torch.randn(1, 6, 3, generator=g, dtype=torch.float64), observations().double()

    def out(actions: Tensor, seen: Tensor) -> Tensor:
        return NoCache().evaluate(Evaluation(net, actions, net.condition(seen, net.clock(torch.tensor([[3.0]]))), 0, Account()))

    before, changed = out(actions, seen), actions.clone()
    changed[0, 4] += 1
    assert torch.equal(out(changed, seen)[0, :4], before[0, :4])
    assert not torch.equal(out(changed, seen)[0, 4:], before[0, 4:])
    newer = seen.clone()
    newer[0, 1] += 1
    assert torch.equal(out(actions, newer)[0, 0], before[0, 0]), "the first action is as old as the first observation"
    assert not torch.equal(out(actions, newer)[0, 1], before[0, 1])


def test_heads_divide_the_hidden_size() -> None:
    with pytest.raises(InputError, match="hidden 12: must be a multiple of twice the 4 heads"):
        ActionDecoder(DenoiserConfig(action_size=1, observation_size=1, hidden=12))


def test_flops_are_those_of_the_products() -> None:
    """Counted by hand for one layer: a product of [6, 16] and [16, 16] is 2 x 6 x 16 x 16."""
    net = tiny(layers=1).denoiser
    square = 2 * 6 * 16 * 16
    assert net.flops(0) == 4 * square + 2 * (2 * 6 * 6 * 16)
    assert net.flops(1) == 2 * square + 2 * (2 * 6 * 3 * 16)
    assert net.flops(2) == 2 * 4 * square
    assert net.flops_around() == 2 * (2 * 6 * 16 * 3)
