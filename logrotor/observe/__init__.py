"""See how everything stands: status, history, forecast, metrics, page, doctor. Reads; repairs go through disk/."""
