"""Tests of the Helm charts without a cluster: real Helm renders them, and what comes out is checked."""
