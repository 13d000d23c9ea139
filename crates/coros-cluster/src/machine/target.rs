//! What a program was built for, and whether a machine runs it.

use std::fmt;
use std::path::{Path, PathBuf};

use coros_core::remote::told;
use serde::{Deserialize, Serialize};

use super::Machine;
use super::elf;
use super::features::CpuFeatures;
use super::platform::{CpuLevel, Version, triple};
use crate::process::Launcher;

/// What a program was built for.
///
/// ```
/// use coros_cluster::machine::{Machine, Target};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let target = Target::of_this_program()?;
/// target.fits(&Machine::look([]))?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Target {
    /// The operating system, in the words of [`std::env::consts::OS`].
    #[serde(deserialize_with = "told")]
    pub os: String,
    /// The processor, in the words of [`std::env::consts::ARCH`].
    #[serde(deserialize_with = "told")]
    pub arch: String,
    /// What the processor has to be capable of, where that is known: an executable does not say.
    pub level: Option<CpuLevel>,
    /// What it has to have in particular, where that is known.
    pub features: CpuFeatures,
    /// The C library that the machine has to have.
    pub libc: Libc,
}

/// The C library that a program needs of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Libc {
    /// None, because it is statically linked, or whichever the system has.
    Any,
    /// At least this version of glibc, or any if no version is known.
    Glibc(Option<Version>),
    /// musl, dynamically linked.
    Musl,
    /// Another one, by the path of its loader.
    Other(#[serde(deserialize_with = "told")] String),
}

/// Why a file is no program that could run somewhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} cannot run on any node: {why}", path.display())]
pub struct TargetError {
    path: PathBuf,
    why: String,
}

/// Why a program does not run on a node, and what to build for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Mismatch {
    /// It was built for another system.
    #[error("the program is for {program}, node {node} runs {machine}: build it for {instead}")]
    System {
        /// The name of the node.
        node: String,
        /// What the program was built for: system and processor.
        program: String,
        /// What the node runs.
        machine: String,
        /// What it could be built for.
        instead: String,
    },
    /// It needs a better processor.
    #[error(
        "the program needs a processor of {needs}, node {node} has {has}: build it with \
         RUSTFLAGS=\"-C target-cpu={has}\""
    )]
    Cpu {
        /// The name of the node.
        node: String,
        /// What the program needs.
        needs: CpuLevel,
        /// What there is.
        has: CpuLevel,
    },
    /// It needs features of the processor that are in no [level](CpuLevel), or beyond the one that it was built for.
    #[error(
        "the program needs a processor with {needs}, which that of node {node} does not have: build it with \
         RUSTFLAGS=\"-C target-cpu={instead}\""
    )]
    Features {
        /// The name of the node.
        node: String,
        /// What there is not, by the names of the compiler.
        needs: String,
        /// The kind of processor that it could be built for.
        instead: String,
    },
    /// It needs a newer glibc.
    #[error(
        "the program needs glibc {needs}, node {node} has {has}: build it on an older system or \
         for {instead}"
    )]
    Glibc {
        /// The name of the node.
        node: String,
        /// What the program needs.
        needs: Version,
        /// What there is.
        has: Version,
        /// What it could be built for.
        instead: String,
    },
    /// It needs a C library that is not there.
    #[error(
        "the program needs {needs}, which node {node} does not have: build it for {instead}{how}"
    )]
    NoLibc {
        /// The name of the node.
        node: String,
        /// What the program needs, in words.
        needs: String,
        /// What it could be built for.
        instead: String,
        /// With what, in words to be put after that; may be empty.
        how: String,
    },
}

impl Target {
    /// Reads what an executable was built for. It is not run.
    ///
    /// What the processor has to be capable of is not in the file, and not compared.
    ///
    /// # Errors
    /// When there is no such file, or it is no executable in the ELF format for a system and a
    /// processor that are known.
    pub fn of(path: &Path) -> Result<Target, TargetError> {
        let error = |why: String| TargetError {
            path: path.to_owned(),
            why,
        };
        let elf = elf::read(path).map_err(|e| error(e.to_string()))?;
        if !elf.starts {
            return Err(error("it is no program, but a part of one".into()));
        }
        Ok(Target {
            os: elf.os.to_owned(),
            arch: elf.arch.to_owned(),
            level: None,
            features: CpuFeatures::default(),
            libc: Libc::by_loader(elf.loader, elf.glibc_needed),
        })
    }

    /// What the program that runs now was built for.
    ///
    /// # Errors
    /// On Linux, when its executable cannot be read.
    pub fn of_this_program() -> Result<Target, TargetError> {
        let mut target = if cfg!(target_os = "linux") {
            let program = Launcher::this_program().map_err(|error| TargetError {
                path: "this program".into(),
                why: error.to_string(),
            })?;
            Target::of(&program)?
        } else {
            Target {
                os: std::env::consts::OS.to_owned(),
                arch: std::env::consts::ARCH.to_owned(),
                level: None,
                features: CpuFeatures::default(),
                libc: Libc::Any,
            }
        };
        target.features = CpuFeatures::compiled();
        target.level = CpuLevel::of(target.features);
        Ok(target)
    }

    /// Whether a machine runs programs that were built for this.
    ///
    /// # Errors
    /// What differs, and what to build.
    pub fn fits(&self, machine: &Machine) -> Result<(), Mismatch> {
        let has = &machine.platform;
        let node = || machine.name.clone();
        if (&self.os, &self.arch) != (&has.os, &has.arch) {
            return Err(Mismatch::System {
                node: node(),
                program: format!("{} {}", self.os, self.arch),
                machine: format!("{} {}", has.os, has.arch),
                instead: has.triple(),
            });
        }
        if let (Some(needs), Some(has)) = (self.level, has.level)
            && needs > has
        {
            return Err(Mismatch::Cpu {
                node: node(),
                needs,
                has,
            });
        }
        let lacks = self.features.without(has.features);
        if !lacks.is_empty() {
            let names: Vec<_> = lacks.names(&self.arch).collect();
            return Err(Mismatch::Features {
                node: node(),
                needs: match names.is_empty() {
                    true => "what is not known here".into(),
                    false => names.join(", "),
                },
                instead: match has.level {
                    Some(level) => level.to_string(),
                    None => "generic".into(),
                },
            });
        }
        let missing = |needs: String| Mismatch::NoLibc {
            node: node(),
            needs,
            instead: has.triple(),
            how: String::new(),
        };
        match (&self.libc, has.glibc) {
            (Libc::Any, _) | (Libc::Glibc(None), Some(_)) => Ok(()),
            (Libc::Glibc(Some(needs)), Some(version)) if *needs <= version => Ok(()),
            (Libc::Glibc(Some(needs)), Some(version)) => Err(Mismatch::Glibc {
                node: node(),
                needs: *needs,
                has: version,
                instead: triple(&has.os, &has.arch, "musl"),
            }),
            (Libc::Glibc(Some(needs)), None) => Err(missing(format!("glibc {needs}"))),
            (Libc::Glibc(None), None) => Err(missing("glibc".into())),
            (Libc::Musl, _) if has.musl => Ok(()),
            (Libc::Musl, _) => Err(Mismatch::NoLibc {
                node: node(),
                needs: "the loader of musl".into(),
                instead: triple(&has.os, &has.arch, "musl"),
                how: ", statically linked, with RUSTFLAGS=\"-C target-feature=+crt-static\"".into(),
            }),
            (Libc::Other(loader), _) => Err(missing(format!("the loader {loader}"))),
        }
    }
}

impl Libc {
    fn by_loader(loader: Option<String>, glibc: Option<Version>) -> Libc {
        let Some(path) = loader else {
            return Libc::Any;
        };
        let name = path.rsplit('/').next().unwrap_or(&path);
        // `ld-linux-x86-64.so.2`, `ld64.so.2` (powerpc64), `ld64.so.1` (s390x).
        if name.starts_with("ld-linux") || name.starts_with("ld64.so") {
            Libc::Glibc(glibc)
        } else if name.starts_with("ld-musl-") {
            Libc::Musl
        } else {
            Libc::Other(path)
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.os, self.arch)?;
        match &self.libc {
            Libc::Any => {}
            Libc::Glibc(Some(version)) => write!(f, ", glibc {version}")?,
            Libc::Glibc(None) => f.write_str(", glibc")?,
            Libc::Musl => f.write_str(", musl")?,
            Libc::Other(loader) => write!(f, ", {loader}")?,
        }
        match self.level {
            Some(level) if level > CpuLevel::V1 => write!(f, ", {level}"),
            _ => Ok(()),
        }
    }
}
