//! An end for what tests wait for.

use std::time::Duration;

/// Nothing takes so long unless it hangs.
const LIMIT: Duration = Duration::from_secs(30);

/// Waits for it, but not for ever.
pub(crate) async fn soon<T>(it: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(LIMIT, it).await;
    waited.expect("it takes no longer than everything takes that does not hang")
}
