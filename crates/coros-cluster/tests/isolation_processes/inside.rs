//! From inside: what a process that is isolated can do, and what not.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixStream};
use std::os::unix::process::{ExitStatusExt, parent_id};
use std::path::Path;
use std::process::{Command, Stdio, exit};

use nix::errno::Errno;
use nix::libc::makedev;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::ptrace;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, SFlag, mknod};
use nix::unistd::{Pid, Uid, setuid};

use crate::isolation::{Applied, Isolation, apply};
use crate::tests::NOBODY;

pub(crate) fn run(role: &str, words: &[String]) {
    if role == "no-folder" {
        eprintln!("{}", apply(&Isolation::new(&words[0])).unwrap_err());
        return;
    }
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).unwrap();
    let isolation: Isolation = postcard::from_bytes(&bytes).unwrap();
    if role == "forks-alone" && Uid::effective().is_root() {
        setuid(Uid::from_raw(NOBODY)).unwrap();
    }
    let applied = apply(&isolation).unwrap();
    match role {
        "files" => files(words[0].as_ref()),
        "limits" => limits(&applied),
        "others" => others(&words[0]),
        "calls" => calls(),
        "no-network" => no_network(),
        "one-port" => one_port(&[words[0].parse().unwrap(), words[1].parse().unwrap()]),
        "writer" => writer(),
        "hog" => hog(),
        "holds" => holds(words[0].parse().unwrap()),
        "forks" => forks(false),
        "forks-alone" => forks(true),
        "escape" => escape(),
        other => panic!("no role is {other}"),
    }
}

#[track_caller]
fn denied<T>(done: std::io::Result<T>) {
    let error = done.err().expect("it was done");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
}

fn files(outside: &Path) {
    let read = |name| fs::read_to_string(outside.join(name));
    let write = |name| fs::write(outside.join(name), "changed");
    // Its own folder, where it also runs what it has written.
    fs::create_dir("sub").unwrap();
    fs::write("script", "#!/bin/sh\necho hello >sub/said\n").unwrap();
    fs::set_permissions("script", fs::Permissions::from_mode(0o755)).unwrap();
    assert!(Command::new("./script").status().unwrap().success());
    fs::rename("sub/said", "said").unwrap();
    symlink("said", "link").unwrap();
    assert_eq!(fs::read_to_string("link").unwrap(), "hello\n");
    fs::remove_file("said").unwrap();
    let disk = mknod("disk", SFlag::S_IFBLK, Mode::S_IRWXU, makedev(7, 0));
    assert_eq!(disk, Err(Errno::EPERM));

    // What was named.
    assert_eq!(read("data/file").unwrap(), "text");
    assert_eq!(read("data/hidden/named/file").unwrap(), "text");
    denied(write("data/file"));
    denied(write("data/new"));
    denied(read("data/hidden/secret"));
    denied(read("data/link"));
    denied(fs::read_dir(outside.join("data/hidden")));
    write("shared/file").unwrap();
    write("shared/new").unwrap();
    write("kept/file").unwrap();
    denied(write("kept/later"));

    // What was not.
    denied(read("other/file"));
    denied(write("other/file"));
    denied(write("other/new"));
    denied(
        OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(outside.join("other/file")),
    );
    denied(fs::remove_file(outside.join("other/file")));
    denied(fs::remove_dir_all(outside.join("other")));
    denied(fs::read_dir(outside));
    denied(fs::create_dir(outside.join("new")));
    denied(fs::write("/tmp/coros-test-new", ""));
    denied(fs::write("/proc/self/oom_score_adj", "1000"));
    denied(fs::read_dir(std::env::home_dir().unwrap()));
    denied(File::open(format!("/proc/{}/environ", parent_id())));

    // What a program needs.
    assert!(
        Command::new("sh")
            .args(["-c", ":"])
            .status()
            .unwrap()
            .success()
    );
    File::open("/proc/self/exe").unwrap();
    let mut sh = Command::new("sh");
    let output = sh
        .args(["-c", "echo hello >/proc/self/fd/2"])
        .output()
        .unwrap();
    assert_eq!(output.stderr, b"hello\n");
    fs::read_to_string("/etc/passwd").unwrap();
    OpenOptions::new().write(true).open("/dev/null").unwrap();
    let mut random = [0; 8];
    File::open("/dev/urandom")
        .unwrap()
        .read_exact(&mut random)
        .unwrap();
}

fn limits(applied: &Applied) {
    let root = Uid::effective().is_root();
    let uncounted = applied.missing().any(|check| check.name == "processes");
    assert_eq!(uncounted, root, "{applied:?}");
    let limits = [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_DATA, 1 << 30),
        (Resource::RLIMIT_FSIZE, 1 << 20),
        (Resource::RLIMIT_NOFILE, 64),
    ];
    for (resource, most) in limits {
        assert_eq!(getrlimit(resource).unwrap(), (most, most), "{resource:?}");
    }
    let (most, _) = getrlimit(Resource::RLIMIT_NPROC).unwrap();
    assert!(root || most > 1000, "{most}");
    let nice = |process| rustix::process::getpriority_process(process).unwrap();
    let who_started_it = nice(rustix::process::getppid());
    assert_eq!(nice(None), (who_started_it + 5).min(19));
    let score = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert!(score.trim().parse::<i32>().unwrap() >= 500, "{score}");
}

fn others(name: &str) {
    // No signal, but the question whether one could be sent.
    let parent = Pid::from_raw(parent_id().cast_signed());
    assert_eq!(kill(parent, None), Err(Errno::EPERM));
    let address = SocketAddr::from_abstract_name(name).unwrap();
    denied(UnixStream::connect_addr(&address));

    // Its own can be reached, by other threads too.
    let mut child = sleep().spawn().unwrap();
    let pid = Pid::from_raw(child.id().cast_signed());
    std::thread::spawn(move || kill(pid, Signal::SIGKILL).unwrap())
        .join()
        .unwrap();
    assert!(!child.wait().unwrap().success());
}

fn calls() {
    // What anybody may, but for the filter.
    assert_eq!(unshare(CloneFlags::CLONE_FS), Err(Errno::EPERM));
    assert_eq!(ptrace::traceme(), Err(Errno::EPERM));
    let none: Option<&str> = None;
    let mounted = mount(Some("none"), ".", Some("tmpfs"), MsFlags::empty(), none);
    assert_eq!(mounted, Err(Errno::EPERM));
    // No privileges either, whoever it is, nor for what it starts.
    let mut grep = Command::new("grep");
    grep.args(["-qE", "^Cap(Prm|Eff|Inh|Amb):\\s0+$", "/proc/self/status"]);
    assert!(grep.status().unwrap().success());
    // It lives, has threads, and starts processes, which are held too.
    assert_eq!(
        std::thread::spawn(ptrace::traceme).join().unwrap(),
        Err(Errno::EPERM)
    );
    assert!(
        Command::new("sh")
            .args(["-c", ":"])
            .status()
            .unwrap()
            .success()
    );
    let status = Command::new("unshare").arg("true").output().unwrap().status;
    assert!(!status.success());
    if cfg!(target_arch = "x86_64") {
        old_program();
    }
}

/// A program of 32 bits, whose first call is `exit`, does not come so far.
fn old_program() {
    let header: [u32; 21] = [
        0x464c_457f,
        0x0001_0101,
        0,
        0,
        // An executable for i386.
        0x0003_0002,
        1,
        // Where it starts, and the one part that it has.
        0x0804_8054,
        0x34,
        0,
        0,
        0x0020_0034,
        1,
        0,
        // That part: all of the file, to be read and executed.
        1,
        0,
        0x0804_8000,
        0x0804_8000,
        0x60,
        0x60,
        5,
        0x1000,
    ];
    let mut program: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
    let code = [0xb8, 1, 0, 0, 0, 0xbb, 42, 0, 0, 0, 0xcd, 0x80];
    program.extend(code);
    fs::write("old", program).unwrap();
    fs::set_permissions("old", fs::Permissions::from_mode(0o755)).unwrap();
    match Command::new("./old").status() {
        Ok(status) => assert_eq!(status.signal(), Some(nix::libc::SIGSYS), "{status}"),
        // This kernel has no such programs.
        Err(error) => assert_eq!(error.raw_os_error(), Some(nix::libc::ENOEXEC)),
    }
}

fn no_network() {
    denied(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)));
    denied(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    UnixStream::pair().unwrap();
}

fn one_port([allowed, other]: &[u16; 2]) {
    TcpStream::connect((Ipv4Addr::LOCALHOST, *allowed)).unwrap();
    denied(TcpStream::connect((Ipv4Addr::LOCALHOST, *other)));
    denied(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let taken = listener.local_addr().unwrap().port();
    drop(listener);
    denied(TcpListener::bind((Ipv4Addr::LOCALHOST, taken)));
}

/// Writes without end, though no more than disks have.
fn writer() {
    let mut file = File::create("large").unwrap();
    for _ in 0..100 {
        file.write_all(&[1; 64 << 10]).unwrap();
    }
}

/// Takes memory without end, though no more than machines have.
fn hog() {
    let mut taken = Vec::new();
    for _ in 0..1024 {
        taken.push(vec![1_u8; 1 << 20]);
    }
    eprintln!("it has {} MiB", taken.len());
}

/// Has so many MiB of memory until it is killed.
fn holds(amount: usize) {
    let taken = vec![1_u8; amount << 20];
    println!("held");
    loop {
        std::hint::black_box(&taken);
        std::thread::park();
    }
}

/// Starts processes until it may not, and ends them again, or leaves that to others.
fn forks(end: bool) {
    let mut started = Vec::new();
    let refused = loop {
        match sleep().spawn() {
            Ok(child) => started.push(child),
            Err(error) => break Some(error),
        }
        if started.len() == 100 {
            break None;
        }
    };
    let count = started.len();
    if end || refused.is_none() {
        for mut child in started {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
    let refused = refused.expect("nothing stops it");
    assert_eq!(refused.kind(), ErrorKind::WouldBlock, "{refused}");
    assert!(count >= 3, "only {count}");
    exit(7)
}

/// Leaves behind a process that has left the group and the session of this one.
fn escape() {
    let mut setsid = Command::new("setsid");
    setsid.args(["sh", "-c", "echo $$; exec sleep 1000 >/dev/null"]);
    let mut child = setsid
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut pid = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut pid)
        .unwrap();
    fs::write("pid", pid).unwrap();
    assert!(child.try_wait().unwrap().is_none());
}

/// A process that lives on, and does not hold what this one says open.
fn sleep() -> Command {
    let mut sleep = Command::new("sleep");
    sleep
        .arg("1000")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    sleep
}
