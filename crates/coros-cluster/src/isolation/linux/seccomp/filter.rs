use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp as Is,
    SeccompCondition, SeccompFilter, SeccompRule, sock_filter,
};

use super::Network;

/// Refused whatever the arguments.
const REFUSED: &[libc::c_long] = &[
    // The machine: mounts, swap, modules, time, names, accounting, its end.
    libc::SYS_acct,
    libc::SYS_chroot,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    #[cfg(not(target_arch = "riscv64"))]
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_nfsservctl,
    libc::SYS_open_tree,
    libc::SYS_pivot_root,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_reboot,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    // Other processes.
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_process_madvise,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    // Out of here: namespaces, files without their path, keys, and what kernels are attacked by.
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_fanotify_init,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_open_by_handle_at,
    libc::SYS_perf_event_open,
    libc::SYS_request_key,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];

const NAMESPACES: &[libc::c_int] = &[
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWUTS,
];

/// They put characters into a terminal as if somebody had typed them.
const TYPING: &[u64] = &[0x5412, 0x541c]; // TIOCSTI, TIOCLINUX

/// The bits of a socket's type that are not flags.
const SOCKET_TYPE: u64 = 0xf;
/// Sends what a connection begins with, past landlock's look at the port.
const FAST_OPEN: u64 = 0x2000_0000;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// All of them are to be applied; the strictest has the say.
pub(super) fn programs(network: &Network) -> Result<Vec<BpfProgram>, BackendError> {
    let mut refused: Rules = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    let mut unknown: Rules = [(libc::SYS_clone3, Vec::new())].into();
    refused.insert(libc::SYS_clone, any_bit(0, NAMESPACES)?);
    let typing = TYPING.iter().map(|request| rule(&[(1, Is::Eq, *request)]));
    refused.insert(libc::SYS_ioctl, typing.collect::<Result<_, _>>()?);
    // Of other processes; 0 is the one that asks.
    refused.insert(libc::SYS_prlimit64, vec![rule(&[(0, Is::Ne, 0)])?]);
    if let Network::Only(ports) = network {
        refused.insert(libc::SYS_socket, sockets(!ports.is_empty())?);
        for (call, flags) in [
            (libc::SYS_sendto, 3),
            (libc::SYS_sendmsg, 2),
            (libc::SYS_sendmmsg, 3),
        ] {
            refused.insert(
                call,
                vec![rule(&[(flags, Is::MaskedEq(FAST_OPEN), FAST_OPEN)])?],
            );
        }
        // Another way to make sockets.
        unknown.insert(libc::SYS_io_uring_setup, Vec::new());
    }
    let mut programs = vec![
        program(refused, libc::EPERM)?,
        program(unknown, libc::ENOSYS)?,
    ];
    if cfg!(target_arch = "x86_64") {
        programs.push(no_x32());
    }
    Ok(programs)
}

fn program(calls: Rules, error: libc::c_int) -> Result<BpfProgram, BackendError> {
    let error = SeccompAction::Errno(error.unsigned_abs());
    SeccompFilter::new(
        calls,
        SeccompAction::Allow,
        error,
        std::env::consts::ARCH.try_into()?,
    )?
    .try_into()
}

/// All of it has to be true: of an argument by its place, so and that.
fn rule(conditions: &[(u8, Is, u64)]) -> Result<SeccompRule, BackendError> {
    let conditions = conditions.iter().map(|(place, is, value)| {
        SeccompCondition::new(*place, SeccompCmpArgLen::Dword, is.clone(), *value)
    });
    SeccompRule::new(conditions.collect::<Result<_, _>>()?)
}

fn any_bit(place: u8, bits: &[libc::c_int]) -> Result<Vec<SeccompRule>, BackendError> {
    let bits = bits.iter().map(|bit| u64::from(bit.cast_unsigned()));
    bits.map(|bit| rule(&[(place, Is::MaskedEq(bit), bit)]))
        .collect()
}

/// Which sockets are refused: all but those within the machine, and but those of TCP if it is allowed.
fn sockets(tcp: bool) -> Result<Vec<SeccompRule>, BackendError> {
    let number = |constant: libc::c_int| u64::from(constant.cast_unsigned());
    let outside = || (0, Is::Ne, number(libc::AF_UNIX));
    if !tcp {
        return Ok(vec![rule(&[outside()])?]);
    }
    let not_ip = [
        (0, Is::Ne, number(libc::AF_INET)),
        (0, Is::Ne, number(libc::AF_INET6)),
    ];
    let mut rules = vec![rule(&[&[outside()], &not_ip[..]].concat())?];
    for kind in (0..=SOCKET_TYPE).filter(|kind| *kind != number(libc::SOCK_STREAM)) {
        rules.push(rule(&[outside(), (1, Is::MaskedEq(SOCKET_TYPE), kind)])?);
    }
    // Streams of other protocols, which landlock does not look at.
    let not_tcp = [(2, Is::Ne, 0), (2, Is::Ne, number(libc::IPPROTO_TCP))];
    rules.push(rule(&[&[outside()], &not_tcp[..]].concat())?);
    Ok(rules)
}

/// The calls of x32, which are those of x86-64 and have numbers of their own, as if there were none.
fn no_x32() -> BpfProgram {
    let statement = |code, k| sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    };
    let (load, jump_if_at_least, end) = (
        libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
        libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K,
        libc::BPF_RET | libc::BPF_K,
    );
    let code = |code: u32| u16::try_from(code).expect("codes have 16 bits");
    vec![
        // The number of the call comes first in what a filter sees.
        statement(code(load), 0),
        sock_filter {
            jf: 1,
            ..statement(code(jump_if_at_least), 0x4000_0000)
        },
        statement(
            code(end),
            SeccompAction::Errno(libc::ENOSYS.unsigned_abs()).into(),
        ),
        statement(code(end), SeccompAction::Allow.into()),
    ]
}

#[cfg(test)]
mod tests;
