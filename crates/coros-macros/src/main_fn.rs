//! `#[coros::main]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Expr, ExprLit, ItemFn, Lit, MetaNameValue, Result, ReturnType, Token};

/// The options, each as given.
#[derive(Default)]
struct Options {
    current_thread: bool,
    worker_threads: Option<usize>,
}

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let function: ItemFn = syn::parse2(item.clone()).map_err(|_| {
        Error::new_spanned(
            item,
            "#[coros::main] goes on the program's `async fn main()`",
        )
    })?;
    check(&function)?;
    let options = parse_options(options)?;

    let flavor = if options.current_thread {
        quote!(CurrentThread)
    } else {
        quote!(MultiThread)
    };
    let worker_threads = match options.worker_threads {
        Some(n) => quote!(::core::option::Option::Some(#n)),
        None => quote!(::core::option::Option::None),
    };
    let ItemFn {
        attrs,
        vis,
        sig,
        block,
    } = &function;
    let (name, output) = (&sig.ident, &sig.output);
    // Tells the async block its type, so that `?` in a body that ends in `Ok(())` can infer it.
    let returned = match output {
        ReturnType::Default => quote!(()),
        ReturnType::Type(_, ty) => quote!(#ty),
    };
    Ok(quote! {
        #(#attrs)*
        #vis fn #name() #output {
            ::coros::__private::main::<_, #returned>(
                ::coros::__private::Main {
                    flavor: ::coros::__private::Flavor::#flavor,
                    worker_threads: #worker_threads,
                },
                async move #block,
            )
        }
    })
}

fn check(function: &ItemFn) -> Result<()> {
    let sig = &function.sig;
    if sig.asyncness.is_none() {
        return Err(Error::new_spanned(
            sig.fn_token,
            "#[coros::main] needs an `async fn`: add `async`",
        ));
    }
    if sig.ident != "main" {
        return Err(Error::new_spanned(
            &sig.ident,
            "#[coros::main] goes on the program's `main` only: workers enter there",
        ));
    }
    if !sig.inputs.is_empty() {
        return Err(Error::new_spanned(
            &sig.inputs,
            "`main` takes no arguments: read them with `std::env::args`",
        ));
    }
    if !sig.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &sig.generics,
            "`main` cannot be generic",
        ));
    }
    Ok(())
}

fn parse_options(options: TokenStream) -> Result<Options> {
    let pairs = Punctuated::<MetaNameValue, Token![,]>::parse_terminated
        .parse2(options)
        .map_err(|error| {
            Error::new(
                error.span(),
                "the options of #[coros::main] are `flavor = \"multi_thread\"`, \
                 `flavor = \"current_thread\"` and `worker_threads = N`",
            )
        })?;
    let mut parsed = Options::default();
    for pair in &pairs {
        if pair.path.is_ident("flavor") {
            parsed.current_thread = parse_flavor(&pair.value)?;
        } else if pair.path.is_ident("worker_threads") {
            parsed.worker_threads = Some(parse_threads(&pair.value)?);
        } else {
            return Err(Error::new(
                pair.path.span(),
                "unknown option: there are `flavor` and `worker_threads`",
            ));
        }
    }
    if parsed.current_thread && parsed.worker_threads.is_some() {
        return Err(Error::new(
            pairs.span(),
            "`worker_threads` means nothing with `flavor = \"current_thread\"`: drop one of them",
        ));
    }
    Ok(parsed)
}

/// Whether it is the current-thread flavor.
fn parse_flavor(value: &Expr) -> Result<bool> {
    if let Expr::Lit(ExprLit {
        lit: Lit::Str(text),
        ..
    }) = value
    {
        match text.value().as_str() {
            "current_thread" => return Ok(true),
            "multi_thread" => return Ok(false),
            _ => {}
        }
    }
    Err(Error::new(
        value.span(),
        "`flavor` is \"multi_thread\" (the default) or \"current_thread\"",
    ))
}

fn parse_threads(value: &Expr) -> Result<usize> {
    if let Expr::Lit(ExprLit {
        lit: Lit::Int(number),
        ..
    }) = value
    {
        match number.base10_parse() {
            Ok(n) if n > 0 => return Ok(n),
            _ => {}
        }
    }
    Err(Error::new(
        value.span(),
        "`worker_threads` is a number of threads, at least 1",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(options: TokenStream, item: TokenStream) -> String {
        expand(options, item)
            .expect_err("this must be refused")
            .to_string()
    }

    #[test]
    fn options_reach_the_expansion() {
        let body = quote! { async fn main() -> Result<(), Oops> { work().await? } };
        let text = expand(quote!(flavor = "multi_thread", worker_threads = 3), body)
            .unwrap()
            .to_string();
        assert!(text.contains("Some (3usize)"), "{text}");
        assert!(text.contains("MultiThread"), "{text}");
        let text = expand(
            quote!(flavor = "current_thread"),
            quote!(
                async fn main() {}
            ),
        )
        .unwrap()
        .to_string();
        assert!(text.contains("CurrentThread"), "{text}");
    }

    #[test]
    fn what_cannot_work_is_refused_with_what_to_do() {
        let main = || {
            quote!(
                async fn main() {}
            )
        };
        assert!(
            refusal(
                quote!(),
                quote!(
                    fn main() {}
                )
            )
            .contains("add `async`")
        );
        assert!(
            refusal(
                quote!(),
                quote!(
                    struct Main;
                )
            )
            .contains("async fn main")
        );
        assert!(
            refusal(
                quote!(),
                quote!(
                    async fn other() {}
                )
            )
            .contains("`main` only")
        );
        assert!(
            refusal(
                quote!(),
                quote!(
                    async fn main(a: u8) {}
                )
            )
            .contains("std::env::args")
        );
        assert!(refusal(quote!(flavor = "green"), main()).contains("current_thread"));
        assert!(refusal(quote!(worker_threads = 0), main()).contains("at least 1"));
        assert!(refusal(quote!(worker_threads = "2"), main()).contains("at least 1"));
        assert!(refusal(quote!(threads = 2), main()).contains("unknown option"));
        assert!(refusal(quote!(multi_thread), main()).contains("options of"));
        let both = quote!(flavor = "current_thread", worker_threads = 2);
        assert!(refusal(both, main()).contains("means nothing"));
    }
}
