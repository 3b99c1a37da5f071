"""The published study's folders as a list of images."""
