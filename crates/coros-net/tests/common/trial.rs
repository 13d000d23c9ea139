//! Tests that not every machine can run: where they cannot be, they are counted as ignored, and the
//! reason is printed. For those that have a `main` of their own.

use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};

/// A test that cannot be run here for the reason that is missing, if one is.
pub(crate) fn trial(
    name: &str,
    missing: Option<&str>,
    test: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Trial {
    // Whoever lists what was skipped sees why.
    let shown = match missing {
        Some(why) => format!("{name} ({why})"),
        None => name.to_owned(),
    };
    Trial::test(shown, test).with_ignored_flag(missing.is_some())
}

/// Runs tests that all need the same, as the arguments of this process say.
#[allow(dead_code, reason = "not all that have such tests have these alone")]
pub(crate) fn run_all<const N: usize>(
    missing: Option<&str>,
    tests: [(&'static str, fn()); N],
) -> ExitCode {
    let trials = tests.map(|(name, test)| {
        let test = move || {
            test();
            Ok(())
        };
        trial(name, missing, test)
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

/// Why something cannot be done here, if the attempt fails.
pub(crate) fn why_not(what: &str, words: &[&str]) -> Option<String> {
    let tried = Command::new(words[0]).args(&words[1..]).output();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr);
            Some(format!("cannot {what} here: {}", why.trim()))
        }
        Err(error) => Some(format!("cannot {what} here: {}: {error}", words[0])),
    }
}
