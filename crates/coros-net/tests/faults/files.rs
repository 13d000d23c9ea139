//! Large files, and disks that are too small for them.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use crate::cases::{self, Case};
use crate::check::Outcome;
use crate::log::{Line, between, now};
use crate::process::{Setup, Site, introduce};
use crate::trial::why_not;

const MIB: u64 = 1 << 20;
const LARGE: u64 = 1024 * MIB;
/// What a file may cost either side in memory at most, whatever its size: that is two connections' buffers
/// and a few pieces.
const MEMORY: u64 = 16 * MIB;

pub(crate) fn cases() -> Vec<Case> {
    let case = Case::new;
    let mounts = why_not("mount a small disk", &["unshare", "--mount", "true"]);
    let full = "full disk at the receiver of a file";
    let fills = "disk that fills up during a file";
    vec![
        case("full_disk", full, full_disk).unless(mounts.clone()),
        case("disk_fills_up", fills, disk_fills_up).unless(mounts),
        case("large_file", "none, a file of 1 GiB", || file_of(LARGE)).unless(too_little_room()),
    ]
}

fn too_little_room() -> Option<String> {
    let disk = rustix::fs::statvfs(std::env::temp_dir()).ok()?;
    let free = disk.f_bavail * disk.f_frsize;
    let needed = LARGE + 512 * MIB;
    (free < needed).then(|| format!("{} MiB are free, of {}", free / MIB, needed / MIB))
}

/// Nothing breaks a link, nor ends a session.
fn patient() -> Setup {
    Setup::new(Duration::from_secs(20), Duration::ZERO)
}

/// A site, and another one whose folder is a disk of that size.
fn with_disk(setup: &Setup, folder: &Path, size: &str) -> [Site; 2] {
    fs::create_dir(folder).expect("there is room for a folder");
    let mount = format!("mount -t tmpfs -o size={size} coros-test \"$0\" && exec \"$@\"");
    let name = folder.to_str().expect("it has a plain name");
    let prefix = ["unshare", "--mount", "sh", "-c", &mount, name];
    let mut pair = [
        setup.site("desk"),
        setup.site_by(&prefix, "farm", "127.0.0.1:0", Some(folder)),
    ];
    introduce(&mut pair);
    pair
}

/// What comes of a file that was put.
fn put(desk: &mut Site) -> Line {
    desk.hears_where("put or unput", |line| line.what().ends_with("put"))
}

/// What it says when there is no room.
fn no_room(outcome: &mut Outcome, line: &Line, folder: &Path, why: &str) {
    let said = line.words[1..].join(" ");
    let parts = [
        format!("there is no room for it in {} ({why})", folder.display()),
        " bytes more, free as many and try again".to_owned(),
    ];
    if line.what() != "unput" || !parts.iter().all(|part| said.contains(part)) {
        outcome.wrong(format_args!("not what is to be said: {:?}", line.words));
    }
    outcome.note = said;
}

/// What is too large is refused before any of it is sent.
fn full_disk() -> Outcome {
    let setup = patient();
    let folder = setup.path("folder");
    let mut pair = with_disk(&setup, &folder, "1m");
    let [desk, _] = &mut pair;
    let mut outcome = Outcome::default();
    for (size, fits) in [(100 << 10, true), (3 << 20, false), (200 << 10, true)] {
        let path = setup.path(&format!("of-{size}"));
        fs::write(&path, vec![7; size]).expect("there is room for it");
        let began = now();
        desk.tell(&format!("put farm {}", path.display()));
        let line = put(desk);
        outcome.longest = outcome.longest.max(between(began, line.at));
        if !fits {
            no_room(&mut outcome, &line, &folder, "no storage space");
        } else if line.what() != "put" {
            outcome.wrong(format_args!("{size} bytes: {:?}", line.words));
        }
    }
    outcome
}

/// There is room for a file when it is announced. When half of it has come, something else takes
/// that: sender and receiver are told, nothing is left, and whoever else talks to the receiver does
/// not notice. When there is room again the same file arrives.
fn disk_fills_up() -> Outcome {
    let setup = patient();
    let folder = setup.path("folder");
    let mut pair = with_disk(&setup, &folder, "80m");
    cases::talking(&mut pair);
    let path = setup.path("large");
    marked(&path, 64 * MIB).expect("there is room for it");
    let inside = pair[1].sees(&folder);

    pair[0].tell(&format!("hold farm {}", path.display()));
    pair[0].hears("half");
    let filler = inside.join("filler");
    fill(&filler);
    pair[0].tell("go");
    let refused = put(&mut pair[0]);
    let left = names(&inside);

    fs::remove_file(&filler).expect("it is there");
    pair[0].tell(&format!("put farm {}", path.display()));
    let again = put(&mut pair[0]);
    let mut same = is_same(&path, &inside.join("large"));
    if !same.as_ref().is_ok_and(|same| *same) {
        same = same.and(Err(io::Error::other("its content is another")));
    }

    let mut outcome = cases::nothing_lost(cases::checked(&mut pair, &setup, &["desk", "farm"]));
    no_room(
        &mut outcome,
        &refused,
        &folder,
        "No space left on device (os error 28)",
    );
    if left != ["filler"] {
        outcome.wrong(format_args!("{left:?} are left on a full disk"));
    }
    if again.what() != "put" || again.number(1) != 64 * MIB {
        outcome.wrong(format_args!("with room again: {:?}", again.words));
    }
    if let Err(why) = same {
        outcome.wrong(format_args!("the file that arrived: {why}"));
    }
    outcome
}

/// Neither side has more of a file in memory than a few pieces.
fn file_of(size: u64) -> Outcome {
    let setup = patient();
    let folder = setup.path("folder");
    fs::create_dir(&folder).expect("there is room for a folder");
    let mut pair = [
        setup.site("desk"),
        setup.site_by(&[], "farm", "127.0.0.1:0", Some(&folder)),
    ];
    introduce(&mut pair);
    let mut outcome = Outcome::default();
    // The first one shows what any file costs.
    let mut before = [0; 2];
    for (name, size) in [("first", 4 * MIB), ("large", size)] {
        before = pair.each_mut().map(|site| site.memory().peak);
        let path = setup.path(name);
        marked(&path, size).expect("there is room for it");
        let began = now();
        pair[0].tell(&format!("put farm {}", path.display()));
        let line = put(&mut pair[0]);
        outcome.longest = between(began, line.at);
        if line.what() != "put" || line.number(1) != size {
            outcome.wrong(format_args!("{size} bytes: {:?}", line.words));
        } else if !is_same(&path, &folder.join(name)).expect("both can be read") {
            outcome.wrong("what arrived is not what was sent");
        }
    }
    let after = pair.each_mut().map(|site| site.memory().peak);
    let grown = [0, 1].map(|at| (after[at] - before[at]) << 10);
    outcome.note = format!(
        "{} MiB/s; {} and {} KiB more memory than for 4 MiB",
        size / MIB * 1000 / (outcome.longest.as_millis() as u64).max(1),
        grown[0] >> 10,
        grown[1] >> 10
    );
    if grown.iter().any(|grown| *grown > MEMORY) {
        outcome.wrong(format_args!(
            "a file of {size} bytes took {grown:?} of memory"
        ));
    }
    outcome
}

/// A file of that size, whose parts are no two the same, and which takes little of the disk.
fn marked(path: &Path, size: u64) -> io::Result<()> {
    let mut file = File::create(path)?;
    for at in (0..size).step_by(64 << 10) {
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&(at + 1).to_le_bytes())?;
    }
    file.set_len(size)
}

fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let mut buffers = [vec![0; 1 << 20], vec![0; 1 << 20]];
    let mut left = one.metadata()?.len();
    if other.metadata()?.len() != left {
        return Ok(false);
    }
    while left > 0 {
        let next = left.min(MIB) as usize;
        one.read_exact(&mut buffers[0][..next])?;
        other.read_exact(&mut buffers[1][..next])?;
        if buffers[0][..next] != buffers[1][..next] {
            return Ok(false);
        }
        left -= next as u64;
    }
    Ok(true)
}

/// Writes until the disk takes no more.
fn fill(path: &Path) {
    let mut file = File::create(path).expect("there is room for a name");
    let mut block = vec![7; MIB as usize];
    while !block.is_empty() {
        match file.write(&block) {
            Ok(written) if written > 0 => {}
            // What is smaller may still fit.
            Err(error) if error.kind() != ErrorKind::StorageFull => panic!("{error}"),
            _ => block.truncate(block.len() / 2),
        }
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("it is a folder");
    let mut names: Vec<_> = entries
        .map(|entry| {
            entry
                .expect("it can be read")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}
