//! What the chores need on a machine beside a Rust toolchain, and how it gets there.
//!
//! A thing that is there is left alone. A thing that is missing is installed where that is
//! possible, and said so; where it isn't, the error names everything that is missing and the
//! commands that bring it.

use anyhow::bail;
use std::collections::BTreeSet;
use std::path::Path;

use crate::command::Cmd;

/// A program that the tests start, and where Debian has it.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) package: &'static str,
    pub(crate) why: &'static str,
}

/// The programs that the tests start, beside the project's own.
pub(crate) const TEST_PROGRAMS: &[Program] = &[
    Program {
        name: "cat",
        package: "coreutils",
        why: "the tests of pipelines chain it",
    },
    Program {
        name: "script",
        package: "bsdutils",
        why: "a shell has a node in the background of a terminal that it makes",
    },
    Program {
        name: "sha1sum",
        package: "coreutils",
        why: "the example pipe_csum is held to its sums",
    },
    Program {
        name: "sleep",
        package: "coreutils",
        why: "the tests of workers need a program that is no worker",
    },
    Program {
        name: "sort",
        package: "coreutils",
        why: "the tests of pipelines chain it",
    },
    Program {
        name: "grep",
        package: "grep",
        why: "the example pipe_grep is held to its count",
    },
    Program {
        name: "sh",
        package: "dash",
        why: "the tests of pipelines start children that misbehave",
    },
    Program {
        name: "curl",
        package: "curl",
        why: "the example webserver is asked by a real client",
    },
    Program {
        name: "openssl",
        package: "openssl",
        why: "links are tried by another TLS implementation",
    },
    Program {
        name: "ps",
        package: "procps",
        why: "the tests look for processes that stayed behind",
    },
    Program {
        name: "ip",
        package: "iproute2",
        why: "two machines with a cable between them, for links whose network fails",
    },
    Program {
        name: "tc",
        package: "iproute2",
        why: "frames are delayed and lost on that cable",
    },
    Program {
        name: "nft",
        package: "nftables",
        why: "frames are lost one way on that cable",
    },
    Program {
        name: "unshare",
        package: "util-linux",
        why: "such a machine is a network namespace",
    },
    Program {
        name: "setsid",
        package: "util-linux",
        why: "a process leaves the group of the worker that started it",
    },
    Program {
        name: "nsenter",
        package: "util-linux",
        why: "processes are started in such a machine",
    },
    Program {
        name: "mount",
        package: "mount",
        why: "a disk that is soon full",
    },
    Program {
        name: "git",
        package: "git",
        why: "the checkout itself",
    },
];

/// A program that crates.io has, at the version that the project is checked with.
pub(crate) struct CargoTool {
    name: &'static str,
    version: &'static str,
    flags: &'static [&'static str],
    why: &'static str,
}

/// The test runner.
pub(crate) const NEXTEST: CargoTool = CargoTool {
    name: "cargo-nextest",
    version: "0.9.151",
    // Without the part that updates nextest itself, which is a third of the build.
    flags: &["--no-default-features", "--features", "default-no-update"],
    why: "runs the tests, each in its own process with a time limit",
};

/// The check of licences, duplicate crates and where crates come from.
pub(crate) const DENY: CargoTool = CargoTool {
    name: "cargo-deny",
    version: "0.20.2",
    flags: &[],
    why: "checks licences, duplicates and sources of the dependencies",
};

/// The driver of fuzz targets.
pub(crate) const FUZZ: CargoTool = CargoTool {
    name: "cargo-fuzz",
    version: "0.13.2",
    flags: &[],
    why: "builds the fuzz targets with a sanitizer and runs them",
};

impl CargoTool {
    /// Makes sure that the tool is there, whatever its version: what it can't read, it says itself.
    pub(crate) fn ensure(&self) -> anyhow::Result<()> {
        let subcommand = self.name.trim_start_matches("cargo-");
        if Cmd::new("cargo").args([subcommand, "--version"]).succeeds() {
            return Ok(());
        }
        eprintln!(
            "{name} is missing (it {why}); installing a quickly made build of it takes two or \
             three minutes, once (`cargo install {name} --locked --force` makes an optimised one)",
            name = self.name,
            why = self.why
        );
        let install = Cmd::new("cargo")
            .args([
                "install",
                self.name,
                "--debug",
                "--locked",
                "--version",
                self.version,
            ])
            .args(self.flags);
        if let Err(error) = install.run() {
            bail!(
                "{} could not be installed ({error}); install it by `cargo install {} --locked` or \
                 from your system's packages",
                self.name,
                self.name
            );
        }
        Ok(())
    }
}

/// Makes sure that libFuzzer, which is written in C++, can be built.
pub(crate) fn ensure_cxx() -> anyhow::Result<()> {
    if std::env::var_os("CXX").is_some() || on_path("c++") || on_path("clang++") {
        return Ok(());
    }
    bail!(
        "libFuzzer is built from C++, and no compiler for that is on the PATH; on Debian and \
         Ubuntu: `apt-get install g++`"
    );
}

/// Makes sure that every program is there that the tests start.
pub(crate) fn ensure_test_programs() -> anyhow::Result<()> {
    let missing = missing_test_programs();
    if missing.is_empty() {
        return Ok(());
    }
    for Program { name, package, why } in &missing {
        eprintln!("`{name}` is missing (Debian package {package}; {why})");
    }
    let packages: BTreeSet<&str> = missing.iter().map(|p| p.package).collect();
    let installed = install_debian_packages(&packages).and_then(|()| {
        let still: Vec<&str> = missing_test_programs().iter().map(|p| p.name).collect();
        anyhow::ensure!(
            still.is_empty(),
            "installed, but not on the PATH: {}",
            still.join(", ")
        );
        Ok(())
    });
    if let Err(error) = installed {
        let names: Vec<&str> = missing.iter().map(|p| p.name).collect();
        let packages: Vec<&str> = packages.into_iter().collect();
        bail!(
            "the tests need {}, and this machine has not got it: {error:#}. Install it and try \
             again; on Debian and Ubuntu: `apt-get install {}`",
            names.join(", "),
            packages.join(" ")
        );
    }
    Ok(())
}

fn missing_test_programs() -> Vec<&'static Program> {
    TEST_PROGRAMS
        .iter()
        .filter(|program| !on_path(program.name))
        .collect()
}

fn install_debian_packages(packages: &BTreeSet<&str>) -> anyhow::Result<()> {
    if !on_path("apt-get") {
        bail!("only Debian's apt-get can be used to install it, and that is not here");
    }
    let prefix: &[&str] = if Cmd::new("id").arg("-u").output()? == "0" {
        &[]
    } else if Cmd::new("sudo").args(["-n", "true"]).succeeds() {
        &["sudo", "-n"]
    } else {
        bail!("installing it needs root, or sudo without a password");
    };
    let apt = |args: &[&str]| {
        let mut words = prefix
            .iter()
            .chain(&["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"])
            .chain(args);
        let program = words.next().expect("`env` at least");
        Cmd::new(program).args(words)
    };
    apt(&["update"]).run()?;
    let install: Vec<&str> = ["install", "--yes", "--no-install-recommends"]
        .into_iter()
        .chain(packages.iter().copied())
        .collect();
    apt(&install).run()
}

/// Whether a program of that name can be started.
pub(crate) fn on_path(program: &str) -> bool {
    let Some(path) = std::env::var_os("PATH") else {
        return false;
    };
    std::env::split_paths(&path).any(|folder| is_program(&folder.join(program)))
}

#[cfg(unix)]
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(path: &Path) -> bool {
    path.with_extension("exe").is_file()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::root;

    /// The Rust files below a folder.
    fn sources(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }

    #[test]
    fn each_program_that_a_test_starts_is_one_that_is_installed() {
        let mut files = Vec::new();
        for package in std::fs::read_dir(root().join("crates"))
            .expect("crates")
            .flatten()
        {
            sources(&package.path().join("tests"), &mut files);
        }
        sources(&root().join("examples/tests"), &mut files);
        let mut unknown = BTreeSet::new();
        for file in &files {
            let text = std::fs::read_to_string(file).expect("a source file is UTF-8");
            for rest in text.split("Command::new(\"").skip(1) {
                let name = rest
                    .split('"')
                    .next()
                    .expect("split yields one part at least");
                let is_a_test_of_failure = name.contains("no-such") || name.contains('/');
                let listed = TEST_PROGRAMS.iter().any(|program| program.name == name);
                if !listed && !is_a_test_of_failure {
                    unknown.insert(format!("{name} ({})", file.display()));
                }
            }
        }
        assert!(unknown.is_empty(), "not in TEST_PROGRAMS: {unknown:?}");
    }

    #[test]
    fn a_program_is_found_on_the_path() {
        assert!(on_path("cargo"));
        assert!(!on_path("coros-no-such-program"));
    }
}
