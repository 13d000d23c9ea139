//! coros-cluster
