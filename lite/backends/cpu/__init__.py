"""Engines that run on the CPU."""

import os

# Read when onnxruntime is imported, which would otherwise write a device id into the home folder.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
