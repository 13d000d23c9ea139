//! Landlock: which files a process may use, which ports, and that its signals reach nobody outside.
//!
//! Rules only ever add: what is named can be used, with all that is in it, and nothing else can. So
//! there is no rule against the secret of the cluster, but it is in no place that is named: homes are
//! not, and neither are `/tmp`, `/var`, `/srv`, `/dev/shm` and the like. What of the system is named
//! is what programs need to start, to find their libraries and settings, and to look up names. Where
//! a place that is named has something hidden in it, everything around that is named instead.
//!
//! A rule is about the folder itself and not about its name: one that is replaced is out of reach.
//! That is why whole folders are named, where files may come and go.

use std::fs;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath, PathFd,
    RestrictSelfAttr, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError,
    Scope, path_beneath_rules,
};

use super::{ApplyError, Check, Isolation, Network, Threads, failed};

pub(super) const FILES: &str = "landlock: files";
pub(super) const OTHERS: &str = "landlock: signals";
pub(super) const PORTS: &str = "landlock: ports";

/// What is asked for, which is what this has been tried with. A kernel that has less does less.
const ASKED: ABI = ABI::V7;

/// Programs, libraries, settings, and what the kernel tells.
const SYSTEM: &[&str] = &[
    "/bin",
    "/etc",
    "/gnu",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix",
    "/opt",
    "/proc",
    "/sbin",
    "/sys",
    "/usr",
    // Whereto links in `/etc` lead for the resolution of names.
    "/run/NetworkManager",
    "/run/resolvconf",
    "/run/systemd/resolve",
    // Programs and drivers of NixOS.
    "/run/current-system",
    "/run/opengl-driver",
    // The program that this process runs, wherever it is and whatever has become of its name.
    "/proc/self/exe",
];
/// Devices that keep nothing.
const DEVICES: &[&str] = &[
    "/dev/full",
    "/dev/null",
    "/dev/random",
    "/dev/urandom",
    "/dev/zero",
];
/// Graphics processors.
const PROCESSORS: &[&str] = &["dri", "kfd", "nvidia"];

pub(super) fn apply(isolation: &Isolation, threads: Threads) -> Result<[Check; 3], ApplyError> {
    // The others may be missing.
    let own = PathFd::new(&isolation.folder).map_err(failed("its folder"))?;
    drop(own);
    let ruleset = rules(isolation, threads).map_err(failed("landlock"))?;
    let restricted = ruleset.restrict_self();
    let status = restricted.map_err(failed("landlock"))?;
    Ok(checks(status.landlock))
}

fn rules(isolation: &Isolation, threads: Threads) -> Result<RulesetCreated, RulesetError> {
    let all = AccessFs::from_all(ASKED);
    let read = AccessFs::from_read(ASKED);
    let device = AccessFs::ReadFile | AccessFs::WriteFile;
    let processor = device | AccessFs::ReadDir | AccessFs::IoctlDev;

    let ports = AccessNet::BindTcp | AccessNet::ConnectTcp;
    let mut asked = Ruleset::default()
        .handle_access(all)?
        .scope(Scope::from_all(ASKED))?;
    if isolation.network != Network::All {
        asked = asked.handle_access(ports)?;
    }
    // One that is not there yet may come.
    let hidden: Vec<PathBuf> = isolation
        .hidden
        .iter()
        .map(|path| path.canonicalize().unwrap_or_else(|_| path.clone()))
        .collect();
    let system = SYSTEM.iter().map(Path::new);
    let readable = system.chain(isolation.readable.iter().map(PathBuf::as_path));
    let writable = isolation.writable.iter().map(PathBuf::as_path);
    let rules = asked
        .create()?
        .all_threads(matches!(threads, Threads::All))?
        .add_rules(beneath(readable, &hidden, read))?
        .add_rules(beneath(writable, &hidden, all))?
        .add_rules(path_beneath_rules([&isolation.folder], all))?
        .add_rules(path_beneath_rules(DEVICES, device))?
        .add_rules(path_beneath_rules(processors(Path::new("/dev")), processor))?;
    let Network::Only(ports) = &isolation.network else {
        return Ok(rules);
    };
    // A worker's node listens, and tells where.
    let any = NetPort::new(0, AccessNet::BindTcp);
    let ports = ports
        .iter()
        .map(|port| NetPort::new(*port, AccessNet::ConnectTcp));
    ports.fold(rules.add_rule(any), |rules, port| rules?.add_rule(port))
}

/// What is in those places and not hidden.
fn beneath<'a>(
    places: impl Iterator<Item = &'a Path>,
    hidden: &[PathBuf],
    access: BitFlags<AccessFs>,
) -> impl Iterator<Item = Result<PathBeneath<PathFd>, RulesetError>> {
    let mut all = Vec::new();
    for place in places {
        match place.canonicalize() {
            Ok(real) if hidden.contains(&real) => {}
            Ok(real) if hides(&real, hidden) => around(&real, hidden, &mut all),
            _ => all.push(place.to_owned()),
        }
    }
    path_beneath_rules(all, access)
}

fn hides(place: &Path, hidden: &[PathBuf]) -> bool {
    hidden.iter().any(|path| path.starts_with(place))
}

/// All in a folder but what is hidden and the way to it.
fn around(folder: &Path, hidden: &[PathBuf], into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        // Where a link leads is named as what it is, or not at all.
        if hidden.contains(&path) || path.is_symlink() {
            continue;
        }
        if hides(&path, hidden) {
            around(&path, hidden, into);
        } else {
            into.push(path);
        }
    }
}

/// What there is in `/dev` to compute with.
fn processors(devices: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(devices).into_iter().flatten().flatten();
    let known = entries.filter(|entry| {
        let name = entry.file_name();
        PROCESSORS
            .iter()
            .any(|known| name.as_encoded_bytes().starts_with(known.as_bytes()))
    });
    known.map(|entry| entry.path()).collect()
}

/// What a kernel does of it.
fn checks(status: LandlockStatus) -> [Check; 3] {
    let version = match status {
        LandlockStatus::NotImplemented => Err((
            "the kernel has no landlock",
            "use Linux 5.13 or later, built with CONFIG_SECURITY_LANDLOCK",
        )),
        LandlockStatus::NotEnabled => Err((
            "the kernel's landlock is off",
            "add landlock to `lsm=` on its command line",
        )),
        LandlockStatus::Available {
            effective_abi,
            kernel_abi,
        } => Ok(kernel_abi.unwrap_or(effective_abi as i32)),
    };
    let from = |name, needed, linux| match version {
        Ok(version) if version >= needed => Check::yes(name, format!("ABI {version}")),
        Ok(version) => Check::no(
            name,
            format_args!("the kernel has ABI {version}, and ABI {needed} can"),
            format_args!("use Linux {linux} or later"),
        ),
        Err((why, to_do)) => Check::no(name, why, to_do),
    };
    let mut files = from(FILES, 1, "5.13");
    if let Ok(..3) = version {
        files
            .detail
            .to_mut()
            .push_str(", which lets the files of others be cut; use Linux 6.2 or later");
    }
    [files, from(OTHERS, 6, "6.12"), from(PORTS, 4, "6.7")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_told_for_what_it_can() {
        let told = |effective_abi, kernel_abi| {
            let status = LandlockStatus::Available {
                effective_abi,
                kernel_abi,
            };
            checks(status).map(|check| (check.available, check.detail.into_owned()))
        };
        let new = told(ABI::V10, Some(12));
        assert_eq!(new, [0; 3].map(|_| (true, "ABI 12".to_owned())));
        let [files, signals, ports] = told(ABI::V4, None);
        assert_eq!(
            (files, ports),
            ((true, "ABI 4".into()), (true, "ABI 4".into()))
        );
        let why = "the kernel has ABI 4, and ABI 6 can; use Linux 6.12 or later";
        assert_eq!(signals, (false, why.into()));
        let [files, ..] = told(ABI::V2, None);
        assert!(files.0 && files.1.contains("be cut"), "{files:?}");
        for status in [LandlockStatus::NotEnabled, LandlockStatus::NotImplemented] {
            assert!(checks(status).iter().all(|check| !check.available));
        }
    }

    #[test]
    fn what_is_hidden_is_left_out_and_all_around_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for path in ["a/b/secret", "a/b/x", "a/y"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        fs::write(root.join("z"), "").unwrap();
        std::os::unix::fs::symlink(root.join("a/b/secret"), root.join("link")).unwrap();
        let hidden = [root.join("a/b/secret"), root.join("a/not-yet")];
        let mut found = Vec::new();
        around(&root, &hidden, &mut found);
        found.sort();
        assert_eq!(found, ["a/b/x", "a/y", "z"].map(|path| root.join(path)));
    }

    #[test]
    fn what_computes_is_known_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["nvidia0", "nvidiactl", "kfd", "sda", "tty"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let mut found = processors(folder.path());
        found.sort();
        assert_eq!(
            found,
            ["kfd", "nvidia0", "nvidiactl"].map(|name| folder.path().join(name))
        );
        assert!(processors(Path::new("/nowhere")).is_empty());
    }
}
