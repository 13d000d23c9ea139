//! What programs a machine runs.
//!
//! Which version of glibc it has is read from the library itself: the highest version whose
//! symbols it defines, which is what the loader compares with what a program needs. A version
//! string says the same in one more way that has to be found and parsed, and asking the library
//! (`gnu_get_libc_version`) tells nothing to a program that is linked with another.

use std::env::consts::{ARCH, OS};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use coros_core::remote::told;
use serde::{Deserialize, Serialize};

use super::elf::{self, Arch};
use super::features::CpuFeatures;

/// What programs a machine runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Platform {
    /// The operating system, in the words of [`std::env::consts::OS`], such as `linux`.
    #[serde(deserialize_with = "told")]
    pub os: String,
    /// The processor, in the words of [`std::env::consts::ARCH`], such as `x86_64`.
    #[serde(deserialize_with = "told")]
    pub arch: String,
    /// What the processor can do, where there is a name for that.
    pub level: Option<CpuLevel>,
    /// What it can do in particular.
    pub features: CpuFeatures,
    /// Which version of glibc there is for programs that need it, if one was found.
    pub glibc: Option<Version>,
    /// Whether there is a loader for programs that are dynamically linked with musl.
    pub musl: bool,
}

impl Platform {
    pub(super) fn look() -> Platform {
        let linux = cfg!(target_os = "linux");
        let musl = Arch::here().map(|arch| format!("/lib/ld-musl-{}.so.1", arch.musl));
        let features = CpuFeatures::detected();
        Platform {
            os: OS.to_owned(),
            arch: ARCH.to_owned(),
            level: CpuLevel::of(features),
            features,
            glibc: linux.then(glibc).flatten(),
            musl: linux && musl.is_some_and(|loader| Path::new(&loader).exists()),
        }
    }

    /// The Rust target to build for, for programs that are to run here.
    pub(super) fn triple(&self) -> String {
        let libc = if self.glibc.is_some() { "gnu" } else { "musl" };
        triple(&self.os, &self.arch, libc)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.os, self.arch)?;
        if let Some(level) = self.level {
            write!(f, " ({level})")?;
        }
        if let Some(glibc) = self.glibc {
            write!(f, ", glibc {glibc}")?;
        }
        if self.musl {
            f.write_str(", musl")?;
        }
        Ok(())
    }
}

/// The name that rustc has for a target.
pub(super) fn triple(os: &str, arch: &str, libc: &str) -> String {
    let known = Arch::named(arch);
    let name = known.map_or(arch, |arch| arch.rust);
    match os {
        "linux" => {
            let abi = known.map_or("", |arch| arch.abi);
            format!("{name}-unknown-linux-{libc}{abi}")
        }
        "macos" => format!("{name}-apple-darwin"),
        "windows" => format!("{name}-pc-windows-msvc"),
        os => format!("{name}-unknown-{os}"),
    }
}

/// The glibc that dynamically linked programs get.
fn glibc() -> Option<Version> {
    // The one that this process has, wherever it lies; else where systems keep it.
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let loaded = maps
        .lines()
        .filter_map(|line| line.find('/').map(|at| &line[at..]))
        .find(|path| path.ends_with("/libc.so.6"))
        .map(|path| Path::new(path).with_file_name(""));
    let usual = ["/lib64", "/usr/lib64", "/lib", "/usr/lib"].map(PathBuf::from);
    let by_triple = fs::read_dir("/lib").into_iter().flatten().flatten();
    let by_triple = by_triple.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.contains("-linux-gnu"))
    });
    (loaded.into_iter().chain(usual).chain(by_triple)).find_map(|folder| {
        let library = elf::read(&folder.join("libc.so.6")).ok()?;
        library.glibc_has.filter(|_| library.arch == ARCH)
    })
}

/// A version of glibc.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version {
    /// 2, so far.
    pub major: u32,
    /// Which release of it.
    pub minor: u32,
}

impl Version {
    /// The version that a name of a set of symbols belongs to, such as `GLIBC_2.17`.
    pub(super) fn of_symbols(name: &[u8]) -> Option<Version> {
        let number = std::str::from_utf8(name).ok()?.strip_prefix("GLIBC_")?;
        if number == "ABI_DT_RELR" {
            // No symbols, but a form of relocations: what has it says so by this name.
            return Some(Version {
                major: 2,
                minor: 36,
            });
        }
        // `2.2.5` is a part of 2.2.
        let mut parts = number.split('.').map(str::parse);
        Some(Version {
            major: parts.next()?.ok()?,
            minor: parts.next()?.ok()?,
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What a processor of the x86-64 architecture can do, as its
/// [ABI](https://gitlab.com/x86-psABIs/x86-64-ABI) counts it: from `x86-64-v1`, which all can, to
/// `x86-64-v4`, with AVX-512.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CpuLevel(u8);

impl CpuLevel {
    pub(super) const V1: CpuLevel = CpuLevel(1);
    #[cfg(test)]
    pub(super) const V3: CpuLevel = CpuLevel(3);

    /// The highest level all of whose features are there, on this architecture.
    pub(super) fn of(features: CpuFeatures) -> Option<CpuLevel> {
        /// What each level has beyond the one before, from the second.
        const LEVELS: [&[&str]; 3] = [
            &["cmpxchg16b", "popcnt", "sse3", "ssse3", "sse4.1", "sse4.2"],
            &[
                "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "lzcnt", "movbe",
            ],
            &["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"],
        ];
        let has = |level: &&&[&str]| level.iter().all(|name| features.has(ARCH, name));
        let above = LEVELS.iter().take_while(has).count();
        (ARCH == "x86_64").then_some(CpuLevel(1 + above as u8))
    }
}

impl fmt::Display for CpuLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "x86-64-v{}", self.0)
    }
}
