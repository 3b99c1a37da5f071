"""Asking people which of two generators did better: a page on this machine, and files of what they said.

folders   the images of one generator, by prompt and seed
items     what is shown of two: joined by prompt and seed, never by row
task      `task.json`, which a study keeps from its first day to its last
order     which item comes when, and which generator is on the left, for each rater
ratings   `ratings/<rater>.jsonl`: what was said, appended and flushed one by one
session   the raters at work, without a line of HTTP
pictures  the bytes of an image as a browser shows them
server    the page, on the loopback address alone
"""
