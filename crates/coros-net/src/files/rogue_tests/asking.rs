//! Rogues that are asked: what they give, and what they say to those who send.

use super::*;

/// A rogue that gives files, to one that asks; says what it heard last.
async fn giver(size: u64, then: Vec<u8>) -> (Node, Location, JoinHandle<Option<Heard>>) {
    let authority = Authority::derive(&Secret::random(), DEFAULT_NETWORK).unwrap();
    let credentials = authority.issue("rogue").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let location = Location {
        node: credentials.node(),
        name: "rogue".into(),
        endpoint: Some(listener.local_addr().unwrap()),
    };
    let serving = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut rogue = Rogue::dialled(Box::new(tcp), &credentials).await;
        let asked = rogue.hear().await;
        assert!(matches!(
            asked,
            Some(Heard::Say(Say::Fetch { .. } | Say::Send { .. }))
        ));
        if matches!(asked, Some(Heard::Say(Say::Fetch { .. }))) {
            rogue.say(&Say::Offer { size, stamp: 7 }).await;
            rogue.wanted().await;
        }
        rogue.raw(&then).await;
        rogue.hear().await
    });
    let node = Node::builder()
        .authority(authority)
        .silence(Duration::from_secs(1));
    (node.build().await.unwrap(), location, serving)
}

#[tokio::test]
async fn who_fetches_is_as_careful() {
    let from = wire::encode(&Say::From { offset: 0 });
    let end = wire::encode(&end(b"four"));
    let script = |bytes: &[u8]| [&from[..], &piece(bytes), &end].concat();
    for (then, says) in [
        (script(b"evil"), "is not what was announced"),
        (script(b"fours"), "more than the 4 bytes"),
        (script(b"fou"), "3 of the 4 bytes"),
        (wire::encode(&Say::From { offset: 2 }), "at this point"),
    ] {
        let (node, rogue, serving) = giver(4, then).await;
        let home = tempfile::tempdir().unwrap();
        let copy = home.path().join("copy");
        let fetched = soon(node.fetch_file(&rogue, "x", &copy, FetchFile::new())).await;
        let Err(error @ FetchFileError::Write { .. }) = fetched else {
            panic!("{fetched:?}");
        };
        assert!(error.to_string().contains(says), "{error}");
        soon(serving).await.unwrap();
        soon(async {
            while !names(home.path()).is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn who_sends_does_not_believe_everything() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("x");
    fs::write(&path, b"four").unwrap();
    for say in [
        Say::Want {
            kept: 5,
            hash: [0; 32],
        },
        Say::Done,
        Say::Offer { size: 1, stamp: 7 },
    ] {
        let (node, rogue, serving) = giver(0, wire::encode(&say)).await;
        let sent = soon(node.send_file(&rogue, &path, SendFile::new())).await;
        let Err(error @ SendFileError::Lost { .. }) = sent else {
            panic!("{sent:?}");
        };
        assert!(error.to_string().contains("broke the protocol"), "{error}");
        assert_eq!(soon(serving).await.unwrap(), None);
    }
}
