//! What the workers of a client have written, and who goes when that is too much.

use std::collections::BTreeMap;
use std::path::Path;

use super::held::Held;
use crate::scheduler::core::WorkerId;

/// What a client's workers have written.
#[derive(Debug)]
pub(in super::super) struct Fill {
    pub(super) shared: Held,
    pub(super) workers: Vec<(WorkerId, Held)>,
    /// What earlier ones have left that is not gone yet.
    pub(super) left: u64,
    /// What a worker's folder may have in which nothing has been written.
    pub(super) made: u64,
}

/// That it is too much.
#[derive(Debug)]
pub(crate) struct Overfull {
    /// Who is to go for it; `None` for all of them, as it is what they share.
    pub(in super::super) worker: Option<WorkerId>,
    pub(in super::super) why: String,
}

impl Fill {
    #[cfg(target_os = "linux")]
    pub(super) fn add_unlinked(&mut self, folder: &Path, running: &BTreeMap<WorkerId, u32>) {
        let Ok(mut unlinked) = super::unlinked::Unlinked::of(folder) else {
            return;
        };
        for (worker, held) in &mut self.workers {
            if let Some(process) = running.get(worker) {
                unlinked.add(*process, held);
            }
        }
    }

    /// Elsewhere it is not known who has which files open.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn add_unlinked(&mut self, _folder: &Path, _running: &BTreeMap<WorkerId, u32>) {}

    /// Whether it is too much, where so many bytes are allowed.
    pub(in super::super) fn over(&self, most: u64) -> Option<Overfull> {
        let workers = self.workers.iter().map(|(id, held)| (Some(*id), held));
        // Last: where it is as much as that of a worker, it counts.
        let all = workers.chain([(None, &self.shared)]);
        let hidden = all
            .clone()
            .find_map(|(worker, held)| Some((worker, held.hidden.as_ref()?)));
        if let Some((worker, hidden)) = hidden {
            let why = format!("it is not to be seen how much its workers have written: {hidden}");
            return Some(Overfull { worker, why });
        }
        let held = all.clone().map(|(_, held)| held.bytes);
        let held = held.fold(0, u64::saturating_add);
        let total = held.saturating_add(self.left);
        let worker = if held > most {
            all.max_by_key(|(_, held)| held.bytes)?.0
        } else {
            // Who has written nothing, and what all share, are not to go for what goes anyway.
            let written = self.workers.iter().filter(|it| it.1.bytes > self.made);
            Some(written.max_by_key(|(_, held)| held.bytes)?.0)
        };
        let left = match self.left {
            0 => String::new(),
            left => {
                format!(" ({left} of them of workers that have ended, which are being removed)")
            }
        };
        let why = format!(
            "all workers of its program had {total} bytes in their folders at least{left}, and may have {most} on this node"
        );
        (total > most).then_some(Overfull { worker, why })
    }
}
