"""`lite warmup`: compile the programs of the engine jax before they are needed."""

import time

import click

from lite.cli.options import common_options

__all__ = ["warmup"]


@click.command(short_help="Compile ahead for the engine jax.")
@click.option("-m", "--model", metavar="MODEL", help="As of `lite run`.  [default: embedded]")
@click.option("--format", "weights", metavar="FORMAT", help="How the engine keeps the weights: see `lite show`.")
@click.option("--samples", type=click.IntRange(1), default=16, show_default=True, help="Answers drawn at once.")
@click.option("--prompt-tokens", type=click.IntRange(1), default=256, show_default=True, help="The longest prompt.")
@click.option("-n", "--max-tokens", type=click.IntRange(1), default=512, show_default=True, help="The longest answer.")
@click.option("-c", "--ctx-size", type=click.IntRange(1), help="As of `lite run`.")
@click.option("--mesh", default="", metavar="data=N,model=M", help="Split rows and heads over N x M devices.")
@common_options
def warmup(
    model: str | None,
    weights: str | None,
    samples: int,
    prompt_tokens: int,
    max_tokens: int,
    ctx_size: int | None,
    mesh: str,
) -> None:
    """Compile what the engine jax needs for such a batch, so that the first `lite run --backend jax` begins at once.

    What is compiled stays in the cache folder, for this model, machine and version of JAX.
    """
    from lite.registry import warm_up

    start = time.perf_counter()
    count = warm_up(
        model,
        format=weights,
        num_slots=samples,
        context_length=ctx_size,
        mesh=mesh,
        prompt_length=prompt_tokens,
        max_tokens=max_tokens,
    )
    click.echo(f"{count} programs are ready ({time.perf_counter() - start:.1f} s)")
