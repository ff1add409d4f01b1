"""Writes python.safetensors, what tests/io/safetensors.cpp reads, with the format's own library.

    pip install numpy ml_dtypes safetensors     # the file is by 2.4.6, 0.6.0 and 0.8.0
    python3 tests/io/data/make_safetensors.py

Written anew only when the test wants more of it: names, values and shapes are restated there.
"""

import pathlib

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

half = [0.0, -0.0, 1.0, -2.5, 65504.0, 2.0**-24, np.inf, -np.inf]
tensors = {
    "weight": np.array([[1.5, -2.0, 3.25], [0.0, 1e-40, -np.inf]], dtype=np.float32),
    "half": np.array(half, dtype=np.float16).reshape(2, 4),
    "bfloat16": np.array([1.0, -3.140625, 3.3895313892515355e38], dtype=ml_dtypes.bfloat16),
    "int8": np.arange(-128, 128, 51, dtype=np.int8),
    "uint8": np.arange(0, 256, 51, dtype=np.uint8).reshape(1, 2, 3),
    "int64": np.array([-1, 2**62], dtype=np.int64),
    "float64": np.array(np.pi),
    "bool": np.array([True, False, True]),
    "scalar": np.array(0.5, dtype=np.float32),
    "no rows": np.zeros((0, 5), dtype=np.float32),
    'a "name" of \u00fcmlauts \\ \n': np.array([7], dtype=np.uint8),
}
save_file(tensors, pathlib.Path(__file__).with_name("python.safetensors"), {"format": "np", "note": "caf\u00e9\t\x01"})
