//! Calling what others have written.

use std::panic::{AssertUnwindSafe, catch_unwind};

use coros_core::panic_text;

/// What `f` gives; the text of its panic if it panics. What `f` has half done then is not looked at again.
pub(crate) fn caught<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|panic| panic_text(&*panic).to_owned())
}

/// Has a function of `on_event` told, and says whether it wants to hear more: one that panics does not.
pub(crate) fn heard<E>(f: &(impl Fn(&E) + ?Sized), event: &E) -> bool {
    let told = caught(|| f(event));
    if let Err(why) = &told {
        tracing::warn!("the function of on_event panicked, and is not called any more: {why}");
    }
    told.is_ok()
}
