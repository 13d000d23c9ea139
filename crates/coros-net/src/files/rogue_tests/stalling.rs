//! Rogues that say that they are at work, and never have done. In virtual time.

use std::future::poll_fn;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::super::CROWDED;
use super::super::line::Line;
use super::super::turns::EACH;
use super::*;
use crate::DeleteFileError;
use crate::session::Timing;
use crate::sim::{SimHost, SimNetwork};
use crate::transport::Transport;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// More than a connection has room for.
const SIZE: usize = 4 * MAX_PIECE;

/// A node whose folder has room for one file, and the host of a rogue.
struct Site {
    node: Node,
    host: SimHost,
    credentials: Credentials,
    home: TempDir,
}

/// What a rogue says again and again, and whether it hears what it is told meanwhile.
struct Habit {
    bytes: Vec<u8>,
    every: Duration,
    deaf: bool,
}

fn working() -> Habit {
    Habit {
        bytes: wire::encode(&Say::Working),
        every: SECOND,
        deaf: false,
    }
}

impl Site {
    async fn set() -> Self {
        Site::with(SIZE, 2 * SECOND).await
    }

    async fn with(total: usize, silence: Duration) -> Self {
        let network = SimNetwork::new(7);
        network.latency(Duration::ZERO..=Duration::ZERO);
        let authority = Authority::derive(&Secret::random(), DEFAULT_NETWORK).unwrap();
        let host = network.host("node");
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::new(home.path()).total(total as u64).allow_fetch();
        let node = Node::builder()
            .listen((host.ip(), 0).into())
            .transport(host)
            .authority(authority.clone())
            .files(folder)
            .silence(silence);
        Site {
            node: node.build().await.unwrap(),
            host: network.host("rogue"),
            credentials: authority.issue("rogue").unwrap(),
            home,
        }
    }

    async fn dial(&self) -> Rogue {
        let endpoint = self.node.location().endpoint.unwrap();
        let stream = self.host.dial(endpoint).await.unwrap();
        Rogue::over(stream, &self.credentials).await
    }

    /// A rogue that can be dialled, answers what it is asked, and has a habit from then on: when
    /// that begins, and how it ends.
    async fn dialled(
        &self,
        answer: Vec<u8>,
        habit: Habit,
    ) -> (Location, oneshot::Receiver<()>, JoinHandle<Ended>) {
        let (sender, answered) = oneshot::channel();
        let endpoint = (self.host.ip(), 0).into();
        let mut listener = self.host.listen(endpoint).await.unwrap();
        let location = Location {
            node: self.credentials.node(),
            name: "rogue".into(),
            endpoint: Some(listener.endpoint()),
        };
        let credentials = self.credentials.clone();
        let serving = tokio::spawn(async move {
            let (stream, _) = poll_fn(|cx| listener.poll_accept(cx)).await.unwrap();
            let mut rogue = Rogue::dialled(stream, &credentials).await;
            rogue.hear().await.expect("it is asked for something");
            rogue.raw(&answer).await;
            let _ = sender.send(());
            rogue.keeps_to(habit).await
        });
        (location, answered, serving)
    }
}

/// How a habit ended, and after how long.
struct Ended(Option<Refusal>, Duration);

impl Ended {
    fn because_it_took_too_long(&self, allowed: Duration) {
        let Ended(why, after) = self;
        let waited = |seconds| seconds >= allowed.as_secs();
        assert!(
            matches!(why, Some(Refusal::KeptWaiting { seconds }) if waited(*seconds)),
            "{why:?} after {after:?}"
        );
        assert!((allowed..2 * allowed).contains(after), "{after:?}");
    }
}

impl Rogue {
    async fn keeps_to(self, habit: Habit) -> Ended {
        let began = Instant::now();
        let (mut read, mut write) = tokio::io::split(self.0);
        let says = async {
            while write.write_all(&habit.bytes).await.is_ok() && write.flush().await.is_ok() {
                sleep(habit.every).await;
            }
        };
        let hears = async {
            loop {
                match hear(&mut read).await {
                    Some(Heard::Say(Say::Refused(why))) => return Some(why),
                    Some(_) => {}
                    None => return None,
                }
            }
        };
        let why = tokio::select! {
            biased;
            why = hears, if !habit.deaf => why,
            () = says => None,
        };
        Ended(why, began.elapsed())
    }
}

/// Lets time pass, which does not by itself while a thread waits for what it is to write.
async fn passing<T>(step: Duration, future: impl Future<Output = T>) -> T {
    passing_once(std::future::ready(()), step, future).await
}

/// Lets time pass when something has been done, for which no real time may be too long.
async fn passing_once<T, D>(
    done: impl Future<Output = D>,
    step: Duration,
    future: impl Future<Output = T>,
) -> T {
    let passes = async {
        done.await;
        loop {
            // As often as the runtime looks for timers that have fired, and then some.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            tokio::time::advance(step).await;
        }
    };
    tokio::select! {
        done = future => done,
        never = passes => never,
    }
}

const PATIENCE: Duration = Duration::from_secs(5 * 60);

#[tokio::test(start_paused = true)]
async fn a_sender_that_is_always_at_work_gives_its_room_back() {
    let content = vec![7; SIZE];
    let trickle = || Habit {
        bytes: piece(b"7"),
        ..working()
    };
    // Half as fast as the slowest of links.
    let slow = || Habit {
        bytes: piece(&[7; 1 << 10]),
        ..working()
    };
    for (begun, habit, allowed) in [
        (false, working(), PATIENCE),
        (true, working(), PATIENCE),
        (true, trickle(), PATIENCE),
        (true, slow(), 2 * PATIENCE),
    ] {
        let site = Site::set().await;
        let mut rogue = site.dial().await;
        rogue.say(&send("x", &content)).await;
        assert_eq!(rogue.wanted().await, 0);
        if begun {
            rogue.say(&Say::From { offset: 0 }).await;
        }
        // Beside what has come of the other one.
        let small = &content[..SIZE / 4];
        let mut other = site.dial().await;
        other.say(&send("y", small)).await;
        let why = other.refused().await;
        assert!(matches!(why, Refusal::FolderFull { .. }), "{why}");

        let ended = passing(SECOND / 5, rogue.keeps_to(habit)).await;
        ended.because_it_took_too_long(allowed);
        let mut other = site.dial().await;
        // As soon as the thread that writes has learnt it.
        soon(async {
            loop {
                other.say(&send("y", small)).await;
                match other.hear().await {
                    Some(Heard::Say(Say::Want { kept: 0, .. })) => break,
                    Some(Heard::Say(Say::Refused(Refusal::FolderFull { .. }))) => {}
                    heard => panic!("{heard:?}"),
                }
            }
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_does_not_wait_for_ever_either() {
    let site = Site::set().await;
    // In place of any answer. There may be many that have their turn before.
    let (rogue, _, serving) = site.dialled(Vec::new(), working()).await;
    let deleted = site.node.delete_file(&rogue, "x").await;
    let Err(DeleteFileError::Lost { reason, .. }) = deleted else {
        panic!("{deleted:?}");
    };
    assert!(reason.contains("it was at work"), "{reason}");
    let ended = serving.await.unwrap();
    ended.because_it_took_too_long(CROWDED + PATIENCE);

    // In place of what was offered.
    let (size, stamp) = (SIZE as u64, 7);
    let offer = wire::encode(&Say::Offer { size, stamp });
    let (rogue, answered, serving) = site.dialled(offer, working()).await;
    let copy = site.home.path().join("copy");
    let fetch = site.node.fetch_file(&rogue, "x", copy, FetchFile::new());
    let fetched = passing_once(answered, SECOND / 5, fetch).await;
    let Err(FetchFileError::Lost { reason, .. }) = fetched else {
        panic!("{fetched:?}");
    };
    assert!(reason.contains("it was at work"), "{reason}");
    serving.await.unwrap().because_it_took_too_long(PATIENCE);
}

#[tokio::test(start_paused = true)]
async fn who_wants_a_file_and_does_not_read_it_is_given_up() {
    let site = Site::set().await;
    let path = site.home.path().join("x");
    fs::write(&path, vec![7; SIZE]).unwrap();
    let hash = *blake3::hash(b"").as_bytes();
    let want = wire::encode(&Say::Want { kept: 0, hash });
    let deaf = Habit {
        deaf: true,
        ..working()
    };
    let (rogue, answered, serving) = site.dialled(want, deaf).await;
    let send = site.node.send_file(&rogue, &path, SendFile::new());
    let sent = passing_once(answered, SECOND / 5, send).await;
    let Err(SendFileError::Lost { reason, .. }) = sent else {
        panic!("{sent:?}");
    };
    assert!(reason.contains("it was at work"), "{reason}");
    let Ended(_, after) = serving.await.unwrap();
    assert!((PATIENCE..2 * PATIENCE).contains(&after), "{after:?}");
}

/// Two slow disks: the one here has to say so to one that does not read just now.
#[tokio::test(start_paused = true)]
async fn who_is_at_work_bears_with_who_is_so_too() {
    let authority = Authority::derive(&Secret::random(), DEFAULT_NETWORK).unwrap();
    let [here, there] = ["here", "there"].map(|name| authority.issue(name).unwrap());
    let (near, far) = tokio::io::duplex(1 << 10);
    let near = async {
        let tls = Tls::new(&here).unwrap();
        let near = ReadAhead::new(Box::new(near) as BoxStream);
        let (stream, peer) = tls.accept(near).await.unwrap();
        let mut line = Line::new(stream, peer.until, Timing::default());
        // It is accepted, and does not fit in between.
        line.piece(&piece(&[7; 64 << 10]), line.allowance(0))
            .await
            .unwrap();
        line.preparing(sleep(MINUTE)).await.unwrap();
    };
    let far = async {
        let tls = Tls::new(&there).unwrap();
        let far = ReadAhead::new(Box::new(far) as BoxStream);
        let (stream, _) = tls.dial(far).await.unwrap();
        let deaf = true;
        Rogue(stream).keeps_to(Habit { deaf, ..working() }).await
    };
    tokio::select! {
        () = near => {}
        Ended(why, after) = far => panic!("{why:?} after {after:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_turn_is_not_waited_for_for_ever() {
    let day = 24 * 60 * MINUTE;
    let content = vec![7; 6 * MAX_PIECE];
    let site = Site::with(EACH * content.len(), day / 6).await;
    for number in 0..EACH {
        let mut rogue = site.dial().await;
        rogue.say(&send(&number.to_string(), &content)).await;
        assert_eq!(rogue.wanted().await, 0);
        rogue.say(&Say::From { offset: 0 }).await;
        // Slow, and honest.
        tokio::spawn(rogue.keeps_to(Habit {
            bytes: piece(&content[..MAX_PIECE]),
            every: day / 8,
            deaf: true,
        }));
    }
    let mut last = site.dial().await;
    let ask = Say::Fetch { name: "x".into() };
    last.say(&ask).await;
    let began = Instant::now();
    let crowded = Refusal::Crowded { hours: 12 };
    let heard = passing(10 * MINUTE, hear(&mut last.0)).await;
    assert_eq!(heard, Some(Heard::Say(Say::Refused(crowded))));
    let after = began.elapsed();
    assert!(
        (CROWDED..CROWDED + 30 * MINUTE).contains(&after),
        "{after:?}"
    );
    // It may ask again, and has its turn some day.
    last.say(&ask).await;
    let heard = passing(10 * MINUTE, hear(&mut last.0)).await;
    assert_eq!(heard, Some(Heard::Say(Say::Refused(Refusal::Missing))));
}
