"""Chaos in a well: why the gradients of long roll-outs explode, and two ways to keep them in bounds (paper, Figure 8).

Two points repel each other when they are close and are pulled together by a constant force when they are not. Gradient
descent in this well comes to rest if its steps are short; with longer steps it hops between 2, 4, 8, ... distances and
finally becomes chaotic. Then the gradient of the end with respect to the beginning overflows. Damped back-propagation
removes the growth from the gradient; with the Lyapunov term in the loss, learning finds a well in which nothing grows.

python examples/chaos_in_a_well.py [FOLDER]
"""

import math
import sys
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from openmm_nemo.dynamics.backpropagation import (
    AdaptiveDamping,
    GradientGrowth,
    perturbation_growth,
)

MINIMUM = 3.8  # Angstrom
STIFFNESS = 1.6  # U'' at the minimum, kT/Angstrom^2
ONSET_OF_CHAOS = 2.6924  # step size times stiffness, for Ricker's map (May, Science 186, 645, 1974)
BLUE, RED, GREY = "#1f5a99", "#c8371b", "#9a9a9a"


def energy(x: Tensor, stiffness: Tensor | float = STIFFNESS) -> Tensor:
    """Toda's potential of a distance in Angstrom: an exponential wall and a constant pull, kT."""
    return stiffness * (torch.exp(MINIMUM - x) + x - MINIMUM - 1)


def descend(x: Tensor, step_size: Tensor, stiffness: Tensor | float = STIFFNESS) -> Tensor:
    """x - step_size U'(x). As a map of n = exp(MINIMUM - x) it is Ricker's, n exp(r (1 - n)), r = step_size U''."""
    return x - step_size * stiffness * (1 - torch.exp(MINIMUM - x))


def log_growth(x: Tensor, step_size: Tensor, stiffness: Tensor | float = STIFFNESS) -> Tensor:
    """log |1 - step_size U''(x)|, the growth of the gradient in a step."""
    return (1 - step_size * stiffness * torch.exp(MINIMUM - x)).abs().clamp_min(1e-30).log()


def relax(x: Tensor, time: Tensor) -> Tensor:
    """Solution of dx/dt = -U'(x): descent with infinitely short steps."""
    return MINIMUM + torch.log1p(torch.expm1(x - MINIMUM) * torch.exp(-STIFFNESS * time))


class Orbits(NamedTuple):
    """Iterations 1000 to 2000 of n descents: positions and log |dx(t)/dx(0)| (1000, n), Lyapunov exponents (n,)."""

    x: Tensor
    log_gradient: Tensor
    exponent: Tensor


def orbits(step_size: Tensor, stiffness: Tensor | float = STIFFNESS) -> Orbits:
    """Follow a descent for every step size (n,), from the same distance."""
    states, growth = [torch.full_like(step_size, 12.0)], []
    for _ in range(2000):
        growth.append(log_growth(states[-1], step_size, stiffness))
        states.append(descend(states[-1], step_size, stiffness))
    exponent = torch.stack(growth[1000:]).mean(0)
    return Orbits(torch.stack(states[1001:]), torch.stack(growth).cumsum(0)[1000:], exponent)


def tuned_damping(log_growth: Tensor) -> Tensor:
    """Damping factors gamma (n,) after many roll-outs in which the gradient grew by log_growth (n,) per step."""
    factors = []
    for measured in log_growth:
        growth, damping = GradientGrowth(), AdaptiveDamping(smallest=0.5)
        growth.log_growth.append(measured)
        for _ in range(60):
            damping.update(growth.mean())
        factors.append(damping.factor)
    return torch.tensor(factors, dtype=torch.float64)


def lyapunov_term(x: Tensor, step: Tensor, stiffness: Tensor, generator: torch.Generator) -> Tensor:
    """Mean of max(0, log growth of a small perturbation) over states x (..., n, B), for every step (n, 1); eq. 13."""

    def repeated(moved: Tensor) -> Tensor:
        return descend(moved.view_as(x), step, stiffness).view_as(moved)

    alone = x.reshape(-1, 1, 1)  # chains of one particle with one coordinate
    growth = perturbation_growth(repeated, alone, torch.ones_like(alone[..., 0]), generator)
    return growth.clamp_min(0).view_as(x).mean((0, 2))


def learn(step_size: Tensor, lyapunov: float, n_updates: int = 120) -> tuple[Tensor, Tensor]:
    """Learn a stiffness for each step size (n,) by stochastic gradient descent through roll-outs of 100 steps.

    The loss is the mean squared distance to `relax`, nm^2, plus ``lyapunov`` times the Lyapunov term. Returns the
    stiffness and the size of its gradient, not yet clipped, before every update (n_updates, n).
    """
    generator = torch.Generator().manual_seed(1)
    step = step_size.unsqueeze(1)
    stiffness = torch.full_like(step, STIFFNESS / 2).requires_grad_()
    history, gradients = [], []
    for _ in range(n_updates):
        states = [20 + 80 * torch.rand(len(step), 4, generator=generator, dtype=torch.float64)]
        for _ in range(100):
            states.append(descend(states[-1], step, stiffness))
        x = torch.stack(states)
        target = relax(x[0], step * torch.arange(len(x)).view(-1, 1, 1))
        loss = ((x - target) / 10).square().mean((0, 2))
        if lyapunov > 0:
            chosen = x[torch.randint(100, (8,), generator=generator)].detach()
            loss = loss + lyapunov * lyapunov_term(chosen, step, stiffness, generator)
        (gradient,) = torch.autograd.grad(loss.sum(), stiffness)
        history.append(stiffness.detach().squeeze(1).clone())
        gradients.append(gradient.abs().squeeze(1))
        with torch.no_grad():
            stiffness -= 0.03 * gradient.nan_to_num().clamp(-1, 1)
    return torch.stack(history), torch.stack(gradients)


def draw_well(above: Axes, below: Axes) -> None:
    """The well, and three descents in it."""
    x = torch.linspace(2, 13, 300)
    above.plot(x, energy(x), color="black", lw=1.5)
    for step_size, colour in ((1.1, GREY), (1.45, BLUE), (1.9, RED)):
        states = [torch.tensor(12.0)]
        for _ in range(25):
            states.append(descend(states[-1], torch.tensor(step_size)))
        label = f"step size {step_size}"
        below.plot(states, range(26), ".-", color=colour, lw=0.8, ms=5, label=label)
    above.set(title="a   a well", ylabel="U / kT", xlim=(2, 13), ylim=(-1, 15), xticklabels=[])
    below.set(xlabel="distance / Å", ylabel="iteration", xlim=(2, 13), ylim=(26, -1))
    below.legend(frameon=False, loc="lower right", fontsize=9)


def draw_learning(above: Axes, below: Axes, step_size: float) -> None:
    """Stiffness and gradient during learning."""
    for weight, colour, label in ((0.0, RED, "without it"), (5.0, BLUE, "with the Lyapunov term")):
        stiffness, gradient = learn(torch.tensor([step_size], dtype=torch.float64), weight)
        above.plot(stiffness, color=colour, lw=1.2)
        below.semilogy(gradient, color=colour, lw=1.2, label=label)
    above.axhspan(ONSET_OF_CHAOS / step_size, 2.3, color=RED, alpha=0.12, lw=0)
    above.text(2, 2.2, "chaos", color=RED, va="top")
    above.axhline(STIFFNESS, color="black", lw=0.8, ls=":")
    above.text(2, STIFFNESS, "true", va="bottom", fontsize=9)
    above.set(title="e   learning", ylabel="stiffness / kT/Å²", ylim=(0.7, 2.3), xticklabels=[])
    below.set(xlabel=f"update (step size {step_size})", ylabel="|gradient|", ylim=(1e-5, 1e35))
    below.legend(frameon=False, loc="upper left", fontsize=9)


def draw_dots(axes: Axes, step_size: Tensor, values: Tensor, exponent: Tensor, title: str) -> None:
    """300 of the values (1000, n) for each step size, red where the orbit is chaotic."""
    some = values[torch.linspace(0, len(values) - 1, 300).long()]
    for chosen, colour in ((exponent <= 0, BLUE), (exponent > 0, RED)):
        x, y = step_size[chosen], some[:, chosen].T
        axes.plot(x, y, ls="", marker=".", ms=1.2, mew=0, alpha=0.2, color=colour)
    axes.set(xlim=(1, 2), title=title)


def main() -> None:
    """Compute and draw."""
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "run/chaos_in_a_well")
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    step_size = torch.linspace(1, 2, 700, dtype=torch.float64)
    plain = orbits(step_size)
    gamma = tuned_damping(plain.log_gradient[-1] / 2000)
    damped = plain.log_gradient + torch.arange(1001, 2001).unsqueeze(1) * gamma.log()
    learned = orbits(step_size, learn(step_size, 5.0)[0][-40:].mean(0))

    figure = Figure(figsize=(16, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 4)
    panels = [figure.add_subplot(part) for k in (0, 1) for part in grid[k, 0].subgridspec(2, 1)]
    draw_well(*panels[:2])
    draw_learning(*panels[2:], 1.9)
    columns = (
        (plain, plain.log_gradient, "b   iterations 1000 to 2000", "f   gradient dx(t)/dx(0)"),
        (plain, damped, "c   damped back-propagation: same orbits", "g   damped gradient"),
        (learned, learned.log_gradient, "d   wells learned with the Lyapunov term", "h   gradient"),
    )
    for k, (orbit, log_gradient, *titles) in enumerate(columns, start=1):
        above, below = (figure.add_subplot(grid[row, k]) for row in (0, 1))
        draw_dots(above, step_size, orbit.x, orbit.exponent, titles[0])
        draw_dots(below, step_size, log_gradient / math.log(10), orbit.exponent, titles[1])
        above.set(ylim=(2.5, 9), xticklabels=[], ylabel="distance / Å")
        above.axvline(2 / STIFFNESS, color="black", lw=0.8, ls=":")
        above.text(2 / STIFFNESS - 0.01, 8.7, "2 / U''", ha="right", va="top", fontsize=9)
        below.set(ylim=(-350, 350), xlabel="step size / Å²/kT")
        below.yaxis.set_major_formatter(lambda power, _: f"$10^{{{power:.0f}}}$")
        below.axhline(38.5, color="black", lw=0.8, ls=":")
        below.text(1.01, 42, "float32 overflows", va="bottom", fontsize=9)
    figure.savefig(out / "chaos_in_a_well.png", dpi=150)
    print(f"Wrote {out / 'chaos_in_a_well.png'}.")


if __name__ == "__main__":
    main()
