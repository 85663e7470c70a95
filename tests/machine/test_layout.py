import pytest
import torch

from lotterylib.machine.layout import in_layout


def test_channels_last_first_and_contiguous_where_it_is_refused():
    tried = []

    def flat(layout):
        tried.append(layout)
        return torch.arange(24.0).view(1, 2, 3, 4).contiguous(memory_format=layout).view(1, -1)

    assert torch.equal(in_layout(flat), torch.arange(24.0).view(1, -1))
    assert tried == [torch.channels_last, torch.contiguous_format]
    assert in_layout(lambda layout: layout) == torch.channels_last


def test_what_is_no_image_and_other_errors():
    assert in_layout(lambda layout: torch.zeros(2, 3).to(memory_format=layout)).shape == (2, 3)
    calls = []
    with pytest.raises(RuntimeError, match="out of memory"):
        in_layout(lambda layout: calls.append(layout) or (_ for _ in ()).throw(RuntimeError("out of memory")))
    assert len(calls) == 1
