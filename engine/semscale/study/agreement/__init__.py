"""What raters say: whether they agree with one another, and whether a metric agrees with them."""
