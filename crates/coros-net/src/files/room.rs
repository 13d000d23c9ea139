//! Room for files: what the disk has, and what transfers under way have been promised of it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cap_std::fs::Dir;

use super::refusal::Refusal;

/// Bytes that transfers under way have still to write to one folder.
#[derive(Debug, Default)]
pub(super) struct Room {
    promised: Mutex<u64>,
}

impl Room {
    /// Sets bytes aside, if they are free by `free` less what others have been promised. `used`
    /// says what lies in the folder already, for a limit on that.
    pub(super) fn promise(
        self: &Arc<Self>,
        bytes: u64,
        folder: (&Dir, &str),
        total: Option<u64>,
        used: impl FnOnce() -> io::Result<u64>,
    ) -> Result<Promise, Refusal> {
        // Held while the folder is measured, so that two do not get the same room.
        let mut promised = self.promised();
        if let Some(total) = total {
            let used = used().map_err(|e| Refusal::io(&e))?;
            if used.saturating_add(*promised).saturating_add(bytes) > total {
                return Err(Refusal::FolderFull { total });
            }
        }
        check(bytes, *promised, folder)?;
        *promised = promised.saturating_add(bytes);
        Ok(Promise {
            room: Arc::clone(self),
            left: bytes,
        })
    }

    fn promised(&self) -> MutexGuard<'_, u64> {
        self.promised.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses what the disk has no room for now.
pub(super) fn check(bytes: u64, promised: u64, folder: (&Dir, &str)) -> Result<(), Refusal> {
    let (folder, label) = folder;
    let Some(free) = available(folder) else {
        return Ok(());
    };
    let missing = bytes.saturating_sub(free.saturating_sub(promised));
    if missing == 0 {
        return Ok(());
    }
    let full = io::Error::from(io::ErrorKind::StorageFull);
    Err(Refusal::io(&full).within(label, missing))
}

/// The bytes that may still be written to the file system of a folder, where the system tells.
pub(super) fn available(folder: &Dir) -> Option<u64> {
    #[cfg(unix)]
    {
        let disk = rustix::fs::fstatvfs(folder).ok()?;
        // Some that are not disks have no size.
        (disk.f_blocks > 0).then(|| disk.f_bavail.saturating_mul(disk.f_frsize))
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}

/// Room that is set aside; what is not used is given back when dropped.
#[derive(Debug)]
pub(super) struct Promise {
    room: Arc<Room>,
    left: u64,
}

impl Promise {
    /// Sets so much more aside, which is about to be freed on the disk by who has this: nobody else
    /// is to get it in between.
    pub(super) fn keep(&mut self, bytes: u64) {
        let mut promised = self.room.promised();
        *promised = promised.saturating_add(bytes);
        self.left = self.left.saturating_add(bytes);
    }

    /// So much of it is on the disk now.
    pub(super) fn used(&mut self, bytes: u64) {
        let bytes = bytes.min(self.left);
        self.left -= bytes;
        let mut promised = self.room.promised();
        *promised = promised.saturating_sub(bytes);
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.used(self.left);
    }
}

#[cfg(test)]
mod tests {
    use cap_std::ambient_authority;

    use super::*;

    #[test]
    fn the_same_room_is_promised_once() {
        let folder = tempfile::tempdir().unwrap();
        let root = Dir::open_ambient_dir(folder.path(), ambient_authority()).unwrap();
        let room = Arc::new(Room::default());
        let promise = |bytes, total| room.promise(bytes, (&root, "inbox"), total, || Ok(10));

        let mut first = promise(60, Some(100)).unwrap();
        let full = Refusal::FolderFull { total: 100 };
        assert_eq!(promise(31, Some(100)).unwrap_err(), full);
        drop(promise(30, Some(100)).unwrap());
        // What has been written is measured with the folder.
        first.used(50);
        let mut second = promise(80, Some(100)).unwrap();
        drop(first);
        second.used(70);
        second.keep(70);
        assert_eq!(promise(11, Some(100)).unwrap_err(), full);
        drop(second);
        drop(promise(90, Some(100)).unwrap());

        // Of the disk, whose room is not ours alone.
        let Some(free) = available(&root) else { return };
        let most = promise(free / 3 * 2, None).unwrap();
        let refusal = promise(free / 3 * 2, None).unwrap_err();
        assert!(matches!(refusal, Refusal::DiskFull { .. }), "{refusal}");
        drop(most);
        promise(free / 3 * 2, None).unwrap();
    }
}
