"""Array types that the numerics share; no functions.

Missing is NaN in float arrays and None in text arrays.
"""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
CodeArray: TypeAlias = npt.NDArray[np.int8]
DateArray: TypeAlias = npt.NDArray[np.datetime64]
TextArray: TypeAlias = npt.NDArray[Any]
"""Objects: a string, or None for none."""
