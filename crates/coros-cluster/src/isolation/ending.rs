//! How a process ended, in words: what a limit did is told as what it is.

use std::process::ExitStatus;

use super::{Counters, Limits};

/// What Rust's standard library says when there is no more memory.
const NO_MEMORY: &str = "memory allocation of ";

/// `killed by signal 9 (SIGKILL)`, `ended with exit status 1`.
pub(crate) fn how_it_ended(code: Option<i32>, signal: Option<i32>) -> String {
    #[cfg(unix)]
    if let Some(signal) = signal {
        let name = nix::sys::signal::Signal::try_from(signal);
        return match name {
            Ok(name) => format!("killed by signal {signal} ({name})"),
            Err(_) => format!("killed by signal {signal}"),
        };
    }
    match (code, signal) {
        (Some(code), _) => format!("ended with exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended in a way that is not known".to_owned(),
    }
}

/// The signal that ended a process.
pub(crate) fn signal_of(status: ExitStatus) -> Option<i32> {
    #[cfg(unix)]
    {
        std::os::unix::process::ExitStatusExt::signal(&status)
    }
    #[cfg(not(unix))]
    {
        let _ = status;
        None
    }
}

/// Which limits a process has hit before it ended, from what its control group has seen and its last lines on
/// standard error. No status: its end could not be seen.
pub(crate) fn hit(
    status: Option<ExitStatus>,
    limits: &Limits,
    counters: &Counters,
    last_words: &[String],
) -> Vec<String> {
    let size = |limit: Option<u64>| match limit {
        Some(bytes) => format!(" of {}", amount(bytes)),
        None => String::new(),
    };
    let mut why = Vec::new();
    let succeeded = status.is_some_and(|status| status.success());
    let no_memory = || last_words.iter().any(|line| line.starts_with(NO_MEMORY));
    // The groups around it have something of their own as well.
    let nearly_all = |most: u64| limits.memory.is_none_or(|limit| most >= limit / 16 * 15);
    if counters.killed_for_memory > 0 {
        let all = size(limits.memory);
        why.push(match counters.most_memory {
            0 => format!("it used more than its memory{all}"),
            most if nearly_all(most) => format!("it used more than its memory{all}"),
            most => format!(
                "it had {}, and all workers of its node together used more than their memory{all}",
                amount(most >> 20 << 20)
            ),
        });
    } else if limits.memory.is_some() && !succeeded && no_memory() {
        why.push(format!(
            "it wanted more than its memory{}",
            size(limits.memory)
        ));
    }
    if counters.processes_refused > 0 {
        let most = limits
            .processes
            .map_or(String::new(), |most| format!(" {most}"));
        why.push(format!("it tried to start more than{most} processes"));
    }
    #[cfg(target_os = "linux")]
    match status.and_then(signal_of) {
        Some(nix::libc::SIGXFSZ) => {
            let limit = size(limits.file_size);
            why.push(format!("it wrote more than the file size limit{limit}"));
        }
        Some(nix::libc::SIGSYS) => {
            let other = "it made a call of another architecture, as programs of 32 bits do";
            why.push(format!("{other}, which may not run here"));
        }
        _ => {}
    }
    why
}

/// An end, and what the limits that were hit have to do with it.
pub(crate) fn explain(ended: String, hit: &[String]) -> String {
    match hit {
        [] => ended,
        hit => format!("{ended}: {}", hit.join(", and ")),
    }
}

/// So much, in words.
pub(crate) fn amount(bytes: u64) -> String {
    match bytes % (1 << 20) {
        0 => format!("{} MiB", bytes >> 20),
        _ => format!("{bytes} bytes"),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    const LIMITS: Limits = Limits {
        memory: Some(64 << 20),
        processes: Some(20),
        file_size: Some(1000),
        open_files: None,
    };
    const NOTHING: Counters = Counters {
        killed_for_memory: 0,
        most_memory: 0,
        processes_refused: 0,
    };

    fn told(status: i32, counters: Counters, last: &str) -> String {
        let status = ExitStatus::from_raw(status);
        let hit = hit(
            Some(status),
            &LIMITS,
            &counters,
            &["hello".into(), last.into()],
        );
        explain(how_it_ended(status.code(), signal_of(status)), &hit)
    }

    #[test]
    fn an_end_is_told_in_words() {
        assert_eq!(told(9, NOTHING, ""), "killed by signal 9 (SIGKILL)");
        assert_eq!(told(1 << 8, NOTHING, ""), "ended with exit status 1");
    }

    #[test]
    fn a_limit_is_told_as_what_it_is() {
        assert_eq!(
            told(25, NOTHING, ""),
            "killed by signal 25 (SIGXFSZ): it wrote more than the file size limit of 1000 bytes"
        );
        let counters = Counters {
            killed_for_memory: 1,
            ..NOTHING
        };
        assert_eq!(
            told(9, counters, ""),
            "killed by signal 9 (SIGKILL): it used more than its memory of 64 MiB"
        );
        for (most, why) in [
            (62 << 20, "it used more than its memory of 64 MiB"),
            (
                (40 << 20) + 1,
                "it had 40 MiB, and all workers of its node together used more than their memory of 64 MiB",
            ),
        ] {
            let counters = Counters {
                most_memory: most,
                ..counters
            };
            let killed = format!("killed by signal 9 (SIGKILL): {why}");
            assert_eq!(told(9, counters, ""), killed);
        }
        let counters = Counters {
            processes_refused: 3,
            ..counters
        };
        assert_eq!(
            told(1 << 8, counters, ""),
            "ended with exit status 1: it used more than its memory of 64 MiB, and it tried to start more than \
             20 processes"
        );
        assert!(told(31, NOTHING, "").contains("32 bits"));
    }

    #[test]
    fn memory_that_a_process_limits_itself_is_known_by_its_last_words() {
        let last = "memory allocation of 1073741824 bytes failed";
        assert_eq!(
            told(6, NOTHING, last),
            "killed by signal 6 (SIGABRT): it wanted more than its memory of 64 MiB"
        );
        assert_eq!(told(0, NOTHING, last), "ended with exit status 0");
        let none = Limits::default();
        let aborted = Some(ExitStatus::from_raw(6));
        let none = hit(aborted, &none, &NOTHING, &[last.into()]);
        assert!(none.is_empty(), "{none:?}");
    }

    #[test]
    fn a_limit_is_told_though_the_end_could_not_be_seen() {
        let counters = Counters {
            killed_for_memory: 1,
            processes_refused: 3,
            ..NOTHING
        };
        let told = [
            "it used more than its memory of 64 MiB",
            "it tried to start more than 20 processes",
        ];
        assert_eq!(hit(None, &LIMITS, &counters, &[]), told);
        let last = "memory allocation of 1073741824 bytes failed";
        let wanted = ["it wanted more than its memory of 64 MiB"];
        assert_eq!(hit(None, &LIMITS, &NOTHING, &[last.into()]), wanted);
        assert!(hit(None, &LIMITS, &NOTHING, &[]).is_empty());
    }
}
