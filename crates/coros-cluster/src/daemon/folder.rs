//! The folders in which workers run.
//!
//! ```text
//! work/            all of the daemon's
//!   3/             those of a client
//!     files/       what its program needs
//!     shared/      what its workers share
//!     7/           that of a worker: its working directory, with links to the files
//! work.left-1/     one that nobody needs any more, whoever's it was, also what an earlier daemon left there
//! ```
//!
//! Nobody waits for one to be removed, as others have written in it: it is put aside, which frees its place at once, and
//! goes when it can. [`Fill`] is what they hold; what those have left that have ended counts until it is gone.

mod fill;
mod held;
mod leftovers;
mod removal;
#[cfg(target_os = "linux")]
mod unlinked;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use coros_net::FileName;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::fill::Fill;
use self::held::Held;
use self::leftovers::{Leftover, Leftovers};
use self::removal::gone;
use super::leases::ClientId;
use crate::blocking::blocking;
use crate::computation::{self, Dependency};
use crate::scheduler::core::WorkerId;
use crate::store::counted;

pub(crate) use self::fill::Overfull;

/// The name of the folder with the files.
const FILES: &str = "files";
/// That of the folder that is for all workers.
pub(crate) const SHARED: &str = "shared";
/// So many folders are removed at a time: more would be no faster, and keep the disk from the workers.
const REMOVALS: usize = 4;

/// The folders of all clients.
#[derive(Clone, Debug)]
pub(super) struct WorkRoot {
    path: PathBuf,
    /// What is done about those that have been put aside.
    removals: TaskTracker,
    /// Whose turn it is to be removed.
    turns: Arc<Semaphore>,
}

/// Those of one client.
#[derive(Clone, Debug)]
pub(super) struct WorkFolders {
    root: WorkRoot,
    path: PathBuf,
    /// What there is to be seen of the files in the folder of each worker.
    shown: Vec<String>,
    leftovers: Leftovers,
}

/// That of a worker.
#[derive(Debug)]
pub(super) struct WorkFolder {
    root: WorkRoot,
    path: PathBuf,
    leftovers: Leftovers,
}

impl WorkRoot {
    /// Makes it anew. What is there is put aside first, and goes with what is aside already.
    pub(super) async fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.to_owned();
        let root = WorkRoot {
            path: path.clone(),
            removals: TaskTracker::new(),
            turns: Arc::new(Semaphore::new(REMOVALS)),
        };
        blocking(move || renew(&path)).await?;
        let path = root.path.clone();
        for left in blocking(move || aside(&path)).await {
            root.will_go(left, None);
        }
        Ok(root)
    }

    pub(super) fn of(&self, client: ClientId) -> WorkFolders {
        WorkFolders {
            root: self.clone(),
            path: self.path.join(client.0.to_string()),
            shown: Vec::new(),
            leftovers: Leftovers::default(),
        }
    }

    /// Frees the place of a folder, and removes it then. If it counts, it is looked at before, up to so many bytes.
    async fn remove(&self, folder: PathBuf, counted: Option<(Leftover, u64)>) {
        let root = self.path.clone();
        let put_aside = blocking(move || put_aside(&folder, &root).map_err(|why| (folder, why)));
        match put_aside.await {
            Ok(Some(aside)) => self.will_go(aside, counted),
            Ok(None) => {}
            Err((folder, error)) => {
                tracing::warn!(%error, "cannot put aside the folder {}", folder.display());
                self.will_go(folder, counted);
            }
        }
    }

    fn will_go(&self, folder: PathBuf, mut counted: Option<(Leftover, u64)>) {
        let turns = Arc::clone(&self.turns);
        self.removals.spawn(async move {
            let (folder, counted) = blocking(move || {
                if let Some((leftover, most)) = &mut counted {
                    // Somebody may have put a link there: what that leads to stays.
                    let is_folder = folder.symlink_metadata().is_ok_and(|it| it.is_dir());
                    let held = is_folder.then(|| Held::by(&folder, *most));
                    leftover.seen(&held.unwrap_or_default());
                }
                (folder, counted)
            })
            .await;
            let turn = turns.acquire_owned().await;
            blocking(move || {
                if let Err(error) = gone(&folder) {
                    let folder = folder.display();
                    tracing::warn!(%error, "cannot remove the folder {folder}, which nobody needs: do so by hand");
                }
                drop((turn, counted));
            })
            .await;
        });
    }

    /// Resolves when all that is to go is gone, as far as it can be removed.
    pub(super) async fn cleared(&self) {
        self.removals.close();
        self.removals.wait().await;
    }

    /// What is there that nobody needs, when all clients have left. Blocks for a moment.
    pub(super) fn left(&self) -> Vec<PathBuf> {
        let clients = std::fs::read_dir(&self.path)
            .into_iter()
            .flatten()
            .flatten();
        let clients = clients.map(|entry| entry.path());
        clients.chain(aside(&self.path)).collect()
    }
}

impl WorkFolders {
    /// Makes them, with copies of these files, unless it is told to stop before.
    ///
    /// # Errors
    /// What cannot be done with which file.
    pub(super) fn lay_out(
        &mut self,
        files: Vec<(Dependency, PathBuf)>,
        stop: CancellationToken,
    ) -> impl Future<Output = Result<(), String>> + Send + use<> {
        let dependencies: Vec<_> = files.iter().map(|(file, _)| file.clone()).collect();
        let shown = computation::tops(&dependencies);
        self.shown = shown.into_iter().map(str::to_owned).collect();
        let path = self.path.clone();
        blocking(move || {
            let cannot = |name: &str, why: io::Error| format!("cannot make {name:?}: {why}");
            let root = path.join(FILES);
            for folder in [&path, &root, &path.join(SHARED)] {
                make(folder).map_err(|why| cannot(&folder.display().to_string(), why))?;
            }
            for (file, source) in files {
                if stop.is_cancelled() {
                    return Err("nobody waits for it any more".into());
                }
                // Whoever has sent it may be no client of this version.
                FileName::new(&file.name).map_err(|why| why.to_string())?;
                put(&root, &file, &source).map_err(|why| cannot(&file.name, why))?;
            }
            Ok(())
        })
    }

    /// A new folder for a worker, with nothing in it but links to the files.
    pub(super) async fn make(&self, worker: WorkerId) -> io::Result<WorkFolder> {
        let path = self.path.join(worker.0.to_string());
        let (files, shown) = (self.path.join(FILES), self.shown.clone());
        let (root, leftovers) = (self.root.clone(), self.leftovers.clone());
        blocking(move || {
            make(&path)?;
            let mut shown = shown.iter();
            let linked = shown.try_for_each(|name| link(&files.join(name), &path.join(name)));
            if linked.is_err() {
                let _ = gone(&path);
            }
            linked.map(|()| WorkFolder {
                root,
                path,
                leftovers,
            })
        })
        .await
    }

    /// What all workers share.
    pub(super) fn shared(&self) -> PathBuf {
        self.path.join(SHARED)
    }

    /// Where the files are.
    pub(super) fn files(&self) -> PathBuf {
        self.path.join(FILES)
    }

    /// What these workers, by the numbers of their processes, have written there so far; of each no more than shows that
    /// it is more than so many bytes. Takes as long as there are files. What earlier ones have left counts until it is gone,
    /// as far as it is known.
    pub(super) fn fill(
        &self,
        running: BTreeMap<WorkerId, u32>,
        most: u64,
    ) -> impl Future<Output = Fill> + Send + use<> {
        // Those that end from now on are among these already.
        let (path, left) = (self.path.clone(), self.leftovers.bytes());
        // Its links, and what their names take.
        let made = 2 * counted(0) * (1 + self.shown.len() as u64);
        blocking(move || {
            let workers = running.keys().map(|worker| {
                let folder = path.join(worker.0.to_string());
                (*worker, Held::by(&folder, most))
            });
            let mut fill = Fill {
                workers: workers.collect(),
                shared: Held::by(&path.join(SHARED), most),
                left,
                made,
            };
            fill.add_unlinked(&path, &running);
            fill
        })
    }

    /// Removes all that is left: the files at once, as there is room for no more of them meanwhile.
    pub(super) async fn remove(&self) {
        let files = self.files();
        // Else they go with the rest.
        let _ = blocking(move || gone(&files)).await;
        self.root.remove(self.path.clone(), None).await;
    }

    /// Whether all that earlier workers have left has no more than so many bytes: else whoever comes could fill as much
    /// again before it is gone.
    pub(super) fn have_room(&self, most: u64) -> bool {
        self.leftovers.are_within(most)
    }

    /// Resolves when it has no more. Cancel safe.
    pub(super) async fn room(&self, most: u64) {
        self.leftovers.within(most).await;
    }
}

impl WorkFolder {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Counts among what is left from now on, with that it has more than so many bytes if so, until it is gone.
    pub(super) fn remove(self, most: u64) -> impl Future<Output = ()> + Send + use<> {
        let leftover = self.leftovers.add();
        async move { self.root.remove(self.path, Some((leftover, most))).await }
    }
}

/// A copy, because whoever runs here could write into the original: it is read-only, but the user is the
/// same.
fn put(root: &Path, file: &Dependency, source: &Path) -> io::Result<()> {
    let path = root.join(&file.name);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // It does not follow links, because none is there: all names are those of files and folders.
    std::fs::copy(source, &path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = if file.executable { 0o500 } else { 0o400 };
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

#[cfg(unix)]
fn link(to: &Path, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(to, path)
}

#[cfg(windows)]
fn link(to: &Path, path: &Path) -> io::Result<()> {
    match to.is_dir() {
        true => std::os::windows::fs::symlink_dir(to, path),
        false => std::os::windows::fs::symlink_file(to, path),
    }
}

/// For this user alone.
fn make(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Makes a folder in place of what is there.
fn renew(path: &Path) -> io::Result<()> {
    put_aside(path, path)?;
    make(path)
}

/// Gives a folder another name, which it has beside the root then, if it is there.
fn put_aside(folder: &Path, root: &Path) -> io::Result<Option<PathBuf>> {
    use io::ErrorKind::{AlreadyExists, DirectoryNotEmpty, NotFound};
    let names = (1_u64..).map(|n| root.with_extension(format!("left-{n}")));
    // Where a link leads does not matter.
    for name in names.filter(|name| name.symlink_metadata().is_err()) {
        match removal::moved(folder, &name) {
            Ok(()) => return Ok(Some(name)),
            Err(error) if error.kind() == NotFound => return Ok(None),
            // Another one has it by now.
            Err(error) if matches!(error.kind(), AlreadyExists | DirectoryNotEmpty) => {}
            Err(error) => return Err(error),
        }
    }
    unreachable!("there are not so many")
}

/// All that has been put aside.
fn aside(root: &Path) -> Vec<PathBuf> {
    let folder = root.parent().unwrap_or(root);
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let aside = paths.filter(|it| {
        let extension = it.extension().and_then(|it| it.to_str());
        it.file_stem() == root.file_name() && extension.is_some_and(|it| it.starts_with("left-"))
    });
    aside.collect()
}

/// For tests: so many folders `d` inside of each other, with a file `f` beside each. In memory where there is such a place,
/// as disks may take milliseconds to remove each of them.
#[cfg(all(test, unix))]
fn deep(levels: usize) -> io::Result<tempfile::TempDir> {
    use cap_std::{ambient_authority, fs::Dir};

    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())?;
    let mut dir = Dir::open_ambient_dir(folder.path(), ambient_authority())?;
    for _ in 0..levels {
        dir.create_dir("d")?;
        dir.write("f", "")?;
        dir = dir.open_dir("d")?;
    }
    Ok(folder)
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::content::Content;

    #[tokio::test]
    async fn what_earlier_ones_left_goes_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in [
            "work/3/7",
            "work.left-1/3",
            "work.left-9",
            "store",
            "other.left-1",
        ] {
            fs::create_dir_all(at(name)).unwrap();
        }
        let work = WorkRoot::open(&at("work")).await.unwrap();
        work.cleared().await;
        let names = fs::read_dir(folder.path()).unwrap();
        let mut left: Vec<_> = names.map(|it| it.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["other.left-1", "store", "work"]);
        assert_eq!(fs::read_dir(at("work")).unwrap().count(), 0);
    }

    /// However long it takes to remove what is there, its place is free, and it is known what is left.
    #[test]
    fn a_place_is_free_before_what_was_there_is_gone() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let work = WorkRoot::open(&folder.path().join("work")).await.unwrap();
            let mut folders = work.of(ClientId(3));
            let stop = CancellationToken::new();
            folders.lay_out(Vec::new(), stop).await.unwrap();
            let worker = folders.make(WorkerId(7)).await.unwrap();
            let locked = fs::Permissions::from_mode(0o000);
            fs::set_permissions(worker.path(), locked).unwrap();
            // The one thread for it does this in between.
            let hold = || {
                let (release, released) = std::sync::mpsc::channel::<()>();
                tokio::task::spawn_blocking(move || released.recv());
                release
            };
            let before = hold();
            let put_aside = worker.remove(u64::MAX);
            let ((), between) = tokio::join!(biased; put_aside, async {
                let between = hold();
                drop(before);
                between
            });
            let at = |name: &str| folder.path().join(name);
            assert!(!at("work/3/7").exists());
            assert_eq!(work.left(), [at("work/3"), at("work.left-1")]);
            drop(between);
            folders.remove().await;
            work.cleared().await;
            assert_eq!(work.left(), [] as [PathBuf; 0]);
        });
    }

    /// It is its folder: a worker may do with it what it likes.
    #[tokio::test]
    async fn a_link_in_place_of_a_folder_goes_as_it_does() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("outside")).unwrap();
        let work = WorkRoot::open(&at("work")).await.unwrap();
        let mut folders = work.of(ClientId(3));
        let stop = CancellationToken::new();
        folders.lay_out(Vec::new(), stop).await.unwrap();
        // Nothing is removed before its turn.
        let turns = work.turns.acquire_many(REMOVALS as u32).await.unwrap();
        // One that leads nowhere takes a name all the same.
        std::os::unix::fs::symlink(at("nowhere"), at("work.left-1")).unwrap();
        for (worker, leads_to) in [(7, "outside"), (8, "nowhere")] {
            let worker = folders.make(WorkerId(worker)).await.unwrap();
            fs::remove_dir_all(worker.path()).unwrap();
            std::os::unix::fs::symlink(at(leads_to), worker.path()).unwrap();
            worker.remove(u64::MAX).await;
        }
        folders.room(u64::MAX).await;
        assert!(folders.have_room(0), "they have nothing in them");
        drop(turns);
        assert!(at("work.left-1").is_symlink());
        work.cleared().await;
        assert_eq!(work.left(), [at("work/3"), at("work.left-1")]);
        assert!(at("outside").exists());
    }

    /// Else the node would never start again.
    #[cfg(target_os = "linux")]
    #[test]
    fn what_cannot_be_removed_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("work/3/7")).unwrap();
        let mode = |name, mode| {
            fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        mode("", 0o777);
        // This thread is nobody, who may not remove what is in another's folder.
        let open = || {
            nix::unistd::setfsuid(65_534.into());
            renew(&at("work"))
        };
        std::thread::scope(|threads| threads.spawn(open).join().unwrap()).unwrap();
        assert!(at("work.left-1/3/7").exists());
        assert_eq!(fs::read_dir(at("work")).unwrap().count(), 0);
    }

    /// What is there of others that have ended neither saves anybody, nor is it asked to go.
    #[tokio::test]
    async fn who_goes_is_one_that_runs() {
        let folder = deep(200).unwrap();
        let root = WorkRoot::open(&folder.path().join("root")).await.unwrap();
        let (path, shown) = (folder.path().join("work"), Vec::new());
        for name in ["shared", "7", "8", "9"] {
            fs::create_dir_all(path.join(name)).unwrap();
        }
        fs::rename(folder.path().join("d"), path.join("7/d")).unwrap();
        fs::write(path.join("7/larger"), vec![1; 3 << 20]).unwrap();
        fs::write(path.join("8/large"), vec![1; 1 << 20]).unwrap();
        let leftovers = Leftovers::default();
        let folders = WorkFolders {
            root,
            path,
            shown,
            leftovers,
        };
        let over = async |running: &[u32], most| {
            let me = std::process::id();
            let running = running.iter().map(|worker| (WorkerId(*worker), me));
            let over = folders.fill(running.collect(), most).await.over(most);
            over.map(|over| (over.worker, over.why))
        };
        assert_eq!(over(&[8, 9], 2 << 20).await, None);
        let (worker, why) = over(&[8, 9], 1 << 19).await.unwrap();
        assert_eq!(worker, Some(WorkerId(8)));
        assert!(why.ends_with("and may have 524288 on this node"), "{why}");
        let (worker, why) = over(&[7, 8, 9], 1 << 30).await.unwrap();
        assert_eq!(worker, Some(WorkerId(7)));
        assert!(why.ends_with("deeper than this node looks"), "{why}");
    }

    /// Else workers that follow each other could fill the disk, as fast as they write and not as it is removed.
    #[tokio::test]
    async fn what_one_has_left_counts_until_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let work = WorkRoot::open(&folder.path().join("work")).await.unwrap();
        let mut folders = work.of(ClientId(3));
        let stop = CancellationToken::new();
        folders.lay_out(Vec::new(), stop).await.unwrap();
        let most = 4 << 20;
        let runs = async |worker: u32| {
            let folder = folders.make(WorkerId(worker)).await.unwrap();
            fs::write(folder.path().join("large"), vec![1; 3 << 20]).unwrap();
            folder
        };
        let (first, second) = (runs(7).await, runs(8).await);
        let over = async |worker: u32| {
            let running = [(WorkerId(worker), std::process::id())].into();
            folders.fill(running, most).await.over(most)
        };
        assert!(over(8).await.is_none());
        // Nothing is removed before its turn.
        let turns = work.turns.acquire_many(REMOVALS as u32).await.unwrap();
        let put_aside = first.remove(most);
        assert!(!folders.have_room(most), "nobody has looked at it yet");
        put_aside.await;
        folders.room(most).await;
        let overfull = over(8).await.unwrap();
        assert_eq!(overfull.worker, Some(WorkerId(8)));
        let told = " of them of workers that have ended, which are being removed)";
        assert!(overfull.why.contains(told), "{}", overfull.why);
        second.remove(most).await;
        folders.room(u64::MAX).await;
        assert!(!folders.have_room(most));
        // Nobody who has written nothing goes for it, and nobody for what all share.
        let _third = folders.make(WorkerId(9)).await.unwrap();
        fs::write(folders.shared().join("data"), vec![1; 1 << 20]).unwrap();
        assert!(over(9).await.is_none());
        drop(turns);
        folders.room(0).await;
        assert_eq!(folders.leftovers.bytes(), 0);
        assert!(!folder.path().join("work.left-1").exists());
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_made_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let work = WorkRoot::open(&folder.path().join("work")).await.unwrap();
        let mut folders = work.of(ClientId(1));
        let stop = CancellationToken::new();
        folders.lay_out(Vec::new(), stop).await.unwrap();
        // No link can have that name.
        folders.shown = vec!["fine".into(), "no/such/folder".into()];
        folders.make(WorkerId(7)).await.unwrap_err();
        assert!(!folder.path().join("work/1/7").exists());
    }

    #[tokio::test]
    async fn no_file_is_put_outside() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        fs::write(&source, "text").unwrap();
        let work = WorkRoot::open(&folder.path().join("work")).await.unwrap();
        for (n, name) in ["../up", "/etc/up", "a/../../up", ""]
            .into_iter()
            .enumerate()
        {
            let file = Dependency {
                name: name.into(),
                content: Content::read(&source).unwrap(),
                executable: false,
            };
            let mut folders = work.of(ClientId(n as u64));
            let error = folders
                .lay_out(vec![(file, source.clone())], CancellationToken::new())
                .await;
            assert!(
                error.unwrap_err().contains("cannot name a file"),
                "{name:?}"
            );
        }
        assert!(!folder.path().join("work/up").exists());
        assert!(!folder.path().join("up").exists());
    }
}
