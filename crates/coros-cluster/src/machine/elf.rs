//! What is of interest in an ELF file: for whom it is, its loader, its versions of glibc.
//!
//! The file may be anybody's, so little of it is read: no more than 256 KiB at a time, and no more
//! names than any real one has.

use std::env::consts::ARCH;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::Path;

use coros_core::remote::readable_within;
use object::elf::{
    DF_1_PIE, DT_FLAGS_1, ELFOSABI_FREEBSD, ELFOSABI_GNU, ELFOSABI_NETBSD, ELFOSABI_OPENBSD,
    ELFOSABI_SYSV, EM_386, EM_AARCH64, EM_ARM, EM_LOONGARCH, EM_PPC64, EM_RISCV, EM_S390,
    EM_X86_64, ET_DYN, ET_EXEC, FileHeader32, FileHeader64, Machine,
};
use object::read::elf::{FileHeader, ProgramHeader, SectionTable};
use object::{Endianness, FileKind, ReadCache, ReadRef};

use super::platform::Version;

/// So much of a file is read at a time, in bytes.
const LARGEST_READ: u64 = 256 * 1024;
/// So many names of versions are looked at.
const MOST_NAMES: usize = 4096;

/// A processor, by the names that it has.
pub(super) struct Arch {
    /// In the standard library.
    pub(super) name: &'static str,
    /// In rustc's targets, before the first dash.
    pub(super) rust: &'static str,
    /// At the end of rustc's targets for Linux.
    pub(super) abi: &'static str,
    /// In the name of musl's loader.
    pub(super) musl: &'static str,
    machine: Machine,
    is_64: bool,
    little: bool,
}

const fn arch(
    name: &'static str,
    rust: &'static str,
    musl: &'static str,
    machine: Machine,
    is_64: bool,
) -> Arch {
    Arch {
        name,
        rust,
        abi: "",
        musl,
        machine,
        is_64,
        little: true,
    }
}

const ARCHS: [Arch; 8] = [
    arch("x86_64", "x86_64", "x86_64", EM_X86_64, true),
    arch("aarch64", "aarch64", "aarch64", EM_AARCH64, true),
    arch("riscv64", "riscv64gc", "riscv64", EM_RISCV, true),
    arch("powerpc64", "powerpc64le", "powerpc64le", EM_PPC64, true),
    arch(
        "loongarch64",
        "loongarch64",
        "loongarch64",
        EM_LOONGARCH,
        true,
    ),
    arch("x86", "i686", "i386", EM_386, false),
    Arch {
        abi: "eabihf",
        ..arch("arm", "armv7", "armhf", EM_ARM, false)
    },
    Arch {
        little: false,
        ..arch("s390x", "s390x", "s390x", EM_S390, true)
    },
];

impl Arch {
    pub(super) fn named(name: &str) -> Option<&'static Arch> {
        ARCHS.iter().find(|arch| arch.name == name)
    }

    pub(super) fn here() -> Option<&'static Arch> {
        Arch::named(ARCH)
    }
}

/// What is of interest in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Elf {
    pub(super) os: &'static str,
    pub(super) arch: &'static str,
    /// Whether it is a program, and not a library or a part of one.
    pub(super) starts: bool,
    /// The path of its loader, if it is dynamically linked.
    pub(super) loader: Option<String>,
    /// The newest version of glibc whose symbols it needs.
    pub(super) glibc_needed: Option<Version>,
    /// The newest version of glibc whose symbols it defines.
    pub(super) glibc_has: Option<Version>,
}

/// Why a file tells nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ElfError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{0}")]
    Format(&'static str),
    /// In the words of `object`.
    #[error("it is damaged: {0}")]
    Damaged(#[from] object::Error),
}

/// Reads a file that may be anything.
pub(super) fn read(path: &Path) -> Result<Elf, ElfError> {
    // Before it is opened, which would wait for the other end of a pipe.
    if !fs::metadata(path)?.is_file() {
        return Err(ElfError::Format("it is no file"));
    }
    let cache = ReadCache::new(File::open(path)?);
    let pieces = Pieces(&cache);
    match FileKind::parse(pieces) {
        Ok(FileKind::Elf32) => parse::<FileHeader32<Endianness>>(pieces),
        Ok(FileKind::Elf64) => parse::<FileHeader64<Endianness>>(pieces),
        _ => Err(ElfError::Format("it is no ELF file")),
    }
}

fn parse<H: FileHeader<Endian = Endianness>>(data: Pieces<'_>) -> Result<Elf, ElfError> {
    let header = H::parse(data)?;
    let endian = header.endian()?;
    let arch = ARCHS.iter().find(|arch| {
        arch.machine == header.e_machine(endian)
            && arch.is_64 == header.is_class_64()
            && arch.little == header.is_little_endian()
    });
    let arch = arch.ok_or(ElfError::Format("it is for an unknown kind of processor"))?;
    let os = match header.e_ident().os_abi {
        ELFOSABI_SYSV | ELFOSABI_GNU => "linux",
        ELFOSABI_FREEBSD => "freebsd",
        ELFOSABI_NETBSD => "netbsd",
        ELFOSABI_OPENBSD => "openbsd",
        _ => return Err(ElfError::Format("it is for an unknown operating system")),
    };
    let mut loader = None;
    for segment in header.program_headers(endian, data)? {
        if let Some(path) = segment.interpreter(endian, data)? {
            // As long as a path may be.
            loader = Some(readable_within(&String::from_utf8_lossy(path), 4096));
        }
    }
    // What tells a program that is linked statically and can lie anywhere from a library.
    let sections = header.sections(endian, data)?;
    let dynamic = sections.dynamic_table(endian, data)?;
    let is_pie = dynamic
        .iter()
        .any(|entry| entry.tag == DT_FLAGS_1 && entry.val & DF_1_PIE.0 != 0);
    let kind = header.e_type(endian);
    Ok(Elf {
        os,
        arch: arch.name,
        starts: kind == ET_EXEC || kind == ET_DYN && (loader.is_some() || is_pie),
        loader,
        glibc_needed: newest(&needed(&sections, endian, data)?),
        glibc_has: newest(&defined(&sections, endian, data)?),
    })
}

/// As long as the longest header is, in bytes: any program is longer.
pub(crate) const HEADER: usize = 64;

/// What of a program is loaded: so many bytes from its beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loaded {
    pub(crate) length: u64,
    is_64: bool,
}

impl Loaded {
    /// Has the first [`HEADER`] bytes say no longer where sections are, how many, and which of them has their
    /// names.
    pub(crate) fn hide_sections(self, head: &mut [u8]) {
        let fields = match self.is_64 {
            true => [0x28..0x30, 0x3c..0x40],
            false => [0x20..0x24, 0x30..0x34],
        };
        for field in fields {
            head[field].fill(0);
        }
    }
}

/// Finds out what of a program is loaded.
///
/// # Errors
/// When the file is none.
pub(crate) fn loaded(path: &Path) -> Result<Loaded, ElfError> {
    let cache = ReadCache::new(File::open(path)?);
    let pieces = Pieces(&cache);
    let length = match FileKind::parse(pieces) {
        Ok(FileKind::Elf32) => end::<FileHeader32<Endianness>>(pieces)?,
        Ok(FileKind::Elf64) => end::<FileHeader64<Endianness>>(pieces)?,
        _ => return Err(ElfError::Format("it is no ELF file")),
    };
    let is_64 = matches!(FileKind::parse(pieces), Ok(FileKind::Elf64));
    Ok(Loaded { length, is_64 })
}

/// Where the last of what is loaded ends.
fn end<H: FileHeader<Endian = Endianness>>(data: Pieces<'_>) -> Result<u64, ElfError> {
    let header = H::parse(data)?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, data)?;
    let size = u64::from(header.e_phentsize(endian)) * segments.len() as u64;
    let table = header.e_phoff(endian).into().saturating_add(size);
    let ends = segments.iter().map(|segment| {
        let (at, length) = (segment.p_offset(endian), segment.p_filesz(endian));
        at.into().saturating_add(length.into())
    });
    Ok(ends.max().unwrap_or(0).max(table))
}

fn newest(names: &[&[u8]]) -> Option<Version> {
    names
        .iter()
        .filter_map(|name| Version::of_symbols(name))
        .max()
}

/// The names of the versions of symbols that the file needs of others.
fn needed<'a, H: FileHeader>(
    sections: &SectionTable<'a, H, Pieces<'a>>,
    endian: H::Endian,
    data: Pieces<'a>,
) -> object::Result<Vec<&'a [u8]>> {
    let mut names = Vec::new();
    let Some((mut libraries, strings)) = sections.gnu_verneed(endian, data)? else {
        return Ok(names);
    };
    let strings = sections.strings(endian, data, strings)?;
    while let Some((_, mut versions)) = libraries.next()? {
        while let Some(version) = versions.next()?
            && names.len() < MOST_NAMES
        {
            names.push(version.name(endian, strings)?);
        }
    }
    Ok(names)
}

/// The names of the versions of symbols that the file defines.
fn defined<'a, H: FileHeader>(
    sections: &SectionTable<'a, H, Pieces<'a>>,
    endian: H::Endian,
    data: Pieces<'a>,
) -> object::Result<Vec<&'a [u8]>> {
    let mut names = Vec::new();
    let Some((mut versions, strings)) = sections.gnu_verdef(endian, data)? else {
        return Ok(names);
    };
    let strings = sections.strings(endian, data, strings)?;
    while let Some((_, mut own)) = versions.next()?
        && names.len() < MOST_NAMES
    {
        // Those that follow the first are the older ones that it includes.
        if let Some(version) = own.next()? {
            names.push(version.name(endian, strings)?);
        }
    }
    Ok(names)
}

/// A file that is read in small pieces, and never whole.
#[derive(Clone, Copy)]
struct Pieces<'a>(&'a ReadCache<File>);

impl<'a> ReadRef<'a> for Pieces<'a> {
    fn len(self) -> Result<u64, ()> {
        self.0.len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        if size > LARGEST_READ {
            return Err(());
        }
        self.0.read_bytes_at(offset, size)
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        self.0.read_bytes_at_until(range, delimiter)
    }
}
