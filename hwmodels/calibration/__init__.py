"""Measured tables and the constants fitted to them; `python -m hwmodels.calibration.fit` repeats the fit."""
