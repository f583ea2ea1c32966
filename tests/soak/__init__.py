"""The soak: everything at once, for as long as one likes; at the end all is as at the start. `tools/soak MINUTES` runs it."""
