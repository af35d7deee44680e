"""What must be so before any test module is imported."""

import os

# Tests start servers by fork() while gRPC's threads are busy; with its fork handlers now and then a child dies of it. gRPC reads this once.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"
