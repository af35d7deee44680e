"""Tests on a real cluster (`CLUSTER=kind`, or `current` for the one at hand): what only a kubelet, an injector and a store can show."""
