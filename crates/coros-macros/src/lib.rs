//! The macros of coros. Use them through the facade, as `#[coros::main]` and `#[coros::remote]`,
//! where they are documented with examples: what they expand to names the crate `coros`.
//!
//! Each macro is one module that parses its input into a small struct, refusing what cannot work
//! with an error at the place that is wrong, and then writes the expansion from it.

mod main_fn;
mod remote;

use proc_macro::TokenStream;

/// Starts a tokio runtime around the program's `async fn main`.
///
/// See `coros::main`.
#[proc_macro_attribute]
pub fn main(options: TokenStream, item: TokenStream) -> TokenStream {
    main_fn::expand(options.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Makes a function one that workers run.
///
/// See `coros::remote`.
#[proc_macro_attribute]
pub fn remote(options: TokenStream, item: TokenStream) -> TokenStream {
    remote::expand(options.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
