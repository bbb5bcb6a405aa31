"""What fewer bits do to the embedded model: its distributions, its certainty, and its answers.

    python bench/quantization.py --problems 10 --samples 4 --texts 10 -t 1 \\
        --formats f16,q8_0,q6_k,q5_k_m,q4_k_m,q4_0,q3_k_m,q2_k,int8-row,onnx-q8,onnx-q4

The questions, and the worked solutions that are scored as a text, are of the test split, those that are calibrated on
of the validation split: the two share no problem.

On 1495 tokens of 40 samples, against float32 of the same engine: mean KL in nats with its 95 % interval, the shift of a
token's certainty with its standard error, the rank correlation of a sample's mean certainty.

    f16       1.1e-08 (2.1e-09 to 2.5e-08)   +0.0001 +- 0.0001   0.996
    q8_0      2.6e-06 (6.9e-07 to 4.6e-06)   -0.0003 +- 0.0009   0.961
    q6_k      2.3e-05 (4.2e-06 to 4.6e-05)   -0.0145 +- 0.0038   0.917
    q5_k_m    2.9e-05 (6.4e-06 to 5.8e-05)   -0.0340 +- 0.0035   0.971
    q4_k_m    1.9e-04 (3.7e-05 to 4.0e-04)   -0.0389 +- 0.0078   0.831
    q4_0      5.5e-04 (1.3e-04 to 9.6e-04)   -0.0640 +- 0.0083   0.851
    q3_k_m    7.2e-04 (4.4e-05 to 1.7e-03)   -0.0326 +- 0.0092   0.776
    q2_k      4.3e-03 (1.2e-03 to 8.9e-03)   -0.3230 +- 0.0262   0.580
    int8-row  2.2e-05 (2.1e-06 to 4.5e-05)   +0.0145 +- 0.0027   0.971
    onnx-q8   2.2e-06 (2.4e-07 to 4.5e-06)   +0.0019 +- 0.0007   0.988
    onnx-q4   4.2e-04 (1.3e-04 to 6.9e-04)   -0.0471 +- 0.0091   0.924

Ten questions say nothing of accuracy; --problems 100 --samples 8 narrows all of it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lite.chat import ChatCodec
from lite.config import embedded_model
from lite.evaluate.tasks.word_problems import Problem, problems
from lite.params import Chat
from lite.quant.gguf import open_gguf

FORMATS = "f16,q8_0,q6_k,q5_k_m,q4_k_m,q4_k_m+imatrix,q4_0,q3_k_m,q2_k,q2_k+imatrix,int8-row,onnx-q8,onnx-q4"


def solved(codec: ChatCodec, asked: Sequence[Problem]) -> list[dict[str, str]]:
    """Questions as the model's template renders them, and their solutions."""
    return [
        {"prompt": codec.render(Chat.ask(one.question, thinking=False)), "text": f"{one.direct}<|im_end|>"}
        for one in asked
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--texts", type=int, default=200)
    parser.add_argument("--formats", default=FORMATS)
    chosen, further = parser.parse_known_args()
    with open_gguf(embedded_model()) as file:
        codec = ChatCodec(file)
    with tempfile.TemporaryDirectory() as folder:
        text, calibration = Path(folder, "solutions.jsonl"), Path(folder, "calibration.txt")
        measured_on = solved(codec, problems(chosen.texts, seed=1, split="test"))
        text.write_text("".join(json.dumps(one) + "\n" for one in measured_on), "utf-8")
        others = problems(chosen.texts, seed=2, split="validation")
        calibration.write_text("".join(f"{one.question}\n{one.direct}\n\n" for one in others), "utf-8")
        command = [sys.executable, "-m", "lite", "quant-report", "--formats", chosen.formats, "--no-think"]
        command += ["--problems", str(chosen.problems), "--samples", str(chosen.samples)]
        calibrated = ["--imatrix", calibration] if "+imatrix" in chosen.formats else []
        subprocess.run([*command, "--text", text, *calibrated, *further], check=True)


if __name__ == "__main__":
    main()
