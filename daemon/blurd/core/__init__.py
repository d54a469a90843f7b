"""The pure core: values in, values out; no clock, no file, no log, no settings object."""
