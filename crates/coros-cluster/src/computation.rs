//! What a client brings to a node: its program, the files that this needs, and how it is started.

mod program;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use coros_net::{FileName, NameError};
use serde::{Deserialize, Serialize};

pub(crate) use self::program::{Program, ProgramError};
use crate::blocking::blocking;
use crate::content::Content;
use crate::hash::ContentHash;
use crate::isolation::amount;
use crate::machine::{Machine, Mismatch, Target};
use crate::size;

/// The most bytes that the environment and the arguments of workers may take. Whoever is told of a computation
/// keeps them, and of each worker has them on the way.
const LARGEST_START: usize = 1 << 20;
/// The most bytes that the names and hashes of the files that travel may take: those of about 80,000. It goes with that
/// into one message.
const LARGEST_LIST: usize = 16 << 20;

/// A computation as a node is told of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Computation {
    pub(crate) program: Content,
    pub(crate) files: Vec<Dependency>,
    pub(crate) start: Start,
}

/// A file that the program needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dependency {
    /// Its path in the folder of a worker, with `/`.
    pub(crate) name: String,
    pub(crate) content: Content,
    /// It may be run.
    pub(crate) executable: bool,
}

/// With what workers are started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) environment: BTreeMap<String, String>,
    /// After those that make it a worker.
    pub(crate) arguments: Vec<String>,
}

/// A file or a folder that is to travel, and what it is called there if not as here.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) path: PathBuf,
    pub(crate) name: Option<String>,
}

/// What computations are made of, at the client.
#[derive(Debug)]
pub(crate) struct Cargo {
    program: Arc<Program>,
    /// The same for other targets. The first that fits a node is sent there.
    also: Vec<Arc<Program>>,
    files: Vec<Dependency>,
    start: Start,
    /// Where each file is read from.
    sources: BTreeMap<ContentHash, PathBuf>,
}

/// A cargo as a service is told of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) program: Build,
    /// The same for other targets.
    pub(crate) also: Vec<Build>,
    pub(crate) files: Vec<Dependency>,
    pub(crate) start: Start,
}

/// A program for one target.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Build {
    pub(crate) target: Target,
    pub(crate) content: Content,
}

/// Why something cannot travel.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CargoError {
    #[error("{} cannot travel with the program: {why}", .path.display())]
    Read { path: PathBuf, why: io::Error },
    #[error(
        "{} cannot travel with the program: it is neither a file nor a folder; write what is needed of it into a file",
        .0.display()
    )]
    NoFile(PathBuf),
    #[error(
        "{} cannot travel with the program: its name is not Unicode; give another by `depends_as`",
        .0.display()
    )]
    NoName(PathBuf),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Large(#[from] TooLarge),
    #[error("{first} and {second} would both be {name:?} there: give one another name by `depends_as`", first = .first.display(), second = .second.display())]
    Twice {
        name: String,
        first: PathBuf,
        second: PathBuf,
    },
    #[error("{file} would be the file {name:?} there, and {inside} in a folder of that name: give one another name by `depends_as`", file = .file.display(), inside = .inside.display())]
    Inside {
        name: String,
        file: PathBuf,
        inside: PathBuf,
    },
}

/// What of a computation takes more than anybody takes note of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum TooLarge {
    #[error(
        "the environment and the arguments of the workers take more than {}: let what is large travel as a file, by \
         `depends`", amount(LARGEST_START as u64)
    )]
    Start,
    #[error(
        "the names and hashes of the files that travel with the program take more than {}: pack those that are used \
         together into one", amount(LARGEST_LIST as u64)
    )]
    Files,
}

/// Why workers cannot be started with something.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoStart {
    #[error("an environment variable of the workers has no name, and needs one")]
    Nameless,
    #[error(
        "the environment variable {0:?} of the workers has `=` in its name: name and value are two arguments of `env`"
    )]
    Equals(String),
    #[error(
        "{0} has a byte 0 in it, which no program can be given: leave that out, or put it into a file"
    )]
    Zero(String),
    #[error(transparent)]
    Large(#[from] TooLarge),
}

impl Start {
    /// Whether a program can be given it.
    ///
    /// # Errors
    /// What it cannot.
    pub(crate) fn check(&self) -> Result<(), NoStart> {
        for (name, value) in &self.environment {
            if name.is_empty() {
                return Err(NoStart::Nameless);
            }
            if name.contains('=') {
                return Err(NoStart::Equals(name.clone()));
            }
            if name.contains('\0') || value.contains('\0') {
                let what = format!("the environment variable {name:?} of the workers");
                return Err(NoStart::Zero(what));
            }
        }
        if let Some(it) = self.arguments.iter().find(|it| it.contains('\0')) {
            return Err(NoStart::Zero(format!("the argument {it:?} of the workers")));
        }
        self.bytes()?;
        Ok(())
    }

    /// How many it takes.
    fn bytes(&self) -> Result<usize, TooLarge> {
        // What says little takes some room too.
        let environment = self.environment.iter().map(|it| size::bytes(&it));
        let arguments = self.arguments.iter().map(size::bytes);
        let bytes = environment.chain(arguments).sum();
        (bytes <= LARGEST_START)
            .then_some(bytes)
            .ok_or(TooLarge::Start)
    }
}

/// How many bytes a list of files takes.
fn listed(files: &[Dependency]) -> Result<usize, TooLarge> {
    let bytes = files.iter().map(size::bytes).sum();
    (bytes <= LARGEST_LIST)
        .then_some(bytes)
        .ok_or(TooLarge::Files)
}

/// How many bytes it takes to keep what a computation is told with.
///
/// # Errors
/// When nobody has to, because no client that [checks](Start::check) what it is given tells of so much.
pub(crate) fn bytes(start: &Start, files: &[Dependency]) -> Result<usize, TooLarge> {
    Ok(start.bytes()? + listed(files)?)
}

impl Given {
    /// What it is called there.
    pub(crate) fn name(&self) -> Result<String, CargoError> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => {
                // `.` and `..` have a name too.
                let path = fs::canonicalize(&self.path);
                let path = path.map_err(|why| self.unread(why))?;
                let name = path.file_name().and_then(|name| name.to_str());
                name.ok_or_else(|| CargoError::NoName(self.path.clone()))?
                    .to_owned()
            }
        };
        FileName::new(&name)?;
        Ok(name)
    }

    pub(crate) fn unread(&self, why: io::Error) -> CargoError {
        let path = self.path.clone();
        CargoError::Read { path, why }
    }
}

impl Cargo {
    /// Reads all that is to travel.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// When something cannot be read, or has a name that it cannot have there, and when there are too many.
    pub(crate) async fn load(
        (program, also): (Arc<Program>, Vec<Arc<Program>>),
        given: Vec<Given>,
        start: Start,
    ) -> Result<Self, CargoError> {
        blocking(move || {
            let (mut sources, mut files) = (BTreeMap::new(), Vec::new());
            for (name, path) in find(&given)? {
                let content = Content::read(&path).map_err(|why| {
                    let path = path.clone();
                    CargoError::Read { path, why }
                })?;
                files.push(Dependency {
                    name,
                    content,
                    executable: is_executable(&path),
                });
                sources.insert(content.hash, path);
            }
            listed(&files)?;
            Ok(Cargo {
                program,
                also,
                files,
                start,
                sources,
            })
        })
        .await
    }

    /// What there is, for somebody who does not have it.
    pub(crate) fn manifest(&self) -> Manifest {
        let build = |program: &Arc<Program>| Build {
            target: program.target.clone(),
            content: program.content,
        };
        Manifest {
            program: build(&self.program),
            also: self.also.iter().map(build).collect(),
            files: self.files.clone(),
            start: self.start.clone(),
        }
    }

    /// What was received, and where each content is.
    pub(crate) fn received(
        manifest: Manifest,
        sources: BTreeMap<ContentHash, PathBuf>,
    ) -> Option<Self> {
        let received = |build: Build| {
            let path = sources.get(&build.content.hash)?.clone();
            Some(Arc::new(Program::received(build, path)))
        };
        let also: Option<_> = manifest.also.into_iter().map(received).collect();
        Some(Cargo {
            program: received(manifest.program)?,
            also: also?,
            files: manifest.files,
            start: manifest.start,
            sources,
        })
    }

    /// Whether there is a program for a machine.
    ///
    /// # Errors
    /// Why the first one does not fit.
    pub(crate) fn fits(&self, machine: &Machine) -> Result<(), Mismatch> {
        self.program_for(machine).map(drop)
    }

    fn program_for(&self, machine: &Machine) -> Result<&Program, Mismatch> {
        let Err(mismatch) = self.program.target.fits(machine) else {
            return Ok(&self.program);
        };
        let mut also = self.also.iter();
        let fits = also.find(|program| program.target.fits(machine).is_ok());
        fits.map(|program| &**program).ok_or(mismatch)
    }

    /// What is sent to a machine.
    ///
    /// # Errors
    /// When no program fits: why the first one does not.
    pub(crate) fn computation_for(&self, machine: &Machine) -> Result<Computation, Mismatch> {
        Ok(Computation {
            program: self.program_for(machine)?.content,
            files: self.files.clone(),
            start: self.start.clone(),
        })
    }

    /// Where a content is read from, if it is part of it. May block.
    ///
    /// # Errors
    /// When it cannot be had at present.
    pub(crate) fn source(&self, hash: ContentHash) -> Option<io::Result<PathBuf>> {
        if let Some(path) = self.file(hash) {
            return Some(Ok(path.to_owned()));
        }
        let mut programs = std::iter::once(&self.program).chain(&self.also);
        let program = programs.find(|program| program.content.hash == hash)?;
        Some(program.source())
    }

    /// Where a file is read from, if that is the content of one.
    pub(crate) fn file(&self, hash: ContentHash) -> Option<&Path> {
        self.sources.get(&hash).map(PathBuf::as_path)
    }
}

/// Whether all of it could travel, without reading it.
///
/// Cancel safe.
///
/// # Errors
/// As of [`Cargo::load`].
pub(crate) async fn check(given: Vec<Given>) -> Result<(), CargoError> {
    blocking(move || {
        for path in find(&given)?.into_values() {
            fs::File::open(&path).map_err(|why| CargoError::Read { path, why })?;
        }
        Ok(())
    })
    .await
}

/// All files by their names there. Links are followed, those to folders inside of a folder are not.
fn find(given: &[Given]) -> Result<BTreeMap<String, PathBuf>, CargoError> {
    let mut found = BTreeMap::new();
    for it in given {
        let mut left = vec![(it.name()?, it.path.clone())];
        while let Some((name, path)) = left.pop() {
            let unread = |why| CargoError::Read {
                path: path.clone(),
                why,
            };
            let metadata = fs::metadata(&path).map_err(unread)?;
            if metadata.is_dir() {
                for entry in fs::read_dir(&path).map_err(unread)? {
                    let entry = entry.map_err(unread)?;
                    let inside = entry.path();
                    let leads_elsewhere = entry.file_type().is_ok_and(|kind| kind.is_symlink());
                    if leads_elsewhere && inside.is_dir() {
                        continue;
                    }
                    let part = entry.file_name();
                    let part = part
                        .to_str()
                        .ok_or_else(|| CargoError::NoName(inside.clone()))?;
                    left.push((format!("{name}/{part}"), inside));
                }
            } else if metadata.is_file() {
                FileName::new(&name)?;
                if let Some(first) = found.insert(name.clone(), path.clone()) {
                    return Err(CargoError::Twice {
                        name,
                        first,
                        second: path,
                    });
                }
            } else {
                return Err(CargoError::NoFile(path));
            }
        }
    }
    for (name, inside) in &found {
        for (end, _) in name.match_indices('/') {
            if let Some((name, file)) = found.get_key_value(&name[..end]) {
                return Err(CargoError::Inside {
                    name: name.clone(),
                    file: file.clone(),
                    inside: inside.clone(),
                });
            }
        }
    }
    Ok(found)
}

fn is_executable(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::metadata(path).is_ok_and(|it| it.permissions().mode() & 0o100 != 0)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}

/// The first parts of the names: what there is in the folder of a worker.
pub(crate) fn tops(files: &[Dependency]) -> BTreeSet<&str> {
    let top = |file: &Dependency| -> usize { file.name.find('/').unwrap_or(file.name.len()) };
    files.iter().map(|file| &file.name[..top(file)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(path: &Path, name: Option<&str>) -> Given {
        Given {
            path: path.to_owned(),
            name: name.map(str::to_owned),
        }
    }

    /// A folder with `a`, `sub/b`, `sub/deep/c`, and links to a file and to a folder.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("sub/deep")).unwrap();
        for name in ["a", "sub/b", "sub/deep/c"] {
            fs::write(at(name), name).unwrap();
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(at("a"), at("sub/link")).unwrap();
            std::os::unix::fs::symlink(at("sub"), at("sub/round")).unwrap();
        }
        folder
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn files_and_folders_travel_by_their_names() {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        let all = [given(&at("a"), Some("in/a")), given(&at("sub"), None)];
        let program = Program::this().unwrap();
        let cargo = Cargo::load((program, Vec::new()), all.into(), Start::default());
        let cargo = cargo.await.unwrap();
        let names: Vec<_> = cargo.files.iter().map(|it| &*it.name).collect();
        assert_eq!(names, ["in/a", "sub/b", "sub/deep/c", "sub/link"]);
        assert_eq!(tops(&cargo.files), BTreeSet::from(["in", "sub"]));
        // The same content is sent once.
        assert_eq!(cargo.sources.len(), 3);
        for file in &cargo.files {
            let source = &cargo.sources[&file.content.hash];
            assert_eq!(Content::read(source).unwrap(), file.content);
        }
    }

    #[tokio::test]
    async fn what_cannot_travel_is_named() {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        let load = async |given: &[Given]| {
            let program = Program::this().unwrap();
            let cargo = Cargo::load((program, Vec::new()), given.to_vec(), Start::default()).await;
            cargo.unwrap_err().to_string()
        };
        let missing = load(&[given(&at("none"), None)]).await;
        assert!(missing.contains("none"), "{missing}");
        let outside = load(&[given(&at("a"), Some("../a"))]).await;
        assert!(outside.contains("\"..\""), "{outside}");
        let twice = load(&[given(&at("a"), Some("x")), given(&at("sub/b"), Some("x"))]).await;
        assert!(twice.contains("both be \"x\" there"), "{twice}");
        // Between the two in order.
        let others = given(&at("a"), Some("x-ray"));
        let [file, inside] = [(&at("a"), "x"), (&at("sub/b"), "x/y/z")];
        let [file, inside] = [file, inside].map(|(path, name)| given(path, Some(name)));
        for both in [[file.clone(), inside.clone()], [inside, file]] {
            let [one, other] = both;
            let error = load(&[one, others.clone(), other]).await;
            let says = format!(
                "{} would be the file \"x\" there, and {} in a folder of that name",
                at("a").display(),
                at("sub/b").display()
            );
            assert!(error.starts_with(&says), "{error}");
        }
    }

    #[test]
    fn what_no_program_can_be_given_is_told() {
        let of = |environment: &[(&str, &str)], arguments: &[&str]| {
            let environment = environment.iter();
            let environment = environment.map(|(name, value)| ((*name).into(), (*value).into()));
            let start = Start {
                environment: environment.collect(),
                arguments: arguments.iter().map(|it| (*it).to_owned()).collect(),
            };
            start.check()
        };
        assert_eq!(of(&[("A", ""), ("B", "c=d")], &["", "a=b"]), Ok(()));
        assert_eq!(of(&[("", "a")], &[]), Err(NoStart::Nameless));
        assert_eq!(of(&[("A=B", "c")], &[]), Err(NoStart::Equals("A=B".into())));
        for zero in [
            of(&[("A\0", "b")], &[]),
            of(&[("A", "b\0c")], &[]),
            of(&[], &["a", "b\0"]),
        ] {
            let told = zero.unwrap_err().to_string();
            assert!(told.contains("has a byte 0 in it"), "{told}");
            assert!(!told.contains('\0'), "{told}");
        }
        let large = of(&[("A", &"x".repeat(LARGEST_START))], &[]).unwrap_err();
        assert_eq!(large, NoStart::Large(TooLarge::Start));
        let many = of(&[], &["x"; 10_000]).unwrap_err();
        assert_eq!(many, large);
        let told = large.to_string();
        assert!(told.contains("more than 1 MiB"), "{told}");
    }

    #[test]
    fn more_files_than_can_be_told_of_are_refused() {
        let content = Content::of(b"".as_slice()).unwrap();
        let files = |count: usize| -> Vec<_> {
            let name = |n| format!("a/folder/of/forty/characters/{n:0>11}");
            let file = |n| Dependency {
                name: name(n),
                content,
                executable: false,
            };
            (0..count).map(file).collect()
        };
        let most = files(75_000);
        assert!(listed(&most).is_ok());
        assert!(postcard::to_stdvec(&most).unwrap().len() + LARGEST_START < 16 << 20);
        let error = listed(&files(100_000)).unwrap_err();
        assert_eq!(error, TooLarge::Files);
        let told = error.to_string();
        assert!(told.contains("more than 16 MiB"), "{told}");
    }
}
