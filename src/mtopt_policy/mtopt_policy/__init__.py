"""Q-function, CEM, scripted policies, the learner and the policy and trainer nodes of mtopt."""

import sys

# OpenVINO reports every model it converts to its makers, from a forked process, unless this module cannot be imported.
sys.modules.setdefault('openvino_telemetry', None)  # type: ignore[arg-type]
