//! A filter of system calls, for those that no program has use for here: what changes the machine,
//! looks into other processes, or leads out of what else holds them. They fail with `EPERM`; nobody
//! is killed for them.
//!
//! `clone3` has its flags where a filter cannot see them, so it fails as on a kernel that does not
//! have it: programs use `clone` then, where new namespaces are refused. A kernel takes the calls of
//! more than one architecture, by other numbers. Of x32 there are none. A program of 32 bits is
//! killed (`SIGSYS`) at its first call, since it could not even say that it cannot go on.

use super::{ApplyError, Check, Network, Threads, failed};

#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
))]
mod filter;
#[cfg(not(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
)))]
mod filter {
    pub(super) fn programs(
        _: &super::Network,
    ) -> Result<[Vec<seccompiler::sock_filter>; 0], &'static str> {
        Ok([])
    }
}

const NAME: &str = "seccomp";

pub(super) fn apply(network: &Network, threads: Threads) -> Result<Check, ApplyError> {
    let programs = filter::programs(network).map_err(failed(NAME))?;
    if programs.is_empty() {
        return Ok(Check::no(
            NAME,
            format_args!("there is no filter for {} yet", std::env::consts::ARCH),
            "use a machine with x86-64, AArch64 or RISC-V",
        ));
    }
    for program in programs {
        let applied = match threads {
            Threads::All => seccompiler::apply_filter_all_threads(&program),
            Threads::This => seccompiler::apply_filter(&program),
        };
        match applied {
            Ok(()) => {}
            Err(seccompiler::Error::Seccomp(why)) if absent(&why) => {
                return Ok(Check::no(
                    NAME,
                    "the kernel has no filters of system calls",
                    "use one that is built with CONFIG_SECCOMP_FILTER",
                ));
            }
            Err(error) => return Err(failed(NAME)(error)),
        }
    }
    Ok(Check::yes(
        NAME,
        "calls that change the machine or look into other processes are refused",
    ))
}

/// What a kernel says that does not know the call, or does not know filters.
fn absent(why: &std::io::Error) -> bool {
    let errors = [nix::errno::Errno::ENOSYS, nix::errno::Errno::EINVAL];
    why.raw_os_error()
        .is_some_and(|error| errors.iter().any(|known| *known as i32 == error))
}
