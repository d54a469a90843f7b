"""Settings for all tests."""

import hypothesis

# A slow machine is no fault of the code; hanging tests are ended by the suite's own time limit.
hypothesis.settings.register_profile("blurd", deadline=None)
hypothesis.settings.load_profile("blurd")
