"""The bar, drawn on a terminal that is a string."""

import io

from conftest import SMALL, fit, make_config
from rich.console import Console

from vaegan.training.module import VAEGANModule
from vaegan.training.screen import Screen


def screen_of(terminal: bool) -> tuple[Screen, io.StringIO]:
    screen, text = Screen(), io.StringIO()
    screen.console = Console(file=text, force_terminal=terminal, width=100, highlight=False)
    return screen, text


def test_a_terminal_gets_a_bar_over_all_batches_with_the_time_left():
    screen, text = screen_of(terminal=True)
    fit(VAEGANModule(make_config(*SMALL)), screen, max_epochs=2)
    assert "/30" in text.getvalue()
    assert "epoch 1/2" in text.getvalue()
    assert "left" in text.getvalue()
    assert text.getvalue().rstrip().endswith("\x1b[2K")  # and is gone at the end


def test_elsewhere_there_are_only_the_lines():
    screen, text = screen_of(terminal=False)
    fit(VAEGANModule(make_config(*SMALL)), screen)
    screen.line("one [line] of any length " * 10)
    assert text.getvalue().startswith("one [line]")
    assert "\x1b" not in text.getvalue()
