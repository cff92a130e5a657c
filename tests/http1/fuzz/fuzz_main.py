"""Fuzz the readers for a number of minutes: scripts/fuzz starts this.

Each target has a process of its own and its share of the time. With atheris the engine is libFuzzer, which sees the
branches of clb's code; without it, the mutations of fuzz_mutation.py.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

SHARES = {"requests": 0.5, "responses": 0.2, "chunks": 0.3}
_HERE = Path(__file__).parent


def main() -> int:
    """Run every target, print what each came to and a closing line; 1 if something was found."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description="Fuzz the HTTP/1.1 readers.")
    parser.add_argument("--minutes", type=float, default=20, help="time for all targets together (default 20)")
    parser.add_argument("--engine", choices=("auto", "atheris", "own"), default="auto")
    parser.add_argument("--target", choices=SHARES, help="one target only, in this process")
    parser.add_argument("--keep", type=Path, help="directory for inputs that were findings (default: a temporary one)")
    options = parser.parse_args()
    if options.engine == "auto":
        options.engine = "atheris" if find_spec("atheris") else "own"
    options.keep = options.keep or Path(tempfile.mkdtemp(prefix="clb-fuzz-"))
    options.keep.mkdir(parents=True, exist_ok=True)
    sys.path[:0] = [str(_HERE), str(_HERE.parent)]
    if options.target:
        run_one = _run_atheris if options.engine == "atheris" else _run_own
        return run_one(options.target, options.minutes * 60, options.keep)
    return _run_all(options)


def _run_all(options: argparse.Namespace) -> int:
    total, failed = 0, []
    for target, share in SHARES.items():
        arguments = ["--target", target, "--minutes", f"{options.minutes * share}", "--engine", options.engine]
        command = [sys.executable, __file__, *arguments, "--keep", str(options.keep)]
        process = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        executions = _executions(process.stdout)
        total += executions
        print(f"{target}: {executions} executions", flush=True)
        if process.returncode:
            failed.append(target)
            print(process.stdout[-8000:], flush=True)
    found = f"findings in {', '.join(failed)} (inputs in {options.keep})" if failed else "no finding"
    print(f"fuzz: {total} executions in {options.minutes:g} minutes with the engine {options.engine}: {found}")
    return 1 if failed else 0


def _executions(output: str) -> int:
    match = re.search(r"(?:number_of_executed_units:|executions=)\s*([0-9]+)", output)
    return int(match[1]) if match else 0


def _run_own(target: str, seconds: float, keep: Path) -> int:
    from fuzz_mutation import run
    from fuzz_seeds import SEEDS, WORDS
    from fuzz_targets import TARGETS

    seed = random.SystemRandom().randrange(1 << 32)
    outcome = run(TARGETS[target], SEEDS[target], WORDS, seconds=seconds, seed=seed)
    print(f"executions={outcome.executions} verdicts={len(outcome.verdicts)} seed={seed}")
    for number, (data, error) in enumerate(outcome.findings):
        (keep / f"{target}-{number}").write_bytes(data)
        print(f"{type(error).__name__}: {error}\n  {data!r}")
    return 1 if outcome.findings else 0


def _run_atheris(target: str, seconds: float, keep: Path) -> int:
    import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

    with atheris.instrument_imports(include=["clb"]):
        import fuzz_targets

    from fuzz_seeds import SEEDS, WORDS

    with tempfile.TemporaryDirectory() as folder:
        corpus, words = Path(folder, "corpus"), Path(folder, "words")
        corpus.mkdir()
        for number, data in enumerate(SEEDS[target]):
            (corpus / f"seed-{number}").write_bytes(data)
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in WORDS))
        libfuzzer = [f"-max_total_time={max(1, int(seconds))}", "-max_len=4096", f"-dict={words}"]
        libfuzzer += ["-print_final_stats=1", "-verbosity=0", f"-artifact_prefix={keep}/{target}-"]
        one_input = fuzz_targets.TARGETS[target]
        atheris.Setup([sys.argv[0], *libfuzzer, str(corpus)], lambda data: one_input(data) and None)
        atheris.Fuzz()
    return 0


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    sys.exit(main())
