//! `#[coros::remote]`.
//!
//! A function becomes one of the same name and arguments that gives a `Call`: a value that says
//! what to run with which arguments, to be handed to a scheduler. The function as written lives
//! inside of it, beside its entry in the registry of functions, so the expansion adds one name to
//! the module and nothing else.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, FnArg, GenericArgument, ItemFn, Pat, PathArguments, Result, ReturnType, Type,
};

/// Serde has tuples of at most 16.
const MOST_ARGUMENTS: usize = 16;

/// A function that has passed every check.
struct Function {
    item: ItemFn,
    /// The message type of a leading `Context<M>`.
    context: Option<Type>,
    /// The types of the arguments that travel.
    arguments: Vec<Type>,
    returned: Type,
    /// It returns what is called `Result`.
    fallible: bool,
}

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    if !options.is_empty() {
        return Err(Error::new_spanned(
            options,
            "#[coros::remote] has no options",
        ));
    }
    let function: ItemFn = syn::parse2(item.clone()).map_err(|_| {
        Error::new_spanned(
            item,
            "#[coros::remote] goes on a function: `fn` or `async fn`",
        )
    })?;
    Ok(write(&parse(function)?))
}

fn parse(item: ItemFn) -> Result<Function> {
    let sig = &item.sig;
    if !sig.generics.params.is_empty() || sig.generics.where_clause.is_some() {
        return Err(Error::new_spanned(
            &sig.generics,
            "a remote function cannot be generic: a worker finds it by its name alone",
        ));
    }
    let refused = [
        (sig.constness.map(|t| t.span()), "const"),
        (sig.unsafety.map(|t| t.span()), "unsafe"),
        (sig.abi.as_ref().map(Spanned::span), "extern"),
        (sig.variadic.as_ref().map(Spanned::span), "variadic"),
    ];
    for (span, what) in refused {
        if let Some(span) = span {
            let text = format!("a remote function cannot be `{what}`");
            return Err(Error::new(span, text));
        }
    }
    let mut arguments = Vec::new();
    for input in &sig.inputs {
        match input {
            FnArg::Receiver(this) => {
                return Err(Error::new_spanned(
                    this,
                    "a remote function cannot be a method: take the value as an argument",
                ));
            }
            FnArg::Typed(input) => arguments.push((*input.ty).clone()),
        }
    }
    let context = arguments.first().and_then(message_of_context);
    if context.is_some() {
        if sig.asyncness.is_none() {
            return Err(Error::new_spanned(
                sig.fn_token,
                "a remote function that takes a `Context` is a coroutine: make it `async fn`",
            ));
        }
        arguments.remove(0);
    }
    for ty in &arguments {
        check_argument(ty)?;
    }
    if arguments.len() > MOST_ARGUMENTS {
        return Err(Error::new_spanned(
            &sig.inputs,
            format!("at most {MOST_ARGUMENTS} arguments travel: put them in a struct"),
        ));
    }
    let returned = match &sig.output {
        ReturnType::Default => syn::parse_quote!(()),
        ReturnType::Type(_, ty) => (**ty).clone(),
    };
    if let Some(span) = borrowed(&returned) {
        return Err(Error::new(
            span,
            "the result travels to another process: return an owned value",
        ));
    }
    let fallible = last_segment(&returned).is_some_and(|segment| segment.ident == "Result");
    Ok(Function {
        item,
        context,
        arguments,
        returned,
        fallible,
    })
}

fn check_argument(ty: &Type) -> Result<()> {
    if message_of_context(ty).is_some() {
        return Err(Error::new_spanned(
            ty,
            "a `Context` can only be the first argument",
        ));
    }
    if let Some(span) = borrowed(ty) {
        return Err(Error::new(
            span,
            "arguments travel to another process: take an owned value, as `String` for `&str`",
        ));
    }
    Ok(())
}

/// Where a type borrows or leaves itself to inference.
fn borrowed(ty: &Type) -> Option<proc_macro2::Span> {
    matches!(
        ty,
        Type::Reference(_) | Type::ImplTrait(_) | Type::Ptr(_) | Type::Slice(_)
    )
    .then(|| ty.span())
}

fn last_segment(ty: &Type) -> Option<&syn::PathSegment> {
    match ty {
        Type::Path(path) if path.qself.is_none() => path.path.segments.last(),
        _ => None,
    }
}

/// The `M` of `Context<M>`.
fn message_of_context(ty: &Type) -> Option<Type> {
    let segment = last_segment(ty)?;
    let PathArguments::AngleBracketed(generics) = &segment.arguments else {
        return None;
    };
    match (segment.ident == "Context", generics.args.first()) {
        (true, Some(GenericArgument::Type(message))) => Some(message.clone()),
        _ => None,
    }
}

fn write(function: &Function) -> TokenStream {
    let ItemFn {
        attrs, vis, sig, ..
    } = &function.item;
    let (name, arguments) = (&sig.ident, &function.arguments);
    // What documents or gates the item goes with the outer function; the rest (`allow`, `inline`)
    // stays with what was written.
    let (outer, inner): (Vec<&Attribute>, Vec<&Attribute>) = attrs.iter().partition(|attribute| {
        let path = attribute.path();
        path.is_ident("doc") || path.is_ident("cfg") || path.is_ident("deprecated")
    });
    let mut written = function.item.clone();
    written.attrs = inner.into_iter().cloned().collect();
    written.vis = syn::Visibility::Inherited;
    // Values are what travels; that the function only looks at them is no fault of its.
    written
        .attrs
        .push(syn::parse_quote!(#[allow(clippy::needless_pass_by_value)]));

    let names = argument_names(function);
    let (output, outcome) = output(function);
    let invocation = invocation(function, &outcome);
    let is_async = sig.asyncness.is_some();
    let checks = arguments.iter().map(|ty| {
        quote_spanned! {ty.span()=> ::coros::__private::must_travel::<#ty>(); }
    });
    quote! {
        #(#outer)*
        #vis fn #name(#(#names: #arguments),*) -> ::coros::Call<#output> {
            #written

            struct Remote;

            impl ::coros::__private::Remote for Remote {
                type Args = (#(#arguments,)*);
                type Output = #output;
                const NAME: &'static str =
                    ::core::concat!(::core::module_path!(), "::", ::core::stringify!(#name));
                const ASYNC: bool = #is_async;
                fn invoke(
                    (#(#names,)*): Self::Args,
                ) -> ::coros::__private::Invocation<Self::Output> {
                    #invocation
                }
            }

            #[::coros::__private::linkme::distributed_slice(::coros::__private::FUNCTIONS)]
            #[linkme(crate = ::coros::__private::linkme)]
            static FUNCTION: ::coros::__private::Function =
                ::coros::__private::Function::of::<Remote>();

            // Says at the type that is wrong that it cannot travel.
            const _: fn() = || { #(#checks)* };

            ::coros::__private::call::<Remote>((#(#names,)*))
        }
    }
}

/// The names of the outer function's arguments: as written where that is a name.
fn argument_names(function: &Function) -> Vec<Ident> {
    let inputs = function
        .item
        .sig
        .inputs
        .iter()
        .skip(usize::from(function.context.is_some()));
    let name = |(place, input): (usize, &FnArg)| match input {
        FnArg::Typed(input) => match &*input.pat {
            Pat::Ident(pat) => pat.ident.clone(),
            _ => format_ident!("argument{place}"),
        },
        FnArg::Receiver(_) => unreachable!("methods are refused"),
    };
    inputs.enumerate().map(name).collect()
}

/// What the caller gets, and the function that makes an outcome of what is returned.
fn output(function: &Function) -> (TokenStream, TokenStream) {
    let returned = &function.returned;
    if function.fallible {
        let value = quote!(<#returned as ::coros::__private::Fallible>::Value);
        (value, quote!(::coros::__private::fallible))
    } else {
        (quote!(#returned), quote!(::coros::__private::infallible))
    }
}

/// What a worker does with a call.
fn invocation(function: &Function, outcome: &TokenStream) -> TokenStream {
    let name = &function.item.sig.ident;
    let names = argument_names(function);
    if let Some(message) = &function.context {
        quote! {
            ::coros::__private::Invocation::Later(::coros::__private::coroutine::<#message, _, _, _>(
                <Self as ::coros::__private::Remote>::NAME,
                move |me| #name(me, #(#names),*),
                #outcome,
            ))
        }
    } else if function.item.sig.asyncness.is_some() {
        quote! {
            ::coros::__private::Invocation::Later(::std::boxed::Box::pin(async move {
                #outcome(#name(#(#names),*).await)
            }))
        }
    } else {
        quote!(::coros::__private::Invocation::Now(#outcome(#name(#(#names),*))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(item: TokenStream) -> String {
        expand(TokenStream::new(), item)
            .expect_err("this must be refused")
            .to_string()
    }

    #[test]
    fn what_cannot_travel_is_refused_with_what_to_do() {
        assert!(
            refusal(quote!(
                struct S;
            ))
            .contains("goes on a function")
        );
        assert!(
            refusal(quote!(
                fn f<T>(t: T) {}
            ))
            .contains("cannot be generic")
        );
        assert!(
            refusal(quote!(
                fn f(a: &str) {}
            ))
            .contains("owned value")
        );
        assert!(
            refusal(quote!(
                fn f(a: impl Copy) {}
            ))
            .contains("owned value")
        );
        assert!(
            refusal(quote!(
                fn f() -> &'static str {
                    ""
                }
            ))
            .contains("owned value")
        );
        assert!(
            refusal(quote!(
                fn f(&self) {}
            ))
            .contains("cannot be a method")
        );
        assert!(
            refusal(quote!(
                unsafe fn f() {}
            ))
            .contains("`unsafe`")
        );
        assert!(
            refusal(quote!(
                const fn f() {}
            ))
            .contains("`const`")
        );
        assert!(
            refusal(quote!(
                extern "C" fn f() {}
            ))
            .contains("`extern`")
        );
        assert!(
            refusal(quote!(
                fn f(me: Context<u8>) {}
            ))
            .contains("`async fn`")
        );
        assert!(
            refusal(quote!(
                async fn f(n: u8, me: Context<u8>) {}
            ))
            .contains("first argument")
        );
        let many = (0..17).map(|i| format_ident!("a{i}"));
        assert!(refusal(quote!(fn f(#(#many: u8),*) {})).contains("struct"));
        let options = expand(
            quote!(name = "x"),
            quote!(
                fn f() {}
            ),
        );
        assert!(
            options
                .expect_err("refused")
                .to_string()
                .contains("no options")
        );
    }

    #[test]
    fn the_expansion_is_rust() {
        for item in [
            quote!(
                fn f() {}
            ),
            quote!(
                pub(crate) fn f(mut a: u8, (b, c): (u8, u8)) -> u8 {
                    a += b;
                    a + c
                }
            ),
            quote!(
                /** Doc. */
                #[cfg(unix)]
                pub async fn f(a: u8) -> io::Result<()> {
                    Ok(())
                }
            ),
            quote!(
                async fn f(me: coros::Context<u8>, a: u8, b: u8) -> u8 {
                    a + b
                }
            ),
        ] {
            let expanded = expand(TokenStream::new(), item).unwrap();
            syn::parse2::<syn::File>(expanded).unwrap();
        }
    }
}
