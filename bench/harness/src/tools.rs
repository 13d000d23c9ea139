//! What the peers that are not written in Rust need: compilers, packages, folders.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// This program's own file, which is started again as the child that measures.
pub fn this_executable() -> Result<PathBuf> {
    std::env::current_exe().context("cannot find this program's own file to start it as a child")
}

/// A folder beside this program for what is made for a peer in another language.
pub fn compiled(language: &str) -> Result<PathBuf> {
    let beside = this_executable()?.with_file_name("peers").join(language);
    std::fs::create_dir_all(&beside)
        .with_context(|| format!("cannot create {}", beside.display()))?;
    Ok(beside)
}

/// What `program args` prints, if it can be started and succeeds.
#[must_use]
pub fn output_of(program: impl AsRef<Path>, args: &[&str]) -> Option<String> {
    let output = Command::new(program.as_ref()).args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Runs a compiler or an installer; what it says is in the error.
pub fn compile(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// The version of `package` in the lock file of a bench.
#[must_use]
pub fn locked_version(lock_file: &str, package: &str) -> Option<String> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock_file.lines().skip_while(|line| *line != name).skip(1);
    let version = lines.next()?.strip_prefix("version = ")?;
    Some(version.trim_matches('"').to_owned())
}

/// Installs Debian's packages, as root or through sudo.
pub fn apt_get_install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let root = std::fs::metadata("/proc/self").is_ok_and(|own| is_root(&own));
    let apt_get = |arguments: &[&str]| {
        let mut command = Command::new(if root { "apt-get" } else { "sudo" });
        if !root {
            command.arg("apt-get");
        }
        let status = command.args(arguments).status().with_context(|| {
            format!(
                "cannot start apt-get; install {} by hand",
                packages.join(" and ")
            )
        })?;
        ensure!(status.success(), "{command:?} failed: {status}");
        Ok(())
    };
    apt_get(&["update"])?;
    apt_get(&[&["install", "-y", "--no-install-recommends"], packages].concat())
}

#[cfg(unix)]
fn is_root(own: &std::fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::uid(own) == 0
}

#[cfg(not(unix))]
fn is_root(_: &std::fs::Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_that_of_the_package() {
        let lock =
            "[[package]]\nname = \"one\"\nversion = \"1.2.3\"\n\n[[package]]\nname = \"two\"\n";
        assert_eq!(locked_version(lock, "one").as_deref(), Some("1.2.3"));
        assert_eq!(locked_version(lock, "two"), None);
        assert_eq!(locked_version(lock, "three"), None);
    }
}
