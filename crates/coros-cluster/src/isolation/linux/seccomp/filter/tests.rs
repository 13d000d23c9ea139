//! What the filters say to a call, found out by a machine like the kernel's.

use nix::libc::{
    AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, CLONE_NEWNS, CLONE_NEWUSER, CLONE_THREAD, CLONE_VM,
    ENOSYS, EPERM, SIGCHLD, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_RAW, SOCK_STREAM,
};
use proptest::prelude::*;

use super::*;

/// A call as a filter sees it.
#[derive(Clone, Copy, Debug, Default)]
struct Call {
    number: u32,
    args: [u64; 6],
}

impl Call {
    fn of(number: libc::c_long, args: &[i64]) -> Self {
        let mut call = Call {
            number: u32::try_from(number).unwrap(),
            ..Call::default()
        };
        for (place, arg) in args.iter().enumerate() {
            call.args[place] = arg.cast_unsigned();
        }
        call
    }

    /// The word of 32 bits at a place in `struct seccomp_data`.
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => arch(),
            16.. => {
                let arg = self.args[(offset as usize - 16) / 8];
                u32::try_from((arg >> if offset.is_multiple_of(8) { 0 } else { 32 }) & 0xffff_ffff)
                    .unwrap()
            }
            _ => panic!("nothing is looked at at {offset}"),
        }
    }
}

/// `AUDIT_ARCH_...`
fn arch() -> u32 {
    let machine = match std::env::consts::ARCH {
        "x86_64" => 62,
        "aarch64" => 183,
        "riscv64" => 243,
        other => panic!("no filters are made for {other}"),
    };
    0xc000_0000 | machine
}

fn run(program: &[sock_filter], call: &Call) -> u32 {
    let (mut at, mut acc) = (0, 0_u32);
    loop {
        let sock_filter { code, jt, jf, k } = program[at].clone();
        at += 1;
        let jump = |yes: bool| usize::from(if yes { jt } else { jf });
        match code {
            0x20 => acc = call.word(k),
            0x54 => acc &= k,
            0x05 => at += k as usize,
            0x15 => at += jump(acc == k),
            0x25 => at += jump(acc > k),
            0x35 => at += jump(acc >= k),
            0x06 => return k,
            other => panic!("no instruction is {other:#x}"),
        }
    }
}

/// The error that the call fails with, if it does.
fn error(network: &Network, call: &Call) -> Option<i32> {
    let programs = programs(network).unwrap();
    let says = programs.iter().map(|program| run(program, call));
    let says = says.min().unwrap();
    match says & 0xffff_0000 {
        0x7fff_0000 => None,
        0x0005_0000 => Some((says & 0xffff).try_into().unwrap()),
        _ => panic!("{call:?} is killed"),
    }
}

fn all(call: libc::c_long, args: &[i64]) -> Option<i32> {
    error(&Network::All, &Call::of(call, args))
}

#[test]
fn what_changes_the_machine_is_refused_and_what_programs_do_is_not() {
    for call in REFUSED {
        assert_eq!(all(*call, &[]), Some(EPERM), "{call}");
    }
    for call in [
        libc::SYS_read,
        libc::SYS_openat,
        libc::SYS_execve,
        libc::SYS_futex,
        libc::SYS_io_uring_setup,
    ] {
        assert_eq!(all(call, &[]), None, "{call}");
    }
    assert_eq!(all(libc::SYS_prlimit64, &[0, 7]), None);
    assert_eq!(all(libc::SYS_prlimit64, &[1, 7]), Some(EPERM));
    assert_eq!(all(libc::SYS_ioctl, &[0, 0x5401]), None);
    // The upper half of a request is ignored by the kernel.
    for request in [0x5412, 0x541c, 0x1_0000_5412] {
        assert_eq!(all(libc::SYS_ioctl, &[0, request]), Some(EPERM));
    }
}

#[test]
fn processes_and_threads_are_started_and_namespaces_are_not() {
    let thread = i64::from(CLONE_VM | CLONE_THREAD);
    assert_eq!(all(libc::SYS_clone, &[thread]), None);
    assert_eq!(all(libc::SYS_clone, &[SIGCHLD.into()]), None);
    for namespace in [CLONE_NEWNS, CLONE_NEWUSER] {
        let flags = i64::from(namespace | SIGCHLD);
        assert_eq!(all(libc::SYS_clone, &[flags]), Some(EPERM));
    }
    assert_eq!(all(libc::SYS_clone3, &[]), Some(ENOSYS));
}

#[test]
fn of_the_network_there_is_what_is_asked_for() {
    let any = Network::All;
    let tcp = Network::Only(vec![1]);
    let none = Network::Only(Vec::new());
    let flags = SOCK_CLOEXEC | SOCK_NONBLOCK;
    let cases = [
        // Family, type, protocol; whether it is there with all, with TCP, with nothing.
        ((AF_UNIX, SOCK_DGRAM | flags, 0), [true, true, true]),
        ((AF_INET, SOCK_STREAM | flags, 0), [true, true, false]),
        ((AF_INET6, SOCK_STREAM, 6), [true, true, false]),
        ((AF_INET, SOCK_STREAM, 262), [true, false, false]),
        ((AF_INET, SOCK_DGRAM | flags, 0), [true, false, false]),
        ((AF_INET6, SOCK_RAW, 58), [true, false, false]),
        ((AF_NETLINK, SOCK_RAW, 0), [true, false, false]),
        ((40, SOCK_STREAM, 0), [true, false, false]),
    ];
    for ((family, kind, protocol), expected) in cases {
        let call = Call::of(libc::SYS_socket, &[family.into(), kind.into(), protocol]);
        let found = [&any, &tcp, &none].map(|network| error(network, &call).is_none());
        assert_eq!(found, expected, "{family} {kind} {protocol}");
    }
    let fast_open = FAST_OPEN.cast_signed();
    for (call, args) in [
        (libc::SYS_sendto, [0, 0, 0, fast_open]),
        (libc::SYS_sendmsg, [0, 0, fast_open, 0]),
    ] {
        assert_eq!(all(call, &args), None);
        assert_eq!(error(&tcp, &Call::of(call, &args)), Some(EPERM));
        assert_eq!(error(&tcp, &Call::of(call, &[])), None);
    }
    assert_eq!(
        error(&tcp, &Call::of(libc::SYS_io_uring_setup, &[])),
        Some(ENOSYS)
    );
}

proptest! {
    #[test]
    fn nobody_is_killed_and_no_call_of_x32_is_there(number: u32, args: [u64; 6]) {
        let found = error(&Network::All, &Call { number, args });
        if cfg!(target_arch = "x86_64") && number >= 0x4000_0000 {
            prop_assert!(found.is_some());
        }
    }
}
