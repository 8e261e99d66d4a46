"""Speed, as ratios against a rival in the same run. Nothing here is collected by pytest."""
