"""The adapters: each wraps one outside thing (a library, the kernel, a service) behind a port."""
