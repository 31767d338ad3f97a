import pytest
import torch

from vaegan.training import precision

CPU = torch.device("cpu")


def test_the_measured_error_tells_float32_from_bf16():
    torch.set_float32_matmul_precision("highest")
    assert precision.relative_error() < precision._FLOAT32_ERROR
    a, b = torch.randn(2, 512, 512)
    exact = a.double() @ b.double()
    rounded = (a.bfloat16() @ b.bfloat16()).double()
    assert (rounded - exact).abs().max() / exact.abs().max() > 100 * precision._FLOAT32_ERROR


def test_auto_on_this_cpu_keeps_float32_accuracy():
    assert precision.set_matmul_precision("auto", CPU).startswith(torch.get_float32_matmul_precision())
    assert precision.relative_error() < precision._FLOAT32_ERROR


def test_auto_is_mkl_on_an_intel_cpu_if_torch_has_it(monkeypatch):
    monkeypatch.setattr(precision, "_is_by_intel", lambda: True)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    assert precision.set_matmul_precision("auto", CPU).startswith("highest (by MKL")
    assert torch.get_float32_matmul_precision() == "highest"
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    assert "MKL" not in precision.set_matmul_precision("auto", CPU)


def test_the_maker_of_the_cpu_is_read_from_linux_or_its_name(tmp_path, monkeypatch):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nvendor_id\t: GenuineIntel\n")
    assert precision._is_by_intel(cpuinfo)
    cpuinfo.write_text("processor\t: 0\nvendor_id\t: AuthenticAMD\n")
    assert not precision._is_by_intel(cpuinfo)
    monkeypatch.setattr(precision.platform, "processor", lambda: "Intel64 Family 6 Model 143 Stepping 8, GenuineIntel")
    assert precision._is_by_intel(tmp_path / "none")
    monkeypatch.setattr(precision.platform, "processor", lambda: "arm")
    assert not precision._is_by_intel(tmp_path / "none")


def test_auto_takes_the_fast_path_only_with_float32_accuracy(monkeypatch):
    monkeypatch.setattr(precision, "_is_by_intel", lambda: False)
    assert precision.set_matmul_precision("auto", CPU).startswith(torch.get_float32_matmul_precision())
    assert precision.relative_error() < precision._FLOAT32_ERROR
    monkeypatch.setattr(precision, "relative_error", lambda: 2e-3)  # as on a CPU whose fast path rounds to bf16
    assert precision.set_matmul_precision("auto", CPU).startswith("highest")
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_choice_is_taken_as_it_is():
    for choice in ("medium", "high", "highest"):
        assert precision.set_matmul_precision(choice, CPU) == choice
        assert torch.get_float32_matmul_precision() == choice
    assert precision.set_matmul_precision("auto", torch.device("cuda")) == "highest"


def test_auto_precision_is_bf16_only_where_it_is_faster(monkeypatch):
    seconds = {torch.float32: 3.0, torch.bfloat16: 1.0}
    monkeypatch.setattr(precision, "product_seconds", lambda *dtypes: {dtype: seconds[dtype] for dtype in dtypes})
    assert precision.choose_precision("auto", CPU) == "bf16-mixed"
    seconds[torch.bfloat16] = 2.5
    assert precision.choose_precision("auto", CPU) == "32-true"
    assert precision.choose_precision("bf16-mixed", CPU) == "bf16-mixed"


def test_product_seconds_are_seconds():
    seconds = precision.product_seconds(torch.float32, torch.bfloat16, size=256)
    assert seconds.keys() == {torch.float32, torch.bfloat16}
    assert all(1e-6 < value < 1 for value in seconds.values())


def test_other_work_on_the_machine_meets_all_dtypes_and_does_not_count(monkeypatch):
    """A clock that jumps while the first products are computed: the shortest time is still each dtype's own."""
    ticks = iter(
        [tick for n in range(40) for tick in (n, n + (0.9 if n < 30 else 0.001), n, n + (0.9 if n < 30 else 0.0005))]
    )
    monkeypatch.setattr(precision.time, "perf_counter", lambda: next(ticks))
    seconds = precision.product_seconds(torch.float32, torch.bfloat16, size=8)
    assert abs(seconds[torch.float32] - 0.001) < 1e-9
    assert abs(seconds[torch.bfloat16] - 0.0005) < 1e-9


def clock_of(monkeypatch, *seconds: float) -> list[int]:
    """A clock by which products take these seconds, dtype by dtype, again and again; returns how often it was read."""
    reads: list[int] = []

    def now() -> float:
        turn, is_end = divmod(len(reads), 2)
        reads.append(1)
        return 1000.0 * turn + is_end * seconds[turn % len(seconds)]

    monkeypatch.setattr(precision.time, "perf_counter", now)
    return reads


def test_products_that_must_be_emulated_are_not_timed_forty_times(monkeypatch):
    reads = clock_of(monkeypatch, 0.2, 0.001)
    assert precision.product_seconds(torch.bfloat16, torch.float32, size=8) == {
        torch.bfloat16: pytest.approx(0.2),
        torch.float32: pytest.approx(0.001),
    }
    assert len(reads) == 2 * 2 * 3
    assert precision.emulated_bf16() == pytest.approx(200)


def test_products_that_are_only_slower_are_not_called_emulated(monkeypatch):
    reads = clock_of(monkeypatch, 0.003, 0.001)
    assert precision.emulated_bf16() is None
    assert len(reads) == 2 * 2 * 40


@pytest.mark.parametrize(("chosen", "is_told"), [("bf16-mixed", True), ("32-true", False)])
def test_a_run_says_that_its_products_are_emulated(run_digits, monkeypatch, capsys, chosen, is_told):
    monkeypatch.setattr("vaegan.training.setup.emulated_bf16", lambda: 130.4)
    run_digits(f"trainer.precision={chosen}", "trainer.max_steps=1")
    said = "bf16 products take 130 times as long as float32's, because this CPU must emulate them: trainer.precision=32-true"
    assert (said in " ".join(capsys.readouterr().out.split())) == is_told
