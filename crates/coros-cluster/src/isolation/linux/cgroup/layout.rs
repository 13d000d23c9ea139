//! What the system says of its control groups, read: plain functions of text.

use std::path::{Path, PathBuf};

/// The folders of the groups that a process is in.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    /// Of the second version.
    pub(super) unified: Option<PathBuf>,
    /// Of the first version, in the hierarchies that have these controllers.
    pub(super) memory: Option<PathBuf>,
    pub(super) processes: Option<PathBuf>,
}

/// A line of `/proc/self/mountinfo` that is about control groups.
struct Mount<'a> {
    root: &'a Path,
    point: &'a Path,
    version: u8,
    options: &'a str,
}

impl Layout {
    /// From `/proc/self/cgroup` and `/proc/self/mountinfo`.
    pub(super) fn read(groups: &str, mounts: &str) -> Self {
        let mounts: Vec<Mount<'_>> = mounts.lines().filter_map(Mount::read).collect();
        let mut layout = Layout::default();
        for line in groups.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
                continue;
            };
            let path = Path::new(path);
            let has = |name| controllers.split(',').any(|controller| controller == name);
            if controllers.is_empty() {
                layout.unified = folder(&mounts, path, |mount| mount.version == 2);
            }
            for (name, group) in [
                ("memory", &mut layout.memory),
                ("pids", &mut layout.processes),
            ] {
                if has(name) {
                    *group = folder(&mounts, path, |mount| mount.version == 1 && mount.has(name));
                }
            }
        }
        layout
    }
}

impl<'a> Mount<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, point) = (place.next()?, place.next()?);
        let mut kind = kind.split(' ');
        let version = match kind.next()? {
            "cgroup" => 1,
            "cgroup2" => 2,
            _ => return None,
        };
        let options = kind.nth(1).unwrap_or_default();
        Some(Mount {
            root: Path::new(root),
            point: Path::new(point),
            version,
            options,
        })
    }

    fn has(&self, controller: &str) -> bool {
        self.options.split(',').any(|option| option == controller)
    }
}

/// Where a group is in the file system; nowhere if it is outside of what is mounted.
fn folder(mounts: &[Mount<'_>], path: &Path, is: impl Fn(&Mount<'_>) -> bool) -> Option<PathBuf> {
    // Of two on top of each other the later is seen.
    let mount = mounts.iter().rev().find(|mount| is(mount))?;
    let below = path.strip_prefix(mount.root).ok()?;
    // From inside a namespace those outside of it are `/../other`.
    let plain = below
        .components()
        .all(|part| matches!(part, std::path::Component::Normal(_)));
    // Joined one by one: an empty path would leave a slash behind.
    plain.then(|| mount.point.components().chain(below.components()).collect())
}

/// The number in a line `name number`.
pub(super) fn number(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(key, _)| *key == name)?.1.trim().parse().ok()
}

/// The process whose group is called so.
pub(super) fn daemon_of(name: &str) -> Option<u32> {
    let (daemon, number) = name.strip_prefix(super::PREFIX)?.split_once('-')?;
    number.parse::<u64>().ok()?;
    daemon.parse().ok()
}

#[cfg(test)]
mod tests;
