"""Speed, as ratios against a rival in the same run. pytest collects a test of the harness, which judges no time."""
