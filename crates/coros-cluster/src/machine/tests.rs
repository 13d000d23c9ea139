//! Machines and programs as they are here, and files that are none.

use super::*;

#[test]
fn a_label_is_a_key_and_perhaps_a_value() {
    let label = |text: &str| text.parse::<Label>().expect("a label");
    assert_eq!(label("gpu").value(), None);
    assert_eq!(label("room=b=12").value(), Some("b=12"));
    for text in ["gpu", "room=b12"] {
        assert_eq!(label(text).to_string(), text);
    }
    assert!(label("gpu=a100").satisfies(&label("gpu")));
    assert!(label("gpu=a100").satisfies(&label("gpu=a100")));
    assert!(!label("gpu=a100").satisfies(&label("gpu=h100")));
    assert!(!label("gpu").satisfies(&label("gpu=a100")));

    let long = "x".repeat(257);
    for text in [
        "",
        "=x",
        "key=",
        "two words",
        "a=b\n",
        "a\u{202e}b",
        "\u{1b}[2J",
        &long,
    ] {
        let error = text.parse::<Label>().expect_err(text).to_string();
        assert!(error.contains("expected `key` or `key=value`"), "{error}");
        assert!(!error.contains('\u{1b}'), "{error}");
    }
}

#[test]
fn a_machine_travels_but_not_with_a_label_that_is_none() {
    let labels = [Label::try_from("room=b12".to_owned()).expect("a label")];
    let mut machine = Machine::look(labels);
    machine.name = "farm".into();
    let mut bytes = postcard::to_stdvec(&machine).expect("it can be written");
    assert_eq!(postcard::from_bytes::<Machine>(&bytes), Ok(machine.clone()));

    let at = bytes.len() - "b12".len();
    bytes[at] = b' ';
    assert!(postcard::from_bytes::<Machine>(&bytes).is_err());

    machine.name = "farm\u{1b}[2J".into();
    bytes = postcard::to_stdvec(&machine).expect("it can be written");
    let came = postcard::from_bytes::<Machine>(&bytes).expect("it can be read");
    assert_eq!(came.name, r"farm\u{1b}[2J");
}

#[test]
fn control_groups_leave_less_of_the_memory() {
    let all = || Memory {
        total: 100,
        free: 60,
    };
    let limits = |total_memory, free_memory| CGroupLimits {
        total_memory,
        free_memory,
        free_swap: 0,
        rss: 0,
    };
    assert_eq!(all().within(None), all());
    let small = Memory { total: 40, free: 8 };
    assert_eq!(all().within(Some(&limits(40, 8))), small);
    // More may be allowed than there is.
    assert_eq!(all().within(Some(&limits(u64::MAX, 99))), all());
}

#[test]
fn graphics_processors_are_those_to_compute_with() {
    let root = tempfile::tempdir().expect("a folder");
    let put = |path: &str, text: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().expect("it is in a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    };
    assert_eq!(gpus(root.path()), 0);
    for name in [
        "nvidia0",
        "nvidia11",
        "nvidiactl",
        "nvidia-uvm",
        "nvidia",
        "dri/renderD128",
    ] {
        put(&format!("dev/{name}"), "");
    }
    assert_eq!(gpus(root.path()), 2);
    let nodes = "sys/class/kfd/kfd/topology/nodes";
    put(
        &format!("{nodes}/0/properties"),
        "cpu_cores_count 8\nsimd_count 0\n",
    );
    put(
        &format!("{nodes}/1/properties"),
        "cpu_cores_count 0\nsimd_count 256\n",
    );
    assert_eq!(gpus(root.path()), 3);
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::HashSet;
    use std::env::consts::ARCH;
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::path::PathBuf;
    use std::process::Command;

    use proptest::prelude::Rng;
    use proptest::test_runner::{RngAlgorithm, TestRng};
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    use super::super::features::CpuFeatures;
    use super::super::platform::CpuLevel;
    use super::*;

    const TRUE: &str = "/bin/true";

    fn me() -> PathBuf {
        std::env::current_exe().expect("a test is a program")
    }

    /// Bytes as a file of its own.
    fn file_of(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), bytes).expect("it can be written");
        file
    }

    fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
        let at = bytes.windows(from.len()).position(|window| window == from);
        let at = at.expect("it is there");
        let mut bytes = bytes.to_vec();
        bytes[at..at + from.len()].fill(0);
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    }

    fn machine() -> Machine {
        let mut machine = Machine::look([]);
        machine.name = "farm".into();
        machine
    }

    #[test]
    fn this_program_runs_on_this_machine() {
        let target = Target::of_this_program().expect("it is a program");
        assert_eq!(target.fits(&machine()), Ok(()));
        assert_eq!(target.features, CpuFeatures::compiled());
        assert_eq!(target.level, CpuLevel::of(target.features));
        assert_eq!((&*target.os, &*target.arch), ("linux", ARCH));
        let of_file = Target::of(&me()).expect("it is a program");
        assert_eq!(of_file.libc, target.libc);
        if cfg!(target_env = "gnu") {
            assert!(matches!(target.libc, Libc::Glibc(Some(_))), "{target:?}");
        }
        let other = Target::of(Path::new(TRUE)).expect("it is a program");
        assert_eq!(other.fits(&machine()), Ok(()));
    }

    #[test]
    #[cfg(target_env = "gnu")]
    fn glibc_has_the_version_that_it_says() {
        let says = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
        let says = says.expect("getconf comes with glibc").stdout;
        let found = machine().platform.glibc.expect("it is there");
        let says = String::from_utf8_lossy(&says);
        assert_eq!(says.trim(), format!("glibc {found}"));
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_level_is_what_the_processor_lists() {
        let text = fs::read_to_string("/proc/cpuinfo").expect("linux has it");
        let flags = text.lines().find(|line| line.starts_with("flags"));
        let flags: HashSet<_> = flags.expect("flags").split_whitespace().collect();
        let levels = [
            "cx16 popcnt pni ssse3 sse4_1 sse4_2",
            "avx avx2 bmi1 bmi2 f16c fma abm movbe",
            "avx512f avx512bw avx512cd avx512dq avx512vl",
        ];
        let all = |level: &&&str| level.split(' ').all(|flag| flags.contains(flag));
        let level = 1 + levels.iter().take_while(all).count();
        let found = machine().platform.level.expect("there is one");
        assert_eq!(found.to_string(), format!("x86-64-v{level}"));
    }

    /// The system has other names for some of them.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_features_are_what_the_processor_lists() {
        let text = fs::read_to_string("/proc/cpuinfo").expect("linux has it");
        let flags = text.lines().find(|line| line.starts_with("flags"));
        let flags: HashSet<_> = flags.expect("flags").split_whitespace().collect();
        let found = machine().platform.features;
        for name in ["aes", "avx2", "vaes", "gfni", "vpclmulqdq", "rdseed", "adx"] {
            assert_eq!(found.has(ARCH, name), flags.contains(name), "{name}");
        }
        let bytes = postcard::to_stdvec(&found).expect("it can be written");
        assert_eq!(postcard::from_bytes(&bytes), Ok(found));
    }

    #[test]
    fn cores_are_those_that_the_process_may_use() {
        let look = || {
            let all = sched_getaffinity(None).expect("it can be asked");
            let first = (0..CpuSet::MAX_CPU).find(|&cpu| all.is_set(cpu));
            let mut one = CpuSet::new();
            one.set(first.expect("this runs somewhere"));
            sched_setaffinity(None, &one).expect("less is always allowed");
            Machine::look([]).cores.get()
        };
        // A thread that has it for itself.
        let cores = std::thread::spawn(look).join().expect("it does not panic");
        assert_eq!(cores, 1);
    }

    #[test]
    fn load_is_of_this_machine_and_that_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let load = Load::look(folder.path());
        let memory = machine().memory;
        assert!(
            load.memory_free > 0 && load.memory_free <= memory,
            "{load:?} {memory}"
        );
        assert!(load.disk_free.is_some_and(|free| free > 0), "{load:?}");
        let gone = folder.path().join("gone");
        assert_eq!(Load::look(&gone).disk_free, None);
        // Of no size.
        assert_eq!(Load::look(Path::new("/proc")).disk_free, None);
    }

    #[test]
    #[cfg(all(target_env = "gnu", target_arch = "x86_64"))]
    fn the_loader_tells_the_library() {
        let program = fs::read(TRUE).expect("a program");
        let libc_with = |loader: &[u8]| {
            let file = file_of(&replaced(&program, b"/lib64/ld-linux-x86-64.so.2", loader));
            Target::of(file.path()).expect("it is a program").libc
        };
        assert_eq!(libc_with(b"/lib/ld-musl-x86_64.so.1"), Libc::Musl);
        let other = "/system/bin/linker64";
        assert_eq!(libc_with(other.as_bytes()), Libc::Other(other.into()));
        assert!(matches!(
            libc_with(b"/gnu/ld-linux-x86-64.so.2"),
            Libc::Glibc(Some(_))
        ));

        // Without the segment that names it, it is one that needs none.
        let interp = [3, 0, 0, 0, 4, 0, 0, 0];
        let file = file_of(&replaced(&program, &interp, &[]));
        let target = Target::of(file.path()).expect("it is a program");
        assert_eq!(target.libc, Libc::Any);
        let mut without = machine();
        (without.platform.glibc, without.platform.musl) = (None, false);
        assert_eq!(target.fits(&without), Ok(()));
    }

    #[test]
    fn what_is_no_program_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        let refused = |path: &Path, why: &str| {
            let error = Target::of(path).expect_err(why).to_string();
            assert!(error.contains(why), "{error}");
            assert!(error.contains(path.to_str().expect("a name")), "{error}");
        };
        refused(folder.path(), "no file");
        refused(&pipe, "no file");
        refused(Path::new("/dev/zero"), "no file");
        refused(&folder.path().join("gone"), "No such file");
        refused(file_of(b"").path(), "no ELF file");
        refused(file_of(b"#!/bin/sh\necho\n").path(), "no ELF file");
        refused(file_of(&b"\x7fELF\x02\x01\x01"[..]).path(), "no ELF file");
        let program = fs::read(TRUE).expect("a program");
        let mut other = program.clone();
        other[18] = 0xfe;
        refused(file_of(&other).path(), "unknown kind of processor");
        // Its processor in the mode for 32 bits.
        other = program.clone();
        other[4] = 1;
        refused(file_of(&other).path(), "unknown kind of processor");
        other = program.clone();
        other[7] = 0x42;
        refused(file_of(&other).path(), "unknown operating system");
        for eighth in 1..8 {
            let part = &program[..program.len() * eighth / 8];
            refused(file_of(part).path(), "damaged");
        }
    }

    #[test]
    #[cfg(target_env = "gnu")]
    fn a_library_is_no_program() {
        let maps = fs::read_to_string("/proc/self/maps").expect("linux has it");
        let library = maps.lines().find(|line| line.contains("/libgcc_s.so.1"));
        let library = library.expect("a program of Rust's has it");
        let at = library.find('/').expect("it has a path");
        let refused = Target::of(Path::new(&library[at..]));
        let error = refused.expect_err("it has no start").to_string();
        assert!(error.contains("a part of one"), "{error}");
    }

    #[test]
    fn damage_never_panics() {
        let program = fs::read(TRUE).expect("a program");
        let copy = file_of(&program);
        let file = File::options().write(true).open(copy.path());
        let file = file.expect("it can be opened");
        let mut rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let mut below = |n: usize| (rng.next_u64() % n as u64) as usize;
        let sections = program.len() - 64 * 32;
        let (mut read, mut refused) = (0, 0);
        for _ in 0..10_000 {
            let mut damaged = Vec::new();
            for _ in 0..=below(4) {
                // In its header and segments, in its sections, anywhere.
                let at = match below(3) {
                    0 => below(1024),
                    1 => sections + below(64 * 32),
                    _ => below(program.len()),
                };
                let byte = [0, 1, 0x7f, 0xff, below(256) as u8][below(5)];
                file.write_all_at(&[byte], at as u64)
                    .expect("it can be written");
                damaged.push(at);
            }
            match Target::of(copy.path()) {
                Ok(_) => read += 1,
                Err(_) => refused += 1,
            }
            for at in damaged {
                file.write_all_at(&program[at..=at], at as u64)
                    .expect("it can be written");
            }
        }
        assert!(
            read > 100 && refused > 100,
            "{read} read, {refused} refused"
        );
    }

    #[test]
    fn a_mismatch_says_what_to_build() {
        let version = |minor| Version { major: 2, minor };
        let features = |names: &[&str]| CpuFeatures::named("x86_64", names);
        let target = |libc| Target {
            os: "linux".into(),
            arch: "x86_64".into(),
            level: Some(CpuLevel::V3),
            features: features(&["avx2", "vaes", "gfni"]),
            libc,
        };
        let mut farm = machine();
        farm.platform = Platform {
            os: "linux".into(),
            arch: "x86_64".into(),
            level: Some(CpuLevel::V3),
            features: features(&["avx2", "vaes", "gfni", "sha"]),
            glibc: Some(version(36)),
            musl: false,
        };
        let why = |target: &Target, machine: &Machine| match target.fits(machine) {
            Ok(()) => String::new(),
            Err(mismatch) => mismatch.to_string(),
        };
        for fits in [Some(version(36)), Some(version(17)), None] {
            assert_eq!(why(&target(Libc::Glibc(fits)), &farm), "");
        }
        assert_eq!(
            why(&target(Libc::Glibc(Some(version(38)))), &farm),
            "the program needs glibc 2.38, node farm has 2.36: build it on an older system or for \
             x86_64-unknown-linux-musl"
        );
        assert_eq!(
            why(&target(Libc::Musl), &farm),
            "the program needs the loader of musl, which node farm does not have: build it for \
             x86_64-unknown-linux-musl, statically linked, with RUSTFLAGS=\"-C \
             target-feature=+crt-static\""
        );

        let mut alpine = farm.clone();
        (alpine.platform.glibc, alpine.platform.musl) = (None, true);
        assert_eq!(why(&target(Libc::Musl), &alpine), "");
        assert_eq!(why(&target(Libc::Any), &alpine), "");
        assert_eq!(
            why(&target(Libc::Glibc(Some(version(17)))), &alpine),
            "the program needs glibc 2.17, which node farm does not have: build it for \
             x86_64-unknown-linux-musl"
        );

        let mut old = farm.clone();
        old.platform.level = Some(CpuLevel::V1);
        assert_eq!(
            why(&target(Libc::Any), &old),
            "the program needs a processor of x86-64-v3, node farm has x86-64-v1: build it with \
             RUSTFLAGS=\"-C target-cpu=x86-64-v1\""
        );

        // Of what no level has, or beyond that of both.
        let mut plain = farm.clone();
        plain.platform.features = features(&["sha"]);
        assert_eq!(
            why(&target(Libc::Any), &plain),
            "the program needs a processor with avx2, gfni, vaes, which that of node farm does not have: build it \
             with RUSTFLAGS=\"-C target-cpu=x86-64-v3\""
        );

        assert_eq!(
            target(Libc::Musl).to_string(),
            "linux x86_64, musl, x86-64-v3"
        );

        let mut pi = farm;
        pi.platform.level = None;
        let (mut apple, arm) = (target(Libc::Any), "aarch64".to_owned());
        (apple.arch, pi.platform.arch) = (arm.clone(), arm);
        apple.features = CpuFeatures::named("aarch64", &["neon", "sve2", "lse"]);
        pi.platform.features = CpuFeatures::named("aarch64", &["neon"]);
        assert_eq!(
            why(&apple, &pi),
            "the program needs a processor with lse, sve2, which that of node farm does not have: build it with \
             RUSTFLAGS=\"-C target-cpu=generic\""
        );

        pi.platform.arch = "arm".into();
        assert_eq!(
            why(&target(Libc::Glibc(None)), &pi),
            "the program is for linux x86_64, node farm runs linux arm: build it for \
             armv7-unknown-linux-gnueabihf"
        );
    }
}
