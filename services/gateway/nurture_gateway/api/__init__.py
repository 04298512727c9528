"""The gateway's paths, a file per noun."""
