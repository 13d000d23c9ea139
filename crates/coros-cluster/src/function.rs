//! Functions that workers run: what `#[coros::remote]` makes of a function, and how a worker
//! finds it again by its name.
//!
//! Every function is an entry of a distributed slice that the linker puts together,
//! so client and worker, which are the same executable, have the same functions without any
//! registration by hand. On the way a function is its name, `path::of::its::module::name`.

mod options;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, OnceLock};

use coros_core::remote::{BoxFuture, CodecError, Message};
use coros_core::{Address, Context, Exit, WeakAddress};
use coros_net::Node;

pub(crate) use self::options::Options;
use crate::JobError;

/// A function to run and the arguments to run it with: what a function marked with
/// `#[coros::remote]` gives.
///
/// Nothing happens until it is handed to a [`Scheduler`](crate::Scheduler), which runs it in a
/// worker, or to [`here`](Call::here).
#[must_use = "a call does nothing until a scheduler runs it"]
pub struct Call<R> {
    call: Box<dyn AnyCall<R>>,
    options: Option<Arc<Options>>,
}

impl<R: Message> Call<R> {
    /// Runs the function in this process, in the current task.
    ///
    /// # Errors
    /// [`JobError::Failed`] when the function returns an error. A panic goes through.
    pub async fn here(self) -> Result<R, JobError> {
        let outcome = match self.call.invoke() {
            Invocation::Now(outcome) => outcome,
            Invocation::Later(future) => future.await,
        };
        outcome.map_err(|failure| match failure {
            Failure::Failed(why) => JobError::Failed(why),
            Failure::Panicked(why) => JobError::Panicked(why),
            Failure::Codec(why) => JobError::Codec(why),
        })
    }

    /// The function's name.
    #[must_use]
    pub fn function(&self) -> &'static str {
        self.call.name()
    }

    /// What was said of it, if anything.
    pub(crate) fn asked(&self) -> Option<Arc<Options>> {
        self.options.clone()
    }

    pub(crate) fn encode(&self, node: &Node) -> Result<Vec<u8>, CodecError> {
        self.call.encode(node)
    }
}

impl<R> fmt::Debug for Call<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call({})", self.call.name())
    }
}

/// A call with the types of its arguments taken away.
trait AnyCall<R>: Send {
    fn name(&self) -> &'static str;
    fn encode(&self, node: &Node) -> Result<Vec<u8>, CodecError>;
    fn invoke(self: Box<Self>) -> Invocation<R>;
}

struct Typed<F: Remote>(F::Args);

impl<F: Remote> AnyCall<F::Output> for Typed<F> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn encode(&self, node: &Node) -> Result<Vec<u8>, CodecError> {
        node.encode(&self.0)
    }

    fn invoke(self: Box<Self>) -> Invocation<F::Output> {
        F::invoke(self.0)
    }
}

/// Makes a call of a function.
#[doc(hidden)]
pub fn call<F: Remote>(args: F::Args) -> Call<F::Output> {
    Call {
        call: Box::new(Typed::<F>(args)),
        options: None,
    }
}

/// A function that can run in a worker, as `#[coros::remote]` sees it.
#[doc(hidden)]
pub trait Remote: 'static {
    /// The arguments.
    type Args: Message;
    /// What the caller gets; for a function that returns a `Result`, its value.
    type Output: Message;
    /// Path and name of the function.
    const NAME: &'static str;
    /// Calling it gives a future.
    const ASYNC: bool;

    /// Calls it.
    fn invoke(args: Self::Args) -> Invocation<Self::Output>;
}

/// A call that has begun: of a plain function, its outcome; of an async one, the future to poll.
#[doc(hidden)]
pub enum Invocation<R> {
    /// The function has returned.
    Now(Result<R, Failure>),
    /// The function has yet to run.
    Later(BoxFuture<Result<R, Failure>>),
}

/// Why a call has no value.
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The function returned an error: its text.
    Failed(String),
    /// The function panicked: the text of the panic.
    Panicked(String),
    /// The result cannot travel.
    Codec(CodecError),
}

/// A `Result` as the return type of a remote function: the caller gets the value, or the error's
/// text as [`JobError::Failed`](crate::JobError::Failed).
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is called `Result`, but is not a `Result` whose error can be displayed",
    note = "the error of a remote function travels as its text: it must implement `Display`"
)]
pub trait Fallible {
    /// What the function returns when all goes well.
    type Value;

    #[doc(hidden)]
    fn into_result(self) -> Result<Self::Value, Failure>;
}

impl<T, E: fmt::Display> Fallible for Result<T, E> {
    type Value = T;

    fn into_result(self) -> Result<T, Failure> {
        // The alternate form of an `anyhow::Error` says the causes too.
        self.map_err(|error| Failure::Failed(format!("{error:#}")))
    }
}

/// The outcome of a function that returns a `Result`.
#[doc(hidden)]
pub fn fallible<T: Fallible>(returned: T) -> Result<T::Value, Failure> {
    returned.into_result()
}

/// The outcome of a function that returns its value.
#[doc(hidden)]
pub fn infallible<T>(returned: T) -> Result<T, Failure> {
    Ok(returned)
}

/// Checks that arguments travel, at the place where their type is written.
#[doc(hidden)]
pub fn must_travel<T: Message>() {}

/// Runs a function with a `Context` as a coroutine of its own and waits for it to end.
///
/// Dropping the future terminates the coroutine.
#[doc(hidden)]
pub fn coroutine<M, T, R, Fut>(
    name: &'static str,
    function: impl FnOnce(Context<M>) -> Fut + Send + 'static,
    outcome: fn(T) -> Result<R, Failure>,
) -> BoxFuture<Result<R, Failure>>
where
    M: Send + 'static,
    T: Send + 'static,
    R: Send + 'static,
    Fut: Future<Output = T> + Send + 'static,
{
    Box::pin(async move {
        let coro = coros_core::build().name(name).daemon().spawn(function);
        let _guard = TerminateOnDrop::new(&coro);
        match coro.join().await {
            Ok(value) => outcome(value),
            Err(Exit::Panicked(why)) => Err(Failure::Panicked(why.to_string())),
            Err(exit) => Err(Failure::Failed(format!("the coroutine ended: {exit}"))),
        }
    })
}

/// Terminates a coroutine, also one that nobody has an address of any more. Is none itself.
pub(crate) struct TerminateOnDrop<M: Send + 'static>(Option<WeakAddress<M>>);

impl<M: Send + 'static> TerminateOnDrop<M> {
    pub(crate) fn new(coro: &Address<M>) -> Self {
        TerminateOnDrop(coro.downgrade())
    }
}

impl<M: Send + 'static> Drop for TerminateOnDrop<M> {
    fn drop(&mut self) {
        if let Some(coro) = &self.0 {
            coro.terminate();
        }
    }
}

/// A call that has begun, with its result encoded.
pub(crate) type Begun = Invocation<Vec<u8>>;

/// An entry of the registry: a function by name, with its types taken away.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct Function {
    name: &'static str,
    is_async: bool,
    begin: fn(&Node, &[u8]) -> Result<Begun, CodecError>,
}

impl Function {
    /// The entry of a function.
    #[must_use]
    pub const fn of<F: Remote>() -> Self {
        Function {
            name: F::NAME,
            is_async: F::ASYNC,
            begin: begin::<F>,
        }
    }

    /// Whether [`begin`](Self::begin) only makes a future and runs nothing of the function yet.
    pub(crate) fn is_async(&self) -> bool {
        self.is_async
    }

    /// Decodes the arguments and calls the function; panics as the function does.
    pub(crate) fn begin(&self, node: &Node, args: &[u8]) -> Result<Begun, CodecError> {
        (self.begin)(node, args)
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Function({})", self.name)
    }
}

fn begin<F: Remote>(node: &Node, args: &[u8]) -> Result<Begun, CodecError> {
    let args: F::Args = node.decode(args)?;
    let node = node.clone();
    let encode =
        move |outcome: Result<F::Output, Failure>| node.encode(&outcome?).map_err(Failure::Codec);
    Ok(match F::invoke(args) {
        Invocation::Now(outcome) => Invocation::Now(encode(outcome)),
        Invocation::Later(future) => {
            Invocation::Later(Box::pin(async move { encode(future.await) }))
        }
    })
}

/// Every remote function that is linked into this executable.
#[doc(hidden)]
#[linkme::distributed_slice]
pub static FUNCTIONS: [Function];

/// Finds a function by name, or says why that cannot be.
pub(crate) fn find(name: &str) -> Result<Function, String> {
    static BY_NAME: OnceLock<HashMap<&'static str, Vec<Function>>> = OnceLock::new();
    let by_name = BY_NAME.get_or_init(|| {
        let mut by_name: HashMap<_, Vec<_>> = HashMap::new();
        for function in FUNCTIONS {
            by_name.entry(function.name).or_default().push(*function);
        }
        by_name
    });
    match by_name.get(name).map(Vec::as_slice) {
        Some([function]) => Ok(*function),
        None | Some([]) => Err(format!(
            "this program has no remote function `{name}`: is it another build than the client's?"
        )),
        Some(several) => Err(format!(
            "{} remote functions are called `{name}`, inside of other functions of that module: \
             rename all but one",
            several.len()
        )),
    }
}

#[cfg(test)]
#[allow(unsafe_code, reason = "the linker puts the slice together")]
mod tests {
    use super::*;

    struct Twice;

    impl Remote for Twice {
        type Args = u32;
        type Output = u32;
        const NAME: &'static str = "tests::twice";
        const ASYNC: bool = false;

        fn invoke(args: u32) -> Invocation<u32> {
            Invocation::Now(Ok(args * 2))
        }
    }

    #[linkme::distributed_slice(FUNCTIONS)]
    static TWICE: Function = Function::of::<Twice>();
    #[linkme::distributed_slice(FUNCTIONS)]
    static AMBIGUOUS_1: Function = Function {
        name: "tests::again",
        ..Function::of::<Twice>()
    };
    #[linkme::distributed_slice(FUNCTIONS)]
    static AMBIGUOUS_2: Function = Function {
        name: "tests::again",
        ..Function::of::<Twice>()
    };

    #[test]
    fn functions_are_found_by_name() {
        assert_eq!(find("tests::twice").unwrap().name, Twice::NAME);
        assert!(
            find("tests::thrice")
                .unwrap_err()
                .contains("no remote function `tests::thrice`")
        );
        assert!(
            find("tests::again")
                .unwrap_err()
                .contains("2 remote functions are called")
        );
    }

    #[tokio::test]
    async fn a_call_can_run_here() {
        let call = call::<Twice>(21);
        assert_eq!(call.function(), "tests::twice");
        assert_eq!(call.here().await, Ok(42));
    }

    #[test]
    fn an_error_travels_with_its_causes() {
        let error: Result<(), _> = Err("no cheese");
        assert_eq!(fallible(error), Err(Failure::Failed("no cheese".into())));
    }
}
