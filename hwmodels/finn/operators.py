"""The closed union of operators that the FINN compatibility mode costs; each answers `resources()` and `cycles()`."""

from __future__ import annotations

from hwmodels.finn.mvau import Mvau
from hwmodels.finn.streams import Fifo, WidthConverter
from hwmodels.finn.thresholding import ThresholdingHls, ThresholdingRtl
from hwmodels.finn.uncosted import ChannelStream, Pool, StreamingMaxPool
from hwmodels.finn.vvau import Vvau
from hwmodels.finn.window_hls import WindowHls
from hwmodels.finn.window_rtl import WindowRtl

FinnOperator = (
    Mvau
    | Vvau
    | WindowHls
    | WindowRtl
    | ThresholdingHls
    | ThresholdingRtl
    | Fifo
    | WidthConverter
    | ChannelStream
    | Pool
    | StreamingMaxPool
)
