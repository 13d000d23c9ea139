//! The inputs that fuzzing found worth keeping, once more: nothing that a stranger may send makes a
//! decoder panic.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use coros_net::fuzzing::{TARGETS, seeds};
use coros_net::wire::{self, HEADER, Kind, WireError};

/// In all: it is part of every clone.
const LARGEST: u64 = 200 << 10;
/// No input of a few hundred bytes takes nearly as long, even in a debug build on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

fn in_fuzz(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz")
        .join(path)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("it works here").path())
        .collect();
    paths.sort();
    paths
}

/// The names of the entries, without what follows a dot.
fn names(folder: &Path) -> Vec<String> {
    let stem = |path: &PathBuf| {
        path.file_stem()
            .expect("it works here")
            .to_str()
            .expect("it works here")
            .to_owned()
    };
    entries(folder).iter().map(stem).collect()
}

fn targets() -> Vec<String> {
    TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect()
}

#[test]
fn each_input_is_borne() {
    let mut bytes = 0;
    for (name, run) in TARGETS {
        let files = entries(&in_fuzz("corpus").join(name));
        assert!(!files.is_empty(), "{name} has no corpus");
        let mut understood = 0;
        for file in files {
            // When one panics, the last line tells which.
            println!("{}", file.display());
            let input = fs::read(&file).unwrap();
            let begun = Instant::now();
            understood += usize::from(run(&input));
            let took = begun.elapsed();
            assert!(took < LIMIT, "{} took {took:?}", file.display());
            bytes += input.len() as u64;
        }
        assert!(understood > 0, "{name} understands none: it is out of date");
    }
    assert!(bytes <= LARGEST, "{bytes} bytes");
    assert_eq!(names(&in_fuzz("corpus")), targets());
}

/// And left where `cargo xtask fuzz` finds it.
#[test]
fn each_seed_is_understood() {
    for (name, run) in TARGETS {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz-seeds");
        let folder = folder.join(name);
        fs::create_dir_all(&folder).unwrap();
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name} has none");
        for (index, seed) in seeds.iter().enumerate() {
            assert!(run(seed), "seed {index} of {name}: {seed:02x?}");
            fs::write(folder.join(index.to_string()), seed).unwrap();
        }
    }
}

/// A kind that is added without one would be met by chance alone.
#[test]
fn each_kind_of_frame_has_a_seed() {
    let kind = |frame: &[u8]| frame[4];
    let seeded: BTreeSet<u8> = seeds("frames").iter().map(|it| kind(it)).collect();
    let is_known = |kind: &u8| {
        let mut frame = [0; HEADER];
        frame[4] = *kind;
        !matches!(wire::parse(&frame), Err(WireError::Kind(_)))
    };
    let known: BTreeSet<u8> = (0..=u8::MAX).filter(is_known).collect();
    assert!(known.contains(&(Kind::Heed as u8)), "{known:?}");
    assert_eq!(seeded, known);
}

/// The programs are built by a nightly compiler alone, so nothing else looks at them.
#[test]
fn each_target_can_be_fuzzed() {
    let manifest = fs::read_to_string(in_fuzz("Cargo.toml")).unwrap();
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
    assert_eq!(names(&in_fuzz("fuzz_targets")), targets());
    for (name, _) in TARGETS {
        let bin = format!("[[bin]]\nname = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"\n");
        assert!(manifest.contains(&bin), "{bin}");
        let program = fs::read_to_string(in_fuzz(&format!("fuzz_targets/{name}.rs"))).unwrap();
        let expected = format!(
            "#![no_main]\n\nlibfuzzer_sys::fuzz_target!(|bytes: &[u8]| {{\n    \
             coros_net::fuzzing::{name}(bytes);\n}});\n"
        );
        assert_eq!(program, expected);
    }
}
