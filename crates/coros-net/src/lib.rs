//! coros-net
