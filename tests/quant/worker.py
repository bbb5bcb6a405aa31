"""Stands in for the process in which llama.cpp quantizes: `TESTED_WORKER` says how it goes wrong."""

import json
import os
import sys
from pathlib import Path

if __name__ == "__main__":
    target = Path(json.load(sys.stdin)["target"])
    target.write_bytes(b"half a file")
    match os.environ["TESTED_WORKER"]:
        case "dies":
            print("GGML_ASSERT(quant_weights) failed", file=sys.stderr, flush=True)
            os.abort()
        case "fails":
            print(json.dumps({"failure": "the disk\nis full", "denied": {}}))
        case "lies":
            print(json.dumps({"failure": "", "denied": {}}))
