"""Models over the same prompts: results joined by prompt and seed, statistics, files and a page."""
