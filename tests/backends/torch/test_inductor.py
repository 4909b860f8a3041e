"""The compiler's options: a mode's and a scenario's own."""

from __future__ import annotations

import pytest

from llmbench.backends.torch.inductor import options_of
from llmbench.errors import InputError


def test_a_mode_keeps_its_options() -> None:
    assert options_of("reduce-overhead", {}) == {"triton.cudagraphs": True}


def test_a_scenario_s_own_options_take_precedence() -> None:
    own = {"triton.cudagraphs": False, "cpp.threads": 1}
    assert options_of("reduce-overhead", own) == own


def test_an_unknown_option_is_an_error_with_the_closest_one() -> None:
    with pytest.raises(InputError, match=r"no option 'cpp\.thread'; did you mean 'cpp\.threads'"):
        options_of("default", {"cpp.thread": 1})


def test_a_value_of_another_type_is_an_error_with_the_default() -> None:
    with pytest.raises(InputError, match=r"is a bool \(default: False\), but 'yes'"):
        options_of("default", {"max_autotune": "yes"})
