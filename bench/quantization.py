"""What fewer bits do to the embedded model: its distributions, its certainty, and its answers.

    python bench/quantization.py --problems 60 --samples 8 --texts 40 -t 1 \\
        --formats f16,q8_0,q6_k,q5_k_m,q4_k_m,q4_0,q3_k_m,q2_k,int8-row,onnx-q8,onnx-q4

The questions, and the worked solutions that are scored as a text, are of the test split, those that are calibrated on
of the validation split: the two share no problem.

Result, about 6 minutes of one core. On the 1,798 tokens of the text, against float32 of the same engine: mean KL in
nats with its 95 % interval, and tokens whose likeliest is the same; on the tokens of 480 samples: a token's certainty,
its shift with the standard error and its rank correlation; how well a sample's certainty tells right from wrong; and
how often the majority of samples drawn with the same random bits is another.

              KL mean                          same best  certainty           rank   AUROC  other answer, %
    f16       1.83e-08 (9.8e-09 to 2.9e-08)    100.0 %    +0.000 +- 0.000    1.000  0.949   0.0 (0.0 to 6.0)
    q8_0      3.24e-06 (1.6e-06 to 5.5e-06)    100.0 %    +0.002 +- 0.001    0.988  0.949   0.0 (0.0 to 6.0)
    q6_k      3.32e-05 (1.9e-05 to 5.2e-05)     99.9 %    -0.013 +- 0.002    0.921  0.949   1.7 (0.3 to 8.9)
    q5_k_m    8.20e-05 (3.5e-05 to 1.5e-04)     99.9 %    -0.026 +- 0.002    0.910  0.945   3.3 (0.9 to 11.4)
    q4_k_m    2.96e-04 (1.4e-04 to 4.8e-04)     99.8 %    -0.035 +- 0.002    0.870  0.948   5.0 (1.7 to 13.7)
    q4_0      3.53e-04 (1.9e-04 to 5.5e-04)     99.8 %    -0.053 +- 0.004    0.755  0.948   6.7 (2.6 to 15.9)
    q3_k_m    6.84e-04 (3.2e-04 to 1.2e-03)     99.7 %    -0.041 +- 0.004    0.741  0.933   8.3 (3.6 to 18.1)
    q2_k      3.85e-03 (2.2e-03 to 5.9e-03)     99.6 %    -0.306 +- 0.010    0.488  0.887  16.7 (9.3 to 28.0)
    int8-row  1.32e-05 (7.0e-06 to 2.1e-05)     99.9 %    +0.014 +- 0.001    0.958  0.956   0.0 (0.0 to 6.0)
    onnx-q8   3.02e-06 (1.7e-06 to 4.6e-06)    100.0 %    +0.003 +- 0.001    0.988  0.950   0.0 (0.0 to 6.0)
    onnx-q4   3.85e-04 (2.1e-04 to 6.2e-04)     99.8 %    -0.038 +- 0.004    0.780  0.947   6.7 (2.6 to 15.9)

So from six bits down certainty falls, and its order among tokens loosens, long before the likeliest token or the
accuracy change (only q2_k's votes, -6.7 points, -13.3 to -1.7, show a loss): a threshold on certainty that was
calibrated on one format need not hold on another. The file is Q8_0 already, so that row is llama.cpp's arithmetic.
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
