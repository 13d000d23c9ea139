//! The index beside a model: a list of entries, those used longest ago first.

use proptest::prelude::*;

use super::*;

const LIMIT: u64 = 25 * LEAST;

#[derive(Clone, Debug)]
enum Op {
    MakeRoom(u64),
    /// Gives one of the rooms back.
    Release(usize),
    /// Fills one of the rooms, all of it or less, if nothing of that hash is there.
    Adopt(usize, u8, u64),
    Pin(u8),
    /// Takes one of the pins back, also one of an entry that is no more.
    Unpin(usize),
    Verified(usize),
    /// It was found damaged, by whoever has that pin.
    Forget(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        3 => (0..LIMIT / 2).prop_map(Op::MakeRoom),
        1 => (0..2 * LIMIT).prop_map(Op::MakeRoom),
        1 => any::<usize>().prop_map(Op::Release),
        6 => (any::<usize>(), 0..12u8, 0..LIMIT).prop_map(|(n, name, size)| Op::Adopt(n, name, size)),
        4 => (0..12u8).prop_map(Op::Pin),
        6 => any::<usize>().prop_map(Op::Unpin),
        1 => any::<usize>().prop_map(Op::Verified),
        1 => any::<usize>().prop_map(Op::Forget),
    ];
    proptest::collection::vec(op, 0..150)
}

fn hash(name: u8) -> ContentHash {
    ContentHash::of([name].as_slice()).unwrap().0
}

#[derive(Debug)]
struct Known {
    hash: ContentHash,
    id: u64,
    size: u64,
    pins: usize,
    verified: bool,
}

struct Model {
    index: Index,
    /// By last use; where those that are pinned stand does not matter.
    known: Vec<Known>,
    rooms: Vec<u64>,
    pins: Vec<(ContentHash, u64)>,
}

/// Which one a number means.
fn choose<T>(from: &[T], n: usize) -> Option<usize> {
    (!from.is_empty()).then(|| n % from.len())
}

impl Model {
    fn new(found: Vec<u64>) -> Self {
        let mut model = Model {
            index: Index::new(LIMIT),
            known: Vec::new(),
            rooms: Vec::new(),
            pins: Vec::new(),
        };
        for (name, size) in (0..).zip(found) {
            let hash = hash(name);
            model.index.found(hash, size);
            let id = model.index.entries[&hash].id;
            let verified = false;
            model.known.push(Known {
                hash,
                id,
                size,
                pins: 0,
                verified,
            });
        }
        model
    }

    fn used(&self) -> u64 {
        self.known.iter().map(|it| it.size.max(LEAST)).sum()
    }

    fn pinned(&self) -> u64 {
        self.known
            .iter()
            .filter(|it| it.pins > 0)
            .map(|it| it.size.max(LEAST))
            .sum()
    }

    fn promised(&self) -> u64 {
        self.rooms.iter().sum()
    }

    fn at(&self, hash: &ContentHash, id: u64) -> Option<usize> {
        self.known
            .iter()
            .position(|it| it.hash == *hash && it.id == id)
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::MakeRoom(bytes) => self.make_room(bytes),
            Op::Release(n) => {
                let Some(n) = choose(&self.rooms, n) else {
                    return;
                };
                self.index.release(self.rooms.swap_remove(n));
            }
            Op::Adopt(n, name, size) => {
                let Some(n) = choose(&self.rooms, n) else {
                    return;
                };
                let hash = hash(name);
                if self.index.contains(&hash) {
                    return;
                }
                if self.rooms[n] < LEAST {
                    return;
                }
                let room = self.rooms.swap_remove(n);
                let size = size.min(room);
                let id = self.index.adopted(hash, size);
                self.index.release(room - counted(size));
                self.known.push(Known {
                    hash,
                    id,
                    size,
                    pins: 1,
                    verified: true,
                });
                self.pins.push((hash, id));
            }
            Op::Pin(name) => {
                let hash = hash(name);
                let known = self.known.iter_mut().find(|it| it.hash == hash);
                let expected = known.map(|it| {
                    it.pins += 1;
                    Pinned {
                        id: it.id,
                        size: it.size,
                        verified: it.verified,
                    }
                });
                assert_eq!(self.index.pin(&hash), expected);
                self.pins.extend(expected.map(|it| (hash, it.id)));
            }
            Op::Unpin(n) => {
                let Some(n) = choose(&self.pins, n) else {
                    return;
                };
                let (hash, id) = self.pins.swap_remove(n);
                self.index.unpin(&hash, id);
                if let Some(n) = self.at(&hash, id) {
                    let mut known = self.known.remove(n);
                    known.pins -= 1;
                    self.known.push(known);
                }
            }
            Op::Verified(n) => {
                let Some(n) = choose(&self.pins, n) else {
                    return;
                };
                let (hash, id) = self.pins[n];
                let known = self.at(&hash, id);
                assert_eq!(self.index.verified(&hash, id), known.is_some());
                if let Some(n) = known {
                    self.known[n].verified = true;
                }
            }
            Op::Forget(n) => {
                let Some(n) = choose(&self.pins, n) else {
                    return;
                };
                let (hash, id) = self.pins[n];
                let known = self.at(&hash, id);
                assert_eq!(self.index.forget(&hash, id), known.is_some());
                if let Some(n) = known {
                    self.known.remove(n);
                }
            }
        }
    }

    fn make_room(&mut self, bytes: u64) {
        let (pinned, promised) = (self.pinned(), self.promised());
        if bytes > 0 && pinned + promised + bytes > LIMIT {
            let error = NoRoom {
                limit: LIMIT,
                pinned,
                promised,
                wanted: bytes,
            };
            assert_eq!(self.index.make_room(bytes), Err(error));
            return;
        }
        while let Step::Evict(hash, size) = self.index.make_room(bytes).unwrap() {
            let needed = self.used() + promised + bytes;
            assert!(needed > LIMIT, "{hash} goes though there is room");
            let oldest = self.known.iter().position(|it| it.pins == 0).unwrap();
            let oldest = self.known.remove(oldest);
            assert_eq!((hash, size), (oldest.hash, oldest.size));
        }
        self.rooms.push(bytes);
    }

    fn check(&self) {
        let all = self.used() + self.promised();
        assert!(all <= LIMIT, "{all} bytes");
        for name in 0..12 {
            let hash = hash(name);
            let known = self.known.iter().any(|it| it.hash == hash);
            assert_eq!(self.index.contains(&hash), known);
        }
    }
}

proptest! {
    #[test]
    fn it_keeps_to_its_limit_and_what_goes_is_used_by_nobody_and_least_recently(
        found in proptest::collection::vec(0..LIMIT, 0..6), ops in ops()
    ) {
        let mut model = Model::new(found);
        model.step(&Op::MakeRoom(0));
        model.check();
        for op in &ops {
            model.step(op);
            model.check();
        }
        // Nothing that was taken back is still counted.
        let pins = std::mem::take(&mut model.pins);
        for (hash, id) in pins {
            model.index.unpin(&hash, id);
        }
        for room in std::mem::take(&mut model.rooms) {
            model.index.release(room);
        }
        while model.index.make_room(LIMIT).unwrap() != Step::Done {}
    }
}

/// A name, and what a disk keeps for it, take room too.
#[test]
fn small_ones_count_for_more_than_their_bytes() {
    let mut index = Index::new(2 * LEAST);
    index.found(hash(1), 8);
    index.found(hash(2), 0);
    assert!(!index.has_room(1));
    assert_eq!(index.make_room(1), Ok(Step::Evict(hash(1), 8)));
    assert_eq!(index.make_room(LEAST), Ok(Step::Done));
    assert!(index.pin(&hash(2)).is_some());
    assert!(index.make_room(1).is_err());
}

#[test]
fn more_than_can_be_counted_does_not_fit() {
    let mut index = Index::new(u64::MAX);
    index.found(hash(1), 1);
    assert_eq!(index.make_room(3), Ok(Step::Done));
    assert!(index.make_room(u64::MAX).is_err());
    assert!(index.contains(&hash(1)));
}
