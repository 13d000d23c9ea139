//! `coros secret` as a process.

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;

struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Home(tempfile::tempdir().expect("a folder"))
    }

    fn run(&self, args: &[&str]) -> Output {
        self.run_with(args, None)
    }

    fn run_with(&self, args: &[&str], variable: Option<&Path>) -> Output {
        let mut command = common::command(args, &self.0);
        command.current_dir(&self.0).env_remove("COROS_SECRET_FILE");
        if let Some(path) = variable {
            command.env("COROS_SECRET_FILE", path);
        }
        command.output().expect("coros starts")
    }

    fn json(&self, args: &[&str]) -> Value {
        let args = [args, &["--json"]].concat();
        let ended = self.run(&args);
        assert!(ended.status.success(), "{}", text(&ended.stderr));
        serde_json::from_slice(&ended.stdout).expect("one JSON object")
    }

    /// What it says when it fails.
    fn refused(&self, args: &[&str]) -> String {
        let ended = self.run(args);
        assert_eq!(ended.status.code(), Some(1));
        assert!(ended.stdout.is_empty(), "{}", text(&ended.stdout));
        text(&ended.stderr)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("it prints UTF-8")
}

#[test]
fn a_secret_is_made_shown_and_replaced() {
    let home = Home::new();
    let error = home.refused(&["secret", "show"]);
    assert!(
        error.contains("no secret yet") && error.contains("coros secret new"),
        "{error}"
    );
    let made = home.json(&["secret", "new"]);
    let path = home.0.path().join("coros/secret");
    assert_eq!(made["path"], path.to_str().unwrap());
    assert_eq!(made["replaced"], false);
    let secret = fs::read_to_string(&path).unwrap();
    let secret = secret.trim();

    let shown = home.json(&["secret", "show"]);
    assert_eq!(shown["fingerprint"], made["fingerprint"]);
    assert_eq!(
        (&shown["kind"], &shown["from"]),
        (&"random".into(), &"configuration".into())
    );
    assert_eq!(shown["authority"]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(shown["authority"]["valid_until"], 67_090_118_400_u64);
    assert_eq!(shown.get("secret"), None);
    let other = home.json(&["secret", "show", "--network", "other"]);
    assert_eq!(other["fingerprint"], shown["fingerprint"]);
    assert_ne!(other["authority"]["sha256"], shown["authority"]["sha256"]);
    let people = text(&home.run(&["secret", "show"]).stdout);
    assert!(
        people.contains("valid 2020-01-01 00:00 to 4096-01-01 00:00 UTC"),
        "{people}"
    );
    assert!(
        people.contains(&format!("< {}", path.display())),
        "{people}"
    );
    assert!(!people.contains(secret), "it is not shown unasked");
    let people = text(&home.run(&["secret", "show", "--reveal"]).stdout);
    assert!(people.contains(secret), "{people}");
    assert_eq!(home.json(&["secret", "show", "--reveal"])["secret"], secret);

    let error = home.refused(&["secret", "new"]);
    assert!(
        error.contains("--force") && error.contains("cannot link"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap().trim(), secret);
    let people = text(&home.run(&["secret", "new", "--force"]).stdout);
    assert!(people.contains("The old secret is gone"), "{people}");
    assert_ne!(fs::read_to_string(&path).unwrap().trim(), secret);
}

/// Before any node has made one of its own.
#[test]
fn a_new_secret_comes_with_the_way_to_another_machine() {
    let home = Home::new();
    let people = text(&home.run(&["secret", "new"]).stdout);
    let path = home.0.path().join("coros/secret");
    let way = format!("> ~/.config/coros/secret' < {}\n", path.display());
    assert!(
        people.contains("  ssh HOST '") && people.contains(&way),
        "{people}"
    );
    let shown = text(&home.run(&["secret", "show"]).stdout);
    assert!(shown.contains(&way[..way.len() - 1]), "{shown}");
}

#[test]
fn the_environment_names_another_file() {
    let home = Home::new();
    let path = home.0.path().join("elsewhere");
    let missing = home.run_with(&["secret", "show"], Some(&path));
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("COROS_SECRET_FILE names a file that is not there"));
    let made = home.run_with(&["secret", "new"], Some(&path));
    assert!(made.status.success(), "{}", text(&made.stderr));
    let shown = home.run_with(&["secret", "show"], Some(&path));
    assert!(text(&shown.stdout).contains("named by COROS_SECRET_FILE"));
    assert!(!home.0.path().join("coros").exists());
    fs::write(&path, "short").unwrap();
    let short = home.run_with(&["secret", "show"], Some(&path));
    let error = text(&short.stderr);
    let advice = format!("`coros secret new {} --force`", path.display());
    assert!(error.contains(&advice), "{error}");
    assert!(!error.contains("Secret::"), "{error}");
    let made = home.run_with(&["secret", "new", "--force"], Some(&path));
    assert!(made.status.success(), "{}", text(&made.stderr));
    // By its path as well.
    let shown = home.json(&["secret", "show", "elsewhere"]);
    assert_eq!(shown["from"], "argument");
}

#[test]
fn a_node_that_does_not_start_for_its_secret_says_which_file_what_and_what_to_do() {
    let home = Home::new();
    let path = home.0.path().join("coros/secret");
    let named = home.0.path().join("named");
    let started = |args: &[&str], variable: Option<&Path>| {
        let ended = home.run_with(&[&["ping", "127.0.0.1:1"], args].concat(), variable);
        assert_eq!(ended.status.code(), Some(1));
        let said = text(&ended.stderr);
        assert!(!said.contains("Caused by"), "{said}");
        said
    };
    fs::create_dir(home.0.path().join("coros")).unwrap();
    for (content, what) in [
        (&b"short"[..], "5 characters is too short: take at least 12"),
        (b" \n", "the secret is empty"),
        (b"\xff\xfe\xfd long enough", "it is no text in UTF-8"),
        (&[b'x'; 5000], "it is longer than 4096 bytes"),
        (
            b"coros1-0123456789abcdef",
            "begins with coros1- as random ones do, but not with the 64 digits",
        ),
    ] {
        for (variable, path, which) in [
            (None, &path, "the secret of this user cannot be used"),
            (
                Some(&*named),
                &named,
                "COROS_SECRET_FILE names a file that cannot be used",
            ),
        ] {
            fs::write(path, content).unwrap();
            private(path);
            let said = started(&[], variable);
            let file = format!("no usable secret in {}: ", path.display());
            let advice = format!("`coros secret new {} --force`", path.display());
            for part in [which, &file, what, &advice] {
                assert!(said.contains(part), "{part:?}: {said}");
            }
        }
    }
    fs::remove_file(&named).unwrap();
    let said = started(&[], Some(&named));
    let says = "copy the secret of the network there, or make one by `coros secret new`";
    assert!(said.contains(says), "{said}");
    assert!(said.contains("COROS_SECRET_FILE names a file"), "{said}");
    let said = started(&[], Some(Path::new("")));
    assert!(
        said.contains("COROS_SECRET_FILE is empty: let it name"),
        "{said}"
    );

    // A certificate in the place of a secret.
    home.json(&["secret", "new-ca", "safe"]);
    let certificate = |folder| started(&["--certificate", folder], None);
    let says = "safe is not a folder with the certificate of a node, as `coros secret issue` makes \
                it: there is no node.pem in it";
    assert!(certificate("safe").contains(says));
    home.json(&["secret", "issue", "desk", "--ca", "safe", "--out", "desk"]);
    let [pem, key] = ["node.pem", "node.key"].map(|it| home.0.path().join("desk").join(it));
    let good = fs::read(&key).unwrap();
    for (content, what) in [
        (&b"none"[..], "there is none in it"),
        (&good[..60], "is damaged"),
        (b"\xff", "it is no text in UTF-8"),
    ] {
        fs::write(&key, content).unwrap();
        let said = certificate("desk");
        let says = "node.key is not a private key (PKCS #8, PEM, Ed25519): ";
        assert!(said.contains(says) && said.contains(what), "{said}");
        assert!(!said.contains("secret"), "{said}");
    }
    fs::write(&key, &good).unwrap();
    fs::write(&pem, "none").unwrap();
    let said = certificate("desk");
    assert!(said.contains("there is no certificate in it"), "{said}");
}

fn private(path: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, PermissionsExt::from_mode(0o600)).expect("the file is ours");
    }
}

#[test]
fn an_authority_issues_certificates() {
    let home = Home::new();
    let error = home.refused(&["secret", "issue", "desk", "--ca", "safe", "--out", "desk"]);
    assert!(error.contains("`coros secret new-ca`"), "{error}");
    assert!(error.contains("there is no ca.pem in it"), "{error}");
    let made = home.json(&[
        "secret",
        "new-ca",
        "safe",
        "--network",
        "weather",
        "--valid",
        "30",
    ]);
    assert_eq!(
        (&made["kind"], &made["network"]),
        (&"authority".into(), &"weather".into())
    );
    assert_eq!(home.json(&["secret", "show", "safe"]), made);
    let issue = ["secret", "issue", "desk", "--ca", "safe", "--out", "desk"];
    let issued = home.json(&issue);
    assert_eq!(
        (&issued["kind"], &issued["name"]),
        (&"node".into(), &"desk".into())
    );
    assert_eq!(issued["authority"]["sha256"], made["authority"]["sha256"]);
    assert_eq!(
        issued["valid_until"], made["valid_until"],
        "no longer than the authority"
    );
    let said = |valid| {
        let out = format!("for-{valid}");
        let options = ["--ca", "safe", "--out", &out, "--valid", valid];
        let ended = home.run(&[&["secret", "issue", "desk"], &options[..]].concat());
        assert!(ended.status.success(), "{}", text(&ended.stderr));
        text(&ended.stderr)
    };
    assert!(said("31").contains("is not valid for 31 days, but only as long as its authority"));
    assert_eq!(said("29"), "");
    assert_eq!(home.json(&["secret", "show", "desk"]), issued);
    let mut files: Vec<_> = fs::read_dir(home.0.path().join("desk"))
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort_unstable();
    assert_eq!(files, ["node.key", "node.pem"]);
    let error = home.refused(&issue);
    assert!(error.contains("is there already"), "{error}");
    let error = home.refused(&["secret", "new-ca", "safe"]);
    assert!(error.contains("is there already"), "{error}");
    for (args, has) in [
        (["issue", "desk", "--ca", "safe", "--out", "safe"], "ca.key"),
        (
            ["new-ca", "desk", "--network", "x", "--valid", "1"],
            "node.key",
        ),
    ] {
        let error = home.refused(&[&["secret"], &args[..]].concat());
        let says = format!("{has} is in it; keep them apart");
        assert!(error.contains(&says), "{error}");
    }
    assert_eq!(home.json(&["secret", "show", "safe"]), made);
    assert_eq!(home.json(&["secret", "show", "desk"]), issued);
    for (folder, file) in [
        ("desk", "node.key"),
        ("desk", "node.pem"),
        ("safe", "ca.pem"),
    ] {
        let error = home.refused(&["secret", "show", &format!("{folder}/{file}")]);
        let says = format!("`coros secret show {folder}`");
        assert!(error.contains(&says), "{error}");
    }
    fs::write(home.0.path().join("file"), "").unwrap();
    for args in [
        &["new-ca", "file"][..],
        &["new", "file/secret"],
        &["issue", "desk", "--ca", "safe", "--out", "file/deeper"],
    ] {
        let error = home.refused(&[&["secret"], args].concat());
        assert!(error.contains("file is not a folder: name one"), "{error}");
    }
    let error = home.refused(&["secret", "show", "."]);
    assert!(error.contains("neither an authority"), "{error}");
    let error = home.refused(&["secret", "issue", "", "--ca", "safe", "--out", "x"]);
    assert!(error.contains("cannot name a node"), "{error}");
    let error = home.refused(&["secret", "new-ca", "x", "--network", "A B"]);
    assert!(error.contains("cannot name a network"), "{error}");
}

#[cfg(unix)]
#[test]
fn nobody_else_can_read_what_is_made() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    home.json(&["secret", "new"]);
    home.json(&["secret", "new-ca", "safe"]);
    home.json(&["secret", "issue", "desk", "--ca", "safe", "--out", "desk"]);
    for file in ["coros/secret", "safe/ca.key", "desk/node.key"] {
        let mode = fs::metadata(home.0.path().join(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    fs::set_permissions(
        home.0.path().join("coros/secret"),
        PermissionsExt::from_mode(0o644),
    )
    .unwrap();
    let error = home.refused(&["secret", "show"]);
    assert!(error.contains("chmod 600"), "{error}");
    let key = home.0.path().join("safe/ca.key");
    fs::set_permissions(key, PermissionsExt::from_mode(0o640)).unwrap();
    let error = home.refused(&["secret", "issue", "farm", "--ca", "safe", "--out", "farm"]);
    assert!(error.contains("chmod 600"), "{error}");
    assert!(!error.contains("a folder with an authority"), "{error}");
}
