"""To see what is: history, status, forecast, the doctor. Reads; what it mends, it mends through disk/."""
